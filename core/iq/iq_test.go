package iq

import (
	"testing"

	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

func TestCheck(t *testing.T) {
	child := stanza.El("urn:x", "q")
	for _, row := range []struct {
		rule     string
		kind     stanza.Kind
		id, typ  string
		children int
		ok       bool
	}{
		{"RFC 6120 8.2.3 rule 1: an id", stanza.IQ, "", stanza.Get, 1, false},
		{"RFC 6120 8.2.3 rule 2: a type", stanza.IQ, "1", "", 1, false},
		{"RFC 6120 8.2.3 rule 2: a known type", stanza.IQ, "1", "ask", 1, false},
		{"RFC 6120 8.2.3 rule 5: a get has a child", stanza.IQ, "1", stanza.Get, 0, false},
		{"RFC 6120 8.2.3 rule 5: a get has one child", stanza.IQ, "1", stanza.Get, 2, false},
		{"RFC 6120 8.2.3 rule 5: a set has one child", stanza.IQ, "1", stanza.Set, 2, false},
		{"RFC 6120 8.2.3 rule 5: get", stanza.IQ, "1", stanza.Get, 1, true},
		{"RFC 6120 8.2.3 rule 5: set", stanza.IQ, "1", stanza.Set, 1, true},
		{"RFC 6120 8.2.3 rule 6: an empty result", stanza.IQ, "1", stanza.Result, 0, true},
		{"RFC 6120 8.2.3 rule 6: a result with a child", stanza.IQ, "1", stanza.Result, 1, true},
		{"RFC 6120 8.2.3 rule 6: a result with two", stanza.IQ, "1", stanza.Result, 2, false},
		{"RFC 6120 8.2.3 rule 7: an error may have the request's child", stanza.IQ, "1", stanza.TypeError, 2, true},
		{"a message has no such rules", stanza.Message, "", "", 2, true},
	} {
		s := stanza.New(stanza.Header{Kind: row.kind, ID: row.id, Type: row.typ})
		for range row.children {
			s = s.Patch(nil, child)
		}
		if err := Check(s); (err == nil) != row.ok || err != nil && err.Condition != stanza.BadRequest {
			t.Errorf("%s: %v", row.rule, err)
		}
		_, ok := Request(s)
		if want := row.kind == stanza.IQ && row.children == 1 && (row.typ == stanza.Get || row.typ == stanza.Set); ok != want {
			t.Errorf("%s: a request: %v", row.rule, ok)
		}
	}
}
