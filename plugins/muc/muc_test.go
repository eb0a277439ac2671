package muc_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/api/plugin/plugintest"
	"github.com/hexmpp/hexmpp/plugins/muc"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/extension/extensiontest"
	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

const (
	crone = "crone1@example.org/desktop" // makes the room
	hag   = "hag66@example.org/pda"
	wicca = "wiccarocks@example.net/laptop"
	coven = "coven@conference.example.org"
)

// open has new rooms that are not locked.
func open(o *muc.Options) { o.LockNew = false }

// persistent has new rooms that stay.
func persistent(o *muc.Options) { o.Persistent = true }

// world is a service in a harness.
type world struct {
	testing.TB
	*extensiontest.Harness
	service *muc.Service
}

func newWorld(t testing.TB, change ...func(o *muc.Options)) *world {
	t.Helper()
	o := muc.Defaults
	for _, f := range change {
		f(&o)
	}
	s, err := muc.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return &world{t, extensiontest.New(t, s.Registration(), extensiontest.Options{}), s}
}

// says hands in a stanza of a session and returns what left the service: one line each, "to: stanza" as it
// goes out, without ids that the service makes.
func (w *world) says(from, xml string) (out []string) {
	w.Helper()
	o := extensiontest.Client(from)
	if strings.HasSuffix(from, "@far.test/x") {
		o = extensiontest.Far()
		if !strings.Contains(xml, " from=") {
			name, rest, _ := strings.Cut(xml, " ")
			xml = name + " from='" + from + "' " + rest
		}
	}
	w.Component(extension.Envelope{Origin: o, Stanza: extensiontest.Parse(w, xml)})
	return w.left()
}

// left returns what left the service since it was last asked.
func (w *world) left() (out []string) {
	w.Helper()
	for _, e := range w.Effects() {
		out = append(out, e.Stanza.To.String()+": "+e.Stanza.XML(xmpp.NSClient))
	}
	return out
}

// answers has a request of the service answered: content begins with the type of the answer and |.
func (w *world) answers(r extensiontest.Request, content string) []string {
	w.Helper()
	typ, content, _ := strings.Cut(content, "|")
	if !w.Answer(extensiontest.Parse(w, fmt.Sprintf("<iq type='%s' id='%s' from='%s' to='%s'>%s</iq>", typ, r.Stanza.ID, r.Stanza.To, r.Stanza.From, content))) {
		w.Fatalf("nobody waits for an answer to %s", r.Stanza)
	}
	return w.left()
}

