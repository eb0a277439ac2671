package e2e

import (
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

// inPayload is an iq to the server whose payload has this content.
func inPayload(content string) string {
	return "<iq type='set' id='bad' to='" + domain + "'><x xmlns='urn:example:bomb'>" + content + "</x></iq>"
}

// own is an iq to the own account.
func own(typ, payload string) string { return "<iq type='" + typ + "' id='bad'>" + payload + "</iq>" }

// answeredIQ wants the iq with the id "bad" to be answered, either way.
func answeredIQ(t *testing.T, c *xmppc.Conn) {
	t.Helper()
	if e := c.Answer("bad", "presence"); e.Attr("type") != "result" && e.Attr("type") != "error" {
		t.Errorf("got %s", e.Raw)
	}
	c.Sync("presence", "iq")
}

// badPayloads are bombs inside of what an extension reads, or nobody does.
var badPayloads = join(
	rows(bound, streamError("policy-violation"),
		"RFC 6120 13.12 4,000 attributes in a payload", inPayload("<a "+numbered("a%d='1' ", 4000)+"/>"),
		"RFC 6120 13.12 5,000 levels in a payload", inPayload(strings.Repeat("<a>", 5000)+strings.Repeat("</a>", 5000)),
		"RFC 6120 13.12 2,000 namespaces in force in a payload", inPayload(numbered("<a xmlns:n%d='urn:n'>", 2000)+strings.Repeat("</a>", 2000)),
		"RFC 6120 13.12 2,000 default namespaces in force in a payload", inPayload(numbered("<a xmlns='urn:n%d'>", 2000)+strings.Repeat("</a>", 2000)),
		"RFC 6120 13.12 a namespace of 40 KB that 5,000 children use", inPayload("<p:a xmlns:p='"+strings.Repeat("n", 40<<10)+"'>"+strings.Repeat("<p:b/>", 5000)+"</p:a>"),
		"RFC 6120 13.12 a payload over the limit", inPayload(strings.Repeat("x", stanzaLimit)),
		"RFC 6120 13.12 a vCard over the limit", own("set", "<vCard xmlns='vcard-temp'><PHOTO><BINVAL>"+strings.Repeat("A", stanzaLimit)+"</BINVAL></PHOTO></vCard>"),
		"RFC 6120 13.12 500 prefixes that each child uses", forged("<x xmlns='urn:x'"+numbered(" xmlns:p%d='urn:p'", 500)+">"+numbered("<p%d:a/>", 500)+"</x>"),
	),
	rows(bound, refusedIQ("service-unavailable", "feature-not-implemented"),
		"RFC 6120 8.4 15,000 children in an unknown payload", inPayload(strings.Repeat("<a/>", 15000)),
		"RFC 6120 8.4 2,500 namespaces in an unknown payload", inPayload(numbered("<a xmlns='urn:%d'/>", 2500)),
		"RFC 6120 8.4 8,000 attributes, four each, in an unknown payload", inPayload(strings.Repeat("<a b='' c='' d='' e=''/>", 2000)),
		"RFC 6120 8.4 10,000 references in an unknown payload", inPayload(strings.Repeat("&amp;", 10000)),
		"RFC 6120 8.4 4,000 sections of CDATA in an unknown payload", inPayload(strings.Repeat("<![CDATA[]]>", 4000)),
	),
	rows(bound, refusedIQ("bad-request"),
		"RFC 6120 8.2.3 15,000 payloads", own("set", strings.Repeat("<a/>", 15000)),
		"RFC 6120 8.2.3 no payload, but 50 KB of text", own("set", strings.Repeat("x", 50<<10)),
	),
	rows(bound, answeredIQ,
		"RFC 6121 2.1.3 a roster get with 700 items", own("get", "<query xmlns='jabber:iq:roster'>"+numbered("<item jid='c%d@b.test'/>", 700)+"</query>"),
		"RFC 6121 2.3.3 an item with 10,000 children", own("set", "<query xmlns='jabber:iq:roster'><item jid='a@b.test'>"+strings.Repeat("<a/>", 10000)+"</item></query>"),
		"XEP-0030 3 15,000 children for service discovery", "<iq type='get' id='bad' to='"+domain+"'><query xmlns='http://jabber.org/protocol/disco#info'>"+strings.Repeat("<a/>", 15000)+"</query></iq>",
		"XEP-0030 3 a node of 50 KB", "<iq type='get' id='bad' to='"+domain+"'><query xmlns='http://jabber.org/protocol/disco#info' node='"+strings.Repeat("n", 50<<10)+"'/></iq>",
		"XEP-0199 4 a ping with 15,000 children", "<iq type='get' id='bad' to='"+domain+"'><ping xmlns='urn:xmpp:ping'>"+strings.Repeat("<a/>", 15000)+"</ping></iq>",
		"XEP-0054 3.2 a vCard of 15,000 children", own("set", "<vCard xmlns='vcard-temp'>"+strings.Repeat("<a/>", 15000)+"</vCard>"),
		"XEP-0054 3.2 a vCard of 60 levels", own("set", "<vCard xmlns='vcard-temp'>"+strings.Repeat("<a>", 60)+strings.Repeat("</a>", 60)+"</vCard>"),
		"XEP-0049 2.1 15,000 children for private XML", own("set", "<query xmlns='jabber:iq:private'><x xmlns='urn:x'>"+strings.Repeat("<a/>", 15000)+"</x></query>"),
		"XEP-0049 2.1 1,500 namespaces for private XML", own("set", "<query xmlns='jabber:iq:private'>"+numbered("<x xmlns='urn:x%d'/>", 1500)+"</query>"),
		"XEP-0049 2.2 1,500 pieces of private XML at once", own("get", "<query xmlns='jabber:iq:private'>"+numbered("<x xmlns='urn:x%d'/>", 1500)+"</query>"),
		"XEP-0313 4.1 a query with 1,000 fields", own("set", "<query xmlns='urn:xmpp:mam:2'><x xmlns='jabber:x:data' type='submit'>"+numbered("<field var='f%d'><value/></field>", 1000)+"</x></query>"),
		"XEP-0313 4.1.3 a query for 1,500 ids", own("set", "<query xmlns='urn:xmpp:mam:2'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>urn:xmpp:mam:2</value></field><field var='ids'>"+numbered("<value>%d</value>", 1500)+"</field></x></query>"),
		"XEP-0313 4.2 a queryid of 50 KB", own("set", "<query xmlns='urn:xmpp:mam:2' queryid='"+strings.Repeat("q", 50<<10)+"'/>"),
		"XEP-0059 2.1 a set of 10,000 children", own("set", "<query xmlns='urn:xmpp:mam:2'><set xmlns='http://jabber.org/protocol/rsm'>"+strings.Repeat("<a/>", 10000)+"</set></query>"),
		"XEP-0441 2.1 preferences with 1,500 addresses", own("set", "<prefs xmlns='urn:xmpp:mam:2' default='never'><always>"+numbered("<jid>c%d@b.test</jid>", 1500)+"</always></prefs>"),
		"XEP-0077 3.3 a change of another's password with 2,500 fields", own("set", "<query xmlns='jabber:iq:register'><username>nobody</username>"+strings.Repeat("<password>x</password>", 2500)+"</query>"),
		"XEP-0077 3.3 another's password, of 50 KB", own("set", "<query xmlns='jabber:iq:register'><username>nobody</username><password>"+strings.Repeat("x", 50<<10)+"</password></query>"),
	),
	rows(forging, arrives("x", "body"),
		"RFC 6120 8.4 15,000 children in a message's payload", forged("<x xmlns='urn:x'>"+strings.Repeat("<a/>", 15000)+"</x>"),
		"RFC 6120 8.4 60 levels in a message's payload", forged("<x xmlns='urn:x'>"+strings.Repeat("<a>", 60)+strings.Repeat("</a>", 60)+"</x>"),
		"RFC 6120 8.4 30 attributes in a message's payload", forged("<x xmlns='urn:x' "+numbered("a%d='' ", 30)+"/>"),
	),
)
