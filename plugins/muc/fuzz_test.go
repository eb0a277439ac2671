package muc_test

import (
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/plugins/muc"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/extension/extensiontest"
	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/xmlstream"
)

// FuzzStanzas: whatever somebody sends to a room, to an occupant, or to the service: each request has one
// answer, nothing fails but by a stanza error, and what goes out is well-formed; and the room that is known by
// heart is that which is kept.
func FuzzStanzas(f *testing.F) {
	for _, s := range []string{
		"<presence to='" + coven + "/x'><x xmlns='http://jabber.org/protocol/muc'><password>p</password><history maxchars='9' since='x'/></x></presence>",
		"<presence to='" + coven + "' type='unavailable'/>", "<presence type='error' to='" + coven + "/firstwitch'><error/></presence>",
		say("b"), user(invite("a@b") + "<decline to='x'/>"), voice("role", "participant", "request_allow", "1", "roomnick", "thirdwitch"),
		admin("set", role("thirdwitch", "none")+affiliation("a@b", "member")), admin("get", "<item affiliation='owner'/>"),
		submit("whois", "anyone", "maxusers", "5", "slow_mode_duration", "1"), owner("set", "<destroy jid='a@b'><password/></destroy>"), owner("set", instant),
		register("set", nickForm("n")), archiveQuery("<set xmlns='http://jabber.org/protocol/rsm'><max>1</max></set>"), moderate("x", "<reason>r</reason>"),
		"<message type='groupchat' to='" + coven + "'><subject>s</subject></message>", "<message to='" + coven + "/thirdwitch'><body/></message>",
		"<iq type='get' id='i' to='" + coven + "/thirdwitch'><q xmlns='urn:q'/></iq>", "<iq type='result' id='i' to='" + coven + "/firstwitch'/>",
		"<iq type='set' id='v' to='" + coven + "'><vCard xmlns='vcard-temp'><PHOTO><BINVAL>aa==</BINVAL></PHOTO></vCard></iq>",
		"<message type='groupchat' to='" + coven + "'><retract xmlns='urn:xmpp:message-retract:1' id='x'/></message>", info("x-roomuser-item"),
	} {
		for who := range byte(3) {
			f.Add(s, who)
		}
	}
	f.Fuzz(func(t *testing.T, xml string, who byte) {
		st, err := xmlstream.ParseStanza([]byte(xml), xmpp.NSClient, xmlstream.Limits{})
		if err != nil || st.To.Domain() != "conference.example.org" {
			return
		}
		o := muc.Defaults
		o.LockNew, o.Persistent = false, who%2 == 0
		s, err := muc.New(o)
		if err != nil {
			t.Fatal(err)
		}
		w := &world{t, extensiontest.New(t, s.Registration(), extensiontest.Options{}), s}
		w.joins(crone, "firstwitch")
		w.joins(hag, "thirdwitch")
		from := []string{crone, hag, wicca}[who%3]
		h := st.Header
		h.From = jid.MustParse(from)
		w.Component(extension.Envelope{Origin: extensiontest.Client(from), Stanza: st.With(h)})
		answers := 0
		for _, e := range w.Effects() {
			if e.Stanza == nil {
				continue
			}
			out := e.Stanza.XML(xmpp.NSClient)
			if _, err := xmlstream.ParseStanza([]byte(out), xmpp.NSClient, xmlstream.Limits{}); err != nil {
				t.Errorf("%v: %s", err, out)
			}
			if e.Kind == extensiontest.Requested || strings.HasPrefix(out, "<iq ") && e.Stanza.To == h.From {
				answers++
			}
		}
		want := 0
		if st.Kind.String() == "iq" && st.Type != "result" && st.Type != "error" {
			want = 1
		}
		if answers != want {
			t.Errorf("%d answers, want %d", answers, want)
		}
		for _, err := range w.Errors() {
			t.Errorf("it failed: %v", err)
		}
		before := w.says(crone, info("")+"")
		s.Forget(coven)
		if after := w.says(crone, info("")+""); strings.Join(before, "") != strings.Join(after, "") {
			t.Errorf("by heart %q, kept %q", before, after)
		}
	})
}
