package peerstream

import (
	"errors"
	"fmt"

	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
)

var (
	// ErrInvalid: a dialback key is not that of the authoritative server.
	ErrInvalid = errors.New("peerstream: the dialback key is invalid")
	// ErrNoTLS: the peer offers no TLS, and that is not enough (RFC 6120 5.3.1).
	ErrNoTLS = errors.New("peerstream: the peer offers no TLS, which is required")
	// ErrCertificate is wrapped where a certificate is not good for the domain, and has to be.
	ErrCertificate = errors.New("peerstream: the peer has no valid certificate")
	// ErrUnauthorized is wrapped where the peer lets us authenticate in no way that we have.
	ErrUnauthorized = errors.New("peerstream: the peer takes no authentication of ours")
	// ErrClosed: the stream has ended.
	ErrClosed = errors.New("peerstream: the stream has ended")
	// ErrTimeout is wrapped where the peer took too long.
	ErrTimeout = errors.New("peerstream: the peer takes too long")
)

// PeerError is a stream error that came from the peer.
type PeerError struct {
	Condition stream.Condition
	Text      string
}

func (e *PeerError) Error() string {
	if e.Text == "" {
		return fmt.Sprintf("peerstream: the peer ended the stream: %s", e.Condition)
	}
	return fmt.Sprintf("peerstream: the peer ended the stream: %s (%.200q)", e.Condition, e.Text)
}

// peerError reads <stream:error/>.
func peerError(e *stanza.Element) *PeerError {
	out := &PeerError{Condition: stream.UndefinedCondition}
	for _, c := range e.Elements() {
		if c.Space != xmpp.NSStreams {
			continue
		}
		if c.Local == "text" {
			out.Text = c.Text()
		} else {
			out.Condition = stream.Condition(c.Local)
		}
	}
	return out
}

// dialbackError reads <error/> of an element of type error (XEP-0220 2.5).
func dialbackError(e *stanza.Element) *stanza.Error {
	out := &stanza.Error{Condition: stanza.UndefinedCondition, Type: stanza.Cancel}
	for _, c := range e.Elements() {
		if c.Local != "error" {
			continue
		}
		for _, d := range c.Elements() {
			if d.Space == xmpp.NSStanzas && d.Local != "text" {
				out.Condition = stanza.Condition(d.Local)
			}
		}
	}
	return out
}
