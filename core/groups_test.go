package core_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hexmpp/hexmpp/adapters/extension/blocking"
	"github.com/hexmpp/hexmpp/adapters/extension/carbons"
	"github.com/hexmpp/hexmpp/api/plugin/plugintest"
	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/core/offline"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// halls is an extension with the least that a room does: who sends presence to
// ROOM@rooms.example.test/NICK is in, and what is said to the room is said to all. Room
// "open" has what all see, in "half" those whose nick begins with "mod" see addresses.
type halls struct {
	mu   sync.Mutex
	errs []string // what came back: sender, addressee, condition
}

func (r *halls) registration() extension.Registration {
	return extension.Registration{Name: "rooms", Components: []extension.Component{{Domain: "rooms.$domain", Handle: r.handle}},
		Timer: func(_ context.Context, h *extension.Host, t extension.Timer) error {
			return r.say(h, string(t.State), stanza.New(stanza.Header{Kind: stanza.Message, Type: stanza.GroupChat, ID: t.Key}))
		}}
}

func (r *halls) say(h *extension.Host, room string, st *stanza.Stanza) error {
	head := st.Header
	head.From, head.To = jid.MustParse(room), jid.JID{}
	return h.Groups.Send(head.From.Bare().String(), extension.Cast{Stanza: st.With(head)})
}

func (r *halls) handle(ctx context.Context, h *extension.Host, e *extension.Envelope) error {
	st := e.Stanza
	room, nick := st.To.Bare().String(), st.To.Resource()
	key := room + " " + st.From.String()
	switch {
	case st.Type == stanza.TypeError:
		r.mu.Lock()
		defer r.mu.Unlock()
		r.errs = append(r.errs, fmt.Sprint(st.From, " ", st.To, " ", stanza.ParseError(st).Condition))
		return nil
	case st.Kind == stanza.Presence && st.Find("urn:x", "add") != nil:
		return h.Groups.Join(room, extension.Member{JID: jid.MustParse(st.Find("urn:x", "add").Text())})
	case st.Kind == stanza.Presence && st.Type == "":
		var classes []string
		if strings.HasPrefix(nick, "mod") {
			classes = []string{"moderator"}
		}
		seen := stanza.New(stanza.Header{Kind: stanza.Presence, From: st.To}, stanza.El("urn:x", "seen").WithText(st.From.String()))
		cast := extension.Cast{Stanza: stanza.New(stanza.Header{Kind: stanza.Presence, From: st.To}), Variants: []extension.Variant{{Class: "moderator", Stanza: seen}}}
		return errors.Join(h.Memory.Put(key, []byte(nick)), h.Groups.Join(room, extension.Member{JID: st.From, Classes: classes}), h.Groups.Send(room, cast))
	case st.Kind == stanza.Presence:
		h.Memory.Delete(key)
		h.Groups.Leave(room, st.From)
		return r.say(h, st.To.String(), st)
	}
	entry, in, err := h.Memory.Get(ctx, key)
	if err != nil || !in {
		return errors.Join(err, stanza.Err(stanza.NotAcceptable, ""))
	}
	if c, ok := st.Child("urn:x", "later"); ok {
		d, err := time.ParseDuration(st.Element(c).Text())
		return errors.Join(err, h.Timers.Set(st.ID, d, []byte(room+"/"+string(entry.Value))))
	}
	return r.say(h, room+"/"+string(entry.Value), st)
}

// wantErrors compares what came back to the rooms since the last call.
func (r *halls) wantErrors(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	slices.Sort(r.errs)
	if !slices.Equal(r.errs, want) {
		t.Errorf("errors: %q, want %q", r.errs, want)
	}
	r.errs = nil
}

func newRooms(t *testing.T, more ...extension.Registration) (*world, *halls) {
	t.Helper()
	r := &halls{}
	w := newWorld(t, func(o *core.Options, p *core.Ports) {
		o.Offline = offline.Options{Messages: 100}
		for _, name := range []string{"juliet", "romeo", "nurse"} {
			if err := p.Store.CreateAccount(t.Context(), storage.Account{User: jid.MustParse(name + "@example.test")}); err != nil {
				t.Fatal(err)
			}
		}
		with(append([]extension.Registration{r.registration()}, more...)...)(o, p)
	})
	return w, r
}

