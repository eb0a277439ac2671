// Package xmpp holds the namespace names of the core XMPP specifications
// (RFC 6120, RFC 6121). Everything else lives in the packages below it: jid,
// stanza, stream and xmlstream, the words in which every port is written.
package xmpp

// Namespaces of RFC 6120 and RFC 6121.
const (
	NSClient  = "jabber:client"                        // RFC 6120 4.8.2
	NSServer  = "jabber:server"                        // RFC 6120 4.8.2
	NSStream  = "http://etherx.jabber.org/streams"     // RFC 6120 4.8.1
	NSStreams = "urn:ietf:params:xml:ns:xmpp-streams"  // stream error conditions, RFC 6120 4.9.2
	NSStanzas = "urn:ietf:params:xml:ns:xmpp-stanzas"  // stanza error conditions, RFC 6120 8.3.2
	NSTLS     = "urn:ietf:params:xml:ns:xmpp-tls"      // RFC 6120 5
	NSSASL    = "urn:ietf:params:xml:ns:xmpp-sasl"     // RFC 6120 6
	NSBind    = "urn:ietf:params:xml:ns:xmpp-bind"     // RFC 6120 7
	NSSession = "urn:ietf:params:xml:ns:xmpp-session"  // RFC 3921 3, a no-op since RFC 6120
	NSXML     = "http://www.w3.org/XML/1998/namespace" // bound to the prefix xml
	NSXMLNS   = "http://www.w3.org/2000/xmlns/"        // bound to the prefix xmlns
)
