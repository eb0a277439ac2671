package muc_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/plugins/muc"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// admin is a request for roles and affiliations.
func admin(typ, items string) string {
	return "<iq type='" + typ + "' id='a' to='" + coven + "'><query xmlns='http://jabber.org/protocol/muc#admin'>" + items + "</query></iq>"
}

// role and affiliation are items that change one.
func role(nick, role string) string {
	return "<item nick='" + nick + "' role='" + role + "'><reason>why</reason></item>"
}

func affiliation(j, is string) string {
	return "<item jid='" + j + "' affiliation='" + is + "'><reason>why</reason></item>"
}

// witches is a room with its owner firstwitch, and thirdwitch and secondwitch.
func witches(t *testing.T, change ...func(o *muc.Options)) *world {
	t.Helper()
	w := newWorld(t, append([]func(o *muc.Options){open}, change...)...)
	w.joins(crone, "firstwitch")
	w.joins(hag, "thirdwitch")
	w.joins(wicca, "secondwitch")
	return w
}

// has has an account have an affiliation.
func (w *world) has(j, is string) {
	w.Helper()
	if out := w.says(crone, admin("set", affiliation(j, is))); len(out) == 0 || !strings.Contains(out[0], "type='result'") {
		w.Fatalf("%s is to be %s: %q", j, is, out)
	}
}

// error wants nothing but this stanza error.
func (w *world) error(what, from, xml, condition string) {
	w.Helper()
	w.want(what, w.says(from, xml), from+": | type='error' | "+condition)
}

// 8.2
func TestKick(t *testing.T) {
	w := witches(t)
	w.want("examples 89 to 92", w.says(crone, admin("set", role("thirdwitch", "none"))), crone+": | type='result' | id='a'",
		crone+": | type='unavailable' | /thirdwitch' | affiliation='none' role='none' | <actor nick='firstwitch'/> | <reason>why | 307 | !110",
		wicca+": | type='unavailable' | /thirdwitch' | 307 | !jid=", hag+": | type='unavailable' | 307 | 110 | <actor nick='firstwitch'/><reason>why</reason>")
	w.want("is out", w.says(hag, "<message type='groupchat' to='"+coven+"'><body>b</body></message>"), hag+": | not-acceptable")
	if out := w.joins(hag, "thirdwitch"); len(out) < 4 {
		t.Errorf("may come back: %q", out)
	}
	w.error("by a participant", hag, admin("set", role("secondwitch", "none")), "forbidden")
	w.error("by who is not there", "x@example.org/x", admin("set", role("secondwitch", "none")), "forbidden")
	w.error("nobody", crone, admin("set", role("nobody", "none")), "item-not-found")
	w.says(crone, admin("set", role("thirdwitch", "moderator")))
	w.error("example 93", hag, admin("set", role("firstwitch", "none")), "not-allowed")
	w.says(crone, admin("set", role("secondwitch", "moderator")))
	w.error("5.1.3: a moderator by a moderator", hag, admin("set", role("secondwitch", "none")), "not-allowed")
	if out := w.says(hag, admin("set", role("thirdwitch", "none"))); !strings.Contains(out[0], "result") || len(w.Members(coven)) != 2 {
		t.Errorf("oneself: %q", out)
	}
	// of several all are done, or none
	w.joins(hag, "thirdwitch")
	w.error("the second one is not there", crone, admin("set", role("thirdwitch", "none")+role("nobody", "none")), "item-not-found")
	if n := len(w.Members(coven)); n != 3 {
		t.Errorf("%d are left", n)
	}
	w.want("ping", w.says(hag, "<iq type='get' id='p' to='"+coven+"/thirdwitch'><ping xmlns='urn:xmpp:ping'/></iq>"), hag+": | result")
}

