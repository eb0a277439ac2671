package adminapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/ports/admin"
	"github.com/hexmpp/hexmpp/ports/extension"
)

// callPort answers calls.
type callPort struct {
	ended chan error // of those that wait: why
}

func (*callPort) ListCalls(_ context.Context, name string) ([]admin.Call, error) {
	if name != "echo" {
		return nil, fmt.Errorf("%w: %s", admin.ErrNoPlugin, name)
	}
	return []admin.Call{{Name: "say", Help: "says it", Args: []admin.CallArg{{Name: "what"}, {Name: "more", Optional: true}}}, {Name: "list"}}, nil
}

func (p *callPort) Call(ctx context.Context, name, call string, args []string, yield func(string) error) error {
	switch {
	case name != "echo":
		return fmt.Errorf("%w: %s", admin.ErrNoPlugin, name)
	case call == "wait":
		if err := yield("waits"); err != nil {
			return err
		}
		<-ctx.Done()
		p.ended <- context.Cause(ctx)
		return context.Cause(ctx)
	case call != "say":
		return fmt.Errorf("%w: %s", admin.ErrNoCall, call)
	}
	for _, a := range args {
		if err := yield(a); err != nil {
			return err
		}
	}
	if len(args) == 3 {
		return errors.New("one too many")
	}
	return nil
}

// serveCalls starts a Server with calls.
func serveCalls(t *testing.T, p admin.Calls) (*Client, *Server) {
	t.Helper()
	socket, err := SocketPath(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	port := &port{}
	s, err := New(Options{Socket: socket}, Deps{Users: port, Server: port, Calls: p})
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
	})
	return NewClient(socket), s
}

// TestCalls runs the same calls against the port itself and through the socket.
func TestCalls(t *testing.T) {
	direct := &callPort{}
	client, _ := serveCalls(t, &callPort{})
	for _, p := range []admin.Calls{direct, client} {
		want, _ := direct.ListCalls(t.Context(), "echo")
		if list, err := p.ListCalls(t.Context(), "echo"); err != nil || !reflect.DeepEqual(list, want) {
			t.Errorf("%+v, %v", list, err)
		}
		if _, err := p.ListCalls(t.Context(), "nobody"); !errors.Is(err, admin.ErrNoPlugin) {
			t.Error(err)
		}
		for _, row := range []struct {
			name, call string
			args       []string
			is         error
			text       string
		}{
			{"echo", "say", nil, nil, ""},
			{"echo", "say", []string{"a\n", "<é>"}, nil, ""},
			{"echo", "say", []string{strings.Repeat("<", extension.MaxCallArgBytes)}, nil, ""},
			{"echo", "say", []string{"a", "b", "c"}, nil, "one too many"},
			{"nobody", "say", nil, admin.ErrNoPlugin, ""},
			{"echo", "shout", nil, admin.ErrNoCall, ""},
		} {
			var got []string
			err := p.Call(t.Context(), row.name, row.call, row.args, func(text string) error { got = append(got, text); return nil })
			wrong := row.is != nil || row.text != ""
			if (err != nil) != wrong || row.is != nil && !errors.Is(err, row.is) || row.text != "" && err.Error() != row.text {
				t.Errorf("%s %s %.100q: %v", row.name, row.call, row.args, err)
			}
			if row.is == nil && strings.Join(got, "|") != strings.Join(row.args, "|") {
				t.Errorf("%.100q came as %.100q", row.args, got)
			}
		}
		enough := errors.New("enough")
		if err := p.Call(t.Context(), "echo", "say", []string{"a"}, func(string) error { return enough }); !errors.Is(err, enough) {
			t.Error(err)
		}
	}
}

// TestCallThatWaits: it ends with who asks, with the time, and with the server.
func TestCallThatWaits(t *testing.T) {
	for _, how := range []string{"cancel", "time", "stop"} {
		t.Run(how, func(t *testing.T) {
			p := &callPort{ended: make(chan error, 1)}
			client, s := serveCalls(t, p)
			limit := time.Minute
			if how == "time" {
				limit = 50 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			seen, done := make(chan struct{}, 1), make(chan error, 1)
			go func() {
				done <- client.Call(ctx, "echo", "wait", nil, func(string) error { seen <- struct{}{}; return nil })
			}()
			<-seen
			switch how {
			case "cancel":
				cancel()
			case "stop":
				if err := s.Stop(t.Context()); err != nil {
					t.Error(err)
				}
			}
			why, err := <-p.ended, <-done
			switch how {
			case "cancel":
				if !errors.Is(why, context.Canceled) || !errors.Is(err, context.Canceled) {
					t.Error(why, err)
				}
			case "time": // the server's own word
				if err == nil || why.Error() != err.Error() || !strings.HasPrefix(err.Error(), "no answer within ") {
					t.Error(why, err)
				}
			case "stop":
				if !errors.Is(why, errStopping) || err == nil || err.Error() != errStopping.Error() {
					t.Error(why, err)
				}
			}
		})
	}
}

// TestCallsThatAreNone: what no Client sends is refused, with nothing asked.
func TestCallsThatAreNone(t *testing.T) {
	_, s := serveCalls(t, &callPort{})
	for _, row := range []struct{ query, body string }{
		{"name=echo&call=say", `{"args":["a"]}`},
		{"name=echo&call=say&timeout=1h", `{"args":["a"]}`},
		{"name=echo&call=say&timeout=-1s", `{"args":["a"]}`},
		{"name=echo&call=say&timeout=x", `{"args":["a"]}`},
		{"name=echo&call=say&timeout=1s", ``},
		{"name=echo&call=say&timeout=1s", `{"args":"a"}`},
		{"name=echo&call=say&timeout=1s", `{"args":["` + strings.Repeat("x", maxCallBody) + `"]}`},
	} {
		w := httptest.NewRecorder()
		s.http.Handler.ServeHTTP(w, httptest.NewRequest("POST", pathCall+"?"+row.query, strings.NewReader(row.body)))
		if w.Code != http.StatusBadRequest {
			t.Errorf("%s %.40s: %d %s", row.query, row.body, w.Code, w.Body)
		}
	}
}

// FuzzReadCall: a request for a call is refused, or within the bounds.
func FuzzReadCall(f *testing.F) {
	f.Add("1m", []byte(`{"args":["a","\ud800"]}`))
	f.Add("5m1ns", []byte(`{"args":null}`))
	f.Add("1e9h", []byte(`[]`))
	f.Fuzz(func(t *testing.T, timeout string, body []byte) {
		r := httptest.NewRequest("POST", pathCall, bytes.NewReader(body))
		q := r.URL.Query()
		q.Set("timeout", timeout)
		r.URL.RawQuery = q.Encode()
		args, limit, err := readCall(httptest.NewRecorder(), r)
		if err == nil && (limit <= 0 || limit > extension.MaxCallTime || len(args) > maxCallBody) {
			t.Errorf("%v, %d arguments", limit, len(args))
		}
		if err != nil && !errors.Is(err, errRequest) {
			t.Error(err)
		}
	})
}

func TestNoCalls(t *testing.T) {
	client, _ := serve(t, &port{})
	if _, err := client.ListCalls(t.Context(), "echo"); !errors.Is(err, admin.ErrNoPlugin) {
		t.Error(err)
	}
	if err := client.Call(t.Context(), "echo", "say", nil, nil); !errors.Is(err, admin.ErrNoPlugin) {
		t.Error(err)
	}
}
