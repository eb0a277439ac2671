// Package client is an XMPP client for tests that put a load on a server: it finds
// the ends of elements, and parses next to nothing, so that it costs a small part of
// what a server does. It knows STARTTLS, direct TLS (XEP-0368; no certificate is
// verified), SCRAM and PLAIN, registration (XEP-0077), and stream management without
// resumption (XEP-0198).
package client
