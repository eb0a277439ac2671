package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

// managed has a session with stream management that can be resumed.
func managed(t *testing.T, h *hostile) *xmppc.Conn {
	c := bound(t, h)
	c.Enable()
	return c
}

// refusedIQ wants the iq with the id "bad" to be refused; the stream goes on.
func refusedIQ(conditions ...string) answer {
	return func(t *testing.T, c *xmppc.Conn) {
		t.Helper()
		c.StanzaError("iq", "bad", conditions...)
		c.Sync("presence")
	}
}

// unmanaged wants <failed/>; the stream goes on.
func unmanaged(condition string) answer {
	return func(t *testing.T, c *xmppc.Conn) {
		t.Helper()
		failed(t, c, condition)
		if c.JID == "" {
			c.Bind("")
		}
		c.Sync()
	}
}

// harmless wants nothing but that the stream goes on.
func harmless(t *testing.T, c *xmppc.Conn) {
	t.Helper()
	c.Sync("presence", "iq", "message")
}

func rosterSet(items string) string {
	return "<iq type='set' id='bad'><query xmlns='" + xmppc.NSRoster + "'>" + items + "</query></iq>"
}

func resume(previd string) string {
	return "<resume xmlns='" + xmppc.NSSM + "' h='0' previd='" + previd + "'/>"
}

func ack(h string) string { return "<a xmlns='" + xmppc.NSSM + "' h='" + h + "'/>" }

func spaces(n int) string { return strings.Repeat(" \n\t\r", n/4) }

