package plugin

import (
	"context"
	"errors"

	"github.com/hexmpp/hexmpp/ports/extension"
)

type processKey struct{}

// ErrInside is returned by Do where the extension runs inside the server.
var ErrInside = errors.New("plugin: there is no process: the context is not of a handler, or the extension runs inside the server")

// Do runs fn outside of an event: a socket was read, a stream has ended. It waits for a turn of
// the ordering key: no handler of an event of the key runs meanwhile, nor another fn, and fn reads
// what those before asked for. What fn asks for is applied as a whole, in order with what they
// did; Do returns nil when it is applied, and committed where it stores: then the plugin may
// acknowledge to its own peer. If what fn read is void by then, or the effects can't be
// applied, fn is run again, five times at most. An error says that nothing was applied,
// unless it wraps ctx's: then nobody knows.
//
// ctx is that of Start or of a handler, or one made of it (Background). fn runs on the
// caller's goroutine. Within a handler of the key itself fn runs at once, and is applied in front of
// what the handler asks for; it does not see that. What a handler waits for must not wait for its
// key by another context.
func Do(ctx context.Context, key string, fn func(h *extension.Host) error) error {
	p, ok := ctx.Value(processKey{}).(*process)
	if !ok || p.m == nil {
		return ErrInside
	}
	return p.do(ctx, key, fn)
}

// Background returns a context for goroutines that Start begins: for Do, until the
// process is to end. ctx is that of Start or of a handler. Inside the server it ends with
// the server, or not at all.
func Background(ctx context.Context) context.Context {
	if p, ok := ctx.Value(processKey{}).(*process); ok {
		return p.ctx
	}
	return context.WithoutCancel(ctx)
}