// enters sends presence to a room, and forgets what comes of it.
func (w *world) enters(full, occupant string) *client {
	w.t.Helper()
	c := w.login(full, "")
	c.send("<presence to='" + occupant + "'/>")
	synctest.Wait()
	c.take()
	return c
}

// adds makes an address a member of the room, without a word.
func (c *client) adds(member string) {
	c.send("<presence to='room@rooms.example.test/x'><add xmlns='urn:x'>" + member + "</add></presence>")
}

func sayInRoom(typ, id string) string {
	return "<message type='" + typ + "' id='" + id + "' to='room@rooms.example.test'><body>" + id + "</body></message>"
}

func fromRoom(typ, nick, to, id string) string {
	return "<message from='room@rooms.example.test/" + nick + "' to='" + to + "' id='" + id + "' type='" + typ + "'><body>" + id + "</body></message>"
}

// Each member gets its own copy, in order, and the variant for its class.
func TestGroupCopies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, r := newRooms(t)
		romeo := w.enters("romeo@example.test/x", "room@rooms.example.test/romeo")
		nurse := w.enters("nurse@example.test/n", "room@rooms.example.test/mod nurse")
		romeo.want("<presence from='room@rooms.example.test/mod nurse' to='romeo@example.test/x'/>")
		juliet := w.login("juliet@example.test/a", "")
		juliet.send("<presence to='room@rooms.example.test/juliet'/>" + sayInRoom("groupchat", "1") + sayInRoom("groupchat", "2"))
		said := func(to string) string {
			return fromRoom("groupchat", "juliet", to, "1") + fromRoom("groupchat", "juliet", to, "2")
		}
		juliet.want("<presence from='room@rooms.example.test/juliet' to='juliet@example.test/a'/>" + said("juliet@example.test/a"))
		romeo.want("<presence from='room@rooms.example.test/juliet' to='romeo@example.test/x'/>" + said("romeo@example.test/x"))
		nurse.want("<presence from='room@rooms.example.test/juliet' to='nurse@example.test/n'><seen xmlns='urn:x'>juliet@example.test/a</seen></presence>" + said("nurse@example.test/n"))
		romeo.send("<presence type='unavailable' to='room@rooms.example.test/romeo'/>" + sayInRoom("groupchat", "3"))
		nurse.want("<presence from='room@rooms.example.test/romeo' to='nurse@example.test/n' type='unavailable'/>")
		romeo.want("<message from='room@rooms.example.test' to='romeo@example.test/x' id='3' type='error'><error type='modify'><not-acceptable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>")
		r.wantErrors(t)
	})
}

// XEP-0280 6.1, XEP-0160: other clients of an account get no copy, and nothing is
// stored, whatever the type of the message is.
func TestGroupCopiesAreForTheMemberAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, r := newRooms(t, carbons.New())
		enable := "<iq type='set' id='c'><enable xmlns='urn:xmpp:carbons:2'/></iq>"
		romeo := w.enters("romeo@example.test/x", "room@rooms.example.test/romeo")
		other := w.login("romeo@example.test/y", "<presence/>").send(enable)
		juliet := w.enters("juliet@example.test/a", "room@rooms.example.test/juliet")
		romeo.take()
		other.take()
		for _, typ := range []string{"chat", "normal", "headline", "groupchat"} {
			juliet.send(sayInRoom(typ, "1"))
			romeo.want(fromRoom(typ, "juliet", "romeo@example.test/x", "1"))
			other.want("")
		}
		romeo.cut() // the room is told
		synctest.Wait()
		juliet.take()
		nurse := w.enters("nurse@example.test/n", "room@rooms.example.test/nurse")
		id := nurse.manage()
		nurse.cut() // it waits to be resumed, in vain
		for _, typ := range []string{"chat", "normal", "headline", "groupchat"} {
			juliet.send(sayInRoom(typ, "2"))
		}
		r.wantErrors(t) // a detached session is no ghost
		time.Sleep(time.Hour)
		synctest.Wait()
		w.resume("nurse@example.test", id, 0).wantPart("<item-not-found ")
		for _, name := range []string{"nurse@example.test/n", "romeo@example.test/x"} {
			c := w.login(name, "").send("<presence/>")
			synctest.Wait()
			if out := c.take(); strings.Contains(out, "<message") {
				t.Errorf("%s: a copy was stored: %s", name, out)
			}
		}
	})
}

