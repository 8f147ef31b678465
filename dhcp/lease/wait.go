package lease

import "context"

// waitKey is the key of a context's value that OnWait sets.
type waitKey struct{}

// OnWait makes Offer and Confirm call f when they are about to wait, for an echo
// or the disk, perhaps several times; without a wait they take microseconds. So
// a caller can hand on what it does besides, and needs no goroutine for each
// call.
func OnWait(ctx context.Context, f func()) context.Context {
	return context.WithValue(ctx, waitKey{}, f)
}

// AboutToWait calls what OnWait has set, for those that take a Pool's place, too.
// A lock must not be held.
func AboutToWait(ctx context.Context) {
	if f, ok := ctx.Value(waitKey{}).(func()); ok {
		f()
	}
}