// 8.3, 8.4, 8.5, 9.6, 9.7, 9.8
func TestRoles(t *testing.T) {
	w := witches(t)
	w.want("examples 98 to 101", w.says(crone, admin("set", role("thirdwitch", "visitor"))), crone+": | result",
		crone+": | !type= | /thirdwitch' | role='visitor' | <reason>why | jid='"+hag+"'", wicca+": | role='visitor' | !jid=", hag+": | 110 | role='visitor'")
	w.error("has no voice", hag, "<message type='groupchat' to='"+coven+"'><body>b</body></message>", "forbidden")
	w.want("nothing new", w.says(crone, admin("set", role("thirdwitch", "visitor"))), crone+": | result")
	w.want("example 103", w.says(crone, admin("get", "<item role='visitor'/>")), crone+": | result | <item affiliation='none' jid='"+hag+"' nick='thirdwitch' role='visitor'/>")
	w.error("by others", wicca, admin("get", "<item role='visitor'/>"), "forbidden")
	w.want("examples 94 to 97", w.says(crone, admin("set", role("thirdwitch", "participant"))), crone+": | result", crone+": | role='participant'", wicca+": | role='participant'", hag+": | 110")
	w.want("who has voice says something", w.says(hag, "<message type='groupchat' to='"+coven+"'><body>b</body></message>"), crone+": ", hag+": ", wicca+": ")

	w.want("examples 137 to 140", w.says(crone, admin("set", role("thirdwitch", "moderator"))), crone+": | result",
		crone+": | role='moderator'", wicca+": | role='moderator' | !jid=", hag+": | 110 | moderator",
		hag+": | /firstwitch' | jid='"+crone+"'", hag+": | /secondwitch' | jid='"+wicca+"'")
	w.want("sees addresses", w.says(wicca, "<presence to='"+coven+"/secondwitch'/>"), crone+": | jid=", hag+": | jid='"+wicca+"'", wicca+": ")
	w.error("9.6: by a moderator", hag, admin("set", role("secondwitch", "moderator")), "forbidden")
	w.error("9.8: the list", hag, admin("get", "<item role='moderator'/>"), "forbidden")
	w.want("9.8: the list", w.says(crone, admin("get", "<item role='moderator'/>")), crone+": | nick='firstwitch' | nick='thirdwitch'")
	w.want("8.4 by a moderator", w.says(hag, admin("set", role("secondwitch", "visitor"))), hag+": | result", crone+": | visitor", hag+": | visitor", wicca+": | 110 | visitor")
	w.error("example 102", hag, admin("set", role("firstwitch", "visitor")), "forbidden")
	w.has("wiccarocks@example.net", "admin")
	w.error("example 145", crone, admin("set", role("secondwitch", "participant")), "not-allowed")
	w.want("examples 141 to 144", w.says(wicca, admin("set", role("thirdwitch", "participant"))), wicca+": | result", crone+": | participant", wicca+": | participant | jid='"+hag+"'", hag+": | 110")
	w.want("sees none any more", w.says(wicca, "<presence to='"+coven+"/secondwitch'/>"), crone+": | jid=", hag+": | !jid=", wicca+": ")
	for _, wrong := range []string{"", "<x xmlns='urn:x'/>", "<item/>", "<item role='visitor' affiliation='none' nick='thirdwitch'/>", "<item role='visitor'/>", "<item role='king' nick='thirdwitch'/>",
		"<item affiliation='king' jid='a@b'/>", "<item affiliation='none'/>"} {
		w.error(wrong, crone, admin("set", wrong), "bad-request")
	}
	for _, wrong := range []string{"", "<item/>", "<item role='none'/>", "<item affiliation='none'/>", "<item role='visitor'/><item role='visitor'/>", "<item role='visitor' affiliation='member'/>"} {
		w.error(wrong, crone, admin("get", wrong), "bad-request")
	}
	w.error("too many", crone, admin("set", strings.Repeat(role("thirdwitch", "visitor"), 201)), "resource-constraint")
}

