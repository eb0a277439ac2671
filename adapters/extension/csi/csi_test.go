package csi_test

import (
	"testing"

	"github.com/hexmpp/hexmpp/adapters/extension/csi"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/extension/extensiontest"
	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/xmlstream"
)

var all = csi.Options{Presence: true, ChatStates: true, PEP: true}

func TestSuite(t *testing.T) {
	extensiontest.Run(t, func() extension.Registration { return csi.New(all) })
}

var balcony = jid.MustParse("juliet@capulet.lit/balcony")

func harness(t testing.TB, o csi.Options) *extensiontest.Harness {
	h := extensiontest.New(t, csi.New(o), extensiontest.Options{Domains: []string{"capulet.lit"}})
	h.AddSession(extension.Session{JID: balcony, Available: true})
	return h
}

// says hands in <active/> or <inactive/>.
func says(t testing.TB, h *extensiontest.Harness, local string) {
	t.Helper()
	if fault, known := h.Element(balcony, stanza.El("urn:xmpp:csi:0", local)); fault != nil || !known {
		t.Fatalf("<%s/>: known %v, %v", local, known, fault)
	}
}

func TestFeature(t *testing.T) { // XEP-0352 4.1: after login
	reg := csi.New(csi.Options{})
	if len(reg.StreamFeatures) != 1 || reg.StreamFeatures[0].Before {
		t.Fatalf("features %+v", reg.StreamFeatures)
	}
	if got := string(reg.StreamFeatures[0].Element("capulet.lit").Append(nil, "")); got != "<csi xmlns='urn:xmpp:csi:0'/>" {
		t.Errorf("the feature is %s", got)
	}
}

func TestStates(t *testing.T) {
	const presence = `<presence from='romeo@montague.lit/orchard' to='juliet@capulet.lit'/>`
	h := harness(t, all)
	released := func() (n int) {
		for _, e := range h.Effects() {
			if e.Kind == extensiontest.Released && e.Account == balcony {
				n++
			}
		}
		return n
	}
	for _, step := range []struct {
		rule, says string
		held       bool
		released   int
	}{
		{"5 every client is active at first", "", false, 0},
		{"4.2 inactive", "inactive", true, 0},
		{"4.2 inactive, twice", "inactive", true, 0},
		{"4.2 active: what was held goes out", "active", false, 1},
		{"4.2 active, twice", "active", false, 1},
		{"4.2 inactive again", "inactive", true, 0},
		{"5.2 a resumed stream is active", "resume", false, 0},
		{"5.2 until the client says otherwise", "inactive", true, 0},
	} {
		switch step.says {
		case "":
		case "resume":
			h.Resume(balcony)
		default:
			says(t, h, step.says)
		}
		if _, held := write(t, h, presence); held != step.held {
			t.Errorf("XEP-0352 %s: held %v", step.rule, held)
		}
		if n := released(); n != step.released {
			t.Errorf("XEP-0352 %s: released %d times", step.rule, n)
		}
	}
	if fault, known := h.Element(balcony, stanza.El("urn:xmpp:csi:0", "csi")); known {
		t.Errorf("<csi/> is no element of clients: %v", fault)
	}
}

// write has a stanza go to the balcony, and returns under which key it is held.
func write(t testing.TB, h *extensiontest.Harness, xml string) (key string, held bool) {
	t.Helper()
	s, err := xmlstream.ParseStanza([]byte(xml), xmpp.NSClient, xmlstream.Limits{})
	if err != nil {
		t.Fatalf("%v: %s", err, xml)
	}
	out := h.Stage(extension.Write, extension.Envelope{Stanza: s, Account: balcony.Bare(), Session: balcony})
	if out.Stanza != s || out.Error != nil || out.Copy != nil {
		t.Errorf("%s became %+v", xml, out)
	}
	return out.Key, out.Held
}
