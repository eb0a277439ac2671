package muc_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/plugins/muc"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// archiveQuery asks for a page of the archive of the room.
func archiveQuery(content string) string {
	return "<iq type='set' id='q' to='" + coven + "'><query xmlns='urn:xmpp:mam:2' queryid='f'>" + content + "</query></iq>"
}

func say(body string) string {
	return "<message type='groupchat' id='" + body + "' to='" + coven + "'><body>" + body + "</body></message>"
}

// reads gives a session room for what it is sent.
func (w *world) reads(sessions ...string) {
	for _, s := range sessions {
		w.AddSession(extension.Session{JID: jid.MustParse(s), Available: true})
	}
	w.SetRoom(4 << 20)
}

// XEP-0313 4, 5, 6.1.2
func TestArchive(t *testing.T) {
	w := witches(t)
	w.reads(crone, hag, wicca, "x@example.org/x")
	for i := range 5 {
		w.says(hag, say(fmt.Sprint(i)))
	}
	w.says(crone, "<message type='groupchat' to='"+coven+"'><subject>Fire</subject></message>")
	w.says(hag, "<message type='groupchat' to='"+coven+"'><active xmlns='http://jabber.org/protocol/chatstates'/></message>")
	out := w.says(hag, archiveQuery("<set xmlns='http://jabber.org/protocol/rsm'><max>3</max></set>"))
	w.want("a page", out, hag+": | from='"+coven+"' | queryid='f' | <delay | from='"+coven+"/thirdwitch' | <body>0 | occupant-id | stanza-id | !jid=", hag+": | <body>1", hag+": | <body>2",
		hag+": | result | <fin | <count>6 | !complete")
	last := between(out[2], "<result xmlns='urn:xmpp:mam:2' id='", "'")
	w.want("the rest", w.says(hag, archiveQuery("<set xmlns='http://jabber.org/protocol/rsm'><after>"+last+"</after></set>")),
		hag+": | <body>3", hag+": | <body>4", hag+": | <subject>Fire", hag+": | complete='true'")
	w.want("6.1.2: an owner sees addresses", w.says(crone, archiveQuery("<set xmlns='http://jabber.org/protocol/rsm'><max>1</max></set>")),
		crone+": | <item affiliation='none' role='participant' jid='"+hag+"'/>", crone+": | <fin")
	w.want("who never entered", w.says(wicca, archiveQuery("<set xmlns='http://jabber.org/protocol/rsm'><before/><max>1</max></set>")), wicca+": | <subject>Fire", wicca+": | <fin")
	w.want("metadata", w.says(hag, "<iq type='get' id='m' to='"+coven+"'><metadata xmlns='urn:xmpp:mam:2'/></iq>"), hag+": | result | <start id= | <end id=")
	w.want("the form", w.says(hag, "<iq type='get' id='m' to='"+coven+"'><query xmlns='urn:xmpp:mam:2'/></iq>"), hag+": | result | before-id")
	w.error("a node", hag, strings.Replace(archiveQuery(""), "queryid", "node='n' queryid", 1), "item-not-found")
	w.error("an unknown id", hag, archiveQuery("<set xmlns='http://jabber.org/protocol/rsm'><after>x</after></set>"), "item-not-found")
	w.error("no number", hag, archiveQuery("<set xmlns='http://jabber.org/protocol/rsm'><max>x</max></set>"), "bad-request")

	w.SetRoom(10)
	w.error("who does not read", hag, archiveQuery(""), "resource-constraint")
	w.SetRoom(4 << 20)
	w.says(crone, admin("set", affiliation("x@example.org", "outcast")))
	w.error("an outcast", "x@example.org/x", archiveQuery(""), "forbidden")
	w.says(crone, submit("passwordprotectedroom", "1", "roomsecret", "p"))
	w.error("who has not entered", "y@far.test/x", archiveQuery(""), "forbidden")
	if out := w.says(hag, archiveQuery("")); len(out) != 7 {
		t.Errorf("who has: %d", len(out))
	}
	w.says(crone, submit("passwordprotectedroom", "0", "membersonly", "1"))
	w.error("who is no member", hag, archiveQuery(""), "forbidden")
	w.says(crone, submit("membersonly", "0", "whois", "anyone"))
	w.joins(hag, "thirdwitch")
	w.says(hag, say("open"))
	out = w.says("y@far.test/x", archiveQuery(""))
	if len(out) != 8 || strings.Contains(out[0], "jid=") || !strings.Contains(out[6], "jid='"+hag+"'") || strings.Contains(out[6], "status") {
		t.Errorf("what was said while all saw addresses: %q", out)
	}
	w.want("10.2.1: 171", w.says(crone, submit("enablearchiving", "0")), crone+": | result", crone+": | 171 | !104", hag+": | 171")
	w.error("no archive", hag, archiveQuery(""), "service-unavailable")
	w.want("not advertised", w.says(hag, info("")), hag+": | !urn:xmpp:mam:2")
}

