package e2e

import (
	"slices"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

// forger is who says what others alone may say; it sends to itself and looks at
// what arrives, as any other recipient could.
const forger = "romeo@" + domain + "/forger"

// forging is the forger's session.
func forging(t *testing.T, h *hostile) *xmppc.Conn { return session(t, h.Server, h.user, "forger") }

// forged is a message to the forger itself.
func forged(assertion string) string {
	return "<message to='" + forger + "' type='chat' id='bad'>" + assertion + "<body>forged</body></message>"
}

// arrives wants the message with these children, by local name, behind them the ID of
// the recipient's archive, and with the full JID as its from (RFC 6120 8.1.2.1).
func arrives(children ...string) answer {
	return func(t *testing.T, c *xmppc.Conn) {
		t.Helper()
		m := c.Expect(xmppc.NSClient, "message")
		var got []string
		for _, e := range m.Children {
			got = append(got, e.Local)
		}
		ids := stanzaIDs(m, c.Bare())
		if n := len(got) - 1; len(ids) == 1 && ids[0] != "bad" && got[n] == "stanza-id" {
			got = got[:n]
		}
		if !slices.Equal(got, children) || m.Attr("from") != forger {
			t.Errorf("got %.2000s, want the children %.200q", m.Raw, children)
		}
		c.Sync("presence", "iq")
	}
}

func idBy(by string) string {
	return "<stanza-id xmlns='urn:xmpp:sid:0' id='bad' by='" + by + "'/>"
}

func delayFrom(from string) string {
	return "<delay xmlns='urn:xmpp:delay' from='" + from + "' stamp='2001-01-01T00:00:00Z'/>"
}

// badForgeries assert what others alone may.
var badForgeries = join(
	rows(forging, arrives("body"),
		"XEP-0359 3 an id by the recipient", forged(idBy("romeo@"+domain)),
		"XEP-0359 3 an id by the recipient, in capitals", forged(idBy("ROMEO@"+strings.ToUpper(domain))),
		"XEP-0359 3 an id by the recipient, of full width", forged(idBy("ｒｏｍｅｏ@"+domain)),
		"XEP-0359 3 an id by the recipient, with a final dot", forged(idBy("romeo@"+domain+".")),
		"XEP-0359 3 an id by the recipient, in references", forged(idBy("&#x72;&#111;meo&#64;"+domain)),
		"XEP-0359 3 an id by the recipient, with an invisible character", forged(idBy("ro&#xAD;meo@"+domain)),
		"XEP-0359 3 an id by the recipient, with a space before it", forged(idBy(" romeo@"+domain)),
		"XEP-0359 3 an id by the recipient, prefixed", forged("<s:stanza-id xmlns:s='urn:xmpp:sid:0' s:by='x' by='romeo@"+domain+"' id='bad'/>"),
		"XEP-0359 3 an id by the recipient, in quotes of the other kind", forged(`<stanza-id by = "romeo@`+domain+`" id='bad' xmlns = "urn:xmpp:sid:0" ></stanza-id >`),
		"XEP-0359 3 an id by the recipient, its namespace in references", forged("<stanza-id xmlns='urn:xmpp:sid&#58;0' id='bad' by='romeo@"+domain+"'/>"),
		"XEP-0359 3 an id by another account", forged(idBy("juliet@"+domain)),
		"XEP-0359 3 an id by the server", forged(idBy(domain)),
		"XEP-0359 3 an id by no address", forged(idBy("")+idBy("@")+idBy("romeo@")),
		"XEP-0359 3 an id by an address of 40 KB", forged(idBy(strings.Repeat("x", 40<<10)+"@"+domain)),
		"XEP-0359 3 ids by the recipient, 800 of them", forged(strings.Repeat(idBy("romeo@"+domain), 800)),
		"XEP-0203 5 a delay by the server", forged(delayFrom(domain)),
		"XEP-0203 5 a delay by the server, in capitals and with a final dot", forged(delayFrom(strings.ToUpper(domain)+".")),
		"XEP-0203 5 a delay by the server's resource", forged(delayFrom(domain+"/offline")),
		"XEP-0203 5 a delay by another account", forged(delayFrom("juliet@"+domain)+delayFrom("juliet@"+domain+"/balcony")),
		"XEP-0203 5 a delay by no address", forged(delayFrom("")+delayFrom("exa mple")),
		"XEP-0203 5 delays by the server, 600 of them", forged(strings.Repeat(delayFrom(domain), 600)),
		"XEP-0091 2 a delay of the older kind", forged("<x xmlns='jabber:x:delay' from='"+domain+"' stamp='20010101T00:00:00'/>"),
		"XEP-0355 delegation", forged("<delegation xmlns='urn:xmpp:delegation:2'><delegated namespace='urn:x'/></delegation>"),
		"XEP-0356 privilege", forged("<privilege xmlns='urn:xmpp:privilege:2'><perm access='message' type='outgoing'/></privilege>"),
		"XEP-0356 an older privilege", forged("<privilege xmlns='urn:xmpp:privilege:1'/>"),
	),
	rows(forging, refusedIQ("bad-request"),
		"XEP-0356 6.1 an iq with privilege", "<iq type='set' id='bad' to='juliet@"+domain+"'><privileged_iq xmlns='urn:xmpp:privilege:2'><iq xmlns='jabber:client' type='get' id='x'/></privileged_iq></iq>",
		"XEP-0355 an iq that was delegated", "<iq type='set' id='bad' to='"+domain+"'><delegation xmlns='urn:xmpp:delegation:2'/></iq>",
	),
	// What a client may say: nothing of it may be lost for fear of the above.
	rows(forging, arrives("origin-id", "body"),
		"XEP-0359 2.2 an origin-id", forged("<origin-id xmlns='urn:xmpp:sid:0' id='bad'/>"),
	),
	rows(forging, arrives("stanza-id", "body"),
		"XEP-0359 3 an id by somebody elsewhere", forged(idBy("juliet@far.test")),
	),
	rows(forging, arrives("delay", "body"),
		"XEP-0203 2 a delay by oneself", forged(delayFrom("Romeo@"+domain)),
		"XEP-0203 2 a delay by one's other resource", forged(delayFrom("romeo@"+domain+"/phone")),
		"XEP-0203 2 a delay by nobody", forged("<delay xmlns='urn:xmpp:delay' stamp='2001-01-01T00:00:00Z'/>"),
	),
	rows(forging, arrives("received", "body"),
		"XEP-0280 11 a carbon of one's own", forged("<received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'/></received>"),
		"XEP-0280 11 a carbon of one's own, from the bare JID", strings.Replace(forged("<received xmlns='urn:xmpp:carbons:2'/>"), " to=", " from='romeo@"+domain+"' to=", 1),
		"XEP-0280 11 a carbon of one's own, from the bare JID in capitals", strings.Replace(forged("<received xmlns='urn:xmpp:carbons:2'/>"), " to=", " from='ROMEO@"+domain+"' to=", 1),
	),
	rows(forging, arrives("forwarded", "body"),
		"XEP-0297 a quotation of another's delay and id", forged("<forwarded xmlns='urn:xmpp:forward:0'>"+delayFrom(domain)+"<message xmlns='jabber:client'>"+idBy("juliet@"+domain)+"</message></forwarded>"),
	),
	badFroms(),
)

// badFroms are stanzas of each kind from each that the forger is not.
func badFroms() (table []badInput) {
	for _, from := range [][2]string{
		{"the bare JID of another", "juliet@" + domain},
		{"the full JID of another", "juliet@" + domain + "/balcony"},
		{"the bare JID of another, in mixed case", "JuLieT@" + strings.ToUpper(domain)},
		{"another resource of one's own", "romeo@" + domain + "/phone"},
		{"one's own resource in other case", "romeo@" + domain + "/Forger"},
		{"the own name elsewhere", "romeo@far.test/forger"},
		{"the own name at a subdomain", "romeo@sub." + domain + "/forger"},
		{"the own name behind an escape", `romeo\40` + domain + "/forger"},
		{"the server", domain},
		{"the server's resource", domain + "/forger"},
		{"an address of 4 KB", strings.Repeat("x", 4<<10) + "@" + domain},
		{"an empty address", ""},
	} {
		for kind, stanza := range map[string]string{
			"a message":    "<message to='" + forger + "' from='%'><body>x</body></message>",
			"presence":     "<presence to='juliet@" + domain + "' from='%'/>",
			"a request":    "<iq type='get' id='bad' to='" + domain + "' from='%'>" + ping + "</iq>",
			"a result":     "<iq type='result' id='bad' to='" + forger + "' from='%'/>",
			"subscription": "<presence type='subscribe' to='juliet@" + domain + "' from='%'/>",
		} {
			table = append(table, badInput{"RFC 6120 8.1.2.1 " + kind + " from " + from[0], forging,
				[]string{strings.Replace(stanza, "%", xmppc.Escape(from[1]), 1)}, streamError("invalid-from")})
		}
	}
	slices.SortFunc(table, func(a, b badInput) int { return strings.Compare(a.rule, b.rule) })
	return table
}

// badHashes are capabilities that the client does not have (XEP-0115 8).
var badHashes = rows(bound, harmless,
	"XEP-0115 8 the hash of another client", "<presence><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='http://code.google.com/p/exodus' ver='QgayPKawpkPSDYmwT/WM94uAlu0='/></presence>",
	"XEP-0115 4 a hash that is none", "<presence><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='n' ver='%%%'/></presence>",
	"XEP-0115 4 a hash of 40 KB", "<presence><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='n' ver='"+strings.Repeat("A", 40<<10)+"'/></presence>",
	"XEP-0115 4 an unknown function", "<presence><c xmlns='http://jabber.org/protocol/caps' hash='md2' node='n' ver='QgayPKawpkPSDYmwT/WM94uAlu0='/></presence>",
	"XEP-0115 4 no hash, no function, no node", "<presence><c xmlns='http://jabber.org/protocol/caps'/></presence>",
	"XEP-0115 4 a node of 40 KB", "<presence><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='"+strings.Repeat("n", 40<<10)+"' ver='QgayPKawpkPSDYmwT/WM94uAlu0='/></presence>",
	"XEP-0115 4 capabilities 400 times over", "<presence>"+numbered("<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='n' ver='QgayPKawpkPSDYmwT/%04dAlu0='/>", 400)+"</presence>",
	"XEP-0115 8 another hash each time", numbered("<presence><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='n' ver='QgayPKawpkPSDYmwT/%04dAlu0='/></presence>", 300),
	"XEP-0115 8 a hash in presence to a stranger", "<presence to='nobody@"+domain+"'><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='n' ver='QgayPKawpkPSDYmwT/WM94uAlu0='/></presence>",
)
