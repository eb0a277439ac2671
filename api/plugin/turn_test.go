package plugin

import (
	"context"
	"errors"
	"testing"

	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/extension"
)

// Do has the key for itself: it begins when the handler that runs has ended, the next one begins behind it,
// and what it reads is asked for behind what was said.
func TestDoHasATurn(t *testing.T) {
	running, goOn := make(chan struct{}), make(chan struct{})
	var seen []string
	reg := &extension.Registration{Name: "test", Components: []extension.Component{{Domain: "c", Handle: func(ctx context.Context, h *extension.Host, _ *extension.Envelope) error {
		if len(seen) == 0 {
			close(running)
			<-goOn
			// Within a handler of the key there is no turn to wait for.
			if err := Do(ctx, "key", func(*extension.Host) error { seen = append(seen, "within"); return nil }); err != nil {
				t.Error(err)
			}
		}
		seen = append(seen, "handler")
		return h.Memory.Put("n", nil)
	}}}}
	p, receive := opened(t, reg)
	ctx := context.WithValue(t.Context(), processKey{}, p)
	receive(&pluginv1.KernelFrame{Events: []*pluginv1.Event{componentEvent(t, 1, "key")}})
	<-running
	// One that gives up before its turn leaves nothing behind.
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if err := Do(gone, "key", func(*extension.Host) error { t.Error("it had a turn"); return nil }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	done := make(chan error, 1)
	go func() {
		done <- Do(ctx, "key", func(h *extension.Host) error {
			seen = append(seen, "do")
			if _, _, err := h.Memory.Get(ctx, "n"); err != nil {
				return err
			}
			return h.Memory.Put("n", []byte("1"))
		})
	}()
	for queued := false; !queued; { // it waits
		p.mu.Lock()
		queued = len(p.turns) == 1
		p.mu.Unlock()
	}
	receive(&pluginv1.KernelFrame{Events: []*pluginv1.Event{componentEvent(t, 2, "key")}})
	close(goOn)
	var order []string
	for len(order) < 4 {
		<-p.wake[0]
		for {
			p.mu.Lock()
			f := p.m.Frame(0)
			p.mu.Unlock()
			if f == nil {
				break
			}
			for range f.Outcomes {
				order = append(order, "outcome")
			}
			for _, u := range f.Unasked {
				order = append(order, "unasked")
				receive(&pluginv1.KernelFrame{Applied: []*pluginv1.Applied{{Id: u.Id}}})
			}
			for _, q := range f.Requests {
				order = append(order, "request of "+q.Key)
				receive(&pluginv1.KernelFrame{Responses: []*pluginv1.Response{{Id: q.Id}}})
			}
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	equal(t, order, "outcome", "request of key", "unasked", "outcome")
	equal(t, seen, "within", "handler", "do", "handler")
}

func equal(t *testing.T, got []string, want ...string) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Errorf("%q, not %q", got, want)
			return
		}
	}
}

// What a Do knows that was reset meanwhile is void: it is run again, behind the Forget.
func TestDoIsReset(t *testing.T) {
	var seen []string
	p, receive := opened(t, &extension.Registration{Name: "test", Forget: func(string) { seen = append(seen, "forget") }})
	err := Do(context.WithValue(t.Context(), processKey{}, p), "key", func(*extension.Host) error {
		if seen = append(seen, "do"); len(seen) == 1 {
			receive(&pluginv1.KernelFrame{Resets: []*pluginv1.Reset{{Key: "key", Epoch: 5}}})
			return errors.New("of what is void")
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	equal(t, seen, "do", "forget", "do")
}