// joins enters a room.
func (w *world) joins(who, nick string) []string {
	w.Helper()
	return w.says(who, "<presence to='"+coven+"/"+nick+"' id='j'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
}

// want checks that out has as many lines as there are wanted ones, and that each holds the words of
// its one, which are parted by " | "; a word with a leading ! is not to be there.
func (w *world) want(what string, out []string, wanted ...string) {
	w.Helper()
	ok := len(out) == len(wanted)
	for i := 0; ok && i < len(out); i++ {
		for _, word := range strings.Split(wanted[i], " | ") {
			if no, found := strings.CutPrefix(word, "!"); found {
				ok = ok && !strings.Contains(out[i], no)
			} else {
				ok = ok && strings.Contains(out[i], word)
			}
		}
	}
	if !ok {
		w.Errorf("%s:\n got  %s\n want %s", what, strings.Join(out, "\n      "), strings.Join(wanted, "\n      "))
	}
}

func TestSuite(t *testing.T) {
	reg := func() extension.Registration {
		s, err := muc.New(muc.Defaults)
		if err != nil {
			t.Fatal(err)
		}
		return s.Registration()
	}
	t.Run("inside", func(t *testing.T) { extensiontest.Run(t, reg) })
	t.Run("as a process", func(t *testing.T) {
		extensiontest.Run(t, func() extension.Registration { return plugintest.Through(reg()) })
	})
}

func TestOptions(t *testing.T) {
	for want, change := range map[string]func(o *muc.Options){
		"":                            func(o *muc.Options) { o.History = 5 },
		"no account":                  func(o *muc.Options) { o.Admins = []string{"a@example.org/x"} },
		`create: "nobody"`:            func(o *muc.Options) { o.Create = "nobody" },
		"allowed are 1 to 1500":       func(o *muc.Options) { o.MaxOccupants = 1501 },
		"history: 501":                func(o *muc.Options) { o.History = 501 },
		"max-nick: 0":                 func(o *muc.Options) { o.MaxNick = 0 },
		"max-presence: 8193; allowed": func(o *muc.Options) { o.MaxPresence = 8193 },
	} {
		o := muc.Defaults
		change(&o)
		_, err := muc.New(o)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
}

// A large room, with the longest history, can be entered, and be for members from now on.
func TestLargest(t *testing.T) {
	w := newWorld(t, open, persistent, func(o *muc.Options) { o.MaxOccupants = 700; o.History = 500 })
	w.joins(crone, "firstwitch")
	for range 500 {
		w.says(crone, "<message type='groupchat' to='"+coven+"'><body>b</body></message>")
	}
	who := func(i int) string { return fmt.Sprintf("u%d@example.org/r", i) }
	for i := range 699 {
		if out := w.joins(who(i), fmt.Sprintf("n%d", i)); len(out) < 500 || strings.Contains(out[0], "type='error'") {
			t.Fatalf("%d: %d lines, %.300s", i, len(out), out)
		}
	}
	w.want("full", w.joins(hag, "thirdwitch"), hag+": | service-unavailable")
	if out := w.says(crone, submit("membersonly", "1")); len(out) < 699 || len(w.Members(coven)) != 1 {
		t.Errorf("for members: %d lines, %d are left", len(out), len(w.Members(coven)))
	}
}

// Long presences don't make a room that nobody can enter, or be in.
func TestLongPresence(t *testing.T) {
	w := newWorld(t, open, func(o *muc.Options) { o.MaxPresence = 8 << 10 })
	w.joins(crone, "firstwitch")
	status := "<status>" + strings.Repeat("s", 7600) + "</status>"
	n := 0
	for ; n < 450; n++ {
		out := w.says(fmt.Sprintf("u%d@example.org/r", n), fmt.Sprintf("<presence to='%s/n%d'><x xmlns='http://jabber.org/protocol/muc'/>%s</presence>", coven, n, status))
		if len(out) == 1 {
			w.want("no more", out, "type='error' | wait | service-unavailable")
			break
		}
	}
	if n < 200 || n > 260 {
		t.Errorf("%d fit", n)
	}
	w.want("a longer one", w.says(crone, "<presence to='"+coven+"/firstwitch'>"+status+"</presence>"), crone+": | type='error' | wait | resource-constraint")
	if out := w.says(crone, "<presence to='"+coven+"/firstwitch'><show>xa</show></presence>"); len(out) != n+1 {
		t.Errorf("a short one: %d lines", len(out))
	}
}

// Rooms are handled at once, and dropped when nothing happens in them.
func TestManyRooms(t *testing.T) {
	w := newWorld(t, open)
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for n := range 50 {
				w.Component(extension.Envelope{Origin: extensiontest.Client(crone), Stanza: extensiontest.Parse(t,
					fmt.Sprintf("<presence to='r%d@conference.example.org/n' id='%d'><x xmlns='http://jabber.org/protocol/muc'/></presence>", i, n))})
				w.Advance(2 * time.Minute)
			}
		})
	}
	all.Wait()
	for i := range 4 {
		if n := len(w.Members(fmt.Sprintf("r%d@conference.example.org", i))); n != 1 {
			t.Errorf("room %d has %d members", i, n)
		}
	}
}