// badIM is what a client may do wrong with rosters, presence and profiles.
var badIM = join(
	rows(bound, refusedIQ("bad-request"),
		"RFC 6121 2.3.3 a bomb of 700 items", rosterSet(numbered("<item jid='c%d@b.test' name='c'/>", 700)),
		"RFC 6121 2.3.3 no item at all", rosterSet(""),
		"RFC 6121 2.3.3 another element for an item", rosterSet("<bomb xmlns='urn:example:bomb'/>"),
		"RFC 6121 2.1.2.3 an address that is none", rosterSet("<item jid='@@@'/>"),
		"RFC 6121 2.1.2.3 an address of 40 KB", rosterSet("<item jid='"+strings.Repeat("x", 40<<10)+"@b.test'/>"),
		"RFC 6121 2.3.3 the same group twice", rosterSet("<item jid='a@b.test'><group>g</group><group>g</group></item>"),
	),
	rows(bound, refusedIQ("not-acceptable"),
		"RFC 6121 2.3.3 a name of 50 KB", rosterSet("<item jid='a@b.test' name='"+strings.Repeat("x", 50<<10)+"'/>"),
		"RFC 6121 2.3.3 a group of 50 KB", rosterSet("<item jid='a@b.test'><group>"+strings.Repeat("x", 50<<10)+"</group></item>"),
		"RFC 6121 2.3.3 2,000 groups", rosterSet("<item jid='a@b.test'>"+numbered("<group>g%d</group>", 2000)+"</item>"),
	),
	rows(bound, refusedIQ("service-unavailable", "forbidden", "not-allowed", "bad-request"),
		"RFC 6121 2.3.2 the roster of another", "<iq type='set' id='bad' to='nobody@"+domain+"'><query xmlns='jabber:iq:roster'><item jid='a@b.test'/></query></iq>",
		"RFC 6121 2.1.6 a push to the server", "<iq type='set' id='bad' to='"+domain+"'><query xmlns='jabber:iq:roster'><item jid='a@b.test'/></query></iq>",
		"XEP-0054 3.2 the vCard of another", "<iq type='set' id='bad' to='nobody@"+domain+"'><vCard xmlns='vcard-temp'><FN>x</FN></vCard></iq>",
		"XEP-0049 2.3 the private XML of another", "<iq type='get' id='bad' to='nobody@"+domain+"'><query xmlns='jabber:iq:private'><x xmlns='urn:x'/></query></iq>",
	),
	rows(bound, refusedIQ("not-acceptable", "bad-request"),
		"XEP-0049 2.3 private XML without a namespace", "<iq type='set' id='bad'><query xmlns='jabber:iq:private'><x xmlns=''/></query></iq>",
		"XEP-0049 2.3 nothing for private XML", "<iq type='set' id='bad'><query xmlns='jabber:iq:private'/></iq>",
	),
	rows(bound, harmless,
		"RFC 6121 3.1.3 a request with a status of 50 KB", "<presence type='subscribe' to='nobody@"+domain+"'><status>"+strings.Repeat("x", 50<<10)+"</status></presence>",
		"RFC 6121 4.7.2.3 a priority of 50 KB", "<presence><priority>"+strings.Repeat("9", 50<<10)+"</priority></presence>",
		"RFC 6121 4.7.1 an unknown type of presence", "<presence type='bomb'/><presence type='bomb' to='nobody@"+domain+"'/>",
		"RFC 6121 3.1.2 subscription to nobody in particular", "<presence type='subscribe'/><presence type='unsubscribed'/>",
		"RFC 6121 3.1.2 subscription to oneself", "<presence type='subscribe' to='romeo@"+domain+"'/><presence type='subscribed' to='romeo@"+domain+"'/>",
		"RFC 6121 4.3 probes of everybody", numbered("<presence type='probe' to='u%d@"+domain+"'/>", 500),
		"XEP-0352 4.2 states without end", strings.Repeat(inactive+active, 2000),
		"XEP-0352 4.2 a state with 5 KB in it", "<inactive xmlns='"+nsCSI+"' a='b'><x/>"+strings.Repeat("x", 5<<10)+"</inactive>",
		"RFC 6120 8.2.3 results that nobody waits for", numbered("<iq type='result' id='r%d' to='"+domain+"'/>", 500),
	),
	rows(bound, refusedIQ("not-allowed"),
		"XEP-0280 5.1 carbons of another", "<iq type='set' id='bad' to='nobody@"+domain+"'><disable xmlns='"+nsCarbons+"'/></iq>",
	),
	rows(loggedIn, streamError("unsupported-stanza-type", "not-authorized"),
		"XEP-0352 4.2 a state before binding", inactive,
	),
	rows(bound, streamError("invalid-from"),
		"RFC 6120 4.9.3.9 an approval in another's name", "<presence type='subscribed' from='juliet@"+domain+"' to='nobody@"+domain+"'/>",
		"RFC 6120 4.9.3.9 a roster set in another's name", "<iq type='set' id='bad' from='juliet@"+domain+"'><query xmlns='jabber:iq:roster'><item jid='a@b.test'/></query></iq>",
		"RFC 6120 4.9.3.9 a message in the server's name", "<message from='"+domain+"' to='romeo@"+domain+"'><body>x</body></message>",
		"RFC 6120 4.9.3.9 a message of another resource", "<message from='romeo@"+domain+"/never' to='romeo@"+domain+"'><body>x</body></message>",
	),
	rows(bound, streamError("policy-violation"),
		"RFC 6120 4.7.4 a language tag of 60 KB on a stanza", "<message xml:lang='"+strings.Repeat("x", 60<<10)+"'/>",
		"RFC 6120 4.7.4 a language tag of 1 KB on a stanza", "<presence xml:lang='"+strings.Repeat("en-", 340)+"x'/>",
		"RFC 6120 13.12 200 KB of white space in a start tag", "<message"+spaces(200<<10)+"/>",
		"RFC 6120 13.12 a namespace of 40 KB, used 5,000 times", "<message><p:a xmlns:p='"+strings.Repeat("n", 40<<10)+"'>"+strings.Repeat("<p:b/>", 5000)+"</p:a></message>",
		"RFC 6120 13.12, XEP-0352 4.2 a state with 50 KB in it", "<inactive xmlns='"+nsCSI+"'>"+strings.Repeat("<x/>", 13_000)+"</inactive>",
		"RFC 6120 13.12, XEP-0198 4 an acknowledgement with 200 KB in it", "<a xmlns='"+xmppc.NSSM+"' h='0'>"+strings.Repeat("<x/>", 50_000)+"</a>",
		"RFC 6120 13.12 a thousand prefixes for one namespace", "<message>"+numbered("<a xmlns:p%d='urn:x'><b/>", 1000),
	),
)

