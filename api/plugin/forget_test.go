package plugin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"

	"github.com/hexmpp/hexmpp/api/plugin/codec"
	"github.com/hexmpp/hexmpp/api/plugin/wire"
	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// opened returns a process with its Session, and what gives it a frame.
func opened(t *testing.T, reg *extension.Registration) (*process, func(f *pluginv1.KernelFrame)) {
	t.Helper()
	x := newProcess(&Plugin{}, reg, &pluginv1.ConfigureRequest{}, slog.New(slog.DiscardHandler))
	t.Cleanup(x.cancel)
	if _, err := x.m.Hello(wire.Hello(1, 0)); err != nil {
		t.Fatal(err)
	}
	return x, func(f *pluginv1.KernelFrame) {
		f.Generation = 1
		x.mu.Lock()
		defer x.mu.Unlock()
		if err := x.m.Receive(0, f); err != nil {
			t.Error(err)
		}
		x.act(0)
	}
}

// outcomes waits for n of them.
func outcomes(p *process, n int) (list []*pluginv1.Outcome) {
	for {
		p.mu.Lock()
		f := p.m.Frame(0)
		p.mu.Unlock()
		if list = append(list, f.GetOutcomes()...); len(list) >= n {
			return list
		}
		if f == nil {
			<-p.wake[0]
		}
	}
}

func componentEvent(t *testing.T, id uint64, key string) *pluginv1.Event {
	t.Helper()
	e, err := codec.Event(&extension.RemoteEvent{Kind: extension.ToComponent, Component: -1, Envelope: extension.Envelope{
		Stanza: stanza.New(stanza.Header{Kind: stanza.Message, From: jid.MustParse("romeo@example.org/orchard"), To: jid.MustParse("c")}),
	}})
	if err != nil {
		t.Fatal(err)
	}
	e.Id, e.Key = id, key
	return e
}

// What a handler asked for and was not done is forgotten, before the next event of the key
// is handled, though the kernel knows only that it failed.
func TestForgetBehindFailure(t *testing.T) {
	note := func(h *extension.Host) error { return h.Memory.Put("k", []byte("v")) }
	for _, c := range []struct {
		name   string
		handle func(h *extension.Host) error
		forget bool
	}{
		{"nothing", func(*extension.Host) error { return nil }, false},
		{"all is done", note, false},
		{"a refusal", func(*extension.Host) error { return stanza.Err(stanza.Forbidden, "") }, false},
		{"a refusal behind a change", func(h *extension.Host) error {
			return errors.Join(note(h), fmt.Errorf("no: %w", stanza.Err(stanza.Forbidden, "")))
		}, true},
		{"an error", func(*extension.Host) error { return errors.New("no") }, true},
		{"a panic", func(*extension.Host) error { panic("no") }, true},
		{"more than an outcome may have", func(h *extension.Host) error {
			for i := range 3 {
				h.Store.Put(jid.JID{}, fmt.Sprint(i), bytes.Repeat([]byte("x"), 500<<10))
			}
			return nil
		}, true},
		{"what can't be said", func(h *extension.Host) error { h.Store.Put(jid.JID{}, "\xff", nil); return nil }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var seen []string // of handlers of one key, and Forgets between them
			handle := c.handle
			reg := &extension.Registration{Name: "test", Forget: func(key string) { seen = append(seen, "forget "+key) },
				Components: []extension.Component{{Domain: "c", Handle: func(_ context.Context, h *extension.Host, _ *extension.Envelope) error {
					seen = append(seen, "handle")
					f := handle
					handle = func(*extension.Host) error { return nil }
					return f(h)
				}}}}
			p, receive := opened(t, reg)
			receive(&pluginv1.KernelFrame{Events: []*pluginv1.Event{componentEvent(t, 1, "key"), componentEvent(t, 2, "key")}})
			first := outcomes(p, 2)[0]
			if failed := first.Failure != "" || first.Error != nil; failed != (c.forget || c.name == "a refusal") {
				t.Errorf("the outcome is %v", first)
			}
			want := []string{"handle", "handle"}
			if c.forget {
				want = []string{"handle", "forget key", "handle"}
			}
			if !slices.Equal(seen, want) {
				t.Errorf("%q, not %q", seen, want)
			}
		})
	}
}

// Do waits for a Forget that is under way: what it would find is void.
func TestDoBehindForget(t *testing.T) {
	forgetting, forgotten := make(chan struct{}), make(chan struct{})
	known := "void"
	p, receive := opened(t, &extension.Registration{Name: "test", Forget: func(string) { close(forgetting); <-forgotten; known = "" }})
	receive(&pluginv1.KernelFrame{Resets: []*pluginv1.Reset{{Key: "key", Epoch: 5}}})
	<-forgetting
	done := make(chan error, 1)
	go func() {
		done <- Do(context.WithValue(t.Context(), processKey{}, p), "key", func(*extension.Host) error {
			if known != "" {
				return errors.New("it is made of what is void")
			}
			return nil
		})
	}()
	select {
	case err := <-done:
		t.Error("it did not wait:", err)
	default:
	}
	close(forgotten)
	if err := <-done; err != nil {
		t.Error(err)
	}
}
