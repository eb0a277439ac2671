package plugin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"
)

// Bounds of the HTTP side of a process. What clients may do is the server's affair.
const (
	httpHeader     = 128 << 10
	httpHeaderTime = 10 * time.Second
	httpIdle       = time.Minute // longer than the server keeps a connection that nothing comes on
	httpEnd        = time.Second // that requests may take at the end of the process
)

// serveHTTP serves the routes of the registration on the socket that the server has named. It is called behind Start.
func (p *process) serveHTTP(socket string) error {
	if len(p.reg.HTTP) == 0 {
		return nil
	}
	if socket == "" {
		return errors.New("plugin: the server has named no socket for HTTP")
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return fmt.Errorf("plugin: HTTP: %w", err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // the server does
	if err := os.Chmod(socket, 0o600); err != nil {
		return errors.Join(fmt.Errorf("plugin: HTTP: %w", err), l.Close())
	}
	mux := http.NewServeMux()
	for _, r := range p.reg.HTTP {
		mux.Handle(r.Path, r.Handler)
	}
	server := &http.Server{
		Handler: forwarded(mux), MaxHeaderBytes: httpHeader, ReadHeaderTimeout: httpHeaderTime, IdleTimeout: httpIdle,
		BaseContext: func(net.Listener) context.Context { return p.ctx },
		ErrorLog:    slog.NewLogLogger(p.log.Handler(), slog.LevelWarn),
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ending {
		return errors.Join(errors.New("plugin: HTTP: the process is ending"), l.Close())
	}
	p.http = server
	p.tasksHTTP.Go(func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			p.log.Error("HTTP is served no more", "error", err)
		}
	})
	return nil
}

// forwarded has requests come from the client: the server says who that is.
func forwarded(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if from := r.Header.Get("X-Forwarded-For"); from != "" {
			r.RemoteAddr = net.JoinHostPort(from, "0")
		}
		h.ServeHTTP(w, r)
	})
}

// endHTTP ends it: requests that are handled have a moment.
func (p *process) endHTTP(ctx context.Context) {
	p.mu.Lock()
	server := p.http
	p.mu.Unlock()
	if server == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, httpEnd)
	defer cancel()
	if server.Shutdown(ctx) != nil {
		_ = server.Close() // those that took too long
	}
	p.tasksHTTP.Wait()
}
