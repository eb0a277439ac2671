package extensiontest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/extension/extensiontest"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// What a handler puts is seen by itself at once, and by others when it has returned nil.
func TestMemory(t *testing.T) {
	var script func(ctx context.Context, host *extension.Host) error
	h := extensiontest.New(t, demo(func(ctx context.Context, host *extension.Host, _ extension.IQ) (*stanza.Element, error) {
		return nil, script(ctx, host)
	}), extensiontest.Options{})
	keys := func(ctx context.Context, host *extension.Host) string {
		list, err := host.Memory.Scan(ctx, "k", "k0", 2)
		if err != nil {
			t.Error(err)
		}
		var got []string
		for _, e := range list {
			got = append(got, fmt.Sprintf("%s=%s@%d", e.Key, e.Value, e.Revision))
		}
		return strings.Join(got, " ")
	}
	fails := stanza.Err(stanza.Forbidden, "")
	steps := []struct {
		do         func(host *extension.Host) error
		seen, left string // by the handler, and by the next one
	}{
		{func(host *extension.Host) error {
			return errors.Join(host.Memory.Put("k1", []byte("1")), host.Memory.Put("k0", nil), host.Memory.Put("k3", []byte("3")), host.Memory.Put("x", nil))
		}, "k1=1@0 k3=3@0", "k1=1@1 k3=3@1"},
		{func(host *extension.Host) error {
			host.Memory.Delete("k1")
			return errors.Join(host.Memory.Put("k2", []byte("2")), fails)
		}, "k2=2@0 k3=3@1", "k1=1@1 k3=3@1"},
		{func(host *extension.Host) error {
			host.Memory.Delete("k1")
			return host.Memory.Put("k2", []byte("2"))
		}, "k2=2@0 k3=3@1", "k2=2@2 k3=3@1"},
		{func(host *extension.Host) error {
			if err := host.Memory.Put("", nil); !errors.Is(err, extension.ErrBound) {
				t.Error(err)
			}
			if err := host.Memory.Put("k", make([]byte, 1<<20+1)); !errors.Is(err, extension.ErrBound) {
				t.Error(err)
			}
			return nil
		}, "k2=2@2 k3=3@1", "k2=2@2 k3=3@1"},
	}
	for i, s := range steps {
		script = func(ctx context.Context, host *extension.Host) error {
			err := s.do(host)
			if seen := keys(ctx, host); seen != s.seen {
				t.Errorf("step %d sees %q, want %q", i, seen, s.seen)
			}
			return err
		}
		do(t, h)
		script = func(ctx context.Context, host *extension.Host) error {
			if left := keys(ctx, host); left != s.left {
				t.Errorf("step %d leaves %q, want %q", i, left, s.left)
			}
			return nil
		}
		do(t, h)
	}
	if e := h.Memory()["k2"]; string(e.Value) != "2" {
		t.Error(e)
	}
}

// A cast goes to those who are members when it is made.
func TestGroups(t *testing.T) {
	room := jid.MustParse("example.org")
	var script func(ctx context.Context, host *extension.Host) error
	h := extensiontest.New(t, demo(func(ctx context.Context, host *extension.Host, _ extension.IQ) (*stanza.Element, error) {
		return nil, script(ctx, host)
	}), extensiontest.Options{})
	said := func(id string) *stanza.Stanza {
		return stanza.New(stanza.Header{Kind: stanza.Message, ID: id, From: room})
	}
	a, b := jid.MustParse("a@example.org/x"), jid.MustParse("b@example.org")
	script = func(ctx context.Context, host *extension.Host) error {
		x := host.Groups
		err := errors.Join(x.Join("room", extension.Member{JID: a, Classes: []string{"moderator"}}), x.Send("room", extension.Cast{Stanza: said("1")}),
			x.Join("room", extension.Member{JID: b}),
			x.Send("room", extension.Cast{Stanza: said("2"), Variants: []extension.Variant{{Class: "moderator", Stanza: said("3")}}}),
			x.Send("room", extension.Cast{Stanza: said("4"), Except: []jid.JID{a}}), x.Send("room", extension.Cast{Stanza: said("5"), Only: "moderator"}))
		if list, e := x.Members(ctx, "room", a, 10); e != nil || len(list) != 1 || list[0].JID != b {
			t.Error(list, e)
		}
		x.Leave("room", a)
		if n, e := x.Size(ctx, "room"); e != nil || n != 1 {
			t.Error(n, e)
		}
		for _, from := range []string{"other.example", "a@other.example", "a@example.org/x"} {
			if e := x.Join("room", extension.Member{JID: a, From: jid.MustParse(from)}); !errors.Is(e, extension.ErrPermission) {
				t.Error(e)
			}
			if e := x.Send("room", extension.Cast{Stanza: stanza.New(stanza.Header{Kind: stanza.Message, From: jid.MustParse(from)})}); !errors.Is(e, extension.ErrPermission) {
				t.Error(e)
			}
		}
		account := extension.Cast{Stanza: stanza.New(stanza.Header{Kind: stanza.Message, ID: "6", From: jid.MustParse("a@example.org")})}
		err = errors.Join(err, x.Send("room", account))
		account.Stanza = stanza.New(account.Stanza.Header, stanza.El("urn:xmpp:carbons:2", "sent"))
		if e := x.Send("room", account); !errors.Is(e, extension.ErrPermission) {
			t.Error("a carbon:", e)
		}
		return err
	}
	if do(t, h); len(h.Errors()) > 0 {
		t.Error(h.Errors())
	}
	var got []string
	for _, e := range h.Effects() {
		if e.Kind == extensiontest.Cast {
			got = append(got, e.Group+" "+e.Stanza.ID+" "+e.Stanza.To.Local())
		}
	}
	if want := []string{"room 1 a", "room 3 a", "room 2 b", "room 4 b", "room 5 a", "room 6 b"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if list := h.Members("room"); len(list) != 1 || list[0].JID != b {
		t.Error(list)
	}
	script = func(_ context.Context, host *extension.Host) error {
		host.Groups.Remove("room")
		return stanza.Err(stanza.Forbidden, "")
	}
	do(t, h)
	if len(h.Members("room")) != 1 {
		t.Error("a handler that failed has changed a group")
	}
}
