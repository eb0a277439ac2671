package plugin

import (
	"context"
	"log/slog"
	"testing"

	"github.com/hexmpp/hexmpp/api/plugin/wire"
	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// What was made of knowledge that is void by then is made again.
func TestDoRunsAgain(t *testing.T) {
	p := newProcess(&Plugin{}, &extension.Registration{Name: "test"}, &pluginv1.ConfigureRequest{}, slog.New(slog.DiscardHandler))
	defer p.cancel()
	receive := func(f *pluginv1.KernelFrame) {
		f.Generation = 1
		p.mu.Lock()
		defer p.mu.Unlock()
		if err := p.m.Receive(0, f); err != nil {
			t.Error(err)
		}
		p.act(0)
	}
	if _, err := p.m.Hello(wire.Hello(1, 0)); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	runs := 0
	go func() {
		done <- Do(context.WithValue(t.Context(), processKey{}, p), "key", func(h *extension.Host) error {
			runs++
			h.Store.Put(jid.JID{}, "k", []byte{byte(runs)})
			return nil
		})
	}()
	for try := 1; ; {
		<-p.wake[0]
		p.mu.Lock()
		f := p.m.Frame(0)
		p.mu.Unlock()
		if len(f.GetUnasked()) == 0 {
			continue
		}
		u := f.Unasked[0]
		if v := u.Effects[0].GetWrite().GetValue(); int(v[0]) != try {
			t.Errorf("try %d writes %v", try, v)
		}
		if try == 2 {
			receive(&pluginv1.KernelFrame{Applied: []*pluginv1.Applied{{Id: u.Id}}})
			break
		}
		try++
		receive(&pluginv1.KernelFrame{Resets: []*pluginv1.Reset{{Key: "key", Epoch: 5}}, Applied: []*pluginv1.Applied{{Id: u.Id, Error: "somebody else has written"}}})
	}
	if err := <-done; err != nil || runs != 2 {
		t.Errorf("%d runs, %v", runs, err)
	}
}
