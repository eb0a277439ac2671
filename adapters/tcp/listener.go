package tcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"go.uber.org/zap"
)

// listener is a Listener that is bound.
type listener struct {
	ln      net.Listener
	name    string
	direct  bool
	configs *tlsConfigs // nil without TLS
	file    *os.File    // a copy of ln's descriptor, for event loops
	raw     syscall.RawConn
}

// close ends accept.
func (l *listener) close() {
	l.ln.Close()
	if l.file != nil {
		l.file.Close()
	}
}

// bind makes a listener, or says what an administrator can do about it.
func (s *Server) bind(ctx context.Context, l Listener) (*listener, error) {
	b := &listener{ln: l.Listener, direct: l.DirectTLS}
	if b.ln == nil {
		var lc net.ListenConfig
		lc.SetMultipathTCP(false) // Go's default is on, which costs each connection CPU and socket options
		ln, err := lc.Listen(ctx, "tcp", l.Addr)
		if err != nil {
			return nil, fmt.Errorf("tcp: listen on %s: %w%s", l.Addr, err, bindHint(err))
		}
		b.ln = ln
	}
	b.name = b.ln.Addr().String()
	if s.opts.GetCertificate != nil {
		b.configs = newTLSConfigs(&s.opts, l.ALPN)
	}
	return b, nil
}

func bindHint(err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return " (another program has this port: `ss -ltnp` shows which; stop it or configure another address)"
	case errors.Is(err, syscall.EACCES):
		return " (ports below 1024 need root or CAP_NET_BIND_SERVICE; or configure a higher port)"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return " (no network interface has this address: configure one that the machine has)"
	}
	return ""
}

// serve accepts until the listener is closed. accept takes one connection and
// starts it. Errors are waited out: a server that has run out of file
// descriptors must neither stop listening nor spin.
func (s *Server) serve(l *listener, accept func() error) {
	const first, last = 5 * time.Millisecond, time.Second
	pause := first
	for {
		err := accept()
		if err == nil {
			pause = first
			continue
		}
		select {
		case <-s.stop:
			return
		default:
		}
		if errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrClosed) {
			s.log.Error("listener was closed by others: no more connections on it", zap.String("address", l.name))
			return
		}
		if skipped, ok := s.acceptLog.allow(); ok {
			fix := "it is tried again until it works"
			if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
				fix = "raise the limit of open files (ulimit -n, LimitNOFILE= in systemd, fs.file-max)"
			}
			s.log.Error("accepting connections fails", zap.String("address", l.name), zap.Error(err),
				zap.String("fix", fix), zap.Int64("others_not_logged", skipped))
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-s.stop:
			t.Stop()
			return
		}
		pause = min(2*pause, last)
	}
}

// addrPort gives a's address in the form that Peer has.
func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		p := t.AddrPort()
		return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
	}
	return netip.AddrPort{}
}
