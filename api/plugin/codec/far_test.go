package codec

import (
	"errors"
	"testing"

	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

func toFar(to jid.JID) *stanza.Stanza {
	h := message("x").Header
	h.From, h.To = orchard, to
	return message("x").With(h)
}

// What a process is given is all of the domain, and either for one or for several.
func TestFarEventsThatAreRefused(t *testing.T) {
	for name, change := range map[string]func(m *pluginv1.Event){
		"no addressee":      func(m *pluginv1.Event) { m.GetFar().Stanza.To = "" },
		"of another domain": func(m *pluginv1.Event) { m.Key = "montague.example" },
		"one and several":   func(m *pluginv1.Event) { m.GetFar().Recipients = []string{juliet.String()} },
		"several, of different domains": func(m *pluginv1.Event) {
			m.GetFar().Stanza.To, m.GetFar().Recipients = "", []string{juliet.String(), romeo.String()}
		},
		"an addressee that is none": func(m *pluginv1.Event) { m.GetFar().Stanza.To, m.GetFar().Recipients = "", []string{""} },
		"no stanza":                 func(m *pluginv1.Event) { m.GetFar().Stanza = nil },
	} {
		e := events()["far"]
		m, err := Event(&e)
		if err != nil {
			t.Fatal(err)
		}
		change(m)
		if got, err := RemoteEvent(m, &claims); err == nil {
			t.Errorf("%s: %+v", name, got.Far)
		}
		if _, err := RemoteEvent(m, &extension.Registration{}); err == nil {
			t.Errorf("%s: far domains are not claimed", name)
		}
	}
}

// What becomes of a stanza for a far domain has no effects.
func TestFarOutcomes(t *testing.T) {
	var l Limits
	for _, err := range []error{nil, stanza.Err(stanza.RemoteServerTimeout, "it does not answer"), errors.New("secret")} {
		o, wrong := l.Outcome(across(t, Delivered(err)), extension.ToFar)
		if wrong != nil || (o.Err == nil) != (err == nil) || o.Effects != nil {
			t.Fatalf("%v became %+v, %v", err, o, wrong)
		}
		var told, was *stanza.Error
		if errors.As(err, &was) && (!errors.As(o.Err, &told) || told.Condition != was.Condition || told.Text != was.Text) {
			t.Errorf("%v became %v", err, o.Err)
		}
	}
	fx := new(Effects)
	fx.Cancel("t")
	list, err := fx.List()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Outcome(&pluginv1.Outcome{Effects: list}, extension.ToFar); err == nil {
		t.Error("effects were taken")
	}
}