// 7.1, 7.2.2: who enters is sent the presence of others, then its own, then the subject; the
// others are sent its presence. 7.2.4: real addresses are for moderators.
func TestEnter(t *testing.T) {
	w := newWorld(t, open)
	w.want("the maker", w.joins(crone, "firstwitch"),
		crone+": | from='"+coven+"/firstwitch' | id='j' | affiliation='owner' | role='moderator' | code='110' | code='201' | occupant-id | !code='100'",
		crone+": | type='groupchat' | from='"+coven+"' | <subject/>")
	w.want("the second", w.joins(hag, "thirdwitch"),
		hag+": | from='"+coven+"/firstwitch' | affiliation='owner' | role='moderator' | !jid= | !110",
		crone+": | from='"+coven+"/thirdwitch' | affiliation='none' | role='participant' | jid='"+hag+"' | !110",
		hag+": | from='"+coven+"/thirdwitch' | affiliation='none' | role='participant' | code='110' | !201",
		hag+": | <subject/>")
	w.want("the third", w.joins(wicca, "secondwitch"),
		wicca+": | /firstwitch | !jid=", wicca+": | /thirdwitch | !jid=",
		crone+": | /secondwitch | jid='"+wicca+"'", hag+": | /secondwitch | !jid=",
		wicca+": | /secondwitch | 110", wicca+": | <subject/>")
	w.want("17.3: again", w.joins(wicca, "secondwitch"),
		wicca+": | /firstwitch", wicca+": | /thirdwitch", crone+": | /secondwitch", hag+": | /secondwitch",
		wicca+": | /secondwitch | 110", wicca+": | <subject/>")
	if n := len(w.Members(coven)); n != 3 {
		t.Errorf("%d members", n)
	}
}

// 7.2.1, 7.2.8, 7.2.9, 7.2.18, 10.1.1, 17.1
func TestNotEntered(t *testing.T) {
	w := newWorld(t)
	w.joins(crone, "firstwitch")
	w.want("10.1.1: locked", w.joins(hag, "thirdwitch"), hag+": | type='error' | <x xmlns='http://jabber.org/protocol/muc'/> | item-not-found | by='"+coven+"'")
	w = newWorld(t, open, func(o *muc.Options) {
		o.MaxOccupants = 2
		o.MaxNick = 20
		o.Create = "admins"
		o.Admins = []string{"crone1@example.org"}
	})
	w.want("10.1.1: may not make rooms", w.joins(hag, "thirdwitch"), hag+": | type='error' | not-allowed")
	w.joins(crone, "firstwitch")
	for nick, want := range map[string]string{
		"firstwitch": "conflict", "FirstWitch": "conflict", strings.Repeat("n", 21): "jid-malformed",
	} {
		w.want(nick, w.joins(hag, nick), hag+": | type='error' | "+want)
	}
	w.want("7.2.1: no nickname", w.says(hag, "<presence to='"+coven+"'><x xmlns='http://jabber.org/protocol/muc'/></presence>"),
		hag+": | type='error' | jid-malformed")
	w.want("7.2.18: no join", w.says(hag, "<presence to='"+coven+"/thirdwitch'/>"), hag+": | type='unavailable' | 110 | 307 | 333")
	for _, typ := range []string{"probe", "subscribe", "unavailable", "error"} {
		w.want(typ, w.says(hag, "<presence type='"+typ+"' to='"+coven+"/thirdwitch'><x xmlns='http://jabber.org/protocol/muc'/></presence>"))
	}
	w.joins(hag, "thirdwitch")
	w.want("7.2.9: full", w.joins(wicca, "secondwitch"), wicca+": | type='error' | wait | service-unavailable")
	if n := len(w.Members(coven)); n != 2 {
		t.Errorf("%d members", n)
	}
}

