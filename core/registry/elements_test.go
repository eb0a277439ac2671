package registry_test

import (
	"context"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// What an extension asks of sessions is checked at start: names of elements are
// claimed once, and nothing is matched by that is not declared.
func TestClaimsOfSessions(t *testing.T) {
	handle := func(context.Context, *extension.Host, jid.JID, *stanza.Element) error { return nil }
	element := func(name, space, local string) extension.Registration {
		return extension.Registration{Name: name, Elements: []extension.ElementHandler{{Space: space, Local: local, Handle: handle}}}
	}
	stage := func(s extension.Stage, m extension.Match) extension.Registration {
		h := extension.StageHandler{Stage: s, Class: extension.Decide, Match: m,
			Handle: func(context.Context, *extension.Host, *extension.Envelope) (extension.Verdict, error) {
				return extension.Verdict{}, nil
			}}
		return extension.Registration{Name: "a", Permissions: []extension.Permission{extension.SeeStanzas},
			Residents: []string{"list"}, Marks: []extension.Mark{{Name: "on"}}, Stages: []extension.StageHandler{h}}
	}
	notices := func(p ...extension.Permission) extension.Registration {
		return extension.Registration{Name: "a", Permissions: p, Notices: []extension.Event{extension.BecameUnavailable},
			Notice: func(context.Context, *extension.Host, extension.Notice) error { return nil }}
	}
	deaf := notices(extension.SeePresence)
	deaf.Notice = nil
	for _, row := range []struct {
		rule string
		regs []extension.Registration
		want string // part of the error, "" for none
	}{
		{"elements of two names", []extension.Registration{element("a", "urn:x", "e"), element("b", "urn:x", "f"), element("c", "urn:y", "e")}, ""},
		{"one element twice", []extension.Registration{element("a", "urn:x", "e"), element("b", "urn:x", "e")}, "a and b both claim the element <e xmlns='urn:x'/>"},
		{"an element without a namespace", []extension.Registration{element("a", "", "e")}, "a: an element handler needs a name and a function"},
		{"an element without a name", []extension.Registration{element("a", "urn:x", "")}, "a: an element handler needs a name and a function"},
		{"an element without a function", []extension.Registration{{Name: "a", Elements: []extension.ElementHandler{{Space: "urn:x", Local: "e"}}}}, "a: an element handler needs a name and a function"},
		{"no stage", []extension.Registration{stage(0, extension.Match{})}, "a: there is no stage 0 for a handler"},
		{"a stage behind the last", []extension.Registration{stage(extension.Write+1, extension.Match{})}, "there is no stage"},
		{"a resident", []extension.Registration{stage(extension.Deliver, extension.Match{Resident: "list"})}, ""},
		{"a resident that is not declared", []extension.Registration{stage(extension.Deliver, extension.Match{Resident: "other"})}, `asks for "other", which is not among its Residents`},
		{"a resident in Write", []extension.Registration{stage(extension.Write, extension.Match{Resident: "list"})}, "a session's output can't wait"},
		{"a mark", []extension.Registration{stage(extension.Write, extension.Match{Mark: "on"})}, ""},
		{"a mark that is not declared", []extension.Registration{stage(extension.Deliver, extension.Match{Mark: "off"})}, `asks for "off", which is not among its Marks`},
		{"notices", []extension.Registration{notices(extension.SeePresence)}, ""},
		{"notices without the permission", []extension.Registration{notices()}, `does not ask for the permission "see-presence"`},
		{"notices without a function", []extension.Registration{deaf}, "has no Notice handler"},
	} {
		_, err := newRegistry(t, row.regs...)
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%s: %v, want %q", row.rule, err, row.want)
		}
	}
	r, err := newRegistry(t, element("a", "urn:x", "e"))
	if err != nil {
		t.Fatal(err)
	}
	if e, ok := r.Element("urn:x", "e"); !ok || e.Guest.Reg.Name != "a" || e.Handler.Local != "e" {
		t.Error(e, ok)
	}
	for _, name := range [][2]string{{"urn:x", "f"}, {"urn:y", "e"}, {"", "e"}} {
		if _, ok := r.Element(name[0], name[1]); ok {
			t.Errorf("<%s xmlns='%s'/> has a handler", name[1], name[0])
		}
	}
}
