package muc_test

import (
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// owner makes a request of an owner.
func owner(typ, content string) string {
	return "<iq type='" + typ + "' id='o' to='" + coven + "'><query xmlns='http://jabber.org/protocol/muc#owner'>" + content + "</query></iq>"
}

// submit is a form with pairs of a field's name, without muc#roomconfig_, and its value.
func submit(pairs ...string) string {
	var b strings.Builder
	b.WriteString("<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roomconfig</value></field>")
	for i := 0; i < len(pairs); i += 2 {
		b.WriteString("<field var='muc#roomconfig_" + pairs[i] + "'><value>" + pairs[i+1] + "</value></field>")
	}
	return owner("set", b.String()+"</x>")
}

const instant = "<x xmlns='jabber:x:data' type='submit'/>"

// 10.1
func TestMake(t *testing.T) {
	w := newWorld(t)
	w.joins(crone, "firstwitch")
	w.want("others may not", w.says(hag, owner("set", instant)), hag+": | type='error' | forbidden")
	w.want("10.1.2: instant", w.says(crone, owner("set", instant)), crone+": | type='result' | id='o'")
	if out := w.joins(hag, "thirdwitch"); len(out) != 4 {
		t.Errorf("the room is locked: %q", out)
	}
	w = newWorld(t)
	w.joins(crone, "firstwitch")
	w.want("10.1.3: the form", w.says(crone, owner("get", "")), crone+": | type='result' | type='form' | muc#roomconfig_roomname | muc#roomconfig_whois | moderators")
	w.want("10.1.3: cancel", w.says(crone, owner("set", "<x xmlns='jabber:x:data' type='cancel'/>")), crone+": | unavailable | 110", crone+": | type='result'")
	if n := len(w.Memory()); n != 0 {
		t.Errorf("left: %v", w.Memory())
	}
	w.want("no room", w.says(crone, owner("get", "")), crone+": | item-not-found")
}

// 10.2
func TestConfigure(t *testing.T) {
	w := newWorld(t, open)
	w.joins(crone, "firstwitch")
	w.joins(hag, "thirdwitch")
	for _, wrong := range [][]string{
		{"persistentroom", "perhaps"}, {"whois", "nobody"}, {"maxusers", "0"}, {"maxusers", "many"}, {"historylength", "-1"}, {"historylength", "501"},
		{"roomname", strings.Repeat("n", 201)}, {"passwordprotectedroom", "1"}, {"presencebroadcast", "king"},
	} {
		w.want(wrong[0], w.says(crone, submit(append(wrong, "publicroom", "0")...)), crone+": | type='error' | not-acceptable")
	}
	w.want("nothing was changed", w.says(crone, owner("get", "")), crone+": | muc#roomconfig_publicroom' type='boolean' label='The room is listed'><value>1</value>")
	w.want("changed", w.says(crone, submit("roomname", "A Dark Cave", "unknown", "x", "persistentroom", "1")),
		crone+": | type='result'", crone+": | from='"+coven+"' | groupchat | 104 | !172", hag+": | 104")
	if _, there := w.Entry(jid.JID{}, "r/"+coven); !there {
		t.Error("the room is not stored")
	}
	w.want("nothing new", w.says(crone, submit("persistentroom", "1")), crone+": | type='result'")
	w.want("non-anonymous", w.says(crone, submit("whois", "anyone")), crone+": | result", crone+": | 172 | !104", hag+": | 172")
	w.want("all see all", w.says(hag, "<presence to='"+coven+"/thirdwitch'/>"), crone+": | jid='"+hag+"'", hag+": | 110")
	w.want("semi-anonymous", w.says(crone, submit("whois", "moderators")), crone+": | result", crone+": | 173 | !104", hag+": | 173")
	w.want("a password", w.says(crone, submit("passwordprotectedroom", "1", "roomsecret", "cauldronburn")), crone+": | result", crone+": | 104", hag+": | 104")
	w.want("7.2.5: without", w.joins(wicca, "secondwitch"), wicca+": | type='error' | auth | not-authorized")
	if out := w.says(wicca, "<presence to='"+coven+"/secondwitch'><x xmlns='http://jabber.org/protocol/muc'><password>cauldronburn</password></x></presence>"); len(out) < 4 {
		t.Errorf("with the password: %q", out)
	}
	w.want("for members", w.says(crone, submit("membersonly", "1")), crone+": | result",
		crone+": | unavailable | /secondwitch | 322", hag+": | unavailable | /secondwitch | 322", wicca+": | unavailable | 110 | 322",
		crone+": | unavailable | /thirdwitch | 322", hag+": | unavailable | 110 | 322", crone+": | 104")
	w.want("7.2.6", w.joins(hag, "thirdwitch"), hag+": | type='error' | auth | registration-required")
	w.says(crone, submit("persistentroom", "0"))
	if left := w.Entries(jid.JID{}, ""); len(left) != 0 {
		t.Errorf("stored: %v", left)
	}
	w.want("goes on", w.says(crone, "<message type='groupchat' to='"+coven+"'><body>b</body></message>"), crone+": | <body>b")
}

// 10.3, note 3, and 10.6, note 4: the form has the whole lists of owners and admins.
func TestConfigureAdminsAndOwners(t *testing.T) {
	w := witches(t)
	bare := func(full string) string { return jid.MustParse(full).Bare().String() }
	is := func(what, affiliation string, who ...string) {
		w.Helper()
		out := w.says(crone, admin("get", "<item affiliation='"+affiliation+"'/>"))
		want := crone + ": | type='result'"
		for _, j := range who {
			want += " | jid='" + bare(j) + "'"
		}
		w.want(what, out, want)
		if n := strings.Count(strings.Join(out, ""), "<item "); n != len(who) {
			w.Errorf("%s: %d have it", what, n)
		}
	}
	w.has(bare(wicca), "admin")
	w.want("10.1.3", w.says(crone, owner("get", "")), crone+": | muc#roomconfig_roomadmins' type='jid-multi' label='Admins'><value>"+bare(wicca)+"</value> | muc#roomconfig_roomowners' type='jid-multi' label='Owners'><value>"+bare(crone)+"</value>")
	for _, wrong := range [][]string{{"roomadmins", "a@b@c"}, {"roomowners", ""}, {"roomadmins", "example.net"}} {
		w.want(wrong[0]+" "+wrong[1], w.says(crone, submit(append(wrong, "publicroom", "0")...)), crone+": | type='error'")
		is("nothing has changed", "admin", wicca)
		w.want("nor this", w.says(crone, owner("get", "")), crone+": | muc#roomconfig_publicroom' type='boolean' label='The room is listed'><value>1</value>")
	}
	w.says(crone, submit("roomowners", bare(hag)))
	w.want("another owner", w.says(hag, admin("get", "<item affiliation='owner'/>")), hag+": | jid='"+bare(hag)+"' | !"+bare(crone))
	w.says(hag, submit("roomowners", bare(crone)))
	is("and back", "owner", crone)
	if out := w.says(crone, submit("roomadmins", hag)); !strings.Contains(strings.Join(out, "\n"), "affiliation='admin'") {
		t.Errorf("nobody is told: %q", out)
	}
	is("10.6", "admin", hag)
	is("who was admin", "member", wicca)
	is("the owner stays", "owner", crone)
	w.says(crone, submit("roomname", "x"))
	is("a form without the fields", "admin", hag)
	w.says(crone, submit("roomadmins", bare(crone), "roomowners", bare(crone)))
	is("who is named twice", "owner", crone)
	is("and no other", "member", hag, wicca)
}

// 9.5, 5.2.1: who may ask for the list of members.
func TestListOfMembers(t *testing.T) {
	list := admin("get", "<item affiliation='member'/>")
	w := witches(t)
	w.has(jid.MustParse(hag).Bare().String(), "member")
	w.error("addresses are hidden", hag, list, "forbidden")
	w.says(crone, admin("set", role("secondwitch", "moderator")))
	w.want("moderators see them", w.says(wicca, list), wicca+": | type='result' | jid='"+jid.MustParse(hag).Bare().String()+"'")
	w.error("but not who is admin", wicca, admin("get", "<item affiliation='admin'/>"), "forbidden")
	w.says(crone, submit("whois", "anyone"))
	w.want("a member", w.says(hag, list), hag+": | type='result'")
	w.want("who the owners are", w.says(hag, admin("get", "<item affiliation='owner'/>")), hag+": | type='result'")
	w.error("outcasts are for admins", hag, admin("get", "<item affiliation='outcast'/>"), "forbidden")
	w.says(crone, admin("set", role("secondwitch", "participant")))
	w.error("who is no member", wicca, list, "forbidden")
	w.says(crone, submit("getmemberlist", "moderator"))
	w.error("not members any more", hag, list, "forbidden")
	w.says(hag, "<presence type='unavailable' to='"+coven+"/thirdwitch'/>")
	w.error("nor who is away", hag, list, "forbidden")
	w.want("owners always", w.says(crone, list), crone+": | type='result'")
	w.says(crone, owner("set", "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roomconfig</value></field><field var='muc#roomconfig_getmemberlist'/></x>"))
	if out := w.says(crone, owner("get", "")); strings.Contains(strings.Join(out, ""), "getmemberlist' type='list-multi' label='Roles that may ask for the list of members; where real addresses are hidden, moderators at most'><value>") {
		t.Errorf("nobody may: %q", out)
	}
}

// 10.9
func TestDestroy(t *testing.T) {
	w := newWorld(t, open, persistent)
	w.joins(crone, "firstwitch")
	w.joins(hag, "thirdwitch")
	w.says(crone, "<message type='groupchat' to='"+coven+"'><body>b</body></message>")
	const destroy = "<destroy jid='coven@chat.example.net'><reason>Macbeth doth come.</reason></destroy>"
	w.want("not by others", w.says(hag, owner("set", destroy)), hag+": | forbidden")
	w.error("no address", crone, owner("set", "<destroy jid='@'/>"), "jid-malformed")
	w.want("destroyed", w.says(crone, owner("set", destroy)), crone+": | result",
		crone+": | unavailable | role='none' | affiliation='none' | <destroy jid='coven@chat.example.net'><reason>Macbeth", hag+": | unavailable | <destroy")
	if left := w.Entries(jid.JID{}, ""); len(left)+len(w.Memory())+len(w.Members(coven))+len(w.Rows(jid.MustParse(coven))) != 0 {
		t.Errorf("left: %v", left)
	}
}
