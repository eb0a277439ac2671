//go:build unix

package pluginhost

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
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

// serves is a plugin that answers HTTP requests with its number, where they are from, and their body.
func serves() int {
	answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(err)
		}
		switch r.URL.RawQuery {
		case "die":
			os.Exit(3)
		case "hold":
			select {
			case <-time.After(100 * time.Millisecond):
			case <-r.Context().Done():
			}
		case "length":
			fmt.Fprint(w, r.ContentLength, " ", r.TransferEncoding)
			return
		case "long":
			_, _ = w.Write(make([]byte, maxRepeated+1))
		case "do":
			err = sdk.Do(r.Context(), "key", func(*extension.Host) error { return nil })
		}
		fmt.Fprint(w, os.Getpid(), " ", r.RemoteAddr, " ", r.Header.Get("X-Forwarded-Proto"), " ", err, " ", string(body))
	})
	return sdk.Main(sdk.Plugin{New: func([]byte) (extension.Registration, error) {
		return extension.Registration{Name: "raw", Permissions: []extension.Permission{extension.ServeHTTP}, HTTP: []extension.Route{
			{Path: "/again", Repeatable: true, Handler: answer}, {Path: "/once/", Handler: answer},
		}}, nil
	}}, nil)
}

// serving is a rig whose plugin has routes, and a server that mounts them.
func serving(t *testing.T) (*rig, string) {
	r := newRig(t, "")
	r.conf.Command.Args = []string{"helper=web"}
	r.conf.Limits.GraceTime = 20 * time.Second
	r.start()
	r.until("ready", func(i admin.PluginInfo) bool { return i.State == admin.PluginReady })
	mux := http.NewServeMux()
	for _, route := range r.regs[0].HTTP {
		mux.Handle(route.Path, route.Handler)
	}
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return r, s.URL
}

// post returns the status and the answer.
func post(ctx context.Context, url, body string) (int, string, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	q.Header.Set("X-Forwarded-For", "192.0.2.1")
	a, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(q)
	if err != nil {
		return 0, "", err
	}
	defer a.Body.Close()
	b, err := io.ReadAll(a.Body)
	return a.StatusCode, string(b), err
}

func (r *rig) posted(url, body string, want int) string {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	status, text, err := post(ctx, url, body)
	if err != nil || status != want {
		r.t.Fatalf("%s: %d %s, %v; want %d", url, status, text, err, want)
	}
	return text
}

func TestRoutes(t *testing.T) {
	r, url := serving(t)
	want := fmt.Sprintf("%d 127.0.0.1:0 http <nil> hello", r.info().PID)
	for _, path := range []string{"/again", "/once/x", "/again?do"} {
		if got := r.posted(url+path, "hello", 200); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	r.posted(url+"/again", strings.Repeat("x", extension.RouteBytes), 200)
	r.posted(url+"/again", strings.Repeat("x", extension.RouteBytes+1), 413)
	r.posted(url+"/again?long", "", 502)
	if n := r.host.plugins[0].web.held; n != 0 {
		t.Errorf("%d requests are counted at the end", n)
	}
}

// TestRepeatable: while processes are killed and replaced each request has one answer.
func TestRepeatable(t *testing.T) {
	r, url := serving(t)
	var clients sync.WaitGroup
	var answered atomic.Int64
	stop := make(chan struct{})
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	for i := range 6 {
		clients.Go(func() {
			path := url + "/again"
			if i%2 == 0 {
				path += "?hold"
			}
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				body := fmt.Sprintf("%d/%d", i, n)
				status, text, err := post(ctx, path, body)
				if err != nil || status != 200 || !strings.HasSuffix(text, " "+body) {
					t.Errorf("request %s: %d %s, %v", body, status, text, err)
					return
				}
				answered.Add(1)
			}
		})
	}
	for i := range 5 { // two kills: a request may have been given to each process, and three are its end
		before := r.info()
		if i%2 == 0 {
			if err := r.host.ReloadPlugin(t.Context(), "raw"); err != nil {
				t.Error(err)
			}
		} else if err := syscall.Kill(before.PID, syscall.SIGKILL); err != nil {
			t.Error(err)
		}
		now := r.until("ready again", func(i admin.PluginInfo) bool { return i.State == admin.PluginReady && i.Generation > before.Generation })
		if got := r.posted(url+"/again?hold", "", 200); !strings.HasPrefix(got, fmt.Sprint(now.PID)) { // those that were held have their answers by then
			t.Errorf("%q, want process %d", got, now.PID)
		}
	}
	close(stop)
	clients.Wait()
	if answered.Load() == 0 {
		t.Error("nobody was answered")
	}
	t.Logf("%d answered", answered.Load())
}

// TestRouteOnce: what can't be repeated is not; what can be is not repeated for ever.
func TestRouteOnce(t *testing.T) {
	r, url := serving(t)
	before := r.info()
	r.posted(url+"/once/x?die", "", 502)
	r.until("ready again", func(i admin.PluginInfo) bool { return i.State == admin.PluginReady && i.Generation > before.Generation })
	r.posted(url+"/once/x", "", 200)
	if now := r.info(); now.Restarts != before.Restarts+1 {
		t.Errorf("%d restarts", now.Restarts-before.Restarts)
	}
	r.posted(url+"/again?die", "", 503) // each process dies of it
	if err := r.host.EnablePlugin(t.Context(), "raw"); err != nil {
		t.Fatal(err)
	}
	r.posted(url+"/again", "", 200)
}

// TestRouteAway: nobody waits for ever, and who does not wait is not waited for.
func TestRouteAway(t *testing.T) {
	r, url := serving(t)
	if err := r.host.DisablePlugin(t.Context(), "raw"); err != nil {
		t.Fatal(err)
	}
	r.host.plugins[0].conf.Limits.GraceTime = 50 * time.Millisecond
	r.posted(url+"/again", "", 503)
	r.host.plugins[0].conf.Limits.GraceTime = time.Minute
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if _, _, err := post(ctx, url+"/again", ""); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

// TestRouteIsWhatTheClientSaid: chunks become a length, and what is not there is not said to be.
func TestRouteIsWhatTheClientSaid(t *testing.T) {
	r, url := serving(t)
	for body, want := range map[string]string{"": "0 []", "hello": "5 []"} {
		q, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/again?length", io.MultiReader(strings.NewReader(body))) // in chunks
		if err != nil {
			t.Fatal(err)
		}
		a, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(q)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(a.Body)
		a.Body.Close()
		if err != nil || string(got) != want {
			t.Errorf("%q: %s, %v; want %s", body, got, err, want)
		}
	}
	if got := r.posted(url+"/again?length", "", 200); got != "0 []" {
		t.Error(got)
	}
}
