package tcp

import (
	"net"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
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

// Listeners are plain TCP: with MPTCP, which is Go's default, each connection
// would cost more and not inherit its options.
func TestNoMultipath(t *testing.T) {
	h := start(t, false, nil, nil)
	for _, l := range h.srv.listeners {
		var protocol int
		var err error
		if cerr := l.raw.Control(func(fd uintptr) {
			protocol, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PROTOCOL)
		}); cerr != nil || err != nil || protocol != unix.IPPROTO_TCP {
			t.Errorf("%s: protocol %d, %v, %v", l.name, protocol, cerr, err)
		}
	}
}

// What the system does not have is told once, not once a listener.
func TestUserTimeoutWarning(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	s, err := New(Options{
		Listeners:   []Listener{{Addr: "127.0.0.1:0"}, {Addr: "127.0.0.1:0"}},
		UserTimeout: 30 * 24 * time.Hour, // more milliseconds than the option can hold
	}, Deps{NewStream: newNoStream, Log: zap.New(core)})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := logs.FilterMessageSnippet("TCP_USER_TIMEOUT").Len(); n != 1 {
		t.Errorf("%d warnings", n)
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}
