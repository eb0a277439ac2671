package transport

import "context"

// Wait is slow work that a stream, or a stanza without a stream, waits for.
//
// ctx is that of whoever runs it: an adapter ends it when the connection is
// gone. Work before login is of no use then and returns soon after. A stanza
// that was taken, though, is the kernel's, whose client may be gone already:
// its Wait goes on, for a time that the kernel bounds (30 seconds for each
// handler or write, and no longer than the kernel runs). So a Wait may outlive
// its connection, and whoever stops an adapter stops the kernel first.
type Wait func(ctx context.Context)

// Sequence returns a Wait that runs the given ones in order, nil for none.
func Sequence(waits []Wait) Wait {
	switch len(waits) {
	case 0:
		return nil
	case 1:
		return waits[0]
	}
	return func(ctx context.Context) {
		for _, w := range waits {
			w(ctx)
		}
	}
}

// Step is work of which a part may have to wait: that part is in the Wait that
// it returns, nil if there is none.
type Step func(b *Batch) Wait

// Steps takes steps in order: as soon as one leaves a Wait, those behind it are
// taken in the Wait that Steps returns. So what one step sends is never
// overtaken by the next.
func Steps(b *Batch, steps ...Step) Wait {
	for i, step := range steps {
		w := step(b)
		if w == nil {
			continue
		}
		rest := steps[i+1:]
		if len(rest) == 0 {
			return w
		}
		return func(ctx context.Context) {
			w(ctx)
			Run(ctx, func(b *Batch) Wait { return Steps(b, rest...) })
		}
	}
	return nil
}

// Run takes a step to its end inside of a Wait, with a Batch of its own.
func Run(ctx context.Context, step Step) {
	var b Batch
	w := step(&b)
	b.Flush()
	if w != nil {
		w(ctx)
	}
}
