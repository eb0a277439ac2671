package mam_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/adapters/extension/mam"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/extension/extensiontest"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

const toJuliet = `to='juliet@example.org/chamber'`

func ask(typ, payload string) string { return `<iq type='` + typ + `' id='1'>` + payload + `</iq>` }

func prefsXML(preset, always, never string) string {
	list := func(name, jids string) string {
		xml := "<" + name + ">"
		for _, j := range strings.Fields(jids) {
			xml += "<jid>" + j + "</jid>"
		}
		return xml + "</" + name + ">"
	}
	return "<prefs xmlns='urn:xmpp:mam:2' default='" + preset + "'>" + list("always", always) + list("never", never) + "</prefs>"
}

func result(payload string) string {
	return `<iq type='result' id='1' ` + toJuliet + `>` + payload + `</iq>`
}

// refusal is an error without its text.
func refusal(typ, condition string) string {
	return fmt.Sprintf(`<iq type='error' id='1' %s><error type='%s'><%s xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>`, toJuliet, typ, condition)
}

const getPrefs = "<prefs xmlns='urn:xmpp:mam:2'/>"

func TestPreferences(t *testing.T) {
	many := strings.TrimSpace(strings.Repeat("a.example ", 1000)) + " b.example"
	for _, c := range []struct{ name, set, answer, then string }{
		{"XEP-0441 2.1 examples 1 and 2: at first", "", "", prefsXML("always", "", "")},
		{"XEP-0441 2.1 examples 4 and 5", prefsXML("roster", "romeo@montague.lit", "montague@montague.lit"), result(prefsXML("roster", "romeo@montague.lit", "montague@montague.lit")), prefsXML("roster", "romeo@montague.lit", "montague@montague.lit")},
		{"XEP-0441 2.1.1 never", prefsXML("never", "", ""), result(prefsXML("never", "", "")), prefsXML("never", "", "")},
		{"XEP-0441 2.1.2, 2.1.3 lists that are missing are empty", "<prefs xmlns='urn:xmpp:mam:2' default='never'/>", result(prefsXML("never", "", "")), prefsXML("never", "", "")},
		{"addresses are prepared, and there once", prefsXML("always", "B@b.EXAMPLE/r a.example a.example", ""), result(prefsXML("always", "a.example b@b.example/r", "")), prefsXML("always", "a.example b@b.example/r", "")},
		{"XEP-0441 2.1.1 no default", "<prefs xmlns='urn:xmpp:mam:2'/>", refusal("modify", "bad-request"), prefsXML("always", "", "")},
		{"XEP-0441 2.1.1 another default", prefsXML("sometimes", "", ""), refusal("modify", "bad-request"), prefsXML("always", "", "")},
		{"XEP-0441 2.1.2 no address", prefsXML("always", "a@b@c", ""), refusal("modify", "jid-malformed"), prefsXML("always", "", "")},
		{"too many", prefsXML("always", many, ""), refusal("wait", "resource-constraint"), prefsXML("always", "", "")},
		{"too long", prefsXML("always", "", strings.Repeat("a@a.example/"+strings.Repeat("r", 1000)+"@ ", 70)), refusal("wait", "resource-constraint"), prefsXML("always", "", "")},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := harness(t, mam.Options{})
			if c.set != "" {
				extensiontest.Expect(t, h.IQ(juliet, extensiontest.Parse(t, ask("set", c.set))), c.answer)
			}
			extensiontest.Expect(t, h.IQ(juliet, extensiontest.Parse(t, ask("get", getPrefs))), result(c.then))
		})
	}
}

// Nothing is stored of an account that has what everybody has.
func TestPreferencesAreForgotten(t *testing.T) {
	h := harness(t, mam.Options{})
	for _, c := range []struct {
		set     string
		entries [2]bool
	}{
		{prefsXML("roster", "", ""), [2]bool{true, true}}, {prefsXML("always", "a.example", ""), [2]bool{true, false}},
		{prefsXML("roster", "", ""), [2]bool{true, true}}, {prefsXML("always", "", ""), [2]bool{false, false}},
	} {
		h.IQ(juliet, extensiontest.Parse(t, ask("set", c.set)))
		_, prefs := h.Entry(owner, "prefs")
		_, roster := h.Entry(owner, "roster")
		if [2]bool{prefs, roster} != c.entries {
			t.Errorf("%s: %v, %v", c.set, prefs, roster)
		}
	}
}

