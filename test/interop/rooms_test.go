package interop

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/test/harness"
)

const rooms = "conference." + domain

// occupant is a session of testdata/rooms.py.
type occupant struct{ *contact }

func occupantOnline(t *testing.T, s *harness.Server, w way, jid string) *occupant {
	t.Helper()
	c := &occupant{&contact{slixmpp: startPython(t, s, w, "rooms.py", jid, secret)}}
	c.jid = c.tells("online", func(e event) bool { return e.Pong && e.Roster == "yes" }).JID
	c.tells("managed", nil)
	return c
}

var roomNames atomic.Int64

// newRoom is the address of a room that is not there yet.
func newRoom() string { return fmt.Sprintf("coven%d@%s", roomNames.Add(1), rooms) }

// in gives an order about a room: key, value, key, value.
func (c *occupant) in(room string, pairs ...any) {
	c.t.Helper()
	order := map[string]any{"room": room}
	for i := 0; i < len(pairs); i += 2 {
		order[pairs[i].(string)] = pairs[i+1]
	}
	c.does(order)
}

func (c *occupant) enters(room, nick string, pairs ...any) event {
	c.t.Helper()
	c.in(room, append([]any{"enter", nick}, pairs...)...)
	return c.tells("entered", nil)
}

// isRefused wants this answer to the last order to enter.
func (c *occupant) isRefused(condition string) {
	c.t.Helper()
	if e := c.tells("not entered", nil); e.Condition != condition {
		c.t.Errorf("%s was refused with %q, want %q", c.jid, e.Condition, condition)
	}
}

func (c *occupant) done() {
	c.t.Helper()
	if e := c.tells("", func(e event) bool { return e.Event == "done" || e.Event == "failed" }); e.Event != "done" {
		c.t.Errorf("%s: %+v", c.jid, e)
	}
}

func (c *occupant) fails(condition string) {
	c.t.Helper()
	if e := c.tells("failed", nil); e.Condition != condition {
		c.t.Errorf("%s failed with %q, want %q", c.jid, e.Condition, condition)
	}
}

// makes makes a room that is open at once, with these settings.
func (c *occupant) makes(room, nick string, settings map[string]any) {
	c.t.Helper()
	if e := c.enters(room, nick); !slices.Contains(e.Codes, 201) || e.Affiliation != "owner" || e.Role != "moderator" {
		c.t.Fatalf("the maker of a room entered it as %+v", e)
	}
	if settings == nil {
		settings = map[string]any{}
	}
	c.in(room, "configure", settings)
	c.done()
}

func (c *occupant) saysIn(room, body string) {
	c.t.Helper()
	c.in(room, "says", body)
}

// said waits for a message of the room.
func (c *occupant) said(from, body string) event {
	c.t.Helper()
	e := c.tells("said", nil)
	if e.From != from || e.Body != body {
		c.t.Errorf("%s was told %q by %s, want %q by %s", c.jid, e.Body, e.From, body, from)
	}
	return e
}

// notices waits for presence of an occupant for which ok holds.
func (c *occupant) notices(from string, ok func(event) bool) event {
	c.t.Helper()
	return c.tells("occupant", func(e event) bool { return e.From == from && (ok == nil || ok(e)) })
}

// away is presence of who leaves with one of these codes.
func away(code int) func(event) bool {
	return func(e event) bool { return e.Type == "unavailable" && slices.Contains(e.Codes, code) }
}

// pair is a room with its owner, crone, and another occupant, hag.
func pair(t *testing.T, settings map[string]any) (room string, crone, hag *occupant) {
	t.Helper()
	s := server(t)
	room = newRoom()
	crone, hag = occupantOnline(t, s, starttls, account(t, s, "crone")), occupantOnline(t, s, direct, account(t, s, "hag"))
	crone.makes(room, "crone", settings)
	if e := hag.enters(room, "hag"); !slices.Contains(e.Fields, "crone") {
		t.Fatalf("hag entered: %+v", e)
	}
	crone.notices(room+"/hag", nil)
	return room, crone, hag
}

func bareOf(c *occupant) string {
	bare, _, _ := strings.Cut(c.jid, "/")
	return bare
}