// 7.14; a room that is not persistent ends with its last occupant.
func TestLeave(t *testing.T) {
	w := newWorld(t, open)
	w.joins(crone, "firstwitch")
	w.joins(hag, "thirdwitch")
	w.want("leaves", w.says(hag, "<presence type='unavailable' to='"+coven+"/thirdwitch'><status>bye</status><x xmlns='http://jabber.org/protocol/muc#user'/></presence>"),
		crone+": | unavailable | /thirdwitch | role='none' | bye | !110", hag+": | unavailable | role='none' | bye | 110")
	w.want("is not there any more", w.says(hag, "<message type='groupchat' to='"+coven+"'><body>b</body></message>"), hag+": | not-acceptable")
	w.says(crone, "<presence type='unavailable' to='"+coven+"/firstwitch'/>")
	if len(w.Memory()) != 0 || len(w.Members(coven)) != 0 {
		t.Errorf("left: %v", w.Memory())
	}
	w.want("no room", w.says(crone, "<message type='groupchat' to='"+coven+"'><body>b</body></message>"), crone+": | item-not-found")
}

// 18.1.2, 11.1
func TestGhost(t *testing.T) {
	bounce := func(condition string) string {
		return "<message type='error' to='" + coven + "/firstwitch'><error type='cancel'><" + condition + " xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
	}
	w := newWorld(t, open)
	w.joins(crone, "firstwitch")
	w.joins(hag, "thirdwitch")
	w.want("an error that says nothing", w.says(hag, bounce("not-acceptable")))
	w.want("gone", w.says(hag, bounce("recipient-unavailable")), crone+": | unavailable | /thirdwitch | 333 | !307", hag+": | unavailable | 110 | 333")
	w.want("once", w.says(hag, bounce("recipient-unavailable")))
}

// 7.6, 7.7
func TestChange(t *testing.T) {
	w := newWorld(t, open)
	w.joins(crone, "firstwitch")
	w.joins(hag, "thirdwitch")
	w.want("7.7: status", w.says(hag, "<presence to='"+coven+"/thirdwitch' id='s'><show>xa</show><x xmlns='http://jabber.org/protocol/muc#user'><status code='100'/></x></presence>"),
		crone+": | <show>xa</show> | !code='100'", hag+": | id='s' | <show>xa</show> | 110")
	w.want("7.6: nickname", w.says(hag, "<presence to='"+coven+"/oldhag' id='n'/>"),
		crone+": | unavailable | /thirdwitch | nick='oldhag' | 303", hag+": | unavailable | /thirdwitch | nick='oldhag' | 303 | 110",
		crone+": | /oldhag | !unavailable | jid='"+hag+"'", hag+": | /oldhag | id='n' | 110")
	w.want("taken", w.says(hag, "<presence to='"+coven+"/firstwitch'/>"), hag+": | type='error' | conflict")
	w.want("another spelling", w.says(hag, "<presence to='"+coven+"/OldHag'/>"),
		crone+": | unavailable | /oldhag | nick='OldHag' | 303", hag+": | unavailable | 303", crone+": | /OldHag", hag+": | /OldHag | 110")
	w.want("the room goes on", w.says(hag, "<message type='groupchat' to='"+coven+"' id='m'><body>b</body></message>"),
		crone+": | from='"+coven+"/OldHag'", hag+": | from='"+coven+"/OldHag'")
}

// 7.2.8: several sessions of an account have one nickname.
func TestSessions(t *testing.T) {
	const phone = "hag66@example.org/phone"
	w := newWorld(t, open)
	w.joins(crone, "firstwitch")
	w.joins(hag, "thirdwitch")
	w.want("the second session", w.joins(phone, "thirdwitch"),
		phone+": | /firstwitch", crone+": | /thirdwitch | jid='"+phone+"'",
		hag+": | /thirdwitch | 110", phone+": | /thirdwitch | 110", phone+": | <subject/>")
	w.want("heard by all", w.says(phone, "<message type='groupchat' to='"+coven+"'><body>b</body></message>"), crone+":", hag+":", phone+":")
	w.want("one leaves", w.says(phone, "<presence type='unavailable' to='"+coven+"/thirdwitch'/>"),
		phone+": | unavailable | 110", crone+": | /thirdwitch | !unavailable | jid='"+hag+"'")
	w.want("the other one gets another nickname", w.says(hag, "<presence to='"+coven+"/oldhag'/>"), crone+": | 303", hag+": | 303", crone+": | /oldhag", hag+": | /oldhag")
}

