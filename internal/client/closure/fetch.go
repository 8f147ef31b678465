package closure

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"github.com/nix-community/go-nix/pkg/narinfo/signature"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sys/unix"

	"ravenboot/internal/client/store"
	"ravenboot/internal/nar"
	"ravenboot/internal/report"
)

// fetcher downloads paths.
type fetcher struct {
	store *store.Store
	cache *cache
	keys  []signature.PublicKey
	// windows is the memory for files that are being unpacked, in bytes.
	windows *semaphore.Weighted

	storeDir string   // as the booted system sees it
	placed   sync.Map // base to struct{}: in place, and found whole by this process

	paths, bytes         atomic.Int64
	pathTotal, byteTotal atomic.Int64
	fetched              atomic.Int64 // bytes of NARs that came over the network, twice what came twice
}

// ErrAltered is in the error of a path whose content is not what was signed.
var ErrAltered = errors.New("its content is not what was signed, so it was altered on the way or is damaged on the server")

// Progress tells how far the download is. Any goroutine may ask.
func (f *fetcher) progress() report.Progress {
	return report.Progress{
		Paths: int(f.paths.Load()), PathsTotal: int(f.pathTotal.Load()),
		Bytes: f.bytes.Load(), BytesTotal: f.byteTotal.Load(),
	}
}

// reset starts the progress anew.
func (f *fetcher) reset() {
	for _, counter := range []*atomic.Int64{&f.paths, &f.bytes, &f.pathTotal, &f.byteTotal} {
		counter.Store(0)
	}
}

// begin sets the progress to what is done already, and returns the rest.
func (f *fetcher) begin(paths []object) (rest []*object) {
	var bytes, total int64
	for i := range paths {
		p := &paths[i]
		total += p.NarSize
		if _, placed := f.placed.Load(p.Base); placed && f.store.InPlace(p.Base) {
			bytes += p.NarSize
		} else {
			rest = append(rest, p)
		}
	}
	f.bytes.Store(bytes)
	f.byteTotal.Store(total)
	f.paths.Store(int64(len(paths) - len(rest)))
	f.pathTotal.Store(int64(len(paths)))
	return rest
}

// fetchAll brings all paths into their places, so many at a time. What one path
// lacks doesn't stop the others; a full disk and a lost server do.
func (f *fetcher) fetchAll(ctx context.Context, paths []object, parallel int) error {
	rest := f.begin(paths)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	altered := make(chan error, len(rest))
	for _, some := range f.batches(rest) {
		group.Go(func() error {
			for _, p := range f.fetchTogether(ctx, some) {
				err := f.bring(ctx, p)
				switch {
				case err != nil && ctx.Err() != nil:
					return context.Cause(ctx)
				case errors.Is(err, ErrAltered):
					altered <- err
				case err != nil:
					return err
				}
			}
			return nil
		})
	}
	err := group.Wait()
	close(altered)
	var problems []error
	for problem := range altered {
		problems = append(problems, problem)
	}
	return errors.Join(joinSome(problems), err)
}

// bring sees to it that a path is in its place and whole.
func (f *fetcher) bring(ctx context.Context, p *object) error {
	whole, err := f.isWhole(p)
	if err == nil && !whole {
		err = f.fetch(ctx, p)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", p.Base, err)
	}
	f.placed.Store(p.Base, struct{}{})
	f.paths.Add(1)
	return nil
}

// isWhole tells whether what is in a path's place, though it isn't valid, has
// the right content: a power cut may have come between download and
// registration.
func (f *fetcher) isWhole(p *object) (bool, error) {
	if !f.store.InPlace(p.Base) {
		return false, nil
	}
	content := nar.NewReader(f.store.Dir(), p.Base, p.NarSize)
	defer content.Close()
	digest := sha256.New()
	_, err := io.CopyBuffer(struct{ io.Writer }{digest}, io.LimitReader(content, p.NarSize+1), make([]byte, 256<<10))
	if err == nil && [32]byte(digest.Sum(nil)) == p.NarHash {
		f.bytes.Add(p.NarSize)
		return true, nil
	}
	return false, f.store.Discard(p.Base)
}

// fetch downloads a path and moves it into its place if it is what was signed.
func (f *fetcher) fetch(ctx context.Context, p *object) error {
	return f.cache.insist(ctx, func(ctx context.Context) error {
		return f.place(p, func() (int64, error) { return f.unpack(ctx, p) })
	})
}

// place unpacks a path and moves it into its place. unpack returns how many
// bytes it has added to the progress.
func (f *fetcher) place(p *object, unpack func() (int64, error)) error {
	counted, err := unpack()
	if err == nil {
		err = f.store.Place(p.Base)
	}
	if err != nil {
		f.bytes.Add(-counted)
		return errors.Join(err, f.store.Discard(p.Base))
	}
	return nil
}

// unpack returns how many bytes it has added to the progress.
func (f *fetcher) unpack(ctx context.Context, p *object) (int64, error) {
	// Before the download begins, which must not stand still.
	if err := f.windows.Acquire(ctx, windowOf(p.compression)); err != nil {
		return 0, err
	}
	defer f.windows.Release(windowOf(p.compression))
	d, err := f.cache.open(ctx, p)
	if err != nil {
		return 0, err
	}
	defer d.Close()
	n, err := f.unpackFrom(d, p)
	if d.lost != nil {
		// A decompressor may have made another error of it.
		err = d.lost
	}
	return n, err
}

func (f *fetcher) unpackFrom(file io.Reader, p *object) (int64, error) {
	content, done, err := decompress(file, p.compression)
	if err != nil {
		return 0, err
	}
	defer done()
	dir, err := os.Open(f.store.Temporary())
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	// A byte more than there should be is enough to be told apart.
	checked := &checker{from: io.LimitReader(content, p.NarSize+1), hash: sha256.New(), total: &f.bytes}
	err = nar.Unpack(checked, dir, p.Base)
	f.fetched.Add(checked.n)
	if err != nil {
		return checked.n, explain(err)
	}
	if checked.n != p.NarSize || [32]byte(checked.hash.Sum(nil)) != p.NarHash {
		return checked.n, ErrAltered
	}
	return checked.n, nil
}

// checker hashes and counts what passes through it.
type checker struct {
	from  io.Reader
	hash  hash.Hash
	n     int64
	total *atomic.Int64
}

// Read is io.Reader's.
func (c *checker) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	_, _ = c.hash.Write(p[:n]) // a hash takes everything
	c.n += int64(n)
	c.total.Add(int64(n))
	return n, err
}

// ErrFull is in the error of a download that the disk has no room for.
var ErrFull = errors.New("the disk is full")

func explain(err error) error {
	if errors.Is(err, nar.ErrFormat) && !errors.Is(err, ErrAltered) {
		return fmt.Errorf("%w: %w", ErrAltered, err)
	}
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}
