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

// greeting is the body of the messages that look for a client; clients' hears
// pass over it.
const greeting = "anybody there?"

// awaitPresence returns when a message to the bare JID finds somebody.
func awaitPresence(t *testing.T, s *harness.Server, jid string) {
	t.Helper()
	local, _, _ := strings.Cut(account(t, s, "page"), "@")
	c := xmppc.DialTLS(t, s.C2STLS, s.CA.TLS(domain))
	c.Open(domain)
	c.Login(local, secret)
	c.Bind("")
	n := 0
	there := harness.Eventually(t, patience, func() bool {
		n++
		c.Sendf("<message to='%s' type='chat' id='m%d'><body>%s</body></message>", jid, n, greeting)
		c.Sendf("<iq type='get' id='p%d' to='%s'><ping xmlns='%s'/></iq>", n, domain, xmppc.NSPing)
		refused := false
		for {
			e := c.Next()
			refused = refused || e.Attr("type") == "error" && e.Attr("id") == fmt.Sprintf("m%d", n)
			if e.Attr("id") == fmt.Sprintf("p%d", n) {
				return !refused
			}
		}
	})
	if !there {
		t.Fatalf("nobody is online as %s", jid)
	}
	c.Close()
}
