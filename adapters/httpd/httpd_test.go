package httpd

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, s *Server) {
	t.Helper()
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	all, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(all)
}

func TestServes(t *testing.T) {
	s := New(Options{Addresses: []string{"127.0.0.1:0", "127.0.0.1:0"}}, zap.NewNop())
	s.Handle("GET /hello", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hi") }))
	start(t, s)
	if len(s.Addrs()) != 2 {
		t.Fatal(s.Addrs())
	}
	for _, addr := range s.Addrs() {
		if status, body := get(t, "http://"+addr+"/hello"); status != 200 || body != "hi" {
			t.Error(status, body)
		}
		if status, _ := get(t, "http://"+addr+"/other"); status != 404 {
			t.Error(status)
		}
	}
}

func TestAddressInUse(t *testing.T) {
	s := New(Options{Addresses: []string{"127.0.0.1:0"}}, zap.NewNop())
	start(t, s)
	again := New(Options{Addresses: []string{"127.0.0.1:0", s.Addrs()[0]}}, zap.NewNop())
	if err := again.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "listen.http") {
		t.Error(err)
	}
}

func TestFrom(t *testing.T) {
	h := From([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")},
		http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {}))
	for peer, want := range map[string]int{
		"127.0.0.1:9": 200, "[::ffff:127.0.0.1]:9": 200, "[2001:db8::1]:9": 200, "192.0.2.1:9": 403, "[::1]:9": 403, "nonsense": 403,
	} {
		r, w := httptest.NewRequest("GET", "/", nil), httptest.NewRecorder()
		r.RemoteAddr = peer
		if h.ServeHTTP(w, r); w.Code != want {
			t.Errorf("%s: %d", peer, w.Code)
		}
	}
}

// A request that does not end holds up the stop as long as it may, no longer.
func TestStopCutsOff(t *testing.T) {
	s := New(Options{Addresses: []string{"127.0.0.1:0"}}, zap.NewNop())
	entered := make(chan struct{})
	s.Handle("GET /slow", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
	}))
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	failed := make(chan error)
	go func() {
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		r, err := client.Get("http://" + s.Addrs()[0] + "/slow")
		if err == nil {
			r.Body.Close()
		}
		failed <- err
	}()
	<-entered
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := s.Stop(ctx); err == nil {
		t.Error("it waited")
	}
	if err := <-failed; err == nil {
		t.Error("it was answered")
	}
}

// Connections have a bound, on all addresses together: those beyond it are served
// when others have ended, and the end does not wait for them.
func TestConnectionsAreBounded(t *testing.T) {
	s := New(Options{Addresses: []string{"127.0.0.1:0", "127.0.0.1:0"}}, zap.NewNop())
	s.room = make(chan struct{}, 2)
	s.Handle("GET /", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	start(t, s)
	ask := func(n int) net.Conn {
		c, err := net.Dial("tcp", s.Addrs()[n])
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		return c
	}
	answered := func(c net.Conn, patience time.Duration) error {
		c.SetReadDeadline(time.Now().Add(patience))
		_, err := c.Read(make([]byte, 1))
		return err
	}
	first, second := ask(0), ask(1)
	if err := errors.Join(answered(first, time.Minute), answered(second, time.Minute)); err != nil {
		t.Fatal(err)
	}
	third, fourth := ask(0), ask(1)
	for _, c := range []net.Conn{third, fourth} {
		if err := answered(c, 50*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("served beyond the bound: %v", err)
		}
	}
	first.Close()
	second.Close()
	if err := errors.Join(answered(third, time.Minute), answered(fourth, time.Minute)); err != nil {
		t.Error(err)
	}
	ask(0) // waits when the server stops
}

// TestStopEndsWhatIsHeld: a request that waits for something holds up no stop.
func TestStopEndsWhatIsHeld(t *testing.T) {
	s := New(Options{Addresses: []string{"127.0.0.1:0"}}, zap.NewNop())
	held := make(chan struct{})
	s.Handle("/held", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(held)
		<-r.Context().Done()
		io.WriteString(w, "the end")
	}))
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	answer := make(chan string, 1)
	go func() {
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		r, err := client.Get("http://" + s.Addrs()[0] + "/held")
		if err != nil {
			answer <- err.Error()
			return
		}
		defer r.Body.Close()
		b, _ := io.ReadAll(r.Body)
		answer <- string(b)
	}()
	<-held
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	begun := time.Now()
	if err := s.Stop(ctx); err != nil {
		t.Error(err)
	}
	if got := <-answer; got != "the end" {
		t.Error(got)
	}
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
}