// TestRoomTalk: XEP-0045 7.1 to 7.7, 7.14, 8.1 as slixmpp speaks it.
func TestRoomTalk(t *testing.T) {
	room, crone, hag := pair(t, nil)
	var ids []string
	for _, name := range []string{"plain", "markup", "unicode", "multi-line"} {
		crone.saysIn(room, bodies[name])
		e := crone.said(room+"/crone", bodies[name])
		if o := hag.said(room+"/crone", bodies[name]); o.ID != e.ID || e.ID == "" || o.Name == "" || o.Name != e.Name {
			t.Errorf("told as %+v and %+v", e, o)
		}
		ids = append(ids, e.ID)
	}
	hag.in(room, "subject", "no")
	hag.tells("bounced", func(e event) bool { return e.From == room && e.Condition == "forbidden" })
	crone.in(room, "subject", "Fire burn and cauldron bubble")
	for _, c := range []*occupant{crone, hag} {
		c.tells("topic", func(e event) bool { return e.From == room+"/crone" && e.Body == "Fire burn and cauldron bubble" })
	}
	hag.in(room, "whisper", "psst", "nick", "crone")
	if e := crone.tells("message", nil); e.From != room+"/hag" || e.Body != "psst" || e.Type != "chat" {
		t.Errorf("a private message came as %+v", e)
	}
	hag.in(room, "nick", "crone")
	hag.tells("presence refused", func(e event) bool { return e.Condition == "conflict" })
	hag.in(room, "nick", "oldhag")
	for _, c := range []*occupant{crone, hag} {
		if e := c.notices(room+"/hag", away(303)); e.Nick != "oldhag" {
			t.Errorf("%s saw a change of nickname as %+v", c.jid, e)
		}
		c.notices(room+"/oldhag", nil)
	}
	hag.in(room, "ping", room+"/oldhag")
	hag.done()
	hag.in(room, "leave", "oldhag")
	crone.notices(room+"/oldhag", func(e event) bool { return e.Type == "unavailable" })
	hag.in(room, "ping", room+"/oldhag")
	hag.fails("not-acceptable")
	e := hag.enters(room, "hag", "max", 3)
	if want := []string{bodies["markup"], bodies["unicode"], bodies["multi-line"]}; !slices.Equal(e.IDs, want) || e.Body != "Fire burn and cauldron bubble" {
		t.Errorf("entered again: %+v", e)
	}
	hag.in(room, "history", 2)
	if e := hag.tells("archived", nil); !slices.Equal(e.IDs, ids) && !slices.Equal(e.IDs[:min(len(e.IDs), len(ids))], ids) {
		t.Errorf("the archive has %+v, want %q first", e, ids)
	}
	crone.leave()
	hag.leave()
}

// TestRoomModerators: XEP-0045 8.2 to 8.6 and 9.1.
func TestRoomModerators(t *testing.T) {
	room, crone, hag := pair(t, map[string]any{"moderatedroom": "1"})
	crone.in(room, "role", "participant", "nick", "hag")
	crone.done()
	for _, c := range []*occupant{crone, hag} {
		c.notices(room+"/hag", func(e event) bool { return e.Role == "participant" })
	}
	crone.in(room, "role", "visitor", "nick", "hag", "reason", "Enough")
	crone.done()
	hag.notices(room+"/hag", func(e event) bool { return e.Role == "visitor" && e.Reason == "Enough" })
	crone.in(room, "roles", "visitor")
	if e := crone.tells("listed", nil); !slices.Equal(e.Fields, []string{"hag"}) {
		t.Errorf("visitors: %+v", e)
	}
	hag.in(room, "roles", "visitor")
	hag.fails("forbidden")
	hag.in(room, "voice", true)
	if e := crone.tells("asked for voice", nil); e.From != room || !slices.Contains(e.Fields, "muc#request_allow") {
		t.Errorf("asked for voice: %+v", e)
	}
	crone.in(room, "allow", true)
	hag.notices(room+"/hag", func(e event) bool { return e.Role == "participant" })
	hag.saysIn(room, "Double, double")
	crone.said(room+"/hag", "Double, double")

	hag.in(room, "role", "none", "nick", "crone")
	hag.fails("forbidden")
	crone.in(room, "role", "none", "nick", "hag", "reason", "Avaunt")
	crone.done()
	for _, c := range []*occupant{crone, hag} {
		if e := c.notices(room+"/hag", away(307)); e.Reason != "Avaunt" || e.Role != "none" {
			t.Errorf("%s saw a kick as %+v", c.jid, e)
		}
	}
	hag.enters(room, "hag")
	crone.in(room, "affiliation", "outcast", "jid", bareOf(hag), "reason", "Treason")
	crone.done()
	for _, c := range []*occupant{crone, hag} {
		if e := c.notices(room+"/hag", away(301)); e.Reason != "Treason" || e.Affiliation != "outcast" {
			t.Errorf("%s saw a ban as %+v", c.jid, e)
		}
	}
	hag.in(room, "enter", "hag")
	hag.isRefused("forbidden")
	crone.in(room, "affiliations", "outcast")
	if e := crone.tells("listed", nil); !slices.Equal(e.Fields, []string{bareOf(hag)}) {
		t.Errorf("banned: %+v", e)
	}
	crone.in(room, "affiliation", "none", "jid", bareOf(hag))
	crone.done()
	hag.enters(room, "hag")
}