// 7.4; XEP-0359, XEP-0421: what occupants may not say.
func TestMessage(t *testing.T) {
	w := newWorld(t, open, func(o *muc.Options) { o.MaxMessage = 1000 })
	w.joins(crone, "firstwitch")
	w.joins(hag, "thirdwitch")
	w.want("to all", w.says(hag, "<message type='groupchat' id='hysf1v37' to='"+coven+"'><body>Harpier cries</body>"+
		"<stanza-id xmlns='urn:xmpp:sid:0' id='forged' by='"+coven+"'/><occupant-id xmlns='urn:xmpp:occupant-id:0' id='forged'/>"+
		"<stanza-id xmlns='urn:xmpp:sid:0' id='hers' by='hag66@far.test'/></message>"),
		crone+": | id='hysf1v37' | from='"+coven+"/thirdwitch' | type='groupchat' | Harpier | <stanza-id | hers | !forged",
		hag+": | id='hysf1v37' | from='"+coven+"/thirdwitch' | !forged")
	rows := w.Rows(jid.MustParse(coven))
	if len(rows) != 1 || rows[0].With.String() != coven+"/thirdwitch" || !strings.Contains(rows[0].XML, "Harpier") {
		t.Errorf("%+v", rows)
	}
	w.want("nothing to keep", w.says(hag, "<message type='groupchat' to='"+coven+"'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>"), crone+":", hag+":")
	if n := len(w.Rows(jid.MustParse(coven))); n != 1 {
		t.Errorf("%d rows", n)
	}
	w.want("not here", w.says(wicca, "<message type='groupchat' to='"+coven+"'><body>b</body></message>"), wicca+": | type='error' | not-acceptable")
	w.want("too long", w.says(hag, "<message type='groupchat' to='"+coven+"'><body>"+strings.Repeat("b", 1000)+"</body></message>"), hag+": | type='error' | policy-violation")
}

// 7.2.15, 8.1
func TestSubject(t *testing.T) {
	w := newWorld(t, open)
	w.joins(crone, "firstwitch")
	w.joins(hag, "thirdwitch")
	w.want("not allowed", w.says(hag, "<message type='groupchat' to='"+coven+"'><subject>s</subject></message>"), hag+": | type='error' | forbidden")
	w.want("with a body it is none", w.says(hag, "<message type='groupchat' to='"+coven+"'><subject>s</subject><body>b</body></message>"), crone+": | <subject>s", hag+":")
	w.want("changed", w.says(crone, "<message type='groupchat' id='lh2bs617' to='"+coven+"'><subject>Fire Burn</subject></message>"),
		crone+": | from='"+coven+"/firstwitch' | <subject>Fire Burn", hag+": | <subject>Fire Burn")
	out := w.joins(wicca, "secondwitch")
	w.want("who enters", out[len(out)-1:], wicca+": | from='"+coven+"/firstwitch' | <subject>Fire Burn</subject> | <delay | stamp='2026-01-02T03:04:05.000Z' | !occupant-id")
	w.want("emptied", w.says(crone, "<message type='groupchat' to='"+coven+"'><subject/></message>"), crone+": | <subject/>", hag+": | <subject/>", wicca+": | <subject/>")
}

