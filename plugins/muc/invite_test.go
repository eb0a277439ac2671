package muc_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/plugins/muc"
)

// toRoom is a message to the room itself.
func toRoom(content string) string {
	return "<message id='m' to='" + coven + "'>" + content + "</message>"
}

func invite(to string) string {
	return "<invite to='" + to + "'><reason>Hey Hecate</reason><continue thread='t'/></invite>"
}

func user(content string) string {
	return toRoom("<x xmlns='http://jabber.org/protocol/muc#user'>" + content + "</x>")
}

// What others get through the room counts as what is said in it.
func TestPaceOfInvitations(t *testing.T) {
	w := witches(t, func(o *muc.Options) { o.Rate, o.Burst = 1, 3 })
	for range 3 {
		w.want("within the rate", w.says(hag, user(invite("a@far.test"))), "a@far.test: | <invite ")
	}
	w.error("too many", hag, user(invite("a@far.test")), "policy-violation")
	w.want("admins are free of it", w.says(crone, user(invite("a@far.test"))), "a@far.test: | <invite ")
}

// 7.8.2
func TestInvite(t *testing.T) {
	w := witches(t)
	w.want("examples 56, 57", w.says(hag, user(invite("hecate@far.test"))), "hecate@far.test: | from='"+coven+"' | id='m' | <invite from='"+coven+"/thirdwitch'><reason>Hey Hecate</reason><continue thread='t'/> | !<password")
	w.want("several", w.says(hag, user(invite("a@far.test")+invite("b@far.test/x"))), "a@far.test: ", "b@far.test/x: ")
	w.error("not from outside", "x@example.org/x", user(invite("hecate@far.test")), "not-acceptable")
	w.error("no address", hag, user(invite("@")), "jid-malformed")
	w.error("no account", hag, user(invite("far.test")), "jid-malformed")
	w.error("too many", hag, user(strings.Repeat(invite("a@far.test"), 21)), "resource-constraint")
	w.error("not normal", hag, strings.Replace(user(invite("a@far.test")), "id=", "type='chat' id=", 1), "bad-request")
	w.error("nothing", hag, user(""), "bad-request")
	w.error("a body", hag, toRoom("<body>b</body>"), "bad-request")
	w.says(crone, admin("set", affiliation("b@far.test", "outcast")))
	w.error("who is banned", hag, user(invite("b@far.test")), "not-allowed")

	w.says(crone, admin("set", affiliation("hag66@example.org", "member")))
	w.says(crone, submit("membersonly", "1", "passwordprotectedroom", "1", "roomsecret", "cauldronburn", "whois", "anyone"))
	w.error("example 135", hag, user(invite("hecate@far.test")), "forbidden")
	w.want("becomes a member", w.says(crone, user(invite("hecate@far.test/broom"))), crone+": | <message | affiliation='member' jid='hecate@far.test'", hag+": | <message",
		"hecate@far.test/broom: | <invite from='crone1@example.org'> | <password>cauldronburn")
	w.want("is one already", w.says(crone, user(invite("hecate@far.test"))), "hecate@far.test: | <invite")
	w.says(crone, submit("allowinvites", "1"))
	w.want("members may", w.says(hag, user(invite("c@far.test"))), crone+": | jid='c@far.test'", hag+": ", "c@far.test: | <invite")
}

func TestDecline(t *testing.T) {
	w := witches(t)
	decline := func(to string) string { return user("<decline to='" + to + "'><reason>busy</reason></decline>") }
	const hecate = "hecate@example.org/broom"
	w.want("examples 58, 59", w.says(hecate, decline(coven+"/thirdwitch")), hag+": | from='"+coven+"' | <decline from='hecate@example.org'><reason>busy")
	w.want("by address", w.says(hecate, decline("hag66@example.org")), hag+": | <decline")
	w.error("to who is not there", hecate, decline("x@example.org"), "item-not-found")
	w.error("to nobody", hecate, decline(coven+"/nobody"), "item-not-found")
	w.error("no address", hecate, decline("@"), "jid-malformed")
	w.says(crone, admin("set", affiliation("hecate@example.org", "outcast")))
	w.error("banned", hecate, decline(coven+"/thirdwitch"), "forbidden")
}

// register makes a request for registration.
func register(typ, content string) string {
	return "<iq type='" + typ + "' id='r' to='" + coven + "'><query xmlns='jabber:iq:register'>" + content + "</query></iq>"
}