// 9.1, 9.2
func TestBan(t *testing.T) {
	w := witches(t)
	w.want("examples 110 to 114", w.says(crone, admin("set", affiliation("hag66@example.org", "outcast"))), crone+": | result",
		crone+": | unavailable | affiliation='outcast' role='none' | jid='"+hag+"' | <actor nick='firstwitch'/><reason>why | 301", wicca+": | unavailable | 301 | !jid=", hag+": | unavailable | 301 | 110 | why")
	w.error("7.2.7", hag, "<presence to='"+coven+"/x'><x xmlns='http://jabber.org/protocol/muc'/></presence>", "forbidden")
	w.want("examples 116, 117", w.says(crone, admin("get", "<item affiliation='outcast'/>")), crone+": | <item affiliation='outcast' jid='hag66@example.org'><reason>why</reason></item>")
	w.error("not for others", wicca, admin("get", "<item affiliation='outcast'/>"), "forbidden")
	w.error("not by others", wicca, admin("set", affiliation("hag66@example.org", "none")), "forbidden")
	w.error("oneself", crone, admin("set", affiliation("crone1@example.org", "outcast")), "conflict")
	w.has("wiccarocks@example.net", "admin")
	w.error("example 115", wicca, admin("set", affiliation("crone1@example.org/x", "outcast")), "not-allowed")
	w.has("admin2@example.net", "admin")
	w.error("5.2.2: an admin by an admin", wicca, admin("set", affiliation("admin2@example.net", "outcast")), "not-allowed")
	w.error("no address", crone, admin("set", "<item affiliation='outcast' jid='@'/>"), "jid-malformed")
	w.want("who is not there", w.says(wicca, admin("set", affiliation("x@far.test/y", "outcast"))), wicca+": | result", crone+": | <message | !<body | affiliation='outcast' jid='x@far.test' role='none'", wicca+": | <message")
	w.want("example 118: unbanned, and a domain is banned", w.says(crone, admin("set", affiliation("hag66@example.org", "none")+affiliation("far.test", "outcast"))),
		crone+": | result", crone+": | affiliation='none'", wicca+": | affiliation='none'", crone+": | jid='far.test'", wicca+": ")
	w.error("of the domain", "y@far.test/x", "<presence to='"+coven+"/y'><x xmlns='http://jabber.org/protocol/muc'/></presence>", "forbidden")
	if out := w.joins(hag, "thirdwitch"); len(out) < 4 {
		t.Errorf("unbanned: %q", out)
	}
	w.want("by nickname", w.says(crone, admin("set", "<item affiliation='outcast' nick='thirdwitch'/>")), crone+": | result", crone+": | 301", wicca+": | 301", hag+": | 301")
	// a ban holds for those in the room whose domain it is, unless they have an affiliation of their own
	w.has("far.test", "none")
	w.joins("y@far.test/x", "y")
	w.joins("z@far.test/x", "z")
	w.has("z@far.test", "member")
	if out := w.says(crone, admin("set", affiliation("far.test", "outcast"))); len(w.Members(coven)) != 3 || !strings.Contains(strings.Join(out, ""), "y@far.test/x: <presence") {
		t.Errorf("a domain: %q", out)
	}
}