// An archive that can't be read, since too many do or for another reason, is no fault of the plugin.
func TestBusyArchive(t *testing.T) {
	w := witches(t)
	w.reads(crone, hag, "x@example.org/x")
	id := stanzaID(w.says(hag, say("a"))[0])
	w.FailStore(storage.ErrBusy)
	w.error("a query", hag, archiveQuery(""), "type='wait' | resource-constraint")
	w.error("moderation", crone, moderate(id, ""), "type='wait' | resource-constraint")
	w.error("who enters", "x@example.org/x", "<presence to='"+coven+"/x'><x xmlns='http://jabber.org/protocol/muc'/></presence>", "resource-constraint")
	w.FailStore(nil)
	if out := w.joins("x@example.org/x", "x"); len(out) != 9 {
		t.Errorf("once more: %d stanzas: %q", len(out), out)
	}
}

func between(s, before, behind string) string {
	_, s, _ = strings.Cut(s, before)
	s, _, _ = strings.Cut(s, behind)
	return s
}

// What is past its retention is deleted, a part at a time.
func TestRetention(t *testing.T) {
	w := witches(t, persistent, func(o *muc.Options) { o.Retention = 10 })
	w.reads(hag)
	w.says(hag, say("old"))
	w.Advance(9 * 24 * time.Hour)
	w.says(hag, say("new"))
	w.Advance(2 * time.Minute)
	if n := len(w.Rows(jid.MustParse(coven))); n != 2 {
		t.Errorf("%d are there", n)
	}
	w.Advance(2 * 24 * time.Hour)
	if rows := w.Rows(jid.MustParse(coven)); len(rows) != 1 || !strings.Contains(rows[0].XML, "new") {
		t.Errorf("%v are left", rows)
	}
}

// A member is sent what he has missed; others, and who asks for something else, what everybody is.
func TestMembersAreAway(t *testing.T) {
	w := witches(t, persistent, func(o *muc.Options) { o.History = 2 })
	w.has("hag66@example.org", "member")
	bodies := func(out []string) (list []string) {
		for _, line := range out {
			if strings.Contains(line, "<body>") {
				list = append(list, between(line, "<body>", "</body>"))
			}
		}
		return list
	}
	w.says(crone, say("seen"))
	w.Advance(time.Second)
	for _, who := range []string{hag, wicca} {
		w.says(who, "<presence type='unavailable' to='"+coven+"/x'/>")
	}
	w.Advance(time.Second)
	for i := range 5 {
		w.says(crone, say(fmt.Sprint(i)))
		w.Advance(time.Second)
	}
	w.service.Forget(coven)
	if got := bodies(w.joins(wicca, "secondwitch")); !slices.Equal(got, []string{"3", "4"}) {
		t.Errorf("who is no member: %q", got)
	}
	if got := bodies(w.joins(hag, "thirdwitch")); !slices.Equal(got, []string{"0", "1", "2", "3", "4"}) {
		t.Errorf("a member: %q", got)
	}
	phone := "hag66@example.org/phone"
	if got := bodies(w.joins(phone, "thirdwitch")); len(got) != 5 {
		t.Errorf("another client: %q", got)
	}
	w.says(hag, "<presence type='unavailable' to='"+coven+"/x'/>")
	if got := bodies(w.says(hag, "<presence to='"+coven+"/thirdwitch'><x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='1'/></x></presence>")); !slices.Equal(got, []string{"4"}) {
		t.Errorf("who asks for one: %q", got)
	}
	for _, who := range []string{hag, phone} {
		w.says(who, "<presence type='unavailable' to='"+coven+"/x'/>")
	}
	w.Advance(time.Second)
	w.says(crone, say("5"))
	if got := bodies(w.joins(hag, "thirdwitch")); !slices.Equal(got, []string{"4", "5"}) {
		t.Errorf("who has missed less than everybody is sent: %q", got)
	}
}