// TestRoomMembers: XEP-0045 7.8, 9.3, 9.5, 10.3 to 10.8, XEP-0249.
func TestRoomMembers(t *testing.T) {
	s := server(t)
	room := newRoom()
	crone, hag := occupantOnline(t, s, starttls, account(t, s, "crone")), occupantOnline(t, s, starttls, account(t, s, "hag"))
	crone.makes(room, "crone", map[string]any{"membersonly": "1", "persistentroom": "1"})
	hag.in(room, "enter", "hag")
	hag.isRefused("registration-required")
	crone.in(room, "invite", bareOf(hag), "reason", "When shall we three meet again?")
	if e := hag.tells("invited", nil); e.From != room || e.JID != crone.jid && e.JID != bareOf(crone) && e.JID != room+"/crone" || e.Reason != "When shall we three meet again?" {
		t.Errorf("invited: %+v", e)
	}
	if e := hag.enters(room, "hag"); e.Affiliation != "member" {
		t.Errorf("who was invited entered as %+v", e)
	}
	crone.in(room, "invite directly", bareOf(hag), "reason", "again")
	if e := hag.tells("invited directly", nil); e.JID != room || e.Reason != "again" {
		t.Errorf("invited directly: %+v", e)
	}
	for _, affiliation := range []string{"admin", "owner", "member"} {
		crone.in(room, "affiliation", affiliation, "jid", bareOf(hag))
		crone.done()
		hag.notices(room+"/hag", func(e event) bool { return e.Affiliation == affiliation })
		crone.in(room, "affiliations", affiliation)
		if e := crone.tells("listed", nil); !slices.Contains(e.Fields, bareOf(hag)) {
			t.Errorf("%ss: %+v", affiliation, e)
		}
	}
	crone.in(room, "affiliation", "none", "jid", bareOf(crone))
	crone.fails("conflict") // the last owner
	crone.in(room, "affiliation", "none", "jid", bareOf(hag))
	crone.done()
	hag.notices(room+"/hag", away(321))
	hag.in(room, "enter", "hag")
	hag.isRefused("registration-required")
}

// TestRoomRegistration: XEP-0045 7.10 and 7.12.
func TestRoomRegistration(t *testing.T) {
	room, crone, hag := pair(t, nil)
	hag.in(room, "register", "thirdwitch")
	hag.done()
	hag.in(room, "registered", true)
	if e := hag.tells("registered", nil); !slices.Equal(e.Fields, []string{"thirdwitch"}) {
		t.Errorf("the nickname that is reserved: %+v", e)
	}
	crone.in(room, "nick", "thirdwitch")
	crone.tells("presence refused", func(e event) bool { return e.Condition == "conflict" })
	crone.in(room, "register", "ThirdWitch")
	crone.fails("conflict")
}

