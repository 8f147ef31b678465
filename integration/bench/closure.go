package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// supply is a system that servers offer, in both compressions.
type supply struct {
	system
	store    *nixStore
	toplevel string
	space    string             // the namespace in which it is downloaded, or ""
	servers  map[string]*served // by compression
}

// served is a server's cache.
type served struct {
	*process
	url, key string
}

var compressions = []string{"none", "zstd"}

// supply starts servers of a store's system.
func (b *bench) supply(store *nixStore, s system, toplevel string, l *link) (*supply, error) {
	o := &supply{system: s, store: store, toplevel: toplevel, servers: make(map[string]*served)}
	addr, space := "127.0.0.1", ""
	if l != nil {
		addr, space, o.space = linkServer, l.server, l.client
	}
	for _, compression := range compressions {
		one, err := b.serveCache(o, compression, addr, space)
		if err != nil {
			o.stop()
			return nil, err
		}
		o.servers[compression] = one
	}
	return o, nil
}

func (o *supply) stop() {
	for _, one := range o.servers {
		one.stop()
	}
}

func (b *bench) serveCache(o *supply, compression, addr, space string) (*served, error) {
	dir := b.subdir()
	if err := publish(filepath.Join(dir, "profiles"), o.toplevel, 1); err != nil {
		return nil, err
	}
	port := freePort()
	config, err := write(dir, "ravenboot.toml", fmt.Sprintf(`[http]
listen = "%s:%d"
[admin]
listen = ""
%s[cache]
enabled = true
compression = %q
store = %q
key_name = "bench-1"
[[profile]]
name = "lab"
path = "profiles/lab"
`, addr, port, off, compression, o.store.store()))
	if err != nil {
		return nil, err
	}
	argv := append(append([]string{"env"}, o.store.env()...), b.ravenboot, "serve", "-config", config)
	one := &served{url: fmt.Sprintf("http://%s:%d/cache", addr, port)}
	if one.process, err = b.start(space, argv...); err != nil {
		return nil, err
	}
	if err := one.until(func() error { return o.answers(one.url) }); err != nil {
		one.stop()
		return nil, err
	}
	one.key, err = o.store.run(b.ravenboot, "key", "-config", config)
	return one, err
}

// answers looks for the toplevel. What runs in a namespace is asked there.
func (o *supply) answers(url string) error {
	url += "/" + filepath.Base(o.toplevel)[:32] + ".narinfo"
	if o.space != "" {
		return exec.Command("ip", "netns", "exec", o.space, "curl", "-sf", "-o", "/dev/null", url).Run()
	}
	r, err := http.Get(url)
	if err != nil {
		return err
	}
	r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return errors.New(r.Status)
	}
	return nil
}

// engine is a program that downloads a closure.
type engine struct {
	name string
	// argv is the command that brings the offer to a root; url and key are the
	// server's, and target the root's store, as Nix takes it.
	argv func(b *bench, o *supply, from *served, root, target string) []string
}

// nixOptions are those without which Nix asks others, or trusts nobody.
func nixOptions(from *served) []string {
	return []string{"--option", "substituters", from.url, "--option", "trusted-public-keys", from.key}
}

var engines = []engine{
	{"ravenboot-client", func(b *bench, o *supply, from *served, root, _ string) []string {
		return []string{b.client, "closure", "-root", root, "-cache", from.url, "-public-key", from.key,
			"-toplevel", o.toplevel, "-cmdline", filepath.Join(b.dir, "cmdline")}
	}},
	{"nix copy", func(_ *bench, o *supply, from *served, _, target string) []string {
		return append([]string{"nix", "--extra-experimental-features", "nix-command", "copy",
			"--from", from.url, "--to", target, o.toplevel}, nixOptions(from)...)
	}},
	{"nix-store -r -j16", func(_ *bench, o *supply, from *served, _, target string) []string {
		return append([]string{"nix-store", "--store", target, "-r", "-j16", o.toplevel}, nixOptions(from)...)
	}},
}

// target is a root's store as Nix takes it.
func (o *supply) target(root string) string {
	return "local?root=" + root + "&store=" + o.store.store() + "&state=" + filepath.Join(root, o.store.dir, "var/nix") +
		"&real=" + filepath.Join(root, o.store.store())
}

// place is where closures are downloaded to.
type place struct {
	name, dir string
	next      int // number of the next root
}

