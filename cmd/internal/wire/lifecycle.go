package wire

import (
	"context"

	"go.uber.org/fx"
	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/adapters/adminapi"
	"github.com/hexmpp/hexmpp/adapters/auth/local"
	"github.com/hexmpp/hexmpp/adapters/certs"
	"github.com/hexmpp/hexmpp/adapters/httpd"
	"github.com/hexmpp/hexmpp/api/plugin/garbage"
	"github.com/hexmpp/hexmpp/cmd/internal/config"
	"github.com/hexmpp/hexmpp/cmd/internal/heap"
	"github.com/hexmpp/hexmpp/ports/storage"
)

// parts are the parts that are started and stopped.
type parts struct {
	fx.In

	Options   Options
	Config    *config.Config
	Log       *zap.Logger
	Auth      *local.Source
	Store     storage.Store
	Certs     *certs.Store
	Kernel    *kernel
	Admin     *adminPort
	Socket    *adminapi.Server
	HTTP      *httpd.Server
	Listeners *listeners
}

// garbageRoom is how many bytes of garbage lie about, at least, before they are collected: a server with few users spends a sixth
// of its processor time on collections otherwise.
const garbageRoom = 32 << 20

// lifecycle is the order in which the parts start. They stop in the reverse
// order: clients first, storage last. Each stop waits for the end of what its
// start has begun. The end of ctx gives up the start of what may take long.
func lifecycle(ctx context.Context, lc fx.Lifecycle, p *parts) {
	// What lets garbage lie about, and gives memory back when a burst is over.
	garbage.Tune(garbageRoom)
	watch := heap.New()
	lc.Append(fx.StartStopHook(watch.Start, watch.Stop))
	// The writer of last logins: its last batch goes to the storage.
	lc.Append(fx.StartStopHook(p.Auth.Start, p.Auth.Stop))
	lc.Append(fx.StartStopHook(within(p.Certs.Start), p.Certs.Stop))
	// The kernel and its extensions. It bounds its own time.
	lc.Append(fx.StartStopHook(until(ctx, p.Kernel.Start), p.Kernel.Shutdown))
	// The admin socket answers while clients are still being drained.
	lc.Append(fx.StartStopHook(p.Socket.Start, p.Socket.Stop))
	// Metrics and health, also while clients are drained.
	lc.Append(fx.StartStopHook(within(p.HTTP.Start), p.HTTP.Stop))
	// Clients last: whatever they ask for is there. To stop is to accept no
	// more, to let the kernel end all streams, and to cut off those left.
	lc.Append(fx.StartStopHook(within(p.Listeners.Start), p.Listeners.Stop))
	// A password is printed once, so behind all that may fail.
	lc.Append(fx.StartHook(within(p.firstAccount)))
	lc.Append(fx.StartHook(within(p.lookForOthers)))
}

// within bounds the time of a start.
func within(start func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, startTime)
		defer cancel()
		return start(ctx)
	}
}

// until is a start that outer gives up when it ends.
func until(outer context.Context, start func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		defer context.AfterFunc(outer, func() { cancel(context.Cause(outer)) })()
		return start(ctx)
	}
}