// 9.3, 9.4, 9.5
func TestMembers(t *testing.T) {
	w := witches(t, persistent)
	w.want("examples 120 to 123", w.says(crone, admin("set", "<item affiliation='member' jid='hag66@example.org' nick='Old Hag'/>")), crone+": | result",
		crone+": | affiliation='member' role='participant' | /thirdwitch", wicca+": | affiliation='member'", hag+": | 110 | affiliation='member'")
	w.want("examples 129, 130", w.says(crone, admin("get", "<item affiliation='member'/>")), crone+": | <item affiliation='member' jid='hag66@example.org' nick='thirdwitch'/>")
	w.error("a semi-anonymous room", hag, admin("get", "<item affiliation='member'/>"), "forbidden")
	w.error("7.2.8: reserved", wicca, "<presence to='"+coven+"/old hag'/>", "conflict")
	w.error("reserved already", crone, admin("set", "<item affiliation='member' jid='x@example.org' nick='OLD HAG'/>"), "conflict")
	w.error("in use", crone, admin("set", "<item affiliation='member' jid='x@example.org' nick='secondwitch'/>"), "conflict")
	w.error("no nickname", crone, admin("set", "<item affiliation='member' jid='x@example.org' nick='\u200b'/>"), "jid-malformed")
	w.want("9.5: not reserved any more", w.says(crone, admin("set", "<item affiliation='member' jid='hag66@example.org' nick=''/>")), crone+": | result")
	w.want("taken", w.says(wicca, "<presence to='"+coven+"/old hag'/>"), crone+": | 303", hag+": | 303", wicca+": | 303", crone+": ", hag+": ", wicca+": | 110")
	w.want("examples 124 to 127", w.says(crone, admin("set", affiliation("hag66@example.org", "none"))), crone+": | result", crone+": | affiliation='none' role='participant'", wicca+": | none", hag+": | 110")

	w.has("hag66@example.org", "member")
	w.says(crone, submit("membersonly", "1", "passwordprotectedroom", "1", "roomsecret", "cauldronburn", "whois", "anyone"))
	w.want("non-anonymous: members see them", w.says(hag, admin("get", "<item affiliation='member'/>")), hag+": | result | hag66@example.org")
	w.want("non-anonymous: owners, too", w.says(hag, admin("get", "<item affiliation='owner'/>")), hag+": | result | crone1@example.org")
	w.want("example 134", w.says(crone, admin("set", affiliation("hecate@example.org", "member"))), crone+": | result",
		crone+": | <message | affiliation='member' jid='hecate@example.org'", hag+": | <message",
		"hecate@example.org: | from='"+coven+"' | <invite from='crone1@example.org'/> | <password>cauldronburn")
	w.want("example 128", w.says(crone, admin("set", affiliation("hag66@example.org", "none"))), crone+": | result",
		crone+": | unavailable | 321 | <actor nick='firstwitch'/> | affiliation='none' role='none'", hag+": | unavailable | 321 | 110")
	w.error("entry is refused", hag, "<presence to='"+coven+"/x'><x xmlns='http://jabber.org/protocol/muc'/></presence>", "registration-required")
	w.service.Forget(coven)
	w.want("it is stored", w.says(crone, admin("get", "<item affiliation='member'/>")), crone+": | hecate@example.org | !hag66")
	if _, there := w.Entry(jid.JID{}, "r/"+coven); !there {
		t.Error("the room is not stored")
	}
}

// 10.3 to 10.8
func TestAdminsAndOwners(t *testing.T) {
	w := witches(t, func(o *muc.Options) { o.Admins = []string{"root@example.org"} })
	w.want("examples 186 to 189", w.says(crone, admin("set", affiliation("hag66@example.org/any", "admin"))), crone+": | result",
		crone+": | affiliation='admin' role='moderator'", wicca+": | admin", hag+": | 110 | admin", hag+": | /firstwitch", hag+": | /secondwitch")
	w.error("example 199", hag, admin("set", affiliation("wiccarocks@example.net", "admin")), "forbidden")
	w.error("10.5", hag, admin("get", "<item affiliation='owner'/>"), "forbidden")
	w.error("10.8", hag, admin("get", "<item affiliation='admin'/>"), "forbidden")
	w.want("examples 196, 197", w.says(crone, admin("get", "<item affiliation='admin'/>")), crone+": | jid='hag66@example.org' nick='thirdwitch'")
	w.want("examples 191 to 194", w.says(crone, admin("set", affiliation("hag66@example.org", "none"))), crone+": | result", crone+": | affiliation='none' role='participant'", wicca+": ", hag+": | 110")
	w.want("examples 190, 195", w.says(crone, admin("set", affiliation("x@example.org", "admin")+affiliation("x@example.org", "none"))),
		crone+": | result", crone+": | <message | affiliation='admin' jid='x@example.org'", crone+": | <message | affiliation='none'")
	w.error("10.4: the last owner", crone, admin("set", affiliation("crone1@example.org", "admin")), "conflict")
	w.want("examples 172 to 176", w.says(crone, admin("set", affiliation("hag66@example.org", "owner"))), crone+": | result", crone+": | affiliation='owner' role='moderator'", wicca+": ", hag+": | 110", hag+": ", hag+": ")
	w.want("examples 177 to 180", w.says(hag, admin("set", affiliation("crone1@example.org", "none"))), hag+": | result", hag+": | affiliation='none' role='participant'", wicca+": ", crone+": | 110")
	w.error("is none any more", crone, admin("set", affiliation("crone1@example.org", "owner")), "forbidden")
	w.error("whole domains", hag, admin("set", affiliation("example.org", "admin")), "not-allowed")
	w.error("administrators of the server", hag, admin("set", affiliation("root@example.org", "outcast")), "not-allowed")
	w.want("they need not be there", w.says("root@example.org/x", admin("set", affiliation("crone1@example.org", "owner"))), "root@example.org/x: | result", hag+": | owner", wicca+": ", crone+": | 110", crone+": ", crone+": ")
	w.error("no room", crone, strings.ReplaceAll(admin("get", "<item affiliation='owner'/>"), coven, "nowhere@conference.example.org"), "item-not-found")
}

