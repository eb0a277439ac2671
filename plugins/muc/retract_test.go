package muc_test

import (
	"strings"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

func moderate(id, reason string) string {
	return "<iq type='set' id='mod' to='" + coven + "'><moderate id='" + id + "' xmlns='urn:xmpp:message-moderate:1'><retract xmlns='urn:xmpp:message-retract:1'/>" + reason + "</moderate></iq>"
}

// stanzaID is that which the room gave to a message.
func stanzaID(line string) string {
	return between(line, "<stanza-id xmlns='urn:xmpp:sid:0' by='"+coven+"' id='", "'")
}

// XEP-0425
func TestModerate(t *testing.T) {
	w := witches(t, persistent)
	w.reads(crone, hag, wicca)
	id := stanzaID(w.says(hag, say("potions"))[0])
	w.error("3.2", wicca, moderate(id, ""), "forbidden")
	w.error("from outside", "x@example.org/x", moderate(id, ""), "forbidden")
	w.error("no such message", crone, moderate("x", ""), "item-not-found")
	w.error("something else", crone, strings.Replace(moderate(id, ""), "<retract", "<eat", 1), "feature-not-implemented")
	w.Advance(time.Minute)
	out := w.says(crone, moderate(id, "<reason>bad</reason>"))
	w.want("examples 4 to 6", out, crone+": | result", crone+": | <message | groupchat | from='"+coven+"' | <retract xmlns='urn:xmpp:message-retract:1' id='"+id+"'><moderated xmlns='urn:xmpp:message-moderate:1' by='"+coven+"/firstwitch'><occupant-id | <reason>bad | <stanza-id",
		hag+": | <retract", wicca+": | <retract")
	rows := w.Rows(jid.MustParse(coven))
	if len(rows) != 2 || strings.Contains(rows[0].XML, "<body") || !strings.Contains(rows[1].XML, "<retract ") {
		t.Fatalf("%+v", rows)
	}
	w.want("example 8", w.says(wicca, archiveQuery("")),
		wicca+": | from='"+coven+"/thirdwitch' | id='potions' | <retracted xmlns='urn:xmpp:message-retract:1' stamp='2026-01-02T03:05:05.000Z' id='"+stanzaID(out[1])+"'><moderated xmlns='urn:xmpp:message-moderate:1' by='"+coven+"/firstwitch'> | <reason>bad | <stanza-id | !<body | !jid=",
		wicca+": | <retract ", wicca+": | <fin")
	w.error("twice", crone, moderate(id, ""), "item-not-found")
	w.want("not in the history", w.joins("x@example.org/x", "x"), "x@example.org/x: ", "x@example.org/x: ", "x@example.org/x: ", crone+": ", hag+": ", wicca+": ", "x@example.org/x: | 110", "x@example.org/x: | <subject")
}

// What nobody can make to look like a tombstone, what its sender did not want to be kept, and the subject.
func TestModerateAll(t *testing.T) {
	w := witches(t, persistent)
	w.reads(crone, hag, wicca)
	all := func(line string) []string {
		return []string{crone + ": | " + line, hag + ": | " + line, wicca + ": | " + line}
	}
	moderated := append([]string{crone + ": | result"}, all("<retract ")...)
	out := w.says(hag, "<message type='groupchat' to='"+coven+"'><body>spam</body><retracted xmlns='urn:xmpp:message-retract:1'/><moderated xmlns='urn:xmpp:message-moderate:1'/></message>")
	w.want("XEP-0425 5: as if it were a tombstone", out, all("<body>spam | !<retracted | !<moderated")...)
	w.want("it is moderated", w.says(crone, moderate(stanzaID(out[0]), "")), moderated...)
	out = w.says(hag, "<message type='groupchat' to='"+coven+"'><body>spam</body><no-store xmlns='urn:xmpp:hints'/></message>")
	w.want("not kept", w.says(crone, moderate(stanzaID(out[0]), "")), moderated...)
	out = w.says(crone, "<message type='groupchat' to='"+coven+"'><subject>spam</subject></message>")
	w.want("the subject", w.says(crone, moderate(stanzaID(out[0]), "")), append(moderated, all("from='"+coven+"' | <subject/> | <stanza-id")...)...)
	for _, row := range w.Rows(jid.MustParse(coven)) {
		if strings.Contains(row.XML, "spam") {
			t.Errorf("kept: %s", row.XML)
		}
	}
	w.service.Forget(coven)
	out = w.joins("x@example.org/x", "x")
	w.want("who enters", out[len(out)-1:], "x@example.org/x: | <subject/>")
	w.error("two at a time", hag, "<message type='groupchat' to='"+coven+"'><retract xmlns='urn:xmpp:message-retract:1' id='a'/><retract xmlns='urn:xmpp:message-retract:1' id='b'/></message>", "bad-request")
	id := stanzaID(w.says(hag, say("oops"))[0])
	w.says(hag, "<message type='groupchat' to='"+coven+"'><retract xmlns='urn:xmpp:message-retract:1' id='"+id+"'/><no-store xmlns='urn:xmpp:hints'/></message>")
	rows := w.Rows(jid.MustParse(coven))
	last := rows[len(rows)-1].XML
	w.want("XEP-0424 4, 5: a retraction is kept, and the tombstone has its id", []string{rows[len(rows)-2].XML, last}, "id='oops' | <retracted | id='"+between(last, " id='", "'")+"'/>", "<retract ")
}

// XEP-0424
func TestRetract(t *testing.T) {
	w := witches(t)
	w.reads(crone, hag, wicca)
	id := stanzaID(w.says(hag, say("oops"))[0])
	retract := func(id, inside string) string {
		return "<message type='groupchat' id='r' to='" + coven + "'><retract xmlns='urn:xmpp:message-retract:1' id='" + id + "'>" + inside + "</retract><body>/me retracted</body></message>"
	}
	w.error("of somebody else", wicca, retract(id, ""), "forbidden")
	w.error("as if by the room", hag, retract(id, "<moderated xmlns='urn:xmpp:message-moderate:1'/>"), "bad-request")
	w.want("example 4", w.says(hag, retract(id, "")), crone+": | <retract", hag+": | <retract", wicca+": | <retract")
	w.want("example 7", w.says(hag, archiveQuery("")), hag+": | id='oops' | <retracted xmlns='urn:xmpp:message-retract:1' stamp= | id='r' | !<body", hag+": | <retract ", hag+": | <fin")
	w.want("of what is not kept", w.says(wicca, retract("x", "")), crone+": ", hag+": ", wicca+": ")
	w.want("advertised", w.says(hag, info("")), hag+": | urn:xmpp:message-moderate:1 | urn:xmpp:message-retract:1#tombstone")
}

// XEP-0486
func TestAvatar(t *testing.T) {
	w := witches(t)
	card := func(typ, content string) string {
		return "<iq type='" + typ + "' id='v' to='" + coven + "'><vCard xmlns='vcard-temp'>" + content + "</vCard></iq>"
	}
	const photo = "<PHOTO><TYPE>image/png</TYPE><BINVAL>aGVs\nbG8=</BINVAL></PHOTO>"
	w.error("example 6", hag, card("set", photo), "forbidden")
	w.error("no picture", crone, card("set", "<PHOTO/>"), "not-acceptable")
	w.error("no base64", crone, card("set", "<PHOTO><BINVAL>?</BINVAL></PHOTO>"), "not-acceptable")
	w.error("too long", crone, card("set", "<FN>"+strings.Repeat("x", 65<<10)+"</FN>"), "policy-violation")
	w.want("none yet", w.says(hag, card("get", "")), hag+": | <vCard xmlns='vcard-temp'/>")
	w.want("examples 3, 4, 7", w.says(crone, card("set", photo)), crone+": | result", crone+": | 104", hag+": | 104", wicca+": | 104")
	const hash = "<value>aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d</value>"
	w.want("example 10", w.says(hag, info("")), hag+": | vcard-temp | muc#roominfo_avatarhash | "+hash)
	w.says(crone, submit("persistentroom", "1"))
	w.service.Forget(coven)
	w.want("examples 11, 12", w.says(hag, card("get", "")), hag+": | <PHOTO><TYPE>image/png")
	w.says(crone, submit("persistentroom", "0"))
	w.want("moved back", w.says(hag, card("get", "")), hag+": | <PHOTO><TYPE>image/png")
	if left := w.Entries(jid.JID{}, ""); len(left) != 0 {
		t.Errorf("stored: %v", left)
	}
	w.want("example 8", w.says(crone, card("set", "")), crone+": | result", crone+": | 104", hag+": | 104", wicca+": | 104")
	w.want("it is gone", w.says(hag, info("")), hag+": | !avatarhash")
}
