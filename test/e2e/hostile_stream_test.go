package e2e

import (
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

// header is a stream header that differs from a good one by what replaces what.
func header(what, by string) string {
	if !strings.Contains(goodHeader, what) {
		panic("no " + what + " in the header")
	}
	return strings.Replace(goodHeader, what, by, 1)
}

// badHeaders are what comes in place of a stream header.
var badHeaders = join(
	rows(inClear, headerThenError("invalid-namespace"),
		"RFC 6120 4.9.3.10 a wrong stream namespace", header("http://etherx.jabber.org/streams", "http://wrong.namespace.example.org/"),
		"RFC 6120 4.9.3.10 a wrong content namespace", header("jabber:client", "urn:example:chat"),
		"RFC 6120 4.9.3.10 the servers' content namespace", header("jabber:client", "jabber:server"),
		"RFC 6120 4.8.1 no stream namespace", "<stream xmlns='jabber:client' to='"+domain+"' version='1.0'>",
	),
	rows(inClear, headerThenError("host-unknown"),
		"RFC 6120 4.9.3.6 an unknown host", header(domain, "elsewhere.test"),
		"RFC 6120 4.9.3.6 a subdomain that isn't served", header(domain, "conference."+domain),
		"RFC 6120 4.9.3.6 a host by address", header(domain, "127.0.0.1"),
	),
	rows(inClear, headerThenError("host-unknown", "improper-addressing"),
		"RFC 6120 4.7.2 to is an account", header(domain, "romeo@"+domain),
		"RFC 6120 4.7.2 to is no domain", header(domain, "exa mple"),
	),
	rows(inClear, headerThenError("not-well-formed", "bad-namespace-prefix"),
		"RFC 6120 4.9.3.13 the prefix of the header is undeclared", header("xmlns:stream='http://etherx.jabber.org/streams'", ""),
	),
	rows(inClear, headerThenError("unsupported-version", "bad-format"),
		"RFC 6120 4.7.5 no version", header("version='1.0'", ""),
		"RFC 6120 4.7.5 version 0.9", header("1.0", "0.9"),
		"RFC 6120 4.7.5 a version that is none", header("1.0", "one"),
	),
	rows(inClear, headerThenError("bad-format", "invalid-namespace", "not-authorized"),
		"RFC 6120 4.2 another root element", header("stream:stream", "stream:flow"),
		"RFC 6120 4.2 a stanza in place of the header", "<message xmlns='jabber:client' to='"+domain+"'><body>x</body></message>",
		"RFC 6120 4.2 an element without a namespace", "<hello/>",
	),
	rows(inClear, headerThenError("not-well-formed", "bad-format", "unsupported-encoding"),
		"a web browser", "GET / HTTP/1.1\r\nHost: "+domain+"\r\n\r\n",
		"a TLS hello in clear", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
		"a run of NULs", strings.Repeat("\x00", 1024),
		"an ssh client", "SSH-2.0-OpenSSH_9.2\r\n",
	),
)

// badSequences are good elements at the wrong time.
var badSequences = join(
	rows(openedInClear, streamError("not-authorized", "policy-violation"),
		"RFC 6120 4.9.3.12 a message before TLS", "<message to='romeo@"+domain+"'><body>x</body></message>",
		"RFC 6120 4.9.3.12 a bind before TLS", "<iq type='set' id='b'><bind xmlns='"+xmppc.NSBind+"'/></iq>",
	),
	rows(openedInTLS, streamError("not-authorized"),
		"RFC 6120 4.9.3.12 a message before login", "<message to='romeo@"+domain+"'><body>x</body></message>",
		"RFC 6120 4.9.3.12 presence before login", "<presence/>",
		"RFC 6120 4.9.3.12 a request before login", "<iq type='get' id='x' to='"+domain+"'>"+ping+"</iq>",
		"RFC 6120 7.1 a bind before login", "<iq type='set' id='b'><bind xmlns='"+xmppc.NSBind+"'/></iq>",
	),
	rows(loggedIn, streamError("not-authorized"),
		"RFC 6120 7.1 a message before binding", "<message to='romeo@"+domain+"'><body>x</body></message>",
		"RFC 6120 7.1 presence before binding", "<presence/>",
	),
	rows(bound, streamError("unsupported-stanza-type"),
		"RFC 6120 4.9.3.24 an unknown element of the content namespace", "<pubsub xmlns='jabber:client'><publish/></pubsub>",
		"RFC 6120 4.9.3.24 an element of an unknown namespace", "<note xmlns='urn:example:note'/>",
		"RFC 6120 4.9.3.24 a stanza's name in capitals", "<Message/>",
		"RFC 6120 4.9.3.24 an element of no namespace", "<message xmlns=''/>",
	),
	rows(bound, streamError("unsupported-stanza-type", "invalid-namespace"),
		"RFC 6120 4.8.2 a stanza of the servers' namespace", "<message xmlns='jabber:server'><body>x</body></message>",
	),
	rows(bound, streamError("unsupported-stanza-type", "not-authorized", "policy-violation", "bad-format"),
		"RFC 6120 4.3.3 a second stream inside the stream", goodHeader+"</stream:stream>",
		"RFC 6120 6.3.5 SASL after login", "<auth xmlns='"+xmppc.NSSASL+"' mechanism='PLAIN'>AGEAYg==</auth>",
		"RFC 6120 5.4.2 STARTTLS after login", "<starttls xmlns='"+xmppc.NSTLS+"'/>",
		"RFC 6120 4.3.2 a client that sends features", "<stream:features/>",
	),
	rows(loggedIn, streamError("unsupported-stanza-type", "not-authorized", "policy-violation", "bad-format"),
		"RFC 6120 6.3.5 SASL after SASL", "<auth xmlns='"+xmppc.NSSASL+"' mechanism='PLAIN'>AGEAYg==</auth>",
	),
	[]badInput{
		{"RFC 6120 5.4.2.2 STARTTLS inside TLS", openedInTLS,
			[]string{"<starttls xmlns='" + xmppc.NSTLS + "'/>"},
			func(t *testing.T, c *xmppc.Conn) { c.Expect(xmppc.NSTLS, "failure"); c.ExpectEnd() }},
		{"RFC 6120 6.5.4 SASL before TLS", openedInClear,
			[]string{"<auth xmlns='" + xmppc.NSSASL + "' mechanism='PLAIN'>AHJvbWVvAGNvcnJlY3QgaG9yc2U=</auth>"},
			failureOrError("encryption-required", "policy-violation")},
		{"RFC 6120 4.9.1.3 a stream error of the client ends the stream", bound,
			[]string{"<stream:error><bad-format xmlns='" + xmppc.NSErrors + "'/></stream:error></stream:stream>"}, ended},
		{"RFC 6120 4.4 nothing is handled after the closing tag", bound,
			[]string{"</stream:stream><iq type='get' id='late'>" + ping + "</iq>" + strings.Repeat("<presence/>", 5000)},
			func(t *testing.T, c *xmppc.Conn) { c.ExpectEnd() }},
		{"RFC 6120 4.9.3.9 somebody else's from", bound,
			[]string{"<message from='juliet@" + domain + "' to='" + domain + "'/>"}, streamError("invalid-from")},
		{"RFC 6120 4.9.3.9 a from that is no JID", bound,
			[]string{"<presence from='@@@'/>"}, streamError("invalid-from")},
		{"RFC 6120 8.3.3.8 a to that is no JID", bound,
			[]string{"<message id='m' to='@@@'><body>x</body></message>"},
			func(t *testing.T, c *xmppc.Conn) { c.StanzaError("message", "m", "jid-malformed"); c.Sync() }},
	},
)
