// Package iq has the rules that every iq keeps, wherever it comes from
// (RFC 6120 8.2.3): clients, extensions, and what extensions make of others'.
package iq

import "github.com/hexmpp/hexmpp/ports/xmpp/stanza"

// Check says what is wrong with an iq: it needs an id, a known type, exactly
// one child in a get or set, at most one in a result. nil for none, and for
// other kinds of stanzas.
func Check(s *stanza.Stanza) *stanza.Error {
	if s.Kind != stanza.IQ {
		return nil
	}
	if s.ID == "" {
		return stanza.Err(stanza.BadRequest, "an iq needs an id")
	}
	n := len(s.Children())
	switch s.Type {
	case stanza.Get, stanza.Set:
		if n != 1 {
			return stanza.Err(stanza.BadRequest, "an iq of type get or set has exactly one child")
		}
	case stanza.Result:
		if n > 1 {
			return stanza.Err(stanza.BadRequest, "an iq of type result has at most one child")
		}
	case stanza.TypeError:
	default:
		return stanza.Err(stanza.BadRequest, "an iq is of type get, set, result or error")
	}
	return nil
}

// Request returns the payload of an iq get or set; ok is false for anything
// else, and for one that Check would refuse.
func Request(s *stanza.Stanza) (payload stanza.Child, ok bool) {
	if s.Kind != stanza.IQ || s.Type != stanza.Get && s.Type != stanza.Set {
		return payload, false
	}
	children := s.Children()
	if len(children) != 1 {
		return payload, false
	}
	return children[0], true
}
