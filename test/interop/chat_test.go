package interop

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness"
	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

// A client is online and can chat.
type client interface {
	send(to, body string)    // a chat message to a bare JID
	hears(from, body string) // waits for a message from that bare JID
	leave()
}

var clients = []struct {
	name   string
	online func(t *testing.T, s *harness.Server, w way, jid string) client
}{
	{"slixmpp", func(t *testing.T, s *harness.Server, w way, jid string) client { return slixmppOnline(t, s, w, jid) }},
	{"go-sendxmpp", func(t *testing.T, s *harness.Server, w way, jid string) client { return sendxmppOnline(t, s, w, jid) }},
	{"profanity", func(t *testing.T, s *harness.Server, w way, jid string) client { return profanityOnline(t, s, w, jid) }},
}

// TestChat has every client talk to every other, each over STARTTLS and over
// direct TLS.
func TestChat(t *testing.T) {
	s := server(t)
	for i, one := range clients {
		for _, other := range clients[i:] {
			for _, w := range ways {
				theirs := ways[1-slices.Index(ways, w)]
				t.Run(fmt.Sprintf("%s over %s with %s over %s", one.name, w, other.name, theirs), func(t *testing.T) {
					romeo, juliet := account(t, s, "romeo"), account(t, s, "juliet")
					r, j := one.online(t, s, w, romeo), other.online(t, s, theirs, juliet)
					for _, name := range []string{"plain", "markup", "unicode", "multi-line"} {
						say(t, r, romeo, j, juliet, bodies[name])
						say(t, j, juliet, r, romeo, "re: "+bodies[name])
					}
					r.leave()
					j.leave()
				})
			}
		}
	}
}

// say has one client send what it can, and the other hear it.
func say(t *testing.T, from client, sender string, to client, recipient, body string) {
	t.Helper()
	if typed, ok := from.(interface{ oneLine() bool }); ok && typed.oneLine() && strings.Contains(body, "\n") {
		return
	}
	from.send(recipient, body)
	to.hears(sender, body)
}

// awaitPresence returns when the account has an available session: its own
// other sessions are told so (RFC 6121 4.2.2).
func awaitPresence(t *testing.T, s *harness.Server, jid string) {
	t.Helper()
	local, _, _ := strings.Cut(jid, "@")
	c := xmppc.DialTLS(t, s.C2STLS, s.CA.TLS(domain))
	c.Open(domain)
	c.Login(local, secret)
	c.Bind("watch")
	c.Send("<presence><priority>-1</priority></presence>")
	for there := false; !there; {
		e := c.Next()
		there = e.Is(xmppc.NSClient, "presence") && e.Attr("type") == "" && e.Attr("from") != c.JID
	}
	c.Send("<presence type='unavailable'/>")
	c.Sync("presence", "iq") // clients may ask who this is
	c.Drop()
}