func nickForm(nick string) string {
	return "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#register</value></field>" +
		"<field var='muc#register_roomnick'><value>" + nick + "</value></field></x>"
}

// 7.10, 7.12
func TestRegister(t *testing.T) {
	w := witches(t, persistent)
	w.error("example 67", hag, strings.Replace(register("get", ""), coven, "nowhere@conference.example.org", 1), "item-not-found")
	w.want("example 70", w.says(hag, register("get", "")), hag+": | result | muc#register_roomnick | <required/> | !registered/")
	for _, wrong := range []string{"", nickForm(""), strings.Replace(nickForm("x"), "muc#register<", "muc#roomconfig<", 1), "<x xmlns='jabber:x:data' type='form'/>"} {
		w.error("example 74 "+wrong, hag, register("set", wrong), "bad-request")
	}
	w.error("in use", hag, register("set", nickForm("FirstWitch")), "conflict")
	w.want("cancelled", w.says(hag, register("set", "<x xmlns='jabber:x:data' type='cancel'/>")), hag+": | result")
	w.want("examples 75, 76", w.says(hag, register("set", nickForm("Old Hag"))), hag+": | result", crone+": | affiliation='member' | /thirdwitch", wicca+": | member", hag+": | 110 | member")
	w.want("example 69", w.says(hag, register("get", "")), hag+": | <registered/><username>Old Hag</username>")
	w.error("example 72", wicca, register("set", nickForm("old hag")), "conflict")
	w.want("examples 77, 78", w.says(hag, info("x-roomuser-item")), hag+": | node='x-roomuser-item' | <identity category='conference' type='text' name='Old Hag'/>")
	w.want("none", w.says(wicca, info("x-roomuser-item")), wicca+": | node='x-roomuser-item'/>")
	w.error("another node", wicca, info("x"), "item-not-found")
	w.want("another one", w.says(hag, register("set", nickForm("hag"))), hag+": | result")
	w.want("free again", w.says(wicca, register("set", nickForm("old hag"))), wicca+": | result", crone+": ", hag+": ", wicca+": ")
	w.want("removed", w.says(hag, register("set", "<remove/>")), hag+": | result", crone+": | affiliation='none'", wicca+": ", hag+": | 110")
	w.error("twice", hag, register("set", "<remove/>"), "registration-required")
	w.service.Forget(coven)
	w.error("it is stored", hag, register("set", nickForm("old hag")), "conflict")
	for _, setting := range []string{"moderatedroom", "membersonly"} {
		w.says(crone, submit(setting, "1"))
		w.error("example 68: "+setting, "x@example.org/x", register("get", ""), "not-allowed")
		w.says(crone, submit(setting, "0"))
	}
	w.says(crone, submit("allowregister", "0"))
	w.error("switched off", "x@example.org/x", register("set", nickForm("x")), "not-allowed")
	w.want("not for members", w.says(wicca, register("set", nickForm("w"))), wicca+": | result")
	w.want("admins stay", w.says(crone, register("set", nickForm("firstwitch"))), crone+": | result")
	w.want("and stay so", w.says(crone, register("set", "<remove/>")), crone+": | result")
	w.want("owner", w.says(crone, admin("get", "<item affiliation='owner'/>")), crone+": | crone1@example.org")
}