// TestRoomConfiguration: XEP-0045 6.3 to 6.5, 10.1, 10.2, 10.9.
func TestRoomConfiguration(t *testing.T) {
	room, crone, hag := pair(t, map[string]any{"roomname": "A Dark Cave"})
	hag.in(room, "fields of", room)
	hag.fails("forbidden")
	crone.in(room, "fields of", room)
	if e := crone.tells("form", nil); !slices.Contains(e.Fields, "muc#roomconfig_membersonly") || !slices.Contains(e.Fields, "muc#roomconfig_whois") {
		t.Errorf("the form: %q", e.Fields)
	}
	crone.in(room, "configure", map[string]any{"passwordprotectedroom": "1", "roomsecret": "cauldronburn", "whois": "anyone"})
	crone.done()
	for _, c := range []*occupant{crone, hag} {
		c.tells("status", func(e event) bool { return e.From == room && slices.Contains(e.Codes, 172) })
	}
	crone.in(room, "features", room)
	e := crone.tells("features", nil)
	for _, feature := range []string{"http://jabber.org/protocol/muc", "muc_passwordprotected", "muc_nonanonymous", "muc_public", "urn:xmpp:mam:2", "urn:xmpp:occupant-id:0"} {
		if !slices.Contains(e.Fields, feature) {
			t.Errorf("the room has no %s: %q", feature, e.Fields)
		}
	}
	crone.does(map[string]any{"items": rooms})
	if e := crone.tells("items", nil); !slices.Contains(e.Fields, room) {
		t.Errorf("rooms: %q", e.Fields)
	}
	crone.does(map[string]any{"items": room})
	if e := crone.tells("items", nil); !slices.Equal(e.Fields, []string{room + "/crone", room + "/hag"}) {
		t.Errorf("occupants: %q", e.Fields)
	}
	hag.in(room, "leave", "hag")
	for _, c := range []*occupant{crone, hag} { // slixmpp takes it for the answer to what it enters next
		c.notices(room+"/hag", func(e event) bool { return e.Type == "unavailable" })
	}
	hag.in(room, "enter", "hag")
	hag.isRefused("not-authorized")
	hag.in(room, "enter", "hag", "password", "wrong")
	hag.isRefused("not-authorized")
	if e := hag.enters(room, "hag", "password", "cauldronburn"); !slices.Contains(e.Codes, 100) {
		t.Errorf("entered: %+v", e)
	}
	crone.in(room, "destroy", "heath@"+rooms, "reason", "Dawn")
	crone.done()
	for _, c := range []*occupant{crone, hag} {
		if e := c.tells("occupant", func(e event) bool { return e.Type == "unavailable" && e.JID == "heath@"+rooms }); e.Reason != "Dawn" {
			t.Errorf("%s: the end of the room: %+v", c.jid, e)
		}
	}
	crone.in(room, "features", room)
	crone.fails("item-not-found")
}

// TestRoomModeration: XEP-0425: what was said can be taken back by moderators.
func TestRoomModeration(t *testing.T) {
	room, crone, hag := pair(t, nil)
	hag.saysIn(room, "toil and trouble")
	id := crone.said(room+"/hag", "toil and trouble").ID
	hag.in(room, "moderate", id)
	hag.fails("forbidden")
	crone.in(room, "moderate", id, "reason", "Spoiler")
	crone.done()
	for _, c := range []*occupant{crone, hag} {
		if e := c.tells("moderated", nil); e.From != room || e.ID != id {
			t.Errorf("%s was told of moderation by %+v", c.jid, e)
		}
	}
	s := server(t)
	third := occupantOnline(t, s, direct, account(t, s, "third"))
	if e := third.enters(room, "third"); slices.Contains(e.IDs, "toil and trouble") {
		t.Errorf("the history still has it: %+v", e)
	}
}

// TestRoomCard: XEP-0045 17.4: the vCard of an occupant, whose address one does not know.
func TestRoomCard(t *testing.T) {
	room, crone, hag := pair(t, nil)
	hag.does(map[string]any{"vcard": "Third Witch"})
	hag.tells("published", nil)
	crone.does(map[string]any{"vcard of": room + "/hag"})
	if e := crone.tells("vcard", nil); e.Name != "Third Witch" {
		t.Errorf("the vCard: %+v", e)
	}
	crone.does(map[string]any{"vcard of": room + "/nobody"})
	if e := crone.tells("vcard", nil); e.Condition != "item-not-found" {
		t.Errorf("of nobody: %+v", e)
	}
}

// TestRoomSeveralClients: XEP-0045 7.2.8: clients of one account share a nickname.
func TestRoomSeveralClients(t *testing.T) {
	s := server(t)
	room, crone, hag := pair(t, nil)
	phone := occupantOnline(t, s, starttls, bareOf(hag))
	if e := phone.enters(room, "hag"); !slices.Contains(e.Fields, "crone") {
		t.Errorf("entered: %+v", e)
	}
	crone.saysIn(room, "Hover through the fog")
	for _, c := range []*occupant{crone, hag, phone} {
		c.said(room+"/crone", "Hover through the fog")
	}
	crone.in(room, "whisper", "both of you", "nick", "hag")
	for _, c := range []*occupant{hag, phone} {
		if e := c.tells("message", nil); e.Body != "both of you" || e.From != room+"/crone" {
			t.Errorf("%s: a private message came as %+v", c.jid, e)
		}
	}
	phone.in(room, "leave", "hag")
	phone.notices(room+"/hag", func(e event) bool { return e.Type == "unavailable" })
	crone.saysIn(room, "and filthy air")
	hag.said(room+"/crone", "and filthy air")
	for _, e := range crone.told {
		if e.Event == "occupant" && e.From == room+"/hag" && e.Type == "unavailable" {
			t.Errorf("crone was told that hag is gone: %+v", e)
		}
	}
}

