// Package peerstream is one stream between two servers: a state machine over a connection, owned by
// the goroutine that runs it.
//
// It implements RFC 6120 sections 4 (headers, features, errors), 5 (STARTTLS; also direct TLS by
// XEP-0368), 6 (SASL EXTERNAL alone, XEP-0178) and 8.1 (addresses of stanzas), server dialback (XEP-0220, with
// errors and several domain pairs) and bidirectional streams (XEP-0288). What the stanzas are, where they
// come from and go to, and stream management (XEP-0198) is for the Handler. Which domains are ours, who may
// federate, and whether a certificate is good for a domain is for the Config.
//
// A stream has two goroutines: that of Run reads, and one that it starts writes. Whatever is queued
// when the writer comes by is one write; whatever a read brings is one batch.
package peerstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"time"

	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/xmlstream"
)

// Namespaces.
const (
	NSDialback        = "jabber:server:dialback"
	NSDialbackFeature = "urn:xmpp:features:dialback"
	NSBidi            = "urn:xmpp:bidi"
	NSBidiFeature     = "urn:xmpp:features:bidi"
	NSManagement      = "urn:xmpp:sm:3"
	// ALPN is the protocol of direct TLS (XEP-0368).
	ALPN = "xmpp-server"
)

// Pair is a domain of ours and one of the peer's. Both are canonical.
type Pair struct{ Local, Far string }

// Terms are what is asked of a far domain.
type Terms struct {
	Refused     bool // it may not federate with us
	NoTLS       bool // dialback is enough without TLS
	Certificate bool // a certificate that is valid for the domain must be there
}

// Config is what streams share. Its functions are called by the goroutines of streams, at the same time.
type Config struct {
	// Certificate returns the chain and key of a domain of ours.
	Certificate func(ctx context.Context, domain string) (*tls.Certificate, error)
	// Verify says whether a chain proves that the peer is a domain, and by what, for people. The stream waits for it.
	Verify func(ctx context.Context, chain []*x509.Certificate, domain string) (proof string, err error)
	// Ours says whether this server answers for a domain; Gone that it did once (RFC 6120 4.9.3.4).
	Ours, Gone func(domain string) bool
	// Terms of a far domain.
	Terms func(far string) Terms
	// Key is that of XEP-0185.
	Key func(receiving, originating, streamID string) string
	// NewID returns what nobody can guess, for stream IDs (RFC 6120 4.7.3).
	NewID func() string

	Before, After xmlstream.Limits // before and after the peer is authenticated

	Negotiation time.Duration // from the connection to authentication
	Dialback    time.Duration // one request of ours
	Write       time.Duration // one write: a peer that reads nothing for so long is left
	Idle        time.Duration // without a byte from the peer; 0: for ever
	Closing     time.Duration // from the end of our stream to that of the peer's

	Tick time.Duration // between two signs of life, and calls of Handler.Tick

	MaxPairs  int // domain pairs of one stream
	MaxQueued int // bytes of answers (no stanzas) that wait for the writer
}

// Handler is told what happens on a stream. Calls come from its two goroutines.
type Handler interface {
	// Accept is asked, by the reader, before the peer may send for a pair: a far domain is authenticated.
	// A *stanza.Error refuses it.
	Accept(s *Stream, p Pair) error
	// Verify is asked, by the reader, to have a dialback key verified by the authoritative server of
	// p.Far; said is to be called once, by any goroutine: nil for a valid key, ErrInvalid, or a
	// *stanza.Error (XEP-0220 2.5).
	Verify(s *Stream, p Pair, key string, said func(error))
	// Authorized says what came of Authorize: stanzas may flow to the peer for the pair, or why not.
	Authorized(s *Stream, p Pair, err error)
	// Stanzas takes what was read, in order, and returns when the next read may begin. All addresses are
	// checked. The slice is the stream's. An error ends the stream.
	Stanzas(s *Stream, batch []*stanza.Stanza) error
	// Management takes an element of XEP-0198, in order with the stanzas. An error ends the stream.
	Management(s *Stream, e *stanza.Element) error
	// Fill appends what there is to write to dst, and may wait; more says that there is more. Only the
	// writer calls it, when somebody called Wake. Wrote follows when that is on its way, with how many of the
	// bytes: fewer than were appended if the connection broke. What is behind them the peer does not have.
	Fill(s *Stream, dst []byte) (out []byte, more bool, err error)
	Wrote(s *Stream, n int)
	// Last returns what is to be said in front of the end of our stream. It is called with a lock of the
	// stream's held: it calls nothing of the Stream, and waits for nothing.
	Last(s *Stream) string
	// Tick is called by the writer now and then.
	Tick(s *Stream)
}
