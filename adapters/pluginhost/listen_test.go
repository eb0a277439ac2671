//go:build unix

package pluginhost

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	sdk "github.com/hexmpp/hexmpp/api/plugin"
	"github.com/hexmpp/hexmpp/ports/admin"
	"github.com/hexmpp/hexmpp/ports/extension"
)

// listens is a plugin that says its number to whoever connects to its listener "hello".
func listens() int {
	return sdk.Main(sdk.Plugin{New: func([]byte) (extension.Registration, error) {
		return extension.Registration{Name: "raw",
			Listeners: []extension.Listener{{Name: "hello", Network: "tcp"}, {Name: "unused", Network: "tcp", Address: ":1"}},
			Start: func(_ context.Context, h *extension.Host) error {
				list, err := h.Listeners.Get("hello")
				if none, err := h.Listeners.Get("unused"); err != nil || len(none) > 0 {
					return fmt.Errorf("a listener without an address: %v, %v", none, err)
				}
				if _, err := h.Listeners.Get("other"); err == nil {
					return errors.New("there is a listener that is not in the registration")
				}
				for _, l := range list {
					go func() {
						for {
							c, err := l.Accept()
							if err != nil {
								return
							}
							fmt.Fprintln(c, os.Getpid())
							c.Close()
						}
					}()
				}
				return err
			}}, nil
	}}, nil)
}

// listening is a rig whose plugin listens at two addresses.
func listening(t *testing.T) *rig {
	r := newRig(t, "")
	r.conf.Command.Args = []string{"helper=listens"}
	r.conf.Listen = []Listen{{Name: "hello", Key: "listen.hello", Addresses: []string{"127.0.0.1:0", "127.0.0.1:0"}}}
	return r
}

// hello returns which process answers.
func hello(addr net.Addr) (string, error) {
	c, err := net.DialTimeout("tcp", addr.String(), time.Minute)
	if err != nil {
		return "", fmt.Errorf("%w: %w", errRefused, err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return "", err
	}
	b, err := io.ReadAll(c)
	return strings.TrimSpace(string(b)), err
}

var errRefused = errors.New("no connection")

// TestListeners: while processes are killed and replaced nobody who connects is refused, and
// whoever a living process accepts is answered.
func TestListeners(t *testing.T) {
	r := listening(t)
	r.start()
	addrs := r.host.Addrs("raw", "hello")
	if len(addrs) != 2 || len(r.host.Addrs("raw", "unused")) != 0 {
		t.Fatalf("addresses %v", addrs)
	}
	var answered, lost atomic.Int64
	var clients sync.WaitGroup
	stop := make(chan struct{})
	for i := range 4 {
		clients.Go(func() {
			for range 1_000_000 {
				select {
				case <-stop:
					return
				default:
				}
				pid, err := hello(addrs[i%2])
				switch {
				case errors.Is(err, errRefused):
					t.Error(err)
					return
				case err != nil || pid == "":
					lost.Add(1) // a process died with it
				default:
					answered.Add(1)
				}
			}
		})
	}
	const kills = 4
	for i := range 2 * kills {
		before := r.info()
		if i%2 == 0 {
			if err := r.host.ReloadPlugin(t.Context(), "raw"); err != nil {
				t.Error(err)
			}
		} else if err := syscall.Kill(before.PID, syscall.SIGKILL); err != nil {
			t.Error(err)
		}
		now := r.until("ready again", func(i admin.PluginInfo) bool {
			return i.State == admin.PluginReady && i.Generation > before.Generation
		})
		r.untilAnswers(addrs, fmt.Sprint(now.PID))
	}
	close(stop)
	clients.Wait()
	if answered.Load() == 0 {
		t.Error("nobody was answered")
	}
	t.Logf("%d answered, %d lost with %d killed processes", answered.Load(), lost.Load(), kills)
	for _, a := range addrs { // other processes inherited nothing, the server does not accept
		if n, err := nonblocking(r.host.plugins[0].sockets, a); err != nil || !n {
			t.Errorf("%s: a socket in which processes share a wait: %v", a, err)
		}
	}
	if err := r.host.Close(); err != nil {
		t.Error(err)
	}
	for _, a := range addrs {
		if _, err := hello(a); !errors.Is(err, errRefused) {
			t.Errorf("%s is open behind the end: %v", a, err)
		}
	}
}

// untilAnswers waits until the process of this number answers at each address, and no other one does.
func (r *rig) untilAnswers(addrs []net.Addr, pid string) {
	r.t.Helper()
	for _, a := range addrs {
		begun := time.Now()
		for got := ""; got != pid; {
			var err error
			if got, err = hello(a); errors.Is(err, errRefused) || time.Since(begun) > time.Minute {
				r.t.Fatalf("%s: %s answers, not %s; %v", a, got, pid, err)
			}
		}
	}
}

// nonblocking says whether the socket of an address is such that accepting on it never
// waits in the kernel: what is shared by processes.
func nonblocking(list sockets, a net.Addr) (bool, error) {
	for _, s := range list {
		if s.addr.String() != a.String() {
			continue
		}
		raw, err := s.file.SyscallConn()
		if err != nil {
			return false, err
		}
		var flags uintptr
		var errno syscall.Errno
		err = raw.Control(func(fd uintptr) { flags, _, errno = syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_GETFL, 0) })
		if errno != 0 {
			err = errno
		}
		return flags&syscall.O_NONBLOCK != 0, err
	}
	return false, os.ErrNotExist
}

// TestConnectedWhileDown: who connects while there is no process is answered by the next one.
func TestConnectedWhileDown(t *testing.T) {
	r := listening(t)
	r.start()
	addr := r.host.Addrs("raw", "hello")[0]
	if err := r.host.DisablePlugin(t.Context(), "raw"); err != nil {
		t.Fatal(err)
	}
	const n = 20
	got := make(chan error, n)
	var dialled sync.WaitGroup
	for range n {
		c, err := net.DialTimeout("tcp", addr.String(), time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		dialled.Go(func() {
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(time.Minute))
			b, err := io.ReadAll(c)
			if err == nil && len(b) == 0 {
				err = io.ErrUnexpectedEOF
			}
			got <- err
		})
	}
	if err := r.host.EnablePlugin(t.Context(), "raw"); err != nil {
		t.Fatal(err)
	}
	for range n {
		if err := <-got; err != nil {
			t.Error(err)
		}
	}
	dialled.Wait()
}

// TestListenErrors: what stops the server says which line of the configuration is to blame.
func TestListenErrors(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, c := range []struct {
		name, listener, address, want string
	}{
		{"taken", "hello", taken.Addr().String(), "is in use by another program"},
		{"not of this machine", "hello", "203.0.113.1:5269", "this machine does not have the address"},
		{"no such listener", "hallo", "127.0.0.1:0", "the plugin raw has no listener called hallo; it has hello, unused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := listening(t)
			r.conf.Listen = append(r.conf.Listen, Listen{Name: c.listener, Key: "listen.this", Addresses: []string{c.address}})
			err := r.prepare()
			var config *ConfigError
			if !errors.As(err, &config) || config.Key != "listen.this" || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestListenerLeftOut: what could not be started listens nowhere.
func TestListenerLeftOut(t *testing.T) {
	r := listening(t)
	r.conf.Bundled = false
	r.conf.Command.Self, r.conf.Command.Path, r.conf.Command.Args = false, filepath.Join(r.conf.Folder, "none"), nil
	if err := r.prepare(); err != nil {
		t.Fatal(err)
	}
	if a := r.host.Addrs("raw", "hello"); len(a) != 0 {
		t.Errorf("it listens on %v", a)
	}
}