// badManagement abuses XEP-0198.
var badManagement = join(
	rows(managed, streamError("undefined-condition"),
		"XEP-0198 4 one too many acknowledged", ack("1"),
		"XEP-0198 4 far too many acknowledged", ack("4294967295"),
		"XEP-0198 4 too many in the middle of acknowledgements", strings.Repeat(ack("0"), 100)+ack("2147483648"),
	),
	rows(managed, streamError("bad-format", "undefined-condition", "policy-violation"),
		"XEP-0198 4 a count beyond 32 bits", ack("4294967296"),
		"XEP-0198 4 a negative count", ack("-1"),
		"XEP-0198 4 a count that is none", ack("many"),
		"XEP-0198 4 no count", "<a xmlns='"+xmppc.NSSM+"'/>",
	),
	rows(managed, streamError("unsupported-stanza-type"),
		"XEP-0198 an element that it doesn't have", "<bomb xmlns='"+xmppc.NSSM+"'/>",
	),
	rows(managed, unmanaged("unexpected-request"),
		"XEP-0198 3 enabled twice", "<enable xmlns='"+xmppc.NSSM+"' resume='true'/>",
		"XEP-0198 5 a resumption in mid-session", resume("x"),
	),
	rows(loggedIn, unmanaged("unexpected-request"),
		"XEP-0198 3 enabled before binding", "<enable xmlns='"+xmppc.NSSM+"' resume='true'/>",
		"XEP-0198 4 a request for a count before binding", askAck,
		"XEP-0198 4 an acknowledgement before binding", ack("0"),
	),
	rows(loggedIn, unmanaged("item-not-found"),
		"XEP-0198 5 a guess at an SM-ID", resume("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
		"XEP-0198 5 an SM-ID of 8 KB", resume(strings.Repeat("x", 8<<10)),
		"XEP-0198 5 an empty SM-ID", resume(""),
	),
	rows(loggedIn, unmanaged("bad-request"),
		"XEP-0198 5 a resumption without a count", "<resume xmlns='"+xmppc.NSSM+"' previd='x'/>",
		"XEP-0198 5 a resumption with a count that is none", "<resume xmlns='"+xmppc.NSSM+"' previd='x' h='1e9'/>",
	),
	rows(openedInTLS, streamError("not-authorized", "policy-violation", "unsupported-stanza-type"),
		"XEP-0198 5 a resumption before login", resume("x"),
	),
	[]badInput{
		{"RFC 6120 4.7.4 a language tag of 250 KB on the header after login", authenticatedOnly,
			[]string{header("version='1.0'", "version='1.0' xml:lang='"+strings.Repeat("x", 250<<10)+"'")}, headerThenError("policy-violation")},
		{"RFC 6120 4.7.4 a language tag of 2 KB on the header after login", authenticatedOnly,
			[]string{header("version='1.0'", "version='1.0' xml:lang='"+strings.Repeat("en-", 700)+"x'")}, headerThenError("policy-violation")},
	},
)

// authenticatedOnly has <success/> and must open the stream anew.
func authenticatedOnly(t *testing.T, h *hostile) *xmppc.Conn {
	c := openedInTLS(t, h)
	if e := c.TryPlain("", h.user, secret); !e.Is(xmppc.NSSASL, "success") {
		t.Fatalf("login: %s", e.Raw)
	}
	c.SendOpening("") // a new document follows
	return c
}

// imFloods are floods by way of rosters, presence and stream management.
func imFloods(t *testing.T, h *hostile) {
	t.Run("XEP-0198 5 guesses at SM-IDs are few for one connection", func(t *testing.T) {
		c := loggedIn(t, h)
		for n := 1; ; n++ {
			c.TrySend(resume(fmt.Sprintf("guess%d", n)))
			if e := c.Next(); e.Is(xmppc.NSStream, "error") {
				c.ExpectEnd()
				return
			}
			if n > 20 {
				t.Fatal("no bound")
			}
		}
	})
	t.Run("XEP-0198 4 requests for counts without end, answers not read", func(t *testing.T) {
		// limits.outbox-bytes counts bytes, and each of these short answers costs
		// some more; it is still less than what is sent.
		watchPeakWithin(t, h, 64<<20, func() { overwhelm(t, managed(t, h), askAck) })
		goodClient(t, h)
	})
	t.Run("sessions without end for one account", func(t *testing.T) {
		local := account(t, h.Server, "romeo")
		watchPeak(t, h, func() {
			var last *xmppc.Conn
			for range 130 { // limits.sessions-per-account is 100
				last = authenticated(t, h.Server, local)
				res := last.Ask("set", "", "<bind xmlns='"+xmppc.NSBind+"'/>")
				if res.Attr("type") == "error" {
					if cond := res.Condition(); cond != "resource-constraint" && cond != "not-allowed" {
						t.Errorf("got %s", res.Raw)
					}
					return
				}
			}
			t.Error("130 sessions of one account, and no end")
		})
	})
	t.Run("sessions that break and wait, without end", func(t *testing.T) {
		local := account(t, h.Server, "romeo")
		for range 110 {
			c := authenticated(t, h.Server, local)
			res := c.Ask("set", "", "<bind xmlns='"+xmppc.NSBind+"'/>")
			if res.Attr("type") == "error" {
				return // bounded
			}
			c.Enable()
			c.Reset()
		}
		t.Error("110 waiting sessions of one account, and no end")
	})
	t.Run("RFC 6121 4.4 a presence storm to a contact that doesn't read", func(t *testing.T) {
		romeo, juliet := friends(t, h.Server)
		watchPeak(t, h, func() {
			storm := strings.Repeat("<presence><show>away</show><status>"+strings.Repeat("x", 16<<10)+"</status></presence>", 16)
			for range 200 { // 50 MiB
				romeo.Send(storm)
				romeo.Sync("presence")
			}
		})
		juliet.Drop()
	})
	t.Run("XEP-0352 3.2 a presence storm to an inactive contact", func(t *testing.T) {
		romeo, juliet := friends(t, h.Server)
		juliet.Send(inactive)
		juliet.Sync()
		watchPeak(t, h, func() {
			status := strings.Repeat("x", 16<<10)
			for n := range 3000 { // 48 MiB
				romeo.Sendf("<presence><show>away</show><priority>%d</priority><status>%s</status></presence><message to='%s' type='chat'>%s</message>", n%100, status, juliet.JID, composing)
				romeo.Sync("presence")
			}
		})
		juliet.Send(active)
		next(t, juliet, "available from "+romeo.JID+" away", "composing from "+romeo.JID)
		juliet.Sync()
	})
	t.Run("RFC 6121 8.5.3 requests to a stranger that doesn't read", func(t *testing.T) {
		romeo, juliet := strangers(t, h.Server)
		watchPeak(t, h, func() {
			flood := strings.Repeat("<iq type='get' id='i' to='"+juliet.JID+"'><x xmlns='urn:x'>"+strings.Repeat("y", 16<<10)+"</x></iq>", 16)
			for range 200 {
				romeo.Send(flood)
				romeo.Sync("presence", "iq")
			}
		})
		juliet.Drop()
	})
	t.Run("white space in start tags to a session that doesn't read", func(t *testing.T) {
		romeo, juliet := strangers(t, h.Server)
		watchPeak(t, h, func() {
			message := "<message to='" + juliet.JID + "'" + spaces(12<<10) + "type='chat'" + spaces(2<<10) + "/>"
			for range 500 { // 8,000 stanzas, 110 MiB
				romeo.Send(strings.Repeat(message, 16))
				romeo.Sync("presence", "message")
			}
		})
		juliet.Drop()
	})
	t.Run("200 KB of white space in start tags, in bursts that end the stream at the first", func(t *testing.T) {
		romeo, juliet := strangers(t, h.Server)
		local := strings.TrimSuffix(romeo.Bare(), "@"+domain)
		watchPeak(t, h, func() {
			for range 20 {
				c := session(t, h.Server, local, "")
				c.TrySend(strings.Repeat("<message to='"+juliet.JID+"'"+spaces(200<<10)+"/>", 100))
				c.Drop()
			}
		})
		hears(t, juliet)
	})
	t.Run("a full roster, asked for without end and not read", func(t *testing.T) {
		watchPeak(t, h, func() {
			c := session(t, h.Server, account(t, h.Server, "romeo"), "")
			for i := range 200 {
				c.Sendf("<iq type='set' id='s'><query xmlns='jabber:iq:roster'><item jid='c%d@b.test' name='%s'/></query></iq>", i, strings.Repeat("n", 1000))
			}
			c.Sync("iq")
			overwhelm(t, c, "<iq type='get' id='g'><query xmlns='jabber:iq:roster'/></iq>")
		})
		goodClient(t, h)
	})
}
