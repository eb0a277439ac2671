// Package httpd is the server's HTTP listener: it mounts the handlers that it is
// given. Each address is bound at Start, and all connections have ended, or are
// cut off, when Stop returns.
package httpd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
)

// Options of a Server.
type Options struct {
	Addresses []string // to listen on, HOST:PORT, in clear
	Secure    []string // the same with TLS
	// TLS makes a connection with TLS of one that was accepted; needed for Secure.
	TLS func(net.Conn) *tls.Conn
	// Proxies are the networks whose word is taken on who their client is.
	Proxies []netip.Prefix
}

// Server serves HTTP.
type Server struct {
	options Options
	log     *zap.Logger
	mux     *http.ServeMux
	http    *http.Server
	room    chan struct{} // see bounded
	secure  chan struct{} // the same for TLS
	from    addresses

	handling context.Context // of all requests
	giveUp   context.CancelFunc

	listeners []net.Listener // in the order of Addresses, then Secure
	serving   sync.WaitGroup
}

// Bounds of a request that a handler does not set for itself.
const (
	maxHeader   = 32 << 10
	readTime    = 10 * time.Second
	writeTime   = 30 * time.Second
	idleTime    = time.Minute
	headerTime  = 5 * time.Second
	maxRequests = 256 // handled at once
)

// How many connections are open at once, on all addresses in clear and on all with
// TLS, and of one peer. A WebSocket does not count: it is no connection of HTTP any more.
const (
	maxConnections = 512
	maxSecure      = 4096
	maxPerAddress  = 128
)

// New returns a Server without handlers.
func New(o Options, log *zap.Logger) *Server {
	s := &Server{options: o, log: log, mux: http.NewServeMux(), room: make(chan struct{}, maxConnections), secure: make(chan struct{}, maxSecure)}
	s.from = addresses{most: maxPerAddress, exempt: o.Proxies, open: map[netip.Prefix]int{}}
	s.handling, s.giveUp = context.WithCancel(context.Background())
	running := make(chan struct{}, maxRequests)
	s.http = &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			select {
			case running <- struct{}{}:
				defer func() { <-running }()
				s.mux.ServeHTTP(w, r.WithContext(withClient(r, o.Proxies)))
			default:
				http.Error(w, "too many requests at a time", http.StatusServiceUnavailable)
			}
		}),
		MaxHeaderBytes: maxHeader, ReadHeaderTimeout: headerTime, ReadTimeout: readTime, WriteTimeout: writeTime, IdleTimeout: idleTime,
		ErrorLog:    quiet(log),
		BaseContext: func(net.Listener) context.Context { return s.handling },
	}
	return s
}

// quiet is for what the http.Server tells, which is mostly what strangers do: failed
// handshakes, connections that break.
func quiet(to *zap.Logger) *log.Logger {
	l, err := zap.NewStdLogAt(to, zap.DebugLevel)
	if err != nil { // there is no such level
		return zap.NewStdLog(to)
	}
	return l
}

// Handle mounts a handler; pattern as in http.ServeMux. It is called before
// Start.
func (s *Server) Handle(pattern string, h http.Handler) { s.mux.Handle(pattern, h) }

// From wraps a handler that is for these networks alone: others get 403.
func From(networks []netip.Prefix, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		peer, err := netip.ParseAddrPort(r.RemoteAddr)
		if c := ClientOf(r); c.Proxied {
			peer = c.Addr
		}
		if err == nil {
			for _, n := range networks {
				if n.Contains(peer.Addr().Unmap()) {
					h.ServeHTTP(w, r)
					return
				}
			}
		}
		http.Error(w, "not for this address", http.StatusForbidden)
	})
}

// Start binds the addresses and serves from then on.
func (s *Server) Start(ctx context.Context) error {
	bind := func(key string, addresses []string, room chan struct{}, wrap func(net.Listener) net.Listener) error {
		for _, address := range addresses {
			l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
			if err != nil {
				return bindError(key, address, err)
			}
			s.listeners = append(s.listeners, wrap(bound(l, room, &s.from)))
		}
		return nil
	}
	err := bind("listen.http", s.options.Addresses, s.room, func(l net.Listener) net.Listener { return l })
	if err == nil {
		err = bind("listen.https", s.options.Secure, s.secure, func(l net.Listener) net.Listener { return secured{l, s.options.TLS} })
	}
	if err != nil {
		for _, l := range s.listeners {
			l.Close()
		}
		s.listeners = nil
		return err
	}
	for _, l := range s.listeners {
		s.serving.Go(func() {
			if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				s.log.Error("HTTP is served no more", zap.Stringer("address", l.Addr()), zap.Error(err))
			}
		})
	}
	return nil
}

// bindError says what an administrator can do about it.
func bindError(key, address string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s: %s is in use by another program (ss -ltnp shows which): stop that one, or configure another port (%w)", key, address, err)
	case errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.EAFNOSUPPORT):
		return fmt.Errorf("%s: this machine does not have the address %s: configure one that it has (ip address shows them) (%w)", key, address, err)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%s: this user may not listen on %s: configure a port from 1024 on, or grant CAP_NET_BIND_SERVICE (%w)", key, address, err)
	}
	return fmt.Errorf("%s: %s: %w", key, address, err)
}

// Addrs returns what is listened on in clear; after Start.
func (s *Server) Addrs() []string { return s.addrs(0, len(s.options.Addresses)) }

// SecureAddrs returns what is listened on with TLS; after Start.
func (s *Server) SecureAddrs() []string { return s.addrs(len(s.options.Addresses), len(s.listeners)) }

func (s *Server) addrs(from, to int) (all []string) {
	for _, l := range s.listeners[min(from, len(s.listeners)):min(to, len(s.listeners))] {
		all = append(all, l.Addr().String())
	}
	return all
}

// heldTime is how long Stop leaves alone those requests that are handled: what is held until something happens would
// hold up the end.
const heldTime = time.Second

// Stop accepts no more, waits for the requests that are handled until ctx ends, and cuts off the rest. After a second the
// contexts of all of them end.
func (s *Server) Stop(ctx context.Context) error {
	defer time.AfterFunc(heldTime, s.giveUp).Stop()
	defer s.giveUp()
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(fmt.Errorf("httpd: requests did not end in time: %w", err), s.http.Close())
	}
	s.serving.Wait()
	return err
}