// 9.9
func TestApproveRegistration(t *testing.T) {
	w := witches(t, persistent)
	const hecate, her = "hecate@example.org/x", "hecate@example.org"
	answer := func(fields ...string) string {
		var b strings.Builder
		for i := 0; i < len(fields); i += 2 {
			b.WriteString("<field var='muc#" + fields[i] + "'><value>" + fields[i+1] + "</value></field>")
		}
		return "<message to='" + coven + "'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#register</value></field>" + b.String() + "</x></message>"
	}
	yes := answer("jid", her, "register_roomnick", "Hecate", "register_allow", "1")
	w.says(crone, submit("membersonly", "0", "moderatedroom", "1"))
	w.error("not unless the room is so", hecate, register("set", nickForm("Hecate")), "not-allowed")
	w.says(crone, submit("approveregister", "1"))
	w.want("7.10", w.says(hecate, register("get", "")), hecate+": | muc#register_roomnick")
	w.error("a name that is in use", hecate, register("set", nickForm("thirdwitch")), "conflict")
	w.want("example 151", w.says(hecate, register("set", nickForm("Hecate"))),
		crone+": | <value>http://jabber.org/protocol/muc#register</value> | muc#jid' type='text-single' label='Address'><value>"+her+"</value> | <value>Hecate</value> | muc#register_allow' type='boolean'",
		hecate+": | type='result'")
	w.error("too often", hecate, register("set", nickForm("Hecate")), "policy-violation")
	w.error("not by others", hag, yes, "forbidden")
	w.error("not by herself", hecate, yes, "forbidden")
	for _, wrong := range []string{answer(), answer("jid", her), answer("jid", her, "register_allow", "perhaps")} {
		w.error(wrong, crone, wrong, "bad-request")
	}
	w.error("another one has the nickname", crone, voice("role", "participant", "jid", "x@example.org/x", "roomnick", "thirdwitch", "request_allow", "1"), "item-not-found")
	w.error("no address", crone, voice("role", "participant", "jid", "@", "roomnick", "thirdwitch", "request_allow", "1"), "item-not-found")
	w.error("nobody", crone, answer("register_allow", "1"), "jid-malformed")
	w.want("no", w.says(crone, answer("jid", her, "register_allow", "0")))
	w.want("cancelled", w.says(crone, strings.Replace(yes, "'submit'", "'cancel'", 1)))
	w.want("still none", w.says(crone, admin("get", "<item affiliation='member'/>")), crone+": | !hecate")
	w.want("yes", w.says(crone, yes), crone+": | <item affiliation='member' jid='"+her+"' role='none'/>")
	w.want("a member", w.says(crone, admin("get", "<item affiliation='member'/>")), crone+": | jid='"+her+"' nick='Hecate'")
	w.want("twice", w.says(crone, yes))
	w.says(crone, submit("membersonly", "1"))
	w.says(crone, admin("set", affiliation("x@example.org", "none")))
	w.want("for members: she is asked in", w.says(crone, strings.ReplaceAll(strings.ReplaceAll(yes, her, "x@example.org"), "Hecate", "x")), crone+": | jid='x@example.org'", "x@example.org: | <invite ")
	w.says(crone, admin("set", affiliation("bad@example.org", "outcast")))
	w.error("who is banned may not ask", "bad@example.org/x", register("set", nickForm("bad")), "not-allowed")
	w.error("nor be let in", crone, strings.ReplaceAll(yes, her, "bad@example.org"), "not-allowed")
	w.says(crone, "<presence type='unavailable' to='"+coven+"/firstwitch'/>")
	w.error("nobody is there to ask", "y@example.org/x", register("set", nickForm("y")), "recipient-unavailable")
}

func info(node string) string {
	return "<iq type='get' id='i' to='" + coven + "'><query xmlns='http://jabber.org/protocol/disco#info' node='" + node + "'/></iq>"
}

// voice is a form about voice.
func voice(pairs ...string) string {
	var b strings.Builder
	b.WriteString("<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#request</value></field>")
	for i := 0; i < len(pairs); i += 2 {
		b.WriteString("<field var='muc#" + pairs[i] + "'><value>" + pairs[i+1] + "</value></field>")
	}
	return toRoom(b.String() + "</x>")
}

// 7.13, 8.6
func TestVoice(t *testing.T) {
	w := witches(t)
	w.says(crone, admin("set", role("thirdwitch", "visitor")))
	w.want("examples 79, 108", w.says(hag, voice("role", "participant")), crone+": | from='"+coven+"' | type='form' | muc#request_allow | <value>"+hag+"</value> | <value>thirdwitch</value>")
	w.error("another role", hag, voice("role", "moderator"), "bad-request")
	w.error("has voice", wicca, voice("role", "participant"), "bad-request")
	w.error("is not there", "x@example.org/x", voice("role", "participant"), "not-acceptable")
	answer := func(allow string) string {
		return voice("role", "participant", "jid", hag, "roomnick", "thirdwitch", "request_allow", allow)
	}
	w.error("by a participant", wicca, answer("1"), "forbidden")
	w.want("no", w.says(crone, answer("0")))
	w.want("cancelled", w.says(crone, toRoom("<x xmlns='jabber:x:data' type='cancel'/>")))
	w.want("example 109", w.says(crone, answer("true")), crone+": | role='participant' | /thirdwitch", wicca+": ", hag+": | 110 | participant")
	w.want("twice", w.says(crone, answer("true")))
	w.error("nobody", crone, voice("role", "participant", "roomnick", "nobody", "request_allow", "1"), "item-not-found")
	w.says(crone, admin("set", role("thirdwitch", "visitor")))
	w.says(crone, "<presence type='unavailable' to='"+coven+"/firstwitch'/>")
	w.error("no moderator", hag, voice("role", "participant"), "recipient-unavailable")
}

