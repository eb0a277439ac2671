package e2e

import (
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness"
	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

const (
	nsCSI = "urn:xmpp:csi:0"

	active   = "<active xmlns='" + nsCSI + "'/>"
	inactive = "<inactive xmlns='" + nsCSI + "'/>"

	composing = "<composing xmlns='http://jabber.org/protocol/chatstates'/>"
	paused    = "<paused xmlns='http://jabber.org/protocol/chatstates'/>"
)

// asleep makes a session inactive, under stream management, and returns its
// SM-ID. AskCount is how a test waits then: its answer is no stanza, so that
// nothing that is held goes out in front of it.
func asleep(c *xmppc.Conn) (id string) {
	id = c.Enable()
	c.Send(inactive)
	c.AskCount()
	return id
}

// shows sends presence, and types a chat state, and waits until both are handled.
func shows(c *xmppc.Conn, to, show, state string) {
	c.Sendf("<presence><show>%s</show></presence><message to='%s' type='chat'>%s</message>", show, to, state)
	c.Sync("presence")
}

// chatState is the name of the chat state in a message, "" if there is none.
func chatState(e *xmppc.Element) string {
	for _, c := range e.Children {
		if c.Space == "http://jabber.org/protocol/chatstates" {
			return c.Local
		}
	}
	return ""
}

// next describes what comes next, in order, as describe does; chat states by their
// names.
func next(t *testing.T, c *xmppc.Conn, want ...string) {
	t.Helper()
	for _, w := range want {
		e := c.Next()
		got := describe(e)
		if s := chatState(e); s != "" && e.Body() == "" {
			got = s + " from " + e.Attr("from")
		}
		if got != w {
			t.Errorf("%s: got %q, want %q: %s", c.JID, got, w, e.Raw)
		}
	}
}

func TestClientState(t *testing.T) {
	s := server(t)

	t.Run("XEP-0352 4.1 the feature is there after login only", func(t *testing.T) {
		if c := secured(t, s); c.Features.Child(nsCSI, "csi") != nil {
			t.Errorf("before login: %s", c.Features.Raw)
		}
		c := authenticated(t, s, account(t, s, "juliet"))
		if c.Features.Child(nsCSI, "csi") == nil {
			t.Errorf("after login: %s", c.Features.Raw)
		}
		c.Send(active) // there is no session yet
		c.ExpectStreamError("unsupported-stanza-type", "not-authorized")
	})

	t.Run("XEP-0352 4.2 no answer, and harmless twice", func(t *testing.T) {
		c := session(t, s, account(t, s, "juliet"), "")
		for _, state := range []string{active, inactive, inactive, active, active, inactive} {
			c.Send(state + state)
			c.Sync()
		}
		c.Send("<idle xmlns='" + nsCSI + "'/>")
		c.ExpectStreamError("unsupported-stanza-type")
	})

	t.Run("XEP-0352 3.2, 5.1 what waits comes with active, in order, the last of each contact only, before anything else", func(t *testing.T) {
		romeo, juliet := friends(t, s)
		asleep(juliet)
		shows(romeo, juliet.JID, "away", composing)
		shows(romeo, juliet.JID, "xa", paused)
		nurse := im(t, s, local(juliet), "nurse") // presence of the own account
		nurse.Send("<presence><show>chat</show></presence>")
		nurse.Sync("presence")
		shows(romeo, juliet.JID, "dnd", composing)
		juliet.AskCount()
		juliet.Send(active + "<iq type='get' id='5.1' to='" + domain + "'>" + ping + "</iq>")
		next(t, juliet, "available from "+nurse.JID+" chat", "available from "+romeo.JID+" dnd", "composing from "+romeo.JID, "iq result ")
		shows(romeo, juliet.JID, "away", paused)
		next(t, juliet, "available from "+romeo.JID+" away", "paused from "+romeo.JID)
		hears(t, juliet)
	})

	t.Run("XEP-0352 5.1 what matters comes at once, behind what waits", func(t *testing.T) {
		romeo, juliet := friends(t, s)
		asleep(juliet)
		for _, row := range []struct{ send, want string }{
			{"<message to='" + juliet.JID + "' type='chat'><body>hi</body>" + paused + "</message>", "message hi from " + romeo.JID},
			{"<message to='" + juliet.JID + "'><received xmlns='urn:xmpp:receipts' id='1'/></message>", "message from " + romeo.JID},
			{"<iq type='get' id='q' to='" + juliet.JID + "'>" + ping + "</iq>", "iq get "},
			{"<message to='" + juliet.JID + "' type='headline'><body>news</body></message>", "message news from " + romeo.JID},
		} {
			shows(romeo, juliet.JID, "away", composing)
			romeo.Send(row.send)
			next(t, juliet, "available from "+romeo.JID+" away", "composing from "+romeo.JID, row.want)
			juliet.Ack(juliet.Handled) // so that it is not asked for
		}
		stranger := im(t, s, account(t, s, "paris"), "")
		shows(romeo, juliet.JID, "dnd", paused)
		tell(stranger, juliet, "subscribe")
		next(t, juliet, "available from "+romeo.JID+" dnd", "paused from "+romeo.JID, "subscribe from "+stranger.Bare())
	})

	t.Run("XEP-0198 4 acknowledgements count what was sent", func(t *testing.T) {
		romeo, juliet := friends(t, s)
		asleep(juliet)
		shows(romeo, juliet.JID, "away", composing)
		shows(romeo, juliet.JID, "xa", composing)
		juliet.Ack(0)
		juliet.AskCount()
		juliet.Send(active)
		next(t, juliet, "available from "+romeo.JID+" xa", "composing from "+romeo.JID)
		juliet.Ack(2)
		juliet.AskCount()
		juliet.Send(inactive)
		shows(romeo, juliet.JID, "dnd", paused)
		juliet.Ack(3)
		next(t, juliet, "available from "+romeo.JID+" dnd", "paused from "+romeo.JID)
		juliet.ExpectStreamError("undefined-condition")
	})

	t.Run("XEP-0352 5.2 a resumed stream is active, and what waited comes behind what was not acknowledged", func(t *testing.T) {
		romeo, juliet := friends(t, s)
		id := asleep(juliet)
		chat(romeo, juliet.JID, 1)
		juliet.Message("1")
		shows(romeo, juliet.JID, "away", composing)
		juliet.Reset()
		shows(romeo, juliet.JID, "xa", paused)
		again := authenticated(t, s, local(juliet))
		if e := again.Resume(id, 0, juliet.JID); !e.Is(xmppc.NSSM, "resumed") {
			t.Fatalf("got %s", e.Raw)
		}
		again.Message("1")
		next(t, again, "available from "+romeo.JID+" xa", "paused from "+romeo.JID)
		shows(romeo, juliet.JID, "dnd", composing)
		next(t, again, "available from "+romeo.JID+" dnd", "composing from "+romeo.JID)
	})

	t.Run("XEP-0352 5 a client's state is nothing that others see", func(t *testing.T) {
		romeo, juliet := friends(t, s)
		asleep(juliet)
		hears(t, romeo)
		juliet.Send("<presence><show>away</show></presence>")
		next(t, juliet, "available from "+juliet.JID+" away")
		hears(t, romeo, "available from "+juliet.JID+" away")
	})

	t.Run("XEP-0280 copies of chat states wait, copies of messages don't", func(t *testing.T) {
		romeo, juliet := strangers(t, s)
		phone := carboned(t, s, local(juliet), "phone")
		juliet.Collect()
		phone.Collect()
		asleep(phone)
		for _, state := range []string{composing, paused, composing} {
			romeo.Sendf("<message to='%s' type='chat'>%s</message>", juliet.JID, state)
		}
		romeo.Sync()
		juliet.Sendf("<message to='%s' type='chat'>%s</message>", romeo.JID, paused)
		next(t, juliet, "composing from "+romeo.JID, "paused from "+romeo.JID, "composing from "+romeo.JID)
		next(t, romeo, "paused from "+juliet.JID)
		phone.AskCount()
		chat(romeo, juliet.JID, 1)
		if m := carbon(t, phone, "received"); chatState(m) != "composing" {
			t.Errorf("got %s", m.Raw)
		}
		if m := carbon(t, phone, "sent"); chatState(m) != "paused" {
			t.Errorf("got %s", m.Raw)
		}
		if m := carbon(t, phone, "received"); m.Body() != "1" {
			t.Errorf("got %s", m.Raw)
		}
	})

	t.Run("RFC 6120 4.4 what waits comes before the end of the stream", func(t *testing.T) {
		romeo, juliet := friends(t, s)
		asleep(juliet)
		shows(romeo, juliet.JID, "away", composing)
		juliet.Send("</stream:stream>")
		next(t, juliet, "available from "+romeo.JID+" away", "composing from "+romeo.JID)
		juliet.ExpectEnd()
	})
}

// TestClientStateOptions: administrators say what waits (XEP-0352 3.2).
func TestClientStateOptions(t *testing.T) {
	s := harness.Start(t, harness.Config{Registration: "open", Extra: strings.Join([]string{
		"extensions:", "  csi: {options: {presence: false}}", "  carbons: {enabled: false}", ""}, "\n")})
	romeo, juliet := friends(t, s)
	juliet.Send(inactive)
	juliet.Sync()
	romeo.Sendf("<message to='%s' type='chat'>%s</message><presence><show>away</show></presence>", juliet.JID, composing)
	romeo.Sync("presence")
	next(t, juliet, "composing from "+romeo.JID, "available from "+romeo.JID+" away") // presence passes
	juliet.IQError("set", "", carbonsOn, "service-unavailable")                       // an extension that is off
}