// fetch brings the offer to a new root and removes it again, and measures only
// the former, up to the time when everything is on the disk.
func (b *bench) fetch(o *supply, e engine, compression string, to *place, check bool) (sample, error) {
	to.next++
	root := filepath.Join(to.dir, fmt.Sprint("root-", to.next))
	if err := os.MkdirAll(root, 0o755); err != nil {
		return sample{}, err
	}
	unix.Sync()
	s, err := b.fetchTo(o, e, compression, root)
	if err == nil {
		err = o.check(root, check)
	}
	return s, errors.Join(err, removeStore(root))
}

func (b *bench) fetchTo(o *supply, e engine, compression, root string) (sample, error) {
	from := o.servers[compression]
	before, err := from.usage()
	if err != nil {
		return sample{}, err
	}
	argv := e.argv(b, o, from, root, o.target(root))
	if o.space != "" {
		argv = append([]string{"ip", "netns", "exec", o.space}, argv...)
	}
	cmd := exec.CommandContext(b.ctx, argv[0], argv[1:]...)
	// A HOME of its own: Nix remembers there what a cache has.
	cmd.Env = append(append(os.Environ(), o.store.env()...), "HOME="+filepath.Join(root, "home"))
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	begun := time.Now()
	err = cmd.Run()
	if err == nil {
		err = syncfs(root)
	}
	took := time.Since(begun)
	if err != nil {
		return sample{}, fmt.Errorf("%s: %w\n%s\n%s", strings.Join(argv, " "), err, said.String(), from.tail())
	}
	after, err := from.usage()
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	return sample{
		rate:   took.Seconds(),
		cpu:    (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds(),
		server: (after.cpu - before.cpu).Seconds(),
		memory: float64(usage.Maxrss) / 1024,
	}, err
}

func syncfs(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return unix.Syncfs(int(d.Fd()))
}

// check asks Nix what came: every path always, and every byte if thorough.
func (o *supply) check(root string, thorough bool) error {
	members, err := o.store.run("nix-store", "--store", o.target(root), "-qR", o.toplevel)
	if err != nil {
		return err
	}
	if got := len(strings.Fields(members)); got != o.paths {
		return fmt.Errorf("%d paths of %d came", got, o.paths)
	}
	if got := storeObjects(filepath.Join(root, o.store.store())); got != o.paths {
		return fmt.Errorf("there are %d paths in the store, not %d", got, o.paths)
	}
	if thorough {
		_, err = o.store.run("nix-store", "--store", o.target(root), "--verify", "--check-contents")
	}
	return err
}

// storeObjects counts what lies in a store, but for what is Nix's own (.links).
func storeObjects(dir string) int {
	// A pattern that is wrong would find nothing, which is too few.
	found, _ := filepath.Glob(filepath.Join(dir, "[^.]*"))
	return len(found)
}

// tmpfs mounts one.
func (b *bench) tmpfs() (*place, error) {
	dir := b.subdir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "nr_inodes=0"); err != nil {
		return nil, fmt.Errorf("mount -t tmpfs: %w", err)
	}
	b.mounts = append(b.mounts, dir)
	return &place{name: "a tmpfs", dir: dir}, nil
}

// benchClosure downloads a system in every way, to a tmpfs and to the disk.
func benchClosure(b *bench) error {
	o, err := b.newSupply(wholeSystem, nil)
	if err != nil {
		return err
	}
	defer o.stop()
	memory, err := b.tmpfs()
	if err != nil {
		return err
	}
	for _, to := range []*place{memory, {name: "the disk, durable", dir: b.subdir()}} {
		if err := b.compareEngines(o, "Closure to "+to.name, to); err != nil {
			return err
		}
	}
	return nil
}