// 7.5, 6.6, 17.4
func TestBetweenOccupants(t *testing.T) {
	w := witches(t)
	card := func(nick string) string {
		return "<iq type='get' id='v' to='" + coven + "/" + nick + "'><vCard xmlns='vcard-temp'/></iq>"
	}
	w.error("is not there", "x@example.org/x", card("thirdwitch"), "not-acceptable")
	w.error("6.6", "x@example.org/x", strings.Replace(info(""), coven, coven+"/thirdwitch", 1), "bad-request")
	w.error("nobody", wicca, card("nobody"), "item-not-found")
	ask := func(nick string) string {
		return "<iq type='set' id='q' to='" + coven + "/" + nick + "' xml:lang='de'><x xmlns='urn:x'><y/></x></iq>"
	}
	w.want("a request", w.says(wicca, ask("thirdwitch")), hag+": | from='"+coven+"/secondwitch' | type='set' | <x xmlns='urn:x'><y/></x> | !wiccarocks | !id='q'")
	answer := func(content string) (out []string) {
		t.Helper()
		open := w.Requests()
		if len(open) != 1 {
			t.Fatalf("%d requests", len(open))
		}
		return w.answers(open[0], content)
	}
	w.want("its answer", answer("result|<z xmlns='urn:z'/>"), wicca+": | from='"+coven+"/thirdwitch' | id='q' | type='result' | <z xmlns='urn:z'/> | !hag66")
	w.says(wicca, ask("thirdwitch"))
	w.want("an error", answer("error|<error type='auth' by='hag66@example.org'><forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>hag66</text></error>"),
		wicca+": | id='q' | type='error' | auth | forbidden | !hag66")
	w.says(wicca, ask("thirdwitch"))
	w.Advance(2 * 60e9)
	w.want("no answer", w.left(), wicca+": | id='q' | type='error' | remote-server-timeout")
	w.want("a vCard is the account's", w.says(wicca, card("thirdwitch")), "hag66@example.org: | from='"+coven+"/secondwitch' | <vCard")

	const psst = "<message type='chat' id='w1' to='" + coven + "/thirdwitch'><body>psst</body></message>"
	w.want("a private message", w.says(wicca, psst), hag+": | from='"+coven+"/secondwitch' | psst")
	bounce := "<message type='error' id='w1' to='" + coven + "/secondwitch'><error type='cancel' by='hag66@example.org'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
	w.want("its error", w.says(hag, bounce), wicca+": | from='"+coven+"/thirdwitch' | id='w1' | type='error' | service-unavailable | !hag66")
	w.want("not of others", w.says(crone, bounce))
	w.want("of what was said to all it is nobody's", w.says(hag, strings.Replace(bounce, "w1", "w2", 1)))
	for may, want := range map[string]bool{"anyone": true, "participants": true, "moderators": false, "none": false} {
		w.says(crone, submit("allowpm", may))
		if out := w.says(wicca, psst); strings.Contains(out[0], "forbidden") == want {
			t.Errorf("%s: %q", may, out)
		}
	}
	w.error("no such", crone, submit("allowpm", "me"), "not-acceptable")
}

// An account makes a number of rooms.
func TestManyOfOne(t *testing.T) {
	w := newWorld(t, open, func(o *muc.Options) { o.MaxRooms = 3; o.Admins = []string{"root@example.org"} })
	enter := func(who string, i int) string {
		out := w.says(who, fmt.Sprintf("<presence to='r%d@conference.example.org/n'><x xmlns='http://jabber.org/protocol/muc'/></presence>", i))
		return out[0]
	}
	for i := range 4 {
		if out := enter(crone, i); strings.Contains(out, "resource-constraint") != (i == 3) {
			t.Errorf("%d: %s", i, out)
		}
	}
	if out := enter(hag, 3); strings.Contains(out, "error") {
		t.Errorf("another one: %s", out)
	}
	for i := range 5 {
		if out := enter("root@example.org/x", 10+i); strings.Contains(out, "error") {
			t.Errorf("an admin: %s", out)
		}
	}
	w.says(crone, "<presence type='unavailable' to='r0@conference.example.org/n'/>")
	if out := enter(crone, 20); strings.Contains(out, "error") {
		t.Errorf("one is gone: %s", out)
	}
}
