package closure

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"ravenboot/internal/batch"
	"ravenboot/internal/narinfo"
)

// Batches are a help that a cache may give or not: what one doesn't bring, for
// whatever reason, is asked for alone, where errors are told and requests made
// again.
const (
	// askedTogether is how many narinfos are asked for at a time. Several such
	// requests share the work of checking signatures among the processors.
	askedTogether = 128
	// fetchedTogether is how many paths are fetched at a time. A power cut or a
	// lost connection costs no more than these.
	fetchedTogether = 64
)

// batch asks for several files at a time, and calls have with each that comes;
// what it is given is valid until it returns.
func (c *cache) batch(ctx context.Context, names []string, have func(i int, file []byte)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stall := time.AfterFunc(c.stall, func() { cancel(fmt.Errorf("nothing came for %v", c.stall)) })
	defer stall.Stop()
	answer, err := c.postBatch(ctx, names)
	if err != nil {
		return err
	}
	defer answer.Close()
	files := batch.NewReader(answer)
	for i := range names {
		stall.Reset(c.stall)
		file, err := files.Next()
		// It must not run while the disk is what is waited for.
		stall.Stop()
		if err != nil {
			return err
		}
		if file != nil {
			have(i, file)
		}
	}
	// Reading to the end keeps the connection.
	_, _ = io.CopyN(io.Discard, answer, 1)
	return nil
}

func (c *cache) postBatch(ctx context.Context, names []string) (io.ReadCloser, error) {
	question := bytes.NewReader(batch.Question(names))
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base.JoinPath(batch.Path).String(), question)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "text/plain")
	response, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode == http.StatusOK && response.Header.Get("Content-Type") == batch.ContentType {
		return response.Body, nil
	}
	_, _ = io.CopyN(io.Discard, response.Body, 4<<10)
	_ = response.Body.Close()
	// Another cache's answer to a question that it doesn't know; one that is
	// only busy is asked again the next time.
	if response.StatusCode < http.StatusInternalServerError || response.StatusCode == http.StatusNotImplemented {
		c.noBatches.Store(true)
	}
	return nil, &statusError{url: request.URL.String(), code: response.StatusCode}
}

// askTogether asks for the narinfos of paths, and fills in what the cache says of
// them.
func (f *fetcher) askTogether(ctx context.Context, bases []string, found []object) {
	var group errgroup.Group
	group.SetLimit(questions)
	for begin := 0; begin < len(bases); begin += askedTogether {
		end := min(begin+askedTogether, len(bases))
		some, found := bases[begin:end], found[begin:end]
		if len(some) < 2 || f.cache.noBatches.Load() {
			break
		}
		group.Go(func() error {
			// Those that don't come are asked for alone.
			_ = f.cache.batch(ctx, narinfoNames(some), func(i int, text []byte) {
				if one, err := parseNarinfo(text, f.storeDir, some[i], f.keys); err == nil {
					found[i] = one
				}
			})
			return nil
		})
	}
	_ = group.Wait()
}

func narinfoNames(bases []string) []string {
	names := make([]string, len(bases))
	for i, base := range bases {
		names[i] = narinfoName(base)
	}
	return names
}

func narinfoName(base string) string { return base[:narinfo.HashLength] + ".narinfo" }

// isSmall tells whether a path's file can be in a batch. How long a compressed
// one is needn't be known.
func isSmall(p *object) bool {
	return p.NarSize <= batch.MaxFile && batch.Fits(p.url)
}

// batches divides paths into such as are fetched together. All but small ones
// are alone.
func (f *fetcher) batches(paths []*object) [][]*object {
	var batches [][]*object
	var small []*object
	for _, p := range paths {
		if isSmall(p) && !f.cache.noBatches.Load() {
			small = append(small, p)
		} else {
			batches = append(batches, []*object{p})
		}
	}
	return slices.AppendSeq(batches, slices.Chunk(small, fetchedTogether))
}

// unpackSmall unpacks a file that came in a batch. It returns how many bytes it
// has added to the progress.
func (f *fetcher) unpackSmall(ctx context.Context, file []byte, p *object) (int64, error) {
	if err := f.windows.Acquire(ctx, windowOf(p.compression)); err != nil {
		return 0, err
	}
	defer f.windows.Release(windowOf(p.compression))
	return f.unpackFrom(bytes.NewReader(file), p)
}

// fetchTogether fetches small paths and moves them into their places, and
// returns those that it couldn't bring.
func (f *fetcher) fetchTogether(ctx context.Context, paths []*object) (rest []*object) {
	if len(paths) < 2 || f.cache.noBatches.Load() {
		return paths
	}
	placed := make([]bool, len(paths))
	var wanted []int
	var names []string
	for i, p := range paths {
		if !f.store.InPlace(p.Base) {
			wanted, names = append(wanted, i), append(names, p.url)
		}
	}
	if len(names) == 0 {
		return paths
	}
	// Those that don't come are fetched alone.
	_ = f.cache.batch(ctx, names, func(i int, file []byte) {
		p := paths[wanted[i]]
		err := f.place(p, func() (int64, error) { return f.unpackSmall(ctx, file, p) })
		if err == nil {
			f.placed.Store(p.Base, struct{}{})
			f.paths.Add(1)
			placed[wanted[i]] = true
		}
	})
	for i, p := range paths {
		if !placed[i] {
			rest = append(rest, p)
		}
	}
	return rest
}
