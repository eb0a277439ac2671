package announce_test

import (
	"testing"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/extension/adhoc"
	"github.com/hexmpp/hexmpp/ports/extension/extensiontest"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// appears makes a session available, which the service is told of.
func appears(h *extensiontest.Harness, session jid.JID) {
	h.AddSession(extension.Session{JID: session, Available: true})
	h.Notice(extension.Notice{Event: extension.BecameAvailable, Session: session, At: h.Now(), Presence: stanza.New(stanza.Header{Kind: stanza.Presence, From: session})})
}

// XEP-0133 4.24 to 4.26, by commands and by messages.
func TestMessageOfTheDay(t *testing.T) {
	type way struct {
		set, edit, remove func(h *extensiontest.Harness, text string)
	}
	for name, by := range map[string]way{
		"commands": {
			func(h *extensiontest.Harness, text string) { completed(t, fill(t, h, "set-motd", "motd", text)) },
			func(h *extensiontest.Harness, text string) { completed(t, fill(t, h, "edit-motd", "motd", text)) },
			func(h *extensiontest.Harness, _ string) {
				completed(t, run(t, h, bard, "node='"+admin+"#delete-motd'", ""))
			},
		},
		"messages": {
			func(h *extensiontest.Harness, text string) {
				say(t, h, bard, "announce.example.org/motd", "<body>"+text+"</body>")
			},
			func(h *extensiontest.Harness, text string) {
				say(t, h, bard, "announce.example.org/motd/update", "<body>"+text+"</body>")
			},
			func(h *extensiontest.Harness, text string) {
				say(t, h, bard, "announce.example.org/motd/delete", "<body>"+text+"</body>")
			},
		},
	} {
		h := harness(t, all)
		user(h, "romeo@example.org/a")
		juliet, nurse := user(h, "juliet@example.org").Bare(), user(h, "nurse@example.org").Bare()
		tybalt := user(h, "tybalt@example.net/t")
		session := func(j jid.JID, r string) jid.JID { return jid.MustParse(j.String() + "/" + r) }

		by.set(h, "first")
		expect(t, name+": who is online gets it at once", heard(h), "romeo@example.org normal first")
		appears(h, session(juliet, "1"))
		expect(t, name+": others when they come", heard(h), "juliet@example.org normal first")
		appears(h, session(juliet, "2"))
		appears(h, jid.MustParse("romeo@example.org/b"))
		appears(h, session(tybalt.Bare(), "2"))
		expect(t, name+": once, and in its domain only", heard(h))

		by.edit(h, "corrected")
		expect(t, name+": an edited one is not given again", heard(h))
		appears(h, jid.MustParse("romeo@example.org/c"))
		appears(h, session(nurse, "1"))
		expect(t, name+": but to those who had none", heard(h), "nurse@example.org normal corrected")

		by.set(h, "second")
		expect(t, name+": another one is", heard(h), "juliet@example.org normal second", "nurse@example.org normal second", "romeo@example.org normal second")

		by.remove(h, "x")
		late := user(h, "paris@example.org")
		appears(h, session(late.Bare(), "p"))
		expect(t, name+": until it is deleted", heard(h))
		by.remove(h, "x")
		by.edit(h, "third")
		expect(t, name+": edited, though there is none", heard(h))
		appears(h, session(late.Bare(), "q"))
		expect(t, name+": it is set", heard(h), "paris@example.org normal third")
	}
}

// XEP-0133 4.25: the form has what there is.
func TestEditFormHasTheText(t *testing.T) {
	h := harness(t, all)
	values := func() (out []string) {
		x := run(t, h, bard, "node='"+admin+"#edit-motd'", "").Find(adhoc.NS, "command").Child("jabber:x:data", "x")
		for _, f := range x.Elements() {
			if f.Attr("var") == "motd" {
				for _, v := range f.Elements() {
					if v.Local == "value" {
						out = append(out, v.Text())
					}
				}
			}
		}
		return out
	}
	expect(t, "none", values())
	completed(t, fill(t, h, "set-motd", "motd", "a", "", "b"))
	expect(t, "its lines", values(), "a", "", "b")
	h.Put(service, "motd/example.org", []byte("?"))
	expect(t, "what can't be read", values())
	heard(h)
}

// A message of the day that another one has replaced, or that was deleted, goes to
// nobody any more; and who comes while it is given to all has it once.
func TestMessageOfTheDayRaces(t *testing.T) {
	h := harness(t, all)
	romeo := user(h, "romeo@example.org/a")
	completed(t, fill(t, h, "set-motd", "motd", "first"))
	completed(t, fill(t, h, "set-motd", "motd", "second"))
	expect(t, "replaced", heard(h), "romeo@example.org normal second")
	completed(t, fill(t, h, "set-motd", "motd", "third"))
	completed(t, run(t, h, bard, "node='"+admin+"#delete-motd'", ""))
	expect(t, "deleted", heard(h))
	completed(t, fill(t, h, "set-motd", "motd", "fourth"))
	h.BeforeCommit(func() {
		h.Notice(extension.Notice{Event: extension.BecameAvailable, Session: romeo, At: h.Now()})
	})
	expect(t, "both at once", heard(h), "romeo@example.org normal fourth")
	if err := h.Accounts.Remove(t.Context(), romeo.Bare()); err != nil {
		t.Error(err)
	}
	h.Notice(extension.Notice{Event: extension.BecameAvailable, Session: romeo, At: h.Now()})
	expect(t, "an account that has just been removed", heard(h))
}

// Without the option nobody is given what an earlier configuration left.
func TestMessageOfTheDayIsOff(t *testing.T) {
	h := harness(t, `{"admins": ["bard@example.org"]}`)
	h.Put(service, "motd/example.org", encode(t, map[string]any{"id": "1", "from": "announce.example.org", "body": "old"}))
	romeo := user(h, "romeo@example.org")
	appears(h, jid.MustParse(romeo.String()+"/r"))
	expect(t, "off", heard(h))
	if got := say(t, h, bard, "announce.example.org/motd", "<body>x</body>"); got == nil || stanza.ParseError(got).Condition != stanza.ItemNotFound {
		t.Errorf("%v", got)
	}
}