// A member who was in the room when the server was killed is sent all that he may have missed.
func TestMembersOfAKilledServer(t *testing.T) {
	w := witches(t, persistent, func(o *muc.Options) { o.History = 2 })
	w.has("hag66@example.org", "member")
	for i := range 5 {
		w.says(crone, say(fmt.Sprint(i)))
	}
	killed := w
	w = newWorld(t, persistent, func(o *muc.Options) { o.History = 2 })
	for _, e := range killed.Entries(jid.JID{}, "") {
		w.Put(jid.JID{}, e.Key, e.Value)
	}
	for _, row := range killed.Rows(jid.MustParse(coven)) {
		w.AppendRow(row)
	}
	w.joins(wicca, "secondwitch")
	if out := strings.Join(w.joins(hag, "thirdwitch"), ""); strings.Count(out, "<body>") != 5 {
		t.Errorf("a member who never left: %s", out)
	}
}

// XEP-0500, and the rate of the service.
func TestPace(t *testing.T) {
	w := witches(t, func(o *muc.Options) { o.Rate, o.Burst = 2, 5 })
	w.error("no number", crone, submit("slow_mode_duration", "-1"), "not-acceptable")
	w.want("XEP-0500 5.1", w.says(crone, owner("get", "")), crone+": | muc#roomconfig_slow_mode_duration | <validate xmlns='http://jabber.org/protocol/xdata-validate' datatype='xs:integer'><range min='0'")
	w.want("XEP-0500 5.1: 104", w.says(crone, submit("slow_mode_duration", "20")), crone+": | result", crone+": | 104", hag+": | 104", wicca+": | 104")
	w.want("XEP-0500 5.2", w.says(hag, info("")), hag+": | muc#roominfo_slow_mode_duration' type='text-single'><value>20<")
	if out := w.says(hag, say("a")); len(out) != 3 {
		t.Errorf("the first: %q", out)
	}
	w.says("hag66@example.org/phone", "<presence to='"+coven+"/thirdwitch'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
	w.error("XEP-0500 6, 8", "hag66@example.org/phone", say("b"), "type='wait' | policy-violation | 20 seconds")
	if out := w.says(hag, "<message type='groupchat' to='"+coven+"'><active xmlns='http://jabber.org/protocol/chatstates'/></message>"); len(out) != 4 {
		t.Errorf("without a body: %q", out)
	}
	for range 10 {
		if out := w.says(crone, say("o")); len(out) != 4 {
			t.Fatalf("an owner: %q", out)
		}
	}
	w.service.Forget(coven)
	w.error("a process that was killed", hag, say("b"), "policy-violation")
	w.says(hag, "<presence type='unavailable' to='"+coven+"/x'/>")
	w.joins(hag, "thirdwitch")
	w.error("who enters again", hag, say("b"), "policy-violation")
	w.Advance(20 * time.Second)
	if out := w.says(hag, say("c")); len(out) != 4 {
		t.Errorf("later: %q", out)
	}
	w.says(crone, submit("slow_mode_duration", "0"))
	kept := func() (n int) {
		for key := range w.Memory() {
			if strings.HasPrefix(key, "s/") {
				n++
			}
		}
		return n
	}
	if n := kept(); n != 1 {
		t.Errorf("%d accounts are remembered", n)
	}
	w.Advance(2 * time.Hour)
	if n := kept(); n != 0 {
		t.Errorf("%d accounts are still remembered", n)
	}
	w.left()
	for i := range 6 {
		if out := w.says(wicca, say("x")); strings.Contains(out[0], "policy-violation") != (i == 5) {
			t.Errorf("%d: %q", i, out)
		}
	}
	w.error("presence counts, too", wicca, "<presence to='"+coven+"/secondwitch'/>", "policy-violation")
	w.Advance(time.Second)
	for i := range 3 {
		if out := w.says(wicca, say("x")); strings.Contains(out[0], "policy-violation") != (i == 2) {
			t.Errorf("a second later, %d: %q", i, out)
		}
	}
}
