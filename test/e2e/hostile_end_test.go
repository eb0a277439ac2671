package e2e

import (
	"net"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/test/harness"
	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

// badEnds are connections that end otherwise than RFC 6120 4.4 wants.
func badEnds(t *testing.T, h *hostile) {
	t.Run("half-open before the header", func(t *testing.T) {
		c := inClear(t, h)
		closeWrite(t, c)
		hangup(t, c.Net())
	})
	t.Run("half-open in the middle of the header", func(t *testing.T) {
		c := inClear(t, h)
		c.Send(goodHeader[:40])
		closeWrite(t, c)
		hangup(t, c.Net())
	})
	t.Run("half-open after the features", func(t *testing.T) {
		c := openedInClear(t, h)
		closeWrite(t, c)
		hangup(t, c.Net())
	})
	t.Run("half-open in the middle of a stanza", func(t *testing.T) {
		c := bound(t, h)
		c.Send("<message to='romeo@" + domain + "'><body>half")
		closeWrite(t, c)
		ended(t, c)
	})
	t.Run("half-open after a stanza, which is still handled", func(t *testing.T) {
		romeo, juliet := romeoAndJuliet(t, h.Server)
		romeo.Sendf("<message to='%s'><body>last words</body></message>", juliet.JID)
		closeWrite(t, romeo)
		juliet.Message("last words")
		ended(t, romeo)
	})
	t.Run("a stanza cut short is never delivered", func(t *testing.T) {
		romeo, juliet := romeoAndJuliet(t, h.Server)
		romeo.Sendf("<presence to='%s'/>", juliet.JID)
		juliet.Expect(xmppc.NSClient, "presence")
		romeo.Sendf("<message to='%s'><body>half", juliet.JID)
		romeo.Drop()
		if p := juliet.Next(); p.Attr("type") != "unavailable" {
			t.Errorf("got %s", p.Raw)
		}
		silent(t, juliet)
	})
	t.Run("a reset in the middle of everything", func(t *testing.T) {
		for _, from := range []stage{inClear, openedInClear, openedInTLS, loggedIn, bound} {
			c := from(t, h)
			c.TrySend("<message><bo")
			c.Reset()
		}
	})
}

// closeWrite says that no more will come and goes on reading.
func closeWrite(t *testing.T, c *xmppc.Conn) {
	t.Helper()
	if err := c.Net().(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if err := c.TCP().CloseWrite(); err != nil && c.Peer != nil {
		t.Fatal(err)
	}
}

// TestSlowClients is about limits.unauthenticated-time: who takes too long
// before login is cut off, who has logged in is not.
func TestSlowClients(t *testing.T) {
	s := harness.Start(t, harness.Config{Limits: harness.Limits{UnauthenticatedTime: 4 * time.Second}})
	s.MustAddUser(t, "romeo@"+domain, secret)
	good := session(t, s, "romeo", "orchard")
	begin := func(addr, text string) func(*testing.T) *xmppc.Conn {
		return func(t *testing.T) *xmppc.Conn {
			c := xmppc.Dial(t, addr)
			c.Send(text)
			return c
		}
	}
	opened := func(t *testing.T) *xmppc.Conn {
		c := xmppc.Dial(t, s.C2S)
		c.Open(domain)
		return c
	}

	t.Run("silence", func(t *testing.T) {
		silences := map[string]func(*testing.T) *xmppc.Conn{
			"nothing sent":                     begin(s.C2S, ""),
			"nothing sent where TLS should be": begin(s.C2STLS, ""),
			"half a header":                    begin(s.C2S, goodHeader[:20]),
			"half a hello":                     begin(s.C2STLS, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
			"only a header":                    opened,
			"starttls, then nothing": func(t *testing.T) *xmppc.Conn {
				c := opened(t)
				c.Send("<starttls xmlns='" + xmppc.NSTLS + "'/>")
				c.Expect(xmppc.NSTLS, "proceed")
				return c
			},
			"TLS, then nothing": func(t *testing.T) *xmppc.Conn { return direct(t, s, domain) },
			"a challenge without a response": func(t *testing.T) *xmppc.Conn {
				c := secured(t, s)
				c.Auth("SCRAM-SHA-256", "n,,n=romeo,r=abcdefghijkl")
				c.Expect(xmppc.NSSASL, "challenge")
				return c
			},
		}
		for name, start := range silences {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				hangup(t, start(t).Net())
			})
		}
	})

	t.Run("slow loris", func(t *testing.T) {
		drips := map[string]struct {
			start func(*testing.T) *xmppc.Conn
			drip  string
		}{
			"a header byte by byte":     {begin(s.C2S, "<stream:stream xmlns='"), "x"},
			"white space after another": {opened, " "},
			"an element byte by byte":   {begin(s.C2S, goodHeader+"<starttls xmlns='"), "x"},
			"a hello byte by byte":      {begin(s.C2STLS, "\x16\x03\x01\x40\x00\x01\x00\x3f\xfc\x03\x03"), "x"},
		}
		for name, loris := range drips {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				c := loris.start(t)
				done := make(chan struct{})
				go func() {
					defer close(done)
					dripInto(c.Net(), loris.drip)
				}()
				hangup(t, c.Net())
				c.Drop()
				<-done
			})
		}
	})

	good.Sync() // after all that, and longer than the limit
}

// dripInto writes a byte ten times a second until the connection is gone.
func dripInto(conn net.Conn, drip string) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		if _, err := conn.Write([]byte(drip)); err != nil {
			return
		}
	}
}