// A moderated room, and what becomes of those in it when its configuration changes.
func TestModeratedRoom(t *testing.T) {
	w := newWorld(t, open)
	w.joins(crone, "firstwitch")
	w.says(crone, submit("moderatedroom", "1", "presencebroadcast", "moderator"))
	w.want("a visitor, whom nobody sees", w.joins(hag, "thirdwitch"), hag+": | /firstwitch", hag+": | 110 | role='visitor'", hag+": | subject")
	w.joins(wicca, "secondwitch")
	w.want("granted voice", w.says(crone, admin("set", role("thirdwitch", "participant"))), crone+": | result", hag+": | 110 | participant")
	w.want("members have it", w.says(crone, admin("set", affiliation("wiccarocks@example.net", "member"))), crone+": | result", wicca+": | 110 | affiliation='member' role='participant'")
	w.want("an admin is seen", w.says(crone, admin("set", affiliation("wiccarocks@example.net", "admin"))), crone+": | result", crone+": | /secondwitch | moderator", hag+": | /secondwitch", wicca+": | 110", wicca+": | /firstwitch")
	w.want("and is not, as a member", w.says(crone, admin("set", affiliation("wiccarocks@example.net", "none"))), crone+": | result", crone+": | unavailable | /secondwitch", hag+": | unavailable | /secondwitch", wicca+": | 110 | !unavailable")
	w.says(crone, admin("set", role("thirdwitch", "visitor")))
	w.want("open to all", w.says(crone, submit("moderatedroom", "0")), crone+": | result", wicca+": | 110 | participant", hag+": | 110 | participant", crone+": | 104", hag+": | 104", wicca+": | 104")
	w.want("participants are shown", w.says(crone, "<iq type='set' id='o' to='"+coven+"'><query xmlns='http://jabber.org/protocol/muc#owner'>"+
		"<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roomconfig</value></field><field var='muc#roomconfig_presencebroadcast'><value>moderator</value><value>participant</value></field></x></query></iq>"),
		crone+": | result", crone+": | /secondwitch", hag+": | /secondwitch", crone+": | /thirdwitch", wicca+": | /thirdwitch", crone+": | 104", hag+": | 104", wicca+": | 104")
	w.want("and hidden", w.says(crone, submit("presencebroadcast", "moderator")),
		crone+": | result", crone+": | unavailable | /secondwitch", hag+": | unavailable | /secondwitch", crone+": | unavailable | /thirdwitch", wicca+": | unavailable | /thirdwitch", crone+": | 104", hag+": | 104", wicca+": | 104")
}

// The number of affiliations has a bound.
func TestManyAffiliates(t *testing.T) {
	w := newWorld(t, open)
	w.joins(crone, "firstwitch")
	for i := range 25 {
		var items strings.Builder
		for k := range 200 {
			items.WriteString(fmt.Sprintf("<item jid='u%d@example.org' affiliation='member'/>", i*200+k))
		}
		out := w.says(crone, admin("set", items.String()))
		if last := i == 24; last != strings.Contains(out[0], "resource-constraint") {
			t.Fatalf("%d: %.300s", i, out)
		}
	}
	w.has("last@example.org", "member")
}
