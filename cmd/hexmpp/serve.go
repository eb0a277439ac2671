package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/cmd/internal/wire"
)

type serveCmd struct {
	configFlag
}

// Run serves until SIGTERM or SIGINT; a second one ends the process at once.
// SIGHUP reads certificates again.
func (c *serveCmd) Run(ctx context.Context, e *env) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	log, err := wire.NewLog(cfg.Log, e.err, e.terminal)
	if err != nil {
		return err
	}
	fileLimit()
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)

	server, err := start(ctx, signals, wire.Options{Config: cfg, Version: version(), Stdout: e.out, Log: log})
	if err != nil || server == nil {
		return err
	}
	// From here on signals do what they say.
	server.Ready()
	failed := watch(ctx, server, signals, log)
	return errors.Join(failed, stop(server, signals, e))
}

// watch returns when the server is to be stopped: nil after a signal or the end
// of ctx, an error if the server can't go on: the exit code has it started again.
func watch(ctx context.Context, server interface {
	Reload(context.Context) error
	Failed() <-chan struct{}
	Cause() error
}, signals <-chan os.Signal, log *zap.Logger) error {
	for {
		select {
		case s := <-signals:
			if s != syscall.SIGHUP {
				return nil
			}
			if err := server.Reload(ctx); err != nil {
				log.Error("reload failed; what was loaded before stays in use", zap.Error(err))
			}
		case <-server.Failed():
			log.Error("the server can't go on and ends", zap.Error(server.Cause()))
			return server.Cause()
		case <-ctx.Done():
			return nil
		}
	}
}

// start starts the server; a signal to stop, or the end of ctx, gives up. Then
// it returns nil and no error, and nothing runs.
func start(ctx context.Context, signals <-chan os.Signal, o wire.Options) (*wire.Server, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		server *wire.Server
		err    error
	}
	done := make(chan result, 1)
	go func() {
		server, err := wire.Start(ctx, o)
		done <- result{server, err}
	}()
	for {
		select {
		case r := <-done:
			switch {
			case ctx.Err() == nil:
				return r.server, r.err
			case r.err == nil:
				return nil, r.server.Stop()
			case errors.Is(r.err, context.Canceled):
				return nil, nil
			}
			return nil, r.err
		case s := <-signals:
			if s != syscall.SIGHUP { // what is starting reads everything anyway
				cancel()
			}
		}
	}
}

// stop stops the server; a second signal meanwhile ends the process.
func stop(server interface{ Stop() error }, signals <-chan os.Signal, e *env) error {
	done := make(chan error, 1)
	go func() { done <- server.Stop() }()
	for {
		select {
		case err := <-done:
			return err
		case s := <-signals:
			if s != syscall.SIGHUP {
				e.exit(exitFailed)
			}
		}
	}
}