// benchGigabit downloads over a cable, where a plain file of as many bytes is
// the floor, to a tmpfs.
func benchGigabit(b *bench) error {
	l, err := b.link()
	if err != nil {
		return err
	}
	defer l.carrier.stop()
	memory, err := b.tmpfs()
	if err != nil {
		return err
	}
	for _, s := range []system{wholeSystem, smallSystem} {
		if err := b.gigabit(s, memory, l); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) gigabit(s system, memory *place, l *link) error {
	o, err := b.newSupply(s, l)
	if err != nil {
		return err
	}
	defer o.stop()
	return b.compareOverLink(o, "Over 1 Gbit/s with 1 ms each way", memory, l)
}

// newSupply builds a system in a store of its own, and serves it.
func (b *bench) newSupply(s system, l *link) (*supply, error) {
	if err := b.prepareClient(); err != nil {
		return nil, err
	}
	if b.quick {
		s = s.tenth()
	}
	store := &nixStore{b.subdir()}
	toplevel, err := b.build(store, s, 0)
	if err != nil {
		return nil, err
	}
	o, err := b.supply(store, s, toplevel, l)
	if err != nil {
		return nil, err
	}
	if err := o.describe(); err != nil {
		o.stop()
		return nil, err
	}
	return o, nil
}

// prepareClient looks for what runs on the machine.
func (b *bench) prepareClient() error {
	_, err := os.Stat(b.client)
	if err != nil {
		return fmt.Errorf("%w: make build", err)
	}
	_, err = write(b.dir, "cmdline", "ravenboot.on_failure=shell\n")
	return err
}

// describe prints what the closure is made of.
func (o *supply) describe() error {
	members, err := o.store.run("nix-store", "-qR", o.toplevel)
	if err != nil {
		return err
	}
	files := 0
	for path := range strings.FieldsSeq(members) {
		err := filepath.WalkDir(path, func(_ string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				files++
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	size, err := o.narBytes()
	fmt.Printf("\n%s: %d paths, %d files, %.0f MB of NARs.\n", o.name, o.paths, files, float64(size)/1e6)
	return err
}

// compareEngines gives each engine its turns. Its first result is looked at byte
// by byte.
func (b *bench) compareEngines(o *supply, title string, to *place) error {
	for _, compression := range compressions {
		all, err := b.inTurn(b.engineSubjects(o, compression, to))
		if err != nil {
			return err
		}
		printTimes(title+": "+o.name+", "+compression, all)
	}
	return nil
}

func (b *bench) engineSubjects(o *supply, compression string, to *place) []subject {
	var all []subject
	for _, e := range engines {
		checked := false
		all = append(all, subject{e.name, func() (sample, error) {
			thorough := !checked
			checked = true
			return b.fetch(o, e, compression, to, thorough)
		}})
	}
	return all
}

func (b *bench) compareOverLink(o *supply, title string, to *place, l *link) error {
	size, err := o.narBytes()
	if err != nil {
		return err
	}
	floor := subject{"curl, one file as long", func() (sample, error) { return b.curl(l, to, size) }}
	for _, compression := range compressions {
		subjects := b.engineSubjects(o, compression, to)
		if compression == "none" {
			subjects = append(subjects, floor)
		}
		all, err := b.inTurn(subjects)
		if err != nil {
			return err
		}
		printTimes(title+": "+o.name+", "+compression, all)
	}
	return nil
}

// narBytes is what the closure's NARs have together.
func (o *supply) narBytes() (int64, error) {
	members, err := o.store.run("nix-store", "-qR", o.toplevel)
	if err != nil {
		return 0, err
	}
	sizes, err := o.store.run(append([]string{"nix-store", "-q", "--size"}, strings.Fields(members)...)...)
	if err != nil {
		return 0, err
	}
	var total, n int64
	for _, line := range strings.Fields(sizes) {
		if _, err := fmt.Sscan(line, &n); err != nil {
			return 0, err
		}
		total += n
	}
	return total, nil
}

// curl downloads one file over the cable: what the cable can carry.
func (b *bench) curl(l *link, to *place, size int64) (sample, error) {
	file := filepath.Join(to.dir, "file")
	if _, err := write(to.dir, "file", ""); err != nil {
		return sample{}, err
	}
	defer os.Remove(file)
	if err := os.Truncate(file, size); err != nil {
		return sample{}, err
	}
	addr := fmt.Sprintf("%s:%d", linkServer, freePort())
	p, err := b.start(l.server, b.self, "serve-file", addr, file)
	if err != nil {
		return sample{}, err
	}
	defer p.stop()
	fetch := func(more ...string) (*exec.Cmd, error) {
		argv := append([]string{"netns", "exec", l.client, "curl", "-sf", "-o", file + ".copy", "http://" + addr + "/"}, more...)
		cmd := exec.CommandContext(b.ctx, "ip", argv...)
		return cmd, cmd.Run()
	}
	defer os.Remove(file + ".copy")
	if err := p.until(func() error { _, err := fetch("-r", "0-0"); return err }); err != nil {
		return sample{}, err
	}
	before, err := p.usage()
	if err != nil {
		return sample{}, err
	}
	begun := time.Now()
	cmd, err := fetch()
	took := time.Since(begun)
	if err != nil {
		return sample{}, err
	}
	after, err := p.usage()
	return sample{
		rate: took.Seconds(), server: (after.cpu - before.cpu).Seconds(),
		cpu:    (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds(),
		memory: float64(cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss) / 1024,
	}, err
}
