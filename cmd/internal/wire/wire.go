// Package wire puts hexmpp together: it turns a configuration into the options
// of each package, gives each what it stands on, and starts and stops all of
// it in order. It is the only package that knows fx, and the only one that
// knows which adapter plugs into which port.
//
// One file per area has its module. lifecycle.go has the order of start and
// stop, extensions.go which extensions run and in which order.
package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/dig"
	"go.uber.org/fx"
	"go.uber.org/fx/fxevent"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/hexmpp/hexmpp/adapters/metrics"
	"github.com/hexmpp/hexmpp/adapters/spool"
	"github.com/hexmpp/hexmpp/cmd/internal/config"
	"github.com/hexmpp/hexmpp/cmd/internal/datadir"
	"github.com/hexmpp/hexmpp/ports/storage"
)

// Options of a server.
type Options struct {
	Config  *config.Config
	Version string // of hexmpp, as it is told to clients and administrators
	// Stdout is told the first account, if one is made.
	Stdout io.Writer
	Log    *zap.Logger
}

// Bounds of start and stop, behind what the configuration allows for the stop.
const (
	startTime = time.Minute // of each part, but for what takes what it takes: migrations, and messages of before a kill
	stopTime  = 40 * time.Second
	lockTime  = 10 * time.Second // that a command may hold the data folder
)

// Server is a running server.
type Server struct {
	app    *fx.App
	lock   *datadir.Lock
	store  storage.Store
	spool  *spool.Spool
	procs  *processes
	parts  parts
	config *config.Config

	failed   chan struct{} // closed when storage or spool can't go on
	cause    error         // why; read after failed
	stopping chan struct{} // ends watching
	watching sync.WaitGroup
}

// Start starts a server. When it returns without an error the server accepts
// connections, and the caller stops it with Stop. The end of ctx gives up what
// may take long: waiting for the data folder, opening the storage, and storing
// messages that were accepted before a kill.
//
// What Check finds is the error before anything is made.
func Start(ctx context.Context, o Options) (*Server, error) {
	if err := Check(o.Config); err != nil {
		return nil, err
	}
	for _, w := range o.Config.Warnings() {
		o.Log.Warn(w)
	}
	waiting, cancel := context.WithTimeout(ctx, lockTime)
	defer cancel()
	lock, err := datadir.Acquire(waiting, o.Config.Data, datadir.Serve)
	if err != nil {
		return nil, err
	}
	s := &Server{lock: lock, config: o.Config}
	// The storage is opened before the rest is made, for the rest is made of it.
	counts := metrics.New(o.Version)
	if s.store, err = openStore(ctx, o.Config, counts.Storage(), o.Log); err != nil {
		return nil, errors.Join(err, lock.Release())
	}
	if s.spool, err = spool.Open(spool.Options{Dir: filepath.Join(o.Config.Data, "spool")}, o.Log.Named("spool")); err != nil {
		return nil, errors.Join(err, s.store.Close(), lock.Release())
	}
	// So are the processes: the kernel is told what they claim when it is made.
	if s.procs, err = startProcesses(ctx, o); err != nil {
		return nil, errors.Join(err, s.spool.Close(), s.store.Close(), lock.Release())
	}
	s.watch()
	s.app = fx.New(modules(ctx, o, s.store, s.spool, s.procs, counts, &s.parts))
	if err = s.app.Err(); err == nil {
		// Not cut short by ctx: fx would stop what it has started with the
		// same context, that is, not at all.
		err = s.app.Start(context.WithoutCancel(ctx))
	}
	if err != nil {
		return nil, errors.Join(dig.RootCause(err), s.close())
	}
	return s, nil
}

// Ready logs that clients can connect, and where; whoever has started this
// process waits for that line.
func (s *Server) Ready() {
	c2s, c2sTLS := s.Addrs()
	s.parts.Log.Info("ready",
		zap.Strings("domains", s.config.Domains), zap.Strings("c2s", c2s), zap.Strings("c2s-tls", c2sTLS), zap.Strings("http", s.parts.HTTP.Addrs()),
		zap.Strings("https", s.parts.HTTP.SecureAddrs()),
		zap.String("data", s.config.Data), zap.String("version", s.parts.Options.Version))
}

// close gives back what Start took for itself.
func (s *Server) close() error {
	close(s.stopping)
	s.watching.Wait()
	return errors.Join(s.procs.stop(), s.spool.Close(), s.store.Close(), s.lock.Release())
}

// watch notes that a part which keeps what others were promised has failed. It
// ends with close.
func (s *Server) watch() {
	s.failed, s.stopping = make(chan struct{}), make(chan struct{})
	s.watching.Go(func() {
		select {
		case <-failed(s.store):
			s.cause = errStorage
			close(s.failed)
		case <-s.spool.Failed():
			s.cause = errStorage
			close(s.failed)
		case s.cause = <-lost(s.store):
			close(s.failed)
		case <-s.stopping:
		}
	})
}

// Stop ends all sessions in order and stops the server: it returns when
// everything is written and every goroutine has ended.
func (s *Server) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), s.config.Limits.ShutdownTime+stopTime)
	defer cancel()
	s.parts.Log.Info("stopping")
	err := s.app.Stop(ctx)
	if err != nil {
		err = fmt.Errorf("stop: %w", err)
	}
	err = errors.Join(err, s.close())
	s.parts.Log.Info("stopped", zap.Bool("in_order", err == nil))
	return err
}

// Failed is closed when the server can't go on: storage or spool write no more,
// since the disk failed in a way that leaves unknown what is on it. What was
// not acknowledged is to be written again by a new process.
//
// Or another server has taken the database, which the two would give different
// answers about.
func (s *Server) Failed() <-chan struct{} { return s.failed }

// Cause says why the server can't go on; once Failed is closed.
func (s *Server) Cause() error { return s.cause }

var errStorage = errors.New("the storage failed and writes no more: the server has ended, and does not go on as if nothing were lost; see the log for the cause, mend the disk and start it again")

// Reload reads again what can change at run time: certificates.
func (s *Server) Reload(ctx context.Context) error { return s.parts.Admin.Reload(ctx) }

// Addrs returns what the server listens on for clients, as HOST:PORT.
func (s *Server) Addrs() (c2s, c2sTLS []string) { return s.parts.Listeners.Addrs() }

// modules is the whole server, as fx sees it; its parts are put into p. ctx is that of
// Start.
func modules(ctx context.Context, o Options, store storage.Store, sp storage.Spool, procs *processes, m *metrics.Metrics, p *parts) fx.Option {
	return fx.Options(
		fx.Supply(o, o.Config, o.Log, m, procs, fx.Annotate(store, fx.As(new(storage.Store))), fx.Annotate(sp, fx.As(new(storage.Spool)))),
		fx.WithLogger(func(log *zap.Logger) fxevent.Logger {
			events := &fxevent.ZapLogger{Logger: log.Named("fx")}
			events.UseLogLevel(zapcore.DebugLevel)
			events.UseErrorLevel(zapcore.DebugLevel) // Start returns them
			return events
		}),
		fx.StopTimeout(o.Config.Limits.ShutdownTime+stopTime),
		Auth,
		Extensions,
		Core,
		Listeners,
		Admin,
		HTTP,
		fx.Invoke(func(lc fx.Lifecycle, all parts) {
			*p = all
			lifecycle(ctx, lc, p)
		}),
	)
}
