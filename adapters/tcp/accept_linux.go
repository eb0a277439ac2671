package tcp

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// prepare sets the options that accepted sockets inherit from l.
func (l *loops) prepare(li *listener) error {
	t, ok := li.ln.(*net.TCPListener)
	if !ok {
		return fmt.Errorf("tcp: listener %s: event loops need a TCP listener, got %T", li.name, li.ln)
	}
	// A net.Listener's descriptor can be waited on by its Accept only; a copy
	// of it has no such limit.
	f, err := t.File()
	if err != nil {
		return fmt.Errorf("tcp: listener %s: copy descriptor: %w", li.name, err)
	}
	li.file = f
	if li.raw, err = f.SyscallConn(); err != nil {
		return fmt.Errorf("tcp: listener %s: %w", li.name, err)
	}
	cerr := li.raw.Control(func(fd uintptr) { err = l.srv.setOptions(int(fd)) })
	if err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("tcp: listener %s: set socket options: %w", li.name, err)
	}
	return nil
}

// setOptions turns Nagle's algorithm off (we write whole answers) and makes
// the kernel notice dead peers.
func (s *Server) setOptions(fd int) error {
	type option struct{ level, name, value int }
	secs := func(d time.Duration) int { return max(1, int(d/time.Second)) }
	set := []option{{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1}}
	if s.opts.KeepAliveIdle > 0 {
		set = append(set,
			option{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
			option{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, secs(s.opts.KeepAliveIdle)},
			option{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, secs(s.opts.KeepAliveInterval)},
			option{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, s.opts.KeepAliveCount})
	} else {
		set = append(set, option{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 0})
	}
	for _, o := range set {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return fmt.Errorf("option %d/%d: %w", o.level, o.name, err)
		}
	}
	if s.opts.UserTimeout > 0 {
		err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(s.opts.UserTimeout/time.Millisecond))
		if err != nil { // not every system that calls itself Linux has it; keepalive remains
			s.userTimeoutLog.Do(func() {
				s.log.Warn("TCP_USER_TIMEOUT is not available: dead peers are noticed later", zap.Error(err))
			})
		}
	}
	return nil
}

// accept serves li. The sockets never enter Go's own poller.
func (l *loops) accept(li *listener) {
	l.srv.serve(li, func() error {
		var (
			fd  int
			sa  unix.Sockaddr
			err error
		)
		rerr := li.raw.Read(func(lfd uintptr) bool {
			fd, sa, err = unix.Accept4(int(lfd), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
			return err != unix.EAGAIN
		})
		switch {
		case rerr != nil:
			return rerr
		case err == unix.EINTR || err == unix.ECONNABORTED:
			return nil
		case err != nil:
			return fmt.Errorf("accept: %w", err)
		}
		l.begin(li, fd, sa)
		return nil
	})
}

// begin takes over an accepted socket.
func (l *loops) begin(li *listener, fd int, sa unix.Sockaddr) {
	var local netip.AddrPort
	if lsa, err := unix.Getsockname(fd); err == nil {
		local = sockaddr(lsa)
	}
	c, delay := l.srv.admit(li, sockaddr(sa), local)
	if c == nil {
		unix.Close(fd)
		return
	}
	c.sock = fdSocket(fd)
	lo := l.all[int(l.next.Add(1))%len(l.all)]
	if err := lo.add(c, fd); err != nil {
		// No Stream knows of it yet.
		unix.Close(fd)
		l.srv.ended(c)
		l.srv.log.Error("a connection could not be watched", zap.Stringer("peer", c.peer), zap.Error(err))
		return
	}
	c.start(delay)
}

// take implements backend. The descriptor is copied, since Go's poller watches that
// of nc, which is closed.
func (l *loops) take(c *conn, nc *net.TCPConn) error {
	raw, err := nc.SyscallConn()
	if err != nil {
		return fmt.Errorf("tcp: take over %s: %w", c.peer, err)
	}
	fd := -1
	cerr := raw.Control(func(own uintptr) {
		if fd, err = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0); err == nil {
			err = l.srv.setOptions(fd)
		}
	})
	if err = errors.Join(err, cerr); err == nil {
		c.sock = fdSocket(fd)
		err = l.all[int(l.next.Add(1))%len(l.all)].add(c, fd)
	}
	if err != nil {
		if fd >= 0 {
			unix.Close(fd)
		}
		return fmt.Errorf("tcp: take over %s: %w", c.peer, err)
	}
	nc.Close()
	return nil
}

func sockaddr(sa unix.Sockaddr) netip.AddrPort {
	switch a := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
	}
	return netip.AddrPort{}
}

// fdSocket is a non-blocking socket.
type fdSocket int

func (s fdSocket) read(p []byte) (int, error) {
	for {
		n, err := unix.Read(int(s), p)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return 0, errAgain
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

func (s fdSocket) write(p []byte) (int, error) {
	for {
		n, err := unix.Write(int(s), p)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return 0, errAgain
		case err != nil:
			return 0, err
		default:
			return n, nil
		}
	}
}

func (s fdSocket) closeWrite() error { return unix.Shutdown(int(s), syscall.SHUT_WR) }
func (s fdSocket) close()            { unix.Close(int(s)) }