// XEP-0198 5: a member whose session is resumed has missed nothing.
func TestGroupCopiesWaitForAResumption(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, r := newRooms(t)
		romeo := w.enters("romeo@example.test/x", "room@rooms.example.test/romeo")
		juliet := w.enters("juliet@example.test/a", "room@rooms.example.test/juliet")
		romeo.take()
		id := romeo.manage()
		romeo.cut()
		juliet.send(sayInRoom("groupchat", "1") + sayInRoom("chat", "2"))
		r.wantErrors(t)
		out := w.resume("romeo@example.test", id, 0).take()
		to := "romeo@example.test/x"
		if !strings.Contains(out, fromRoom("groupchat", "juliet", to, "1")+fromRoom("chat", "juliet", to, "2")) {
			t.Error(out)
		}
	})
}

// XEP-0045 18.1.2: a room learns from an error that an occupant is gone. RFC 6121
// 8.5.3.2.2: of presence nobody is told anything.
func TestGhosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, r := newRooms(t)
		romeo := w.enters("romeo@example.test/x", "room@rooms.example.test/romeo")
		for _, ghost := range []string{"romeo@example.test/gone", "nobody@example.test/gone", "far@other.test/x", "example.test"} {
			romeo.adds(ghost)
		}
		romeo.send(sayInRoom("groupchat", "1"))
		romeo.want(fromRoom("groupchat", "romeo", "romeo@example.test/x", "1"))
		r.wantErrors(t,
			"example.test room@rooms.example.test/romeo service-unavailable",
			"far@other.test/x room@rooms.example.test/romeo remote-server-not-found",
			"nobody@example.test/gone room@rooms.example.test/romeo recipient-unavailable",
			"romeo@example.test/gone room@rooms.example.test/romeo recipient-unavailable")
		romeo.send("<presence to='room@rooms.example.test/romeo'/>")
		romeo.want("<presence from='room@rooms.example.test/romeo' to='romeo@example.test/x'/>")
		r.wantErrors(t, "far@other.test/x room@rooms.example.test/romeo remote-server-not-found")
	})
}

// A member with a bare JID is told where RFC 6121 8.5.2 says, and nobody hears of it
// if there is no such session.
func TestBareMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, r := newRooms(t)
		juliet := w.enters("juliet@example.test/a", "room@rooms.example.test/juliet")
		juliet.adds("romeo@example.test")
		all := func() { juliet.send(sayInRoom("headline", "1") + sayInRoom("chat", "2") + sayInRoom("groupchat", "3")) }
		all()
		high, low := w.login("romeo@example.test/x", "<presence><priority>5</priority></presence>"), w.login("romeo@example.test/y", "<presence/>")
		none := w.login("romeo@example.test/z", "")
		synctest.Wait()
		for _, c := range []*client{high, low, none} {
			if out := c.take(); strings.Contains(out, "<message") {
				t.Error("stored: ", out)
			}
		}
		all()
		high.want(fromRoom("headline", "juliet", "romeo@example.test", "1") + fromRoom("chat", "juliet", "romeo@example.test", "2"))
		low.want(fromRoom("headline", "juliet", "romeo@example.test", "1"))
		none.want("")
		juliet.send("<presence to='room@rooms.example.test/juliet'/>")
		for _, c := range []*client{high, low} {
			c.want("<presence from='room@rooms.example.test/juliet' to='romeo@example.test'/>")
		}
		none.want("")
		r.wantErrors(t)
	})
}

// XEP-0191 3.3: who has blocked somebody gets no copy of what they say, and a room does
// not lose its occupant for it.
func TestBlockedGroupCopies(t *testing.T) { plugintest.BothWays(t, testBlockedGroupCopies) }

