package tcp

import (
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Accepted sockets inherit what was set on the listener, which saves six
// system calls a connection.
func TestSocketOptions(t *testing.T) {
	h := start(t, false, func(o *Options) {
		o.KeepAliveIdle, o.KeepAliveInterval, o.KeepAliveCount = 61*time.Second, 16*time.Second, 5
		o.UserTimeout = 121 * time.Second
	}, func(s *fake) { s.onFeed = echo })
	wantEcho(t, h.dial(h.plain), []byte("x"))
	fd := int(h.stream().conn.(*conn).sock.(fdSocket))
	for _, o := range []struct {
		name              string
		level, opt, value int
	}{
		{"TCP_NODELAY", unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{"TCP_KEEPIDLE", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 61},
		{"TCP_KEEPINTVL", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 16},
		{"TCP_KEEPCNT", unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 5},
		{"TCP_USER_TIMEOUT", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 121_000},
	} {
		if v, err := unix.GetsockoptInt(fd, o.level, o.opt); err != nil || v != o.value {
			t.Errorf("%s is %d, %v, want %d", o.name, v, err, o.value)
		}
	}
}

// Event loops need a TCP socket and say so.
func TestListenerKind(t *testing.T) {
	ln, err := net.Listen("unix", t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Options{Listeners: []Listener{{Listener: ln}}}, Deps{NewStream: newNoStream})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err == nil {
		t.Error("a unix socket was accepted")
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}