// What a process knows by heart is read again by the next one: nobody notices.
func TestForget(t *testing.T) {
	for _, persistent := range []bool{false, true} {
		t.Run(fmt.Sprint("persistent ", persistent), func(t *testing.T) {
			o := muc.Defaults
			o.LockNew, o.Persistent = false, persistent
			s, err := muc.New(o)
			if err != nil {
				t.Fatal(err)
			}
			w := &world{t, extensiontest.New(t, s.Registration(), extensiontest.Options{}), s}
			w.joins(crone, "firstwitch")
			w.joins(hag, "thirdwitch")
			w.says(crone, "<message type='groupchat' to='"+coven+"'><subject>Fire Burn</subject></message>")
			s.Forget(coven)
			w.want("who enters", w.joins(wicca, "secondwitch"),
				wicca+": | /firstwitch | owner | moderator", wicca+": | /thirdwitch", crone+": | jid='"+wicca+"'", hag+": | !jid=",
				wicca+": | 110", wicca+": | Fire Burn")
			s.Forget(coven)
			for _, who := range []string{crone, hag, wicca} {
				w.says(who, "<presence type='unavailable' to='"+coven+"/x'/>")
			}
			if _, there := w.Entry(jid.JID{}, "r/"+coven); there != persistent {
				t.Errorf("stored: %v", there)
			}
			if n := len(w.Memory()); n != 0 {
				t.Errorf("%d entries in memory: %v", n, w.Memory())
			}
		})
	}
}

// 7.2.13, 7.2.14
func TestHistory(t *testing.T) {
	w := newWorld(t, open)
	w.joins(crone, "firstwitch")
	for i := range 30 {
		w.says(crone, fmt.Sprintf("<message type='groupchat' id='m%d' to='%s'><body>%d</body></message>", i, coven, i))
		w.Advance(time.Second)
	}
	for _, tt := range []struct {
		asked       string
		first, last int // messages; last < 0: none
	}{
		{"", 10, 29},
		{"<history maxstanzas='0'/>", 0, -1},
		{"<history maxchars='0'/>", 0, -1},
		{"<history maxstanzas='3'/>", 27, 29},
		{"<history maxstanzas='1000'/>", 0, 29},
		{"<history seconds='5'/>", 25, 29},
		{"<history since='2026-01-02T03:04:20Z'/>", 15, 29},
		{"<history since='2026-01-02T03:04:20Z' maxstanzas='2'/>", 28, 29},
		{"<history since='1970-01-01T00:00:00Z'/>", 10, 29},
		{"<history since='yesterday' maxstanzas='-1' seconds='x'/>", 10, 29},
		{"<history maxchars='100'/>", 0, -1},
	} {
		out := w.says(hag, "<presence to='"+coven+"/thirdwitch'><x xmlns='http://jabber.org/protocol/muc'>"+tt.asked+"</x></presence>")
		var want []string
		for i := tt.first; i <= tt.last; i++ {
			want = append(want, fmt.Sprintf("%s: | id='m%d' | from='%s/firstwitch' | <body>%d</body> | <stanza-id | <delay | from='%s'", hag, i, coven, i, coven))
		}
		w.want(tt.asked, out[3:len(out)-1], want...) // behind others, others told, its own
		w.says(hag, "<presence type='unavailable' to='"+coven+"/thirdwitch'/>")
	}
	w.says(crone, "<presence type='unavailable' to='"+coven+"/firstwitch'/>")
	if n := len(w.Rows(jid.MustParse(coven))); n != 0 {
		t.Errorf("%d rows of a room that is gone", n)
	}
}

// 7.5
func TestPrivateMessage(t *testing.T) {
	w := newWorld(t, open)
	w.joins(crone, "firstwitch")
	w.joins(hag, "thirdwitch")
	w.want("private", w.says(hag, "<message type='chat' id='p' to='"+coven+"/firstwitch'><body>b</body><x xmlns='http://jabber.org/protocol/muc#user'><status code='110'/></x></message>"),
		crone+": | from='"+coven+"/thirdwitch' | type='chat' | id='p' | <x xmlns='http://jabber.org/protocol/muc#user'/> | !110")
	w.want("nobody", w.says(hag, "<message type='chat' to='"+coven+"/nobody'><body>b</body></message>"), hag+": | type='error' | item-not-found")
	w.want("not here", w.says(wicca, "<message type='chat' to='"+coven+"/firstwitch'><body>b</body></message>"), wicca+": | type='error' | not-acceptable")
	w.want("not for one", w.says(hag, "<message type='groupchat' to='"+coven+"/firstwitch'><body>b</body></message>"), hag+": | type='error' | bad-request")
}
