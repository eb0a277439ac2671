//go:build unix

package pluginhost

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	registry "github.com/hexmpp/hexmpp/adapters/cluster/memory"
	store "github.com/hexmpp/hexmpp/adapters/storage/memory"
	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/core/offline"
	"github.com/hexmpp/hexmpp/ports/admin"
	"github.com/hexmpp/hexmpp/ports/auth"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// nobody has accounts.
type nobody struct{ auth.Accounts }

func (nobody) SCRAM(context.Context, jid.JID, auth.Hash) (auth.Keys, error) {
	return auth.Keys{}, auth.ErrDenied
}
func (nobody) VerifyPassword(context.Context, jid.JID, string) error { return auth.ErrDenied }

// newKernel makes a kernel of the plugin and another extension.
func newKernel(r *rig, other extension.Registration) (*core.Kernel, error) {
	return core.New(core.Options{Domains: []string{"a.test", "b.test"}, Offline: offline.Options{Messages: -1}}, core.Ports{
		Credentials: nobody{}, Verifier: nobody{}, Accounts: nobody{}, Store: store.New(), Sessions: registry.New(), Log: zap.New(r.core),
		Extensions: append([]extension.Registration{other}, r.regs...),
	})
}

// TestConflicts: the kernel refuses what two claim, and names both.
func TestConflicts(t *testing.T) {
	for name, c := range map[string]struct {
		words, other string
		want         []string
	}{
		"a hosted domain":                {"domain=b.test", "x.a.test", []string{"raw", "b.test"}},
		"the domain of another":          {"domain=x.$domain", "x.a.test", []string{"raw", "other", "x.a.test"}},
		"stages that no process can see": {"wants=see-stanzas writes", "x.a.test", []string{"raw", "can't run in a process of its own"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, c.words)
			if err := r.prepare(); err != nil {
				t.Fatal(err)
			}
			_, err := newKernel(r, extension.Registration{Name: "other", Components: []extension.Component{{Domain: c.other,
				Handle: func(context.Context, *extension.Host, *extension.Envelope) error { return nil }}}})
			for _, want := range c.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("error %v, want %s", err, want)
				}
			}
		})
	}
}

// TestThroughTheKernel: another extension of a real kernel and the plugin send each other
// messages, while its processes are killed and reloaded. None is lost, doubled or late.
func TestThroughTheKernel(t *testing.T) {
	r := newRig(t, "")
	r.times.steady = time.Nanosecond
	if err := r.prepare(); err != nil {
		t.Fatal(err)
	}
	const last = 600
	us, them := jid.MustParse("us.a.test"), jid.MustParse("raw.a.test")
	message := func(n int) *stanza.Stanza {
		return stanza.Raw(stanza.Header{Kind: stanza.Message, Type: "chat", ID: fmt.Sprint("m", n), From: us, To: them}, "", fmt.Sprintf("<body>%d</body>", n), nil)
	}
	got := make(chan int, last+100)
	other := extension.Registration{
		Name: "other",
		Components: []extension.Component{{Domain: "us.a.test", Handle: func(_ context.Context, h *extension.Host, e *extension.Envelope) error {
			n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(e.Stanza.Content(), "<body>"), "</body>"))
			if err != nil {
				t.Errorf("%s", e.Stanza.Content())
			}
			got <- n
			if n == last {
				return nil
			}
			return h.Stanzas.Send(message(n + 1))
		}}},
		// In front of the plugin's own start: it waits.
		Start: func(_ context.Context, h *extension.Host) error { return h.Stanzas.Send(message(0)) },
	}
	k, err := newKernel(r, other)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for want := range last + 1 {
		select {
		case n := <-got:
			if n != want {
				t.Fatalf("%d came where %d should", n, want)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%d never came", want)
		}
		switch {
		case want%200 == 100:
			if err := syscall.Kill(r.info().PID, syscall.SIGKILL); err != nil {
				t.Error(err)
			}
		case want%200 == 199:
			if err := r.host.ReloadPlugin(t.Context(), "raw"); err != nil {
				t.Error(err)
			}
		}
	}
	// Messages run ahead of this loop. A process that is killed while another one is on its way
	// for a reload has that one for its successor.
	if i := r.info(); i.State != admin.PluginReady || i.Restarts != 3 || i.Generation < 4 || i.Generation > 7 {
		t.Errorf("%+v", i)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := k.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if i := r.info(); i.State != admin.PluginDisabled {
		t.Errorf("%+v", i)
	}
	if len(got) > 0 {
		t.Error("more came")
	}
}

// TestNeverWaits: a plugin that sends to itself, at a bound of one event, holds up nobody.
func TestNeverWaits(t *testing.T) {
	r := newRig(t, "")
	r.conf.Limits.Queue, r.conf.Limits.InFlight = 1, 1
	if err := r.prepare(); err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 10)
	asks := []string{"loop 100", "flood-itself", "hello"}
	ask := func(h *extension.Host, text string) error {
		return h.Stanzas.Send(stanza.Raw(stanza.Header{Kind: stanza.Message, Type: "chat", ID: "m", From: jid.MustParse("us.a.test"), To: jid.MustParse("raw.a.test")}, "", "<body>"+text+"</body>", nil))
	}
	k, err := newKernel(r, extension.Registration{
		Name: "other",
		Components: []extension.Component{{Domain: "us.a.test", Handle: func(_ context.Context, h *extension.Host, e *extension.Envelope) error {
			if e.Stanza.Type == "error" { // what floods itself has no room for us either
				return ask(h, "hello")
			}
			got <- strings.TrimSuffix(strings.TrimPrefix(e.Stanza.Content(), "<body>"), "</body>")
			if n := len(asks); n > 1 {
				asks = asks[1:]
				return ask(h, asks[0])
			}
			return nil
		}}},
		Start: func(_ context.Context, h *extension.Host) error { return ask(h, asks[0]) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"looped", "flooded", "hello"} {
		select {
		case text := <-got:
			if text != want {
				t.Errorf("%q, want %q", text, want)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%q never came", want)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := k.Shutdown(ctx); err != nil {
		t.Error(err)
	}
}
