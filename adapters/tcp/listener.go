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
	key     string // Listener.Key
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

// listen binds all listeners. An address that the machine does not have, such
// as one of IPv6 on a machine without, is left out with a warning if its key has
// another one.
func (s *Server) listen(ctx context.Context) error {
	missing := map[string][]error{} // by key
	for _, o := range s.opts.Listeners {
		l, err := s.bind(ctx, o)
		if o.Key != "" && absent(err) {
			missing[o.Key] = append(missing[o.Key], err)
			continue
		}
		if err == nil {
			s.listeners = append(s.listeners, l)
			err = s.backend.prepare(l)
		}
		if err != nil {
			return err
		}
	}
	for key, errs := range missing {
		if len(s.addrs(key)) == 0 {
			return errors.Join(errs...)
		}
	}
	for _, errs := range missing {
		for _, err := range errs {
			s.log.Warn("an address is not listened on", zap.Error(err))
		}
	}
	return nil
}

// bind makes a listener, or says what an administrator can do about it.
func (s *Server) bind(ctx context.Context, l Listener) (*listener, error) {
	b := &listener{ln: l.Listener, key: l.Key, direct: l.DirectTLS}
	if b.ln == nil {
		var lc net.ListenConfig
		lc.SetMultipathTCP(false) // Go's default is on, which costs each connection CPU and socket options
		ln, err := lc.Listen(ctx, "tcp", l.Addr)
		if err != nil {
			return nil, bindError(l, err)
		}
		b.ln = ln
	}
	b.name = b.ln.Addr().String()
	if s.opts.GetCertificate != nil {
		b.configs = newTLSConfigs(&s.opts, l.ALPN)
	}
	return b, nil
}

// absent says whether the machine does not have the address.
func absent(err error) bool {
	return errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT)
}

func bindError(l Listener, err error) error {
	key := l.Key
	if key == "" {
		key = "tcp"
	}
	switch {
	case absent(err):
		return fmt.Errorf("%s: this machine does not have the address %s: configure one that it has (ip address shows them) (%w)", key, l.Addr, err)
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s: %s is in use by another program (ss -ltnp shows which): stop that one, or configure another port (%w)", key, l.Addr, err)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%s: this user may not listen on %s: configure a port from 1024 on, or grant CAP_NET_BIND_SERVICE (%w)", key, l.Addr, err)
	}
	return fmt.Errorf("%s: listen on %s: %w", key, l.Addr, err)
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
