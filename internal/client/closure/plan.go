package closure

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"ravenboot/internal/narinfo"
)

// questions is how many paths the cache is asked about at a time. An answer is
// a kilobyte, so what they cost is the way there and back.
const questions = 32

// plan is what a closure consists of and the machine lacks.
type plan struct {
	missing []object // the largest first
	keep    []string
}

// narBytes is the size of what is missing.
func (p *plan) narBytes() (sum int64) {
	for i := range p.missing {
		sum += p.missing[i].NarSize
	}
	return sum
}

// ask finds out what is missing of a toplevel's closure. The cache isn't asked
// about what is valid here: the database knows what that refers to. Some of it
// may be lost all the same.
func (f *fetcher) ask(ctx context.Context, toplevel string) (plan, error) {
	var p plan
	seen := map[string]bool{toplevel: true}
	level := []string{toplevel}
	for len(level) > 0 {
		var wanted, next []string
		follow := func(references []string) {
			for _, reference := range references {
				if !seen[reference] {
					seen[reference] = true
					next = append(next, reference)
				}
			}
		}
		for _, base := range level {
			if f.store.IsValid(base) {
				follow(f.store.References(base))
			} else {
				wanted = append(wanted, base)
			}
		}
		found, err := f.askAll(ctx, wanted)
		if err != nil {
			return plan{}, err
		}
		for i := range found {
			follow(found[i].References)
		}
		level = next
		p.missing = append(p.missing, found...)
	}
	for base := range seen {
		p.keep = append(p.keep, base)
	}
	// The largest first, so that none is left over at the end, alone.
	slices.SortFunc(p.missing, func(a, b object) int {
		return cmp.Or(cmp.Compare(b.NarSize, a.NarSize), cmp.Compare(a.Base, b.Base))
	})
	return p, nil
}

// askAll asks about several paths at a time. The error names all that the cache
// lacks or that nobody trusted has signed; a lost server ends it at once.
func (f *fetcher) askAll(ctx context.Context, bases []string) ([]object, error) {
	found := make([]object, len(bases))
	f.askTogether(ctx, bases, found)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(questions)
	var lock sync.Mutex
	var problems []error
	for i, base := range bases {
		if found[i].Base != "" {
			continue
		}
		group.Go(func() error {
			one, err := f.askOne(ctx, base)
			if err == nil {
				found[i] = one
				return nil
			}
			err = fmt.Errorf("%s: %w", base, err)
			if ctx.Err() != nil || passing(err) {
				return err // it would be the same for each of the others, a minute each
			}
			lock.Lock()
			defer lock.Unlock()
			problems = append(problems, err)
			return nil
		})
	}
	err := group.Wait()
	return found, errors.Join(joinSome(problems), err)
}

func (f *fetcher) askOne(ctx context.Context, base string) (object, error) {
	if err := narinfo.CheckBase(base); err != nil {
		return object{}, err
	}
	var one object
	err := f.cache.text(ctx, narinfoName(base), func(text []byte) (err error) {
		one, err = parseNarinfo(text, f.storeDir, base, f.keys)
		return err
	})
	return one, err
}

// joinSome joins the first few errors: a screen has 25 lines.
func joinSome(problems []error) error {
	const some = 4
	if len(problems) <= some {
		return errors.Join(problems...)
	}
	return errors.Join(errors.Join(problems[:some]...), fmt.Errorf("and %d more", len(problems)-some))
}