func testBlockedGroupCopies(t *testing.T, as plugintest.Way) {
	synctest.Test(t, func(t *testing.T) {
		w, r := newRooms(t, as(t, blocking.New(blocking.Options{})))
		block := w.login("romeo@example.test/b", "")
		block.does(blockXML("room@rooms.example.test/juliet"))
		romeo := w.enters("romeo@example.test/x", "room@rooms.example.test/romeo")
		juliet := w.enters("juliet@example.test/a", "room@rooms.example.test/juliet")
		nurse := w.enters("nurse@example.test/n", "room@rooms.example.test/nurse")
		romeo.want("<presence from='room@rooms.example.test/nurse' to='romeo@example.test/x'/>")
		juliet.take()
		said := func(id string) {
			juliet.send(sayInRoom("groupchat", id))
			synctest.Wait()
			nurse.want(fromRoom("groupchat", "juliet", "nurse@example.test/n", id))
			juliet.want(fromRoom("groupchat", "juliet", "juliet@example.test/a", id))
		}
		said("1")
		romeo.want("")
		nurse.send(sayInRoom("groupchat", "2"))
		synctest.Wait()
		romeo.want(fromRoom("groupchat", "nurse", "romeo@example.test/x", "2"))
		nurse.take()
		juliet.take()
		r.wantErrors(t)
		juliet.send(sayInRoom("chat", "3")) // section 3.3: here an error is due
		r.wantErrors(t, "romeo@example.test/x room@rooms.example.test/juliet service-unavailable")
		nurse.take()
		juliet.take()
		block.does(unblockXML())
		said("4")
		romeo.want(fromRoom("groupchat", "juliet", "romeo@example.test/x", "4"))
	})
}

// Many say something at once while others come and go: those who are in all the time
// get all of it, in one order, which is each speaker's own.
func TestACrowdSpeaks(t *testing.T) { plugintest.BothWays(t, testACrowdSpeaks) }

func testACrowdSpeaks(t *testing.T, as plugintest.Way) {
	w, _ := newRooms(t, as(t, blocking.New(blocking.Options{})))
	const speakers, each = 8, 60
	var clients []*client
	for n := range speakers {
		c := w.login(fmt.Sprintf("romeo@example.test/%d", n), "")
		if n == 0 {
			c.does(blockXML("other.test")) // there is something resident
		}
		c.send(fmt.Sprintf("<presence to='room@rooms.example.test/%d'/>", n))
		clients = append(clients, c)
	}
	passer := w.login("juliet@example.test/a", "")
	var all sync.WaitGroup
	for n, c := range clients {
		all.Go(func() {
			for i := range each {
				c.send(sayInRoom("groupchat", fmt.Sprintf("s%d-%d", n, i)))
			}
		})
	}
	all.Go(func() {
		for i := range each {
			passer.send(fmt.Sprintf("<presence to='room@rooms.example.test/p%d'/><presence type='unavailable' to='room@rooms.example.test/p%d'/>", i, i))
		}
	})
	all.Wait()
	said := regexp.MustCompile(`id='s(\d+)-(\d+)' type='groupchat'`)
	heard := func(c *client) []string {
		var ids []string
		for deadline := time.Now().Add(20 * time.Second); len(ids) < speakers*each && time.Now().Before(deadline); {
			for _, m := range said.FindAllStringSubmatch(c.take(), -1) {
				ids = append(ids, m[1]+" "+m[2])
			}
			runtime.Gosched()
		}
		return ids
	}
	first := heard(clients[0])
	if len(first) != speakers*each {
		t.Fatalf("%d of %d messages", len(first), speakers*each)
	}
	for n, c := range clients[1:] {
		if !slices.Equal(heard(c), first) {
			t.Errorf("client %d got them in another order, or not all", n+1)
		}
	}
	for n := range speakers {
		at := -1
		for i := range each {
			next := slices.Index(first, fmt.Sprint(n, " ", i))
			if next <= at {
				t.Fatalf("message %d of %d came out of order", i, n)
			}
			at = next
		}
	}
}