func TestPreferencesDecide(t *testing.T) {
	const nurse, friend = "nurse@far.example/house", "friend@far.example/x"
	for _, c := range []struct {
		name, preset, always, never string
		with                        string
		want                        bool
	}{
		{"XEP-0441 2.1.1 always", "always", "", "", nurse, true},
		{"XEP-0441 2.1.1 never", "never", "", "", nurse, false},
		{"XEP-0441 2.1.1 roster, who is in it", "roster", "", "", friend, true},
		{"XEP-0441 2.1.1 roster, who is not", "roster", "", "", nurse, false},
		{"XEP-0441 2.1.1 roster, the account itself", "roster", "", "", "juliet@example.org/balcony", true},
		{"XEP-0441 2.1.2 in the list", "never", "nurse@far.example", "", nurse, true},
		{"XEP-0441 2.1.2 in the list, against the roster", "roster", "nurse@far.example", "", nurse, true},
		{"XEP-0441 2.1.3 in the list", "always", "", "nurse@far.example", nurse, false},
		{"XEP-0441 2.1.3 in the list, against the roster", "roster", "", "friend@far.example", friend, false},
		{"XEP-0441 2.3.1 a resource, as it is", "always", "", nurse, nurse, false},
		{"XEP-0441 2.3.1 another resource", "always", "", "nurse@far.example/kitchen", nurse, true},
		{"XEP-0441 2.3.1 a resource is not the bare one", "always", "", nurse, "nurse@far.example", true},
		{"XEP-0441 2.3.1 the domain is not the account", "always", "", "far.example", nurse, true},
		{"XEP-0441 2.3.1 the domain itself", "always", "", "far.example", "far.example", false},
		{"in both lists", "always", "nurse@far.example", "nurse@far.example", nurse, false},
		{"in both lists, one of them by the resource", "always", nurse, "nurse@far.example", nurse, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := harness(t, mam.Options{})
			h.List(owner.String(), "friend@far.example")
			h.IQ(juliet, extensiontest.Parse(t, ask("set", prefsXML(c.preset, c.always, c.never))))
			// 2.3.2, 2.3.3: by to of what is sent, by from of what comes
			if jid.MustParse(c.with).Bare() != owner {
				h.Stage(extension.Submit, extension.Envelope{Stanza: message("", c.with, "chat", body), Origin: juliet})
				if n := len(h.Rows(owner)); (n == 1) != c.want {
					t.Errorf("sent: %d rows", n)
				}
			}
			before := len(h.Rows(owner))
			out := h.Stage(extension.Deliver, extension.Envelope{Stanza: message(c.with, owner.String(), "chat", body), Account: owner})
			if n := len(h.Rows(owner)) - before; (n == 1) != c.want || (len(ids(out.Stanza, owner)) == 1) != c.want {
				t.Errorf("came: %d rows, %s", n, out.Stanza)
			}
		})
	}
}

// An account's preferences and messages are nobody else's, whether or not it is there.
func TestOthers(t *testing.T) {
	h := harness(t, mam.Options{})
	for _, to := range []string{"juliet@example.org", "nobody@example.org"} {
		for _, q := range []string{
			ask("get", getPrefs), ask("set", prefsXML("never", "", "")), ask("set", "<query xmlns='urn:xmpp:mam:2'/>"), ask("get", "<query xmlns='urn:xmpp:mam:2'/>"), ask("get", "<metadata xmlns='urn:xmpp:mam:2'/>"),
		} {
			answer := h.IQ(romeo, extensiontest.Parse(t, strings.Replace(q, " id=", " to='"+to+"' id=", 1)))
			if stanza.ParseError(answer).Condition != stanza.Forbidden {
				t.Errorf("XEP-0313 8.1: %s", answer)
			}
		}
	}
	extensiontest.Expect(t, h.IQ(juliet, extensiontest.Parse(t, ask("get", getPrefs))), result(prefsXML("always", "", "")))
}

// Whatever is stored is read without a panic.
func FuzzPreferences(f *testing.F) {
	f.Add("always\n+a.example\n-b@b.example/c\n", "b@b.example/c")
	f.Add("roster\n", "a.example")
	f.Add("\n\n-\n+", "a.example")
	f.Add("x", "a.example")
	f.Fuzz(func(t *testing.T, stored, with string) {
		j, err := jid.Parse(with)
		if err != nil {
			return
		}
		h := harness(t, mam.Options{})
		h.Put(owner, "prefs", []byte(stored))
		h.Put(owner, "roster", nil)
		h.Stage(extension.Deliver, extension.Envelope{Stanza: stanza.New(stanza.Header{Kind: stanza.Message, Type: "chat", From: j, To: owner}, stanza.El("", "body")), Account: owner})
		never := false
		for i, line := range strings.Split(stored, "\n") {
			never = never || i > 0 && (line == "-"+j.String() || line == "-"+j.Bare().String())
		}
		if never && len(h.Rows(owner)) > 0 {
			t.Errorf("kept with %s: %q", j, stored)
		}
		h.IQ(juliet, extensiontest.Parse(t, ask("get", getPrefs)))
	})
}