// TestRoomPluginDies: nobody notices that the process of rooms is killed, or replaced.
func TestRoomPluginDies(t *testing.T) {
	s := server(t)
	room, crone, hag := pair(t, nil)
	for i, end := range []func(){
		func() {
			var list []struct {
				Name string
				PID  int
			}
			out := s.CLI(t, "plugin", "list", "--json")
			if err := json.Unmarshal([]byte(out.Stdout), &list); err != nil {
				t.Fatalf("%v: %+v", err, out)
			}
			for _, p := range list {
				if p.Name == "muc" {
					if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil {
						t.Fatal(err)
					}
				}
			}
		},
		func() {
			if out := s.CLI(t, "plugin", "reload", "muc"); out.Code != 0 {
				t.Fatalf("reload: %+v", out)
			}
		},
	} {
		end()
		for n := range 20 {
			body := fmt.Sprintf("%d.%d", i, n)
			crone.saysIn(room, body)
			crone.said(room+"/crone", body)
			hag.said(room+"/crone", body)
		}
	}
	hag.in(room, "ping", room+"/hag")
	hag.done()
	for _, c := range []*occupant{crone, hag} {
		for _, e := range c.told {
			if e.Event == "occupant" && e.Type == "unavailable" {
				t.Errorf("%s saw somebody leave: %+v", c.jid, e)
			}
		}
	}
}

// TestSendxmppRoom: go-sendxmpp sends to a room, and hears what is said there.
func TestSendxmppRoom(t *testing.T) {
	s := server(t)
	room := newRoom()
	crone := occupantOnline(t, s, starttls, account(t, s, "crone"))
	crone.makes(room, "crone", nil)
	hag := newSendxmpp(t, s, direct, account(t, s, "hag"), secret)
	hag.args = append(hag.args, "-c", "-a", "hag")
	hag.process = crone.process // for what fails
	for _, name := range []string{"plain", "markup", "unicode", "multi-line"} {
		hag.send(room, bodies[name])
		crone.said(room+"/hag", bodies[name])
	}
}

// TestProfanityRoom: rooms as profanity shows them.
func TestProfanityRoom(t *testing.T) {
	s := server(t)
	room := newRoom()
	p := profanityOnline(t, s, starttls, account(t, s, "hecate"))
	hag := occupantOnline(t, s, starttls, account(t, s, "hag"))
	p.enter("/join " + room + " nick hecate")
	p.shows("Room locked, requires configuration")
	p.enter("/room accept")
	p.shows("Room unlocked")
	// It says so before it has an answer.
	for deadline := time.Now().Add(patience); ; {
		hag.in(room, "enter", "hag")
		e := hag.tells("", func(e event) bool { return e.Event == "entered" || e.Event == "not entered" })
		if e.Event == "entered" {
			break
		}
		if e.Condition != "item-not-found" || time.Now().After(deadline) {
			t.Fatalf("not entered: %+v", e)
		}
	}
	p.shows("Participants", "hag", "Visitors") // the panel at the right
	hag.saysIn(room, "Why, how now, Hecate?")
	p.shows("hag: Why, how now, Hecate?")
	p.enter("Have I not reason, beldams as you are")
	hag.said(room+"/hag", "Why, how now, Hecate?")
	hag.said(room+"/hecate", "Have I not reason, beldams as you are")
	p.enter("/subject set the pit of Acheron")
	hag.tells("topic", func(e event) bool { return e.Body == "the pit of Acheron" })
	p.enter("/nick goddess")
	hag.notices(room+"/hecate", away(303))
	hag.notices(room+"/goddess", nil)
	p.enter("/affiliation set member " + bareOf(hag))
	hag.notices(room+"/hag", func(e event) bool { return e.Affiliation == "member" })
	p.enter("/kick hag saucy and overbold")
	if e := hag.notices(room+"/hag", away(307)); e.Reason != "saucy and overbold" {
		t.Errorf("kicked: %+v", e)
	}
	p.shows("hag has been kicked from the room")
	hag.enters(room, "hag")
	p.enter("/ban " + bareOf(hag) + " trade and traffic")
	hag.notices(room+"/hag", away(301))
	hag.in(room, "enter", "hag")
	hag.isRefused("forbidden")
	p.enter("/leave")
	p.leave()
}
