package muc_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/ports/extension/extensiontest"
	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

var listedRoom = regexp.MustCompile(`<item jid='([^']+)@conference.example.org'`)

// rooms asks for the list, and returns the names of what is on the page, and the answer.
func (w *world) rooms(set string) (names, answer string) {
	w.Helper()
	if set != "" {
		set = "<set xmlns='http://jabber.org/protocol/rsm'>" + set + "</set>"
	}
	answer = w.IQ(extensiontest.Client(hag), extensiontest.Parse(w, "<iq type='get' id='l' to='conference.example.org'><query xmlns='http://jabber.org/protocol/disco#items'>"+set+"</query></iq>")).XML(xmpp.NSClient)
	var all []string
	for _, m := range listedRoom.FindAllStringSubmatch(answer, -1) {
		all = append(all, m[1])
	}
	return strings.Join(all, " "), answer
}

// makes makes rooms: every other one stays when nobody is in it.
func (w *world) makes(names ...string) {
	w.Helper()
	for i, name := range names {
		room := name + "@conference.example.org"
		w.says(crone, "<presence to='"+room+"/n'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
		w.says(crone, strings.Replace(submit("roomname", "Room "+name, "persistentroom", fmt.Sprint(i%2)), coven, room, 1))
	}
}

// 6.3, and pages of it (XEP-0059 2)
func TestRoomList(t *testing.T) {
	w := newWorld(t, open)
	if names, answer := w.rooms(""); names != "" || strings.Contains(answer, "<set") {
		t.Errorf("none: %s", answer)
	}
	w.makes("d", "b", "c", "a", "hidden", "f", "e")
	w.says(crone, strings.Replace(submit("publicroom", "0"), coven, "hidden@conference.example.org", 1))
	for _, c := range []struct{ set, names, says string }{
		{"", "a b c d e f", "jid='a@conference.example.org' name='Room a'"},
		{"<max>2</max>", "a b", "<set xmlns='http://jabber.org/protocol/rsm'><first index='0'>a@conference.example.org</first><last>b@conference.example.org</last></set>"},
		{"<max>2</max><after>b@conference.example.org</after>", "c d", "<first>c@conference.example.org</first><last>d@conference.example.org</last>"},
		{"<max>9</max><after>d@conference.example.org</after>", "e f", "<last>f@"},
		{"<max>2</max><after>bb@conference.example.org</after>", "c d", ""}, // 2.4: its place is known, though it is gone
		{"<after>f@conference.example.org</after>", "", "<set xmlns='http://jabber.org/protocol/rsm'/>"},
		{"<max>9</max>", "a b c d e f", "<first index='0'>a@conference.example.org</first><last>f@conference.example.org</last><count>6</count>"},
		{"<max>2</max><before/>", "e f", "<first>e@"}, // 2.5
		{"<max>2</max><before>d@conference.example.org</before>", "b c", ""},
		{"<max>9</max><before>d@conference.example.org</before>", "a b c", ""},
		{"<max>2</max><before>a@conference.example.org</before>", "", ""},
		{"<before>e@conference.example.org</before><after>b@conference.example.org</after>", "c d", ""},
		{"<max>0</max>", "", "<set xmlns='http://jabber.org/protocol/rsm'><count>6</count></set>"}, // 2.7
		{"<max>2</max><index>2</index>", "", "<feature-not-implemented"},
		{"<max>-1</max>", "", "<bad-request"},
		{"<after>b@example.org</after>", "", "<item-not-found"},
		{"<after>@</after>", "", "<item-not-found"},
	} {
		if names, answer := w.rooms(c.set); names != c.names || !strings.Contains(answer, c.says) {
			t.Errorf("%s: %q, want %q: %s", c.set, names, c.names, answer)
		}
	}
	node := extensiontest.Parse(w, "<iq type='get' id='l' to='conference.example.org'><query xmlns='http://jabber.org/protocol/disco#items' node='x'/></iq>")
	if answer := w.IQ(extensiontest.Client(hag), node).XML(xmpp.NSClient); !strings.Contains(answer, "<item-not-found") {
		t.Error(answer)
	}
}

// A list that is too long for one page says so; and one that is too long to be read from behind.
func TestLongRoomList(t *testing.T) {
	w := newWorld(t, open)
	put := func(from, to int) {
		for i := from; i < to; i++ {
			w.Put(jid.JID{}, fmt.Sprintf("l/conference.example.org/r%05d", i), []byte("x"))
		}
	}
	put(0, 1_200)
	names, answer := w.rooms("")
	if n := len(strings.Fields(names)); n != 500 || !strings.Contains(answer, "<last>r00499@") {
		t.Errorf("%d rooms", n)
	}
	if names, _ = w.rooms("<max>3</max><before/>"); names != "r01197 r01198 r01199" {
		t.Error(names)
	}
	if _, answer = w.rooms("<max>0</max>"); !strings.Contains(answer, "<count>1200</count>") {
		t.Error(answer)
	}
	put(1_200, 10_100)
	if _, answer = w.rooms("<max>0</max>"); !strings.Contains(answer, "<count>10000</count>") {
		t.Error(answer)
	}
	if _, answer = w.rooms("<max>3</max><before/>"); !strings.Contains(answer, "<feature-not-implemented") {
		t.Error(answer)
	}
	if names, _ = w.rooms("<max>2</max><after>r10050@conference.example.org</after>"); names != "r10051 r10052" {
		t.Error(names)
	}
}
