package closure

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nix-community/go-nix/pkg/narinfo/signature"
	"github.com/nix-community/go-nix/pkg/storepath"
	"golang.org/x/sync/semaphore"

	"ravenboot/internal/client"
	"ravenboot/internal/client/store"
	"ravenboot/internal/report"
)

// parallel is how many paths are downloaded at a time. Two saturate a gigabit
// with large paths; small ones spend their time on the way.
const parallel = 12

// Config says what is to be downloaded.
type Config struct {
	// Cache is the URL of the binary cache.
	Cache string
	// Root is where the system's root is mounted.
	Root string
	// Toplevel is the system's store path, "/nix/store/HASH-NAME".
	Toplevel string
	// Keys are those that are trusted to sign store paths.
	Keys []signature.PublicKey
	// Say is told what an administrator should see on the screen; one line.
	Say func(line string)
}

// Closure brings a system's closure to a machine.
type Closure struct {
	config   Config
	toplevel string // the last component of its path
	fetch    *fetcher
}

// New prepares a download.
func New(config Config) (*Closure, error) {
	if len(config.Keys) == 0 {
		return nil, errors.New("no public key to check the closure with: give -public-key, or ravenboot.public_key= on the kernel " +
			"command line, with what `ravenboot key` prints on the server")
	}
	storeDir, toplevel := path.Split(config.Toplevel)
	storeDir = path.Clean(storeDir)
	if _, err := storepath.FromString(toplevel); err != nil || !path.IsAbs(storeDir) {
		return nil, fmt.Errorf("%.300q is no store path of a system: /nix/store/HASH-NAME", config.Toplevel)
	}
	cache, err := newCache(config.Cache, max(questions, parallel), config.Say)
	if err != nil {
		return nil, err
	}
	fetch := &fetcher{cache: cache, keys: config.Keys, storeDir: storeDir, windows: semaphore.NewWeighted(maxWindows)}
	return &Closure{config, toplevel, fetch}, nil
}

// ToplevelOf is the system's store path in an init= argument, which is
// "/nix/store/HASH-NAME/init".
func ToplevelOf(init string) (string, error) {
	toplevel, ok := strings.CutSuffix(init, "/init")
	if _, err := storepath.FromString(path.Base(toplevel)); err != nil || !ok {
		return "", fmt.Errorf("init=%.300s is not /nix/store/HASH-NAME/init", init)
	}
	return toplevel, nil
}

// Progress tells how far Run is. Any goroutine may ask.
func (c *Closure) Progress() report.Progress { return c.fetch.progress() }

// Fetched is how many bytes of NARs have come over the network in all Runs,
// those included that had to come again.
func (c *Closure) Fetched() int64 { return c.fetch.fetched.Load() }

// Run brings what is missing, makes it durable, and then lets the machine's Nix
// know of it. It can be run again after an error, and goes on from there.
func (c *Closure) Run(ctx context.Context) error {
	s, err := store.Open(c.config.Root, c.fetch.storeDir)
	if err != nil {
		return err
	}
	c.fetch.store = s
	c.fetch.reset()
	err = c.run(ctx, s)
	return errors.Join(err, s.Close())
}

func (c *Closure) run(ctx context.Context, s *store.Store) error {
	p, err := c.fetch.ask(ctx, c.toplevel)
	if err != nil {
		return err
	}
	if len(p.missing) > 0 {
		if err := c.bring(ctx, s, &p); err != nil {
			return err
		}
	}
	// The profile's links take inodes as well, when the paths may have had the last.
	return c.doOrPrune(ctx, s, &p, func() error { return explain(c.finish(s)) })
}

// finish makes the system the current generation once it is whole.
func (c *Closure) finish(s *store.Store) error {
	if err := checkToplevel(s.Final(c.toplevel)); err != nil {
		return err
	}
	if err := s.SetSystem(c.toplevel); err != nil {
		return err
	}
	return s.Sync()
}

func (c *Closure) bring(ctx context.Context, s *store.Store, p *plan) error {
	c.config.Say(fmt.Sprintf("%d store paths to fetch, %s", len(p.missing), client.Bytes(p.narBytes())))
	if err := c.makeRoom(ctx, s, p); err != nil {
		return err
	}
	if err := c.fetchMissing(ctx, s, p); err != nil {
		return err
	}
	if err := s.Sync(); err != nil {
		return err
	}
	paths := make([]store.Path, len(p.missing))
	for i := range p.missing {
		paths[i] = p.missing[i].Path
	}
	return s.Register(ctx, paths)
}

