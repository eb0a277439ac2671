package muc_test

import (
	"testing"

	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// 6.4, 6.5, XEP-0410 3
func TestLook(t *testing.T) {
	iq := func(to, payload string) string { return "<iq type='get' id='d' to='" + to + "'>" + payload + "</iq>" }
	const info = "<query xmlns='http://jabber.org/protocol/disco#info'/>"
	const items = "<query xmlns='http://jabber.org/protocol/disco#items'/>"
	const ping = "<ping xmlns='urn:xmpp:ping'/>"
	w := newWorld(t)
	w.want("no room", w.says(hag, iq(coven, info)), hag+": | item-not-found")
	w.joins(crone, "firstwitch")
	w.want("locked", w.says(hag, iq(coven, info)), hag+": | item-not-found")
	w.says(crone, submit("roomname", "A Dark Cave", "roomdesc", "The place", "membersonly", "0", "whois", "anyone"))
	w.want("6.4", w.says(hag, iq(coven, info)), hag+": | result | category='conference' | name='A Dark Cave' | muc_public | muc_temporary | muc_open | muc_unmoderated | muc_nonanonymous | muc_unsecured | "+
		"http://jabber.org/protocol/muc#roominfo | <value>The place | !muc_hidden")
	w.want("6.5: from outside", w.says(hag, iq(coven, items)), hag+": | result | !firstwitch")
	w.want("6.5: from inside", w.says(crone, iq(coven, items)), crone+": | result | jid='"+coven+"/firstwitch'")
	w.want("a node", w.says(hag, iq(coven, "<query xmlns='http://jabber.org/protocol/disco#info' node='x'/>")), hag+": | item-not-found")
	w.want("XEP-0410: inside", w.says(crone, iq(coven+"/firstwitch", ping)), crone+": | result | id='d'")
	w.want("XEP-0410: outside", w.says(hag, iq(coven+"/firstwitch", ping)), hag+": | error | not-acceptable")
	w.want("nobody knows", w.says(hag, iq(coven, "<query xmlns='urn:x'/>")), hag+": | service-unavailable")
}

// 6.3
func TestList(t *testing.T) {
	w := newWorld(t, open)
	w.joins(crone, "firstwitch")
	w.says(crone, "<presence to='hidden@conference.example.org/n'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
	w.says(crone, "<presence to='heath@conference.example.org/n'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
	w.says(crone, "<iq type='set' id='o' to='hidden@conference.example.org'><query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'>"+
		"<field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roomconfig</value></field><field var='muc#roomconfig_publicroom'><value>0</value></field></x></query></iq>")
	w.says(crone, submit("roomname", "A Dark Cave", "persistentroom", "1"))
	_, stored := w.Entry(jid.JID{}, "l/conference.example.org/coven")
	_, temporary := w.Memory()["l/conference.example.org/heath"]
	_, hidden := w.Memory()["l/conference.example.org/hidden"]
	if !stored || !temporary || hidden {
		t.Errorf("listed: %v %v, hidden: %v", stored, temporary, hidden)
	}
}
