package adminapi

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/ports/admin"
)

// pluginPort is a port of plugins whose answers can be told apart.
type pluginPort struct {
	done     []string
	followed chan struct{} // if set, a log that is followed says so here when it ends
}

var echo = admin.Plugin{Name: "echo", Version: "1.2", Bundled: true, State: admin.PluginDegraded, Detail: "it hangs", Generation: 3, PID: 7, Started: born,
	Restarts: 2, Queue: 4, InFlight: 5, Events: 1 << 60, EventsPerSecond: 1.5, OutcomeTime: 20 * time.Microsecond, Memory: 1 << 40}

func (p *pluginPort) check(what, name string) error {
	if name != "echo" {
		return fmt.Errorf("%w: %s", admin.ErrNoPlugin, name)
	}
	p.done = append(p.done, what)
	return nil
}

func (p *pluginPort) Plugins(context.Context) ([]admin.Plugin, error) {
	return []admin.Plugin{echo, {Name: "other", State: admin.PluginFailed}}, nil
}

func (p *pluginPort) PluginInfo(_ context.Context, name string) (admin.PluginInfo, error) {
	if err := p.check("info", name); err != nil {
		return admin.PluginInfo{}, err
	}
	return admin.PluginInfo{Plugin: echo, Description: "d", Command: []string{"/a", "b c"}, Domains: []string{"x.test"}, Granted: []string{"see-stanzas"},
		Manifest: []byte(`{"name":"echo"}`), Dropped: 1, Refused: 2, Poisoned: 3, LastExit: "killed"}, nil
}

func (p *pluginPort) ReloadPlugin(_ context.Context, name string) error {
	return p.check("reload", name)
}

func (p *pluginPort) EnablePlugin(_ context.Context, name string) error {
	if err := p.check("enable", name); err != nil {
		return err
	}
	return errors.New("it crashes")
}

func (p *pluginPort) DisablePlugin(_ context.Context, name string) error {
	return p.check("disable", name)
}

func (p *pluginPort) PluginLogs(ctx context.Context, name string, n int, follow bool, yield func(admin.PluginLogEntry) error) error {
	if err := p.check("logs", name); err != nil {
		return err
	}
	for i := range n {
		if err := yield(admin.PluginLogEntry{Time: born, Level: "warn", PID: i, Source: "stderr", Message: "m", Fields: []admin.PluginLogField{{Key: "k", Value: "v"}}, Trace: "a\nb"}); err != nil {
			return err
		}
	}
	if follow {
		<-ctx.Done()
		close(p.followed)
		return ctx.Err()
	}
	if n == 13 {
		return errors.New("the log broke")
	}
	return nil
}

// servePlugins starts a Server with plugins.
func servePlugins(t *testing.T, p admin.Plugins) (*Client, *Server) {
	t.Helper()
	socket, err := SocketPath(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	port := &port{}
	s, err := New(Options{Socket: socket}, Deps{Users: port, Server: port, Plugins: p})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(context.Background()); err != nil {
			t.Error(err)
		}
		os.Remove(filepath.Dir(socket))
	})
	return NewClient(socket), s
}

// TestPlugins runs the same calls against the port itself and through the socket.
func TestPlugins(t *testing.T) {
	direct, remote := &pluginPort{}, &pluginPort{}
	client, _ := servePlugins(t, remote)
	for _, p := range []admin.Plugins{direct, client} {
		ctx := t.Context()
		want, _ := (&pluginPort{}).Plugins(ctx)
		if list, err := p.Plugins(ctx); err != nil || !reflect.DeepEqual(list, want) {
			t.Errorf("%+v, %v", list, err)
		}
		wantInfo, _ := (&pluginPort{}).PluginInfo(ctx, "echo")
		if info, err := p.PluginInfo(ctx, "echo"); err != nil || !reflect.DeepEqual(info, wantInfo) {
			t.Errorf("%+v, %v", info, err)
		}
		if _, err := p.PluginInfo(ctx, "nobody"); !errors.Is(err, admin.ErrNoPlugin) {
			t.Errorf("info of nobody: %v", err)
		}
		if err := p.ReloadPlugin(ctx, "echo"); err != nil {
			t.Error(err)
		}
		if err := p.DisablePlugin(ctx, "echo"); err != nil {
			t.Error(err)
		}
		if err := p.EnablePlugin(ctx, "echo"); err == nil || err.Error() != "it crashes" {
			t.Errorf("enable: %v", err)
		}
		if err := p.ReloadPlugin(ctx, "nobody"); !errors.Is(err, admin.ErrNoPlugin) {
			t.Errorf("reload of nobody: %v", err)
		}
		var got []admin.PluginLogEntry
		collect := func(e admin.PluginLogEntry) error { got = append(got, e); return nil }
		if err := p.PluginLogs(ctx, "echo", 3, false, collect); err != nil || len(got) != 3 || got[2].PID != 2 || got[0].Trace != "a\nb" || got[0].Fields[0].Value != "v" || !got[0].Time.Equal(born) {
			t.Errorf("%+v, %v", got, err)
		}
		if err := p.PluginLogs(ctx, "echo", 13, false, collect); err == nil || err.Error() != "the log broke" || len(got) != 16 {
			t.Errorf("a log that breaks: %d, %v", len(got), err)
		}
		for _, follow := range []bool{false, true} {
			if err := p.PluginLogs(ctx, "nobody", 3, follow, collect); !errors.Is(err, admin.ErrNoPlugin) {
				t.Errorf("log of nobody: %v", err)
			}
		}
		enough := errors.New("enough")
		if err := p.PluginLogs(ctx, "echo", 3, false, func(admin.PluginLogEntry) error { return enough }); !errors.Is(err, enough) {
			t.Errorf("%v", err)
		}
	}
	if !slices.Equal(direct.done, remote.done) {
		t.Errorf("calls %v directly, %v through the socket", direct.done, remote.done)
	}
}

// TestFollow: a log that is followed ends with its reader, and with the server.
func TestFollow(t *testing.T) {
	for _, byServer := range []bool{false, true} {
		p := &pluginPort{followed: make(chan struct{})}
		client, s := servePlugins(t, p)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		seen := make(chan struct{}, 1)
		done := make(chan error, 1)
		go func() {
			done <- client.PluginLogs(ctx, "echo", 1, true, func(admin.PluginLogEntry) error { seen <- struct{}{}; return nil })
		}()
		<-seen
		if byServer {
			if err := s.Stop(t.Context()); err != nil {
				t.Error(err)
			}
		} else {
			cancel()
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		<-p.followed
	}
}

func TestNoPlugins(t *testing.T) {
	client, _ := serve(t, &port{})
	if list, err := client.Plugins(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("%v, %v", list, err)
	}
	if err := client.EnablePlugin(t.Context(), "echo"); !errors.Is(err, admin.ErrNoPlugin) {
		t.Error(err)
	}
}