func (c *Closure) fetchMissing(ctx context.Context, s *store.Store, p *plan) error {
	stop := keepSynced(s)
	defer stop()
	return c.doOrPrune(ctx, s, p, func() error { return c.fetch.fetchAll(ctx, p.missing, parallel) })
}

// doOrPrune does something, and removes one old generation after the other where
// the disk turns out to be too small for it: a cache tells how large an archive
// is, not how many blocks and inodes its files take.
func (c *Closure) doOrPrune(ctx context.Context, s *store.Store, p *plan, do func() error) error {
	for swept := false; ; swept = true {
		err := do()
		if !errors.Is(err, ErrFull) {
			return err
		}
		before, roomErr := s.Room()
		asked := 0
		gone, pruneErr := s.Prune(ctx, c.toplevel, p.keep, func(store.Room) bool { asked++; return asked > 1 })
		after, afterErr := s.Room()
		if problem := errors.Join(roomErr, pruneErr, afterErr); problem != nil {
			return errors.Join(err, problem)
		}
		switch {
		case len(gone) > 0:
			c.config.Say(fmt.Sprintf("the disk is full: removed generation %s", numbers(gone)))
		case swept || after.Bytes <= before.Bytes && after.Inodes <= before.Inodes:
			return fmt.Errorf("%w; nothing is left to remove: give it a larger disk, or a smaller system", err)
		default:
			c.config.Say("the disk is full: removed what nothing refers to")
		}
	}
}

// syncEvery is how much of a download a power cut can cost, in time. The kernel
// alone keeps files back for half a minute, and their names for less: what a cut
// leaves would mostly be empty files.
const syncEvery = 5 * time.Second

// keepSynced has what has arrived written to the disk now and then, until the
// function that it returns is called.
func keepSynced(s *store.Store) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(syncEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				// Only a help: the one that counts comes before the registration,
				// and has the same error.
				_ = s.Sync()
			case <-done:
				return
			}
		}
	}()
	return func() { close(done); <-ended }
}

// checkToplevel looks for what starts the system: a script, or systemd itself
// beside a prepare-root, which systems with nixos-init do without.
func checkToplevel(dir string) error {
	if _, err := os.Lstat(filepath.Join(dir, "init")); err != nil {
		return fmt.Errorf("the toplevel has no init: %w", err)
	}
	return nil
}

// spare is what must stay free for the system that starts, in bytes.
const spare = 64 << 20

// makeRoom prunes old generations where the disk has no room for what comes.
//
// How many inodes a path takes can't be known from its narinfo: a NAR of a
// megabyte may be one file or six thousand empty ones. Only that it takes one is
// certain. A guess would cost generations that could have stayed: ext4 has an
// inode for each 16 kB, and a large system a file for each 17. Where more inodes
// are needed than there are, doOrPrune sees it.
func (c *Closure) makeRoom(ctx context.Context, s *store.Store, p *plan) error {
	need := c.stillToCome(s, p)
	enough := func(room store.Room) bool {
		return room.Bytes >= need.Bytes+spare && (room.Inodes < 0 || room.Inodes >= need.Inodes)
	}
	room, err := s.Room()
	if err != nil || enough(room) {
		return err
	}
	c.config.Say(fmt.Sprintf("%s free, %s to come: removing what is old", said(room), said(need)))
	gone, err := s.Prune(ctx, c.toplevel, p.keep, enough)
	if err != nil {
		return err
	}
	if len(gone) > 0 {
		c.config.Say(fmt.Sprintf("removed generations %s", numbers(gone)))
	}
	if room, err = s.Room(); err != nil || enough(room) {
		return err
	}
	need.Bytes += spare
	return fmt.Errorf("%w: the system needs %s more, and there are %s free after removing all that is old; "+
		"give it a larger disk, or a smaller system", ErrFull, said(need), said(room))
}

// said is room in words.
func said(room store.Room) string {
	if room.Inodes < 0 {
		return client.Bytes(room.Bytes)
	}
	return fmt.Sprintf("%s and %d inodes", client.Bytes(room.Bytes), room.Inodes)
}

// stillToCome is what that takes at the least which isn't in its place already.
func (c *Closure) stillToCome(s *store.Store, p *plan) (least store.Room) {
	for i := range p.missing {
		if !s.InPlace(p.missing[i].Base) {
			least.Bytes += p.missing[i].NarSize
			least.Inodes++
		}
	}
	return least
}

func numbers(all []int) string {
	var words []string
	for _, n := range slices.Sorted(slices.Values(all)) {
		words = append(words, fmt.Sprint(n))
	}
	return strings.Join(words, ", ")
}
