package core_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// The rules themselves are tested in core/forgery; here, that all ways into the
// server keep them.
func TestForgedAssertions(t *testing.T) {
	const forged = "<stanza-id xmlns='urn:xmpp:sid:0' id='1' by='juliet@example.test'/><delay xmlns='urn:xmpp:delay' from='rooms.example.test' stamp='2026-01-01T00:00:00Z'/><privilege xmlns='urn:xmpp:privilege:2'/>"
	w := newWorld(t, with(extension.Registration{Name: "rooms", Components: []extension.Component{{Domain: "rooms.$domain"}}}))
	juliet := w.login("juliet@example.test/y", "<presence/>")
	romeo := w.login("romeo@example.test/x", "")
	for rule, row := range map[string][2]string{
		"message": {"<message to='juliet@example.test' id='m'>" + forged + "<body>hi</body>" + forged + "</message>",
			"<message from='romeo@example.test/x' to='juliet@example.test' id='m'><body>hi</body></message>"},
		"directed presence": {"<presence to='juliet@example.test/y'>" + forged + "</presence>",
			"<presence from='romeo@example.test/x' to='juliet@example.test/y'/>"},
		"RFC 6121 3.1.2, XEP-0280 11: a subscription request is from the bare JID": {"<presence type='subscribe' id='s' from='romeo@example.test/x' to='juliet@example.test/y'><sent xmlns='urn:xmpp:carbons:2'/><status>please</status></presence>",
			"<presence from='romeo@example.test' to='juliet@example.test' id='s' type='subscribe'><status>please</status></presence>"},
		"RFC 6120 8.1.2.1, XEP-0280 11: a carbon of one's own, from the bare JID": {"<message from='romeo@example.test' to='juliet@example.test/y'><received xmlns='urn:xmpp:carbons:2'/></message>",
			"<message from='romeo@example.test/x' to='juliet@example.test/y'><received xmlns='urn:xmpp:carbons:2'/></message>"},
		"XEP-0280 9: private stays": {"<message to='juliet@example.test/y'><private xmlns='urn:xmpp:carbons:2'/></message>",
			"<message from='romeo@example.test/x' to='juliet@example.test/y'><private xmlns='urn:xmpp:carbons:2'/></message>"},
		"result": {"<iq type='result' id='r' to='juliet@example.test/y'><delegation xmlns='urn:xmpp:delegation:2'/></iq>",
			"<iq from='romeo@example.test/x' to='juliet@example.test/y' id='r' type='result'/>"},
	} {
		romeo.send(row[0])
		if got := juliet.take(); got != row[1] {
			t.Errorf("%s: got\n%s\nwant\n%s", rule, got, row[1])
		}
	}
	romeo.take()
	romeo.send("<iq type='set' id='q' to='juliet@example.test/y'><delegation xmlns='urn:xmpp:delegation:2'/></iq>").wantPart("<bad-request ") // RFC 6120 8.2.3: nothing is left of it
	juliet.want("")
	// To oneself: a copy is the server's, with the bare JID.
	romeo.send("<message to='romeo@example.test/x' from='romeo@example.test'><sent xmlns='urn:xmpp:carbons:2'/></message>")
	romeo.want("<message from='romeo@example.test/x' to='romeo@example.test/x'><sent xmlns='urn:xmpp:carbons:2'/></message>")
	romeo.send("<presence/>").take()
	romeo.send("<message from='romeo@example.test'><sent xmlns='urn:xmpp:carbons:2'/></message>")
	romeo.want("<message from='romeo@example.test/x' to='romeo@example.test'><sent xmlns='urn:xmpp:carbons:2'/></message>")
}

// XEP-0280 11: no extension but carbons makes a copy, neither by sending, nor by
// what it makes of others' stanzas, nor as an answer.
func TestCarbonsAreMadeByCarbonsAlone(t *testing.T) {
	copied := stanza.El("urn:xmpp:carbons:2", "received").Add(stanza.El("urn:xmpp:forward:0", "forwarded"))
	self := jid.MustParse("romeo@example.test/x")
	for _, name := range []string{"test", "carbons"} {
		var sent, asked error
		reg := answering(false, func(_ context.Context, h *extension.Host, q extension.IQ) (*stanza.Element, error) {
			carbon := stanza.New(stanza.Header{Kind: stanza.Message, From: self.Bare(), To: self}, copied)
			ask := stanza.New(stanza.Header{Kind: stanza.IQ, Type: stanza.Set, From: self.Bare(), To: self}, copied)
			sent, asked = h.Stanzas.Send(carbon), h.Stanzas.Request(ask, 1e9, nil)
			return copied, nil
		})
		reg.Name = name
		reg.Permissions = []extension.Permission{extension.SeeStanzas}
		reg.Reply = func(context.Context, *extension.Host, extension.Reply) error { return nil }
		reg.Stages = []extension.StageHandler{{Stage: extension.Write, Class: extension.Decide, Match: extension.Match{Child: &extension.Name{Space: "urn:y"}},
			Handle: func(context.Context, *extension.Host, *extension.Envelope) (extension.Verdict, error) {
				return extension.Verdict{Action: extension.Patch, Append: []*stanza.Element{copied}}, nil
			}}}
		// Another sends from the bare JID what it may; reg would make a copy of it.
		w := newWorld(t, with(reg, extension.Registration{Name: "other", IQ: []extension.IQHandler{{Space: "urn:z", Local: "q", To: extension.ToOwnAccount,
			Handle: func(_ context.Context, h *extension.Host, q extension.IQ) (*stanza.Element, error) {
				return nil, h.Stanzas.Send(stanza.New(stanza.Header{Kind: stanza.Message, From: self.Bare(), To: self}, stanza.El("urn:y", "y")))
			}}}}))
		romeo := w.login(self.String(), "")
		romeo.send("<iq type='get' id='1'><q xmlns='urn:x'/></iq>")
		answer := romeo.take()
		romeo.send("<iq type='get' id='2'><q xmlns='urn:z'/></iq>")
		patched := romeo.take()
		if name == "carbons" {
			if sent != nil || asked != nil || strings.Count(answer, "<received ") != 3 || strings.Count(patched, "<received ") != 1 {
				t.Errorf("carbons: %v, %v\n%s\n%s", sent, asked, answer, patched)
			}
			continue
		}
		if !errors.Is(sent, extension.ErrPermission) || !errors.Is(asked, extension.ErrPermission) || strings.Contains(answer, "<received ") || !strings.Contains(answer, "internal-server-error") || strings.Contains(patched, "<received ") {
			t.Errorf("another extension: %v, %v\n%s\n%s", sent, asked, answer, patched)
		}
	}
}

// A stamp of the sender's own does not stand for the server's (XEP-0203 5).
func TestStampBesideTheSenders(t *testing.T) {
	const own = "<delay xmlns='urn:xmpp:delay' stamp='2001-01-01T00:00:00Z'/>"
	for _, stamp := range []string{own, strings.Replace(own, " stamp", " from='romeo@example.test' stamp", 1)} {
		w := newWorld(t, nil)
		romeo := w.login("romeo@example.test/x", "")
		gone := w.login("juliet@example.test/gone", "")
		gone.manage()
		juliet := w.login("juliet@example.test/here", "<presence/>")
		romeo.send("<message to='juliet@example.test/gone' type='chat'>" + stamp + "<body>hi</body></message>")
		gone.send("</stream:stream>")
		out := juliet.take()
		if !strings.Contains(out, stamp+"<body>hi</body><delay xmlns='urn:xmpp:delay' from='example.test' stamp='2") {
			t.Errorf("%s: %s", stamp, out)
		}
	}
}
