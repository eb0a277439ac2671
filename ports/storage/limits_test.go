package storage

import (
	"errors"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

func TestCheckOps(t *testing.T) {
	romeo := jid.MustParse("romeo@example.org")
	long := func(n int) string { return strings.Repeat("k", n) }
	for _, c := range []struct {
		name string
		ops  []Op
		ok   bool
	}{
		{"nothing to do", nil, true},
		{"at every bound", []Op{{Space: long(MaxName), Owner: romeo, Key: long(MaxKey), Value: make([]byte, MaxValue)}}, true},
		{"the same key for two owners", []Op{{Space: "s", Key: "k"}, {Space: "s", Owner: romeo, Key: "k"}}, true},
		{"the same key in two spaces", []Op{{Space: "s", Key: "k"}, {Space: "t", Key: "k"}}, true},
		{"a key twice", []Op{{Space: "s", Key: "k"}, {Space: "s", Key: "k", Delete: true}}, false},
		{"no space", []Op{{Key: "k"}}, false},
		{"no key", []Op{{Space: "s"}}, false},
		{"space too long", []Op{{Space: long(MaxName + 1), Key: "k"}}, false},
		{"key too long", []Op{{Space: "s", Key: long(MaxKey + 1)}}, false},
		{"value too big", []Op{{Space: "s", Key: "k", Value: make([]byte, MaxValue+1)}}, false},
		{"the value of a deletion is ignored", []Op{{Space: "s", Key: "k", Value: make([]byte, MaxValue+1), Delete: true}}, true},
		{"full JID as owner", []Op{{Space: "s", Owner: jid.MustParse("romeo@example.org/x"), Key: "k"}}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := CheckOps(c.ops)
			if c.ok && err != nil || !c.ok && !errors.Is(err, ErrInvalid) {
				t.Errorf("got %v, ok should be %v", err, c.ok)
			}
		})
	}
}

func TestCheckAccount(t *testing.T) {
	for _, c := range []struct {
		name string
		user string
		keys []Key
		ok   bool
	}{
		{"bare JID", "romeo@example.org", []Key{{Hash: "SHA-1"}, {Hash: "SHA-256"}}, true},
		{"no keys", "romeo@example.org", nil, true},
		{"full JID", "romeo@example.org/x", nil, false},
		{"domain", "example.org", nil, false},
		{"a hash twice", "romeo@example.org", []Key{{Hash: "SHA-1"}, {Hash: "SHA-1"}}, false},
		{"no hash", "romeo@example.org", []Key{{}}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := CheckAccount(jid.MustParse(c.user), c.keys)
			if c.ok && err != nil || !c.ok && !errors.Is(err, ErrInvalid) {
				t.Errorf("got %v, ok should be %v", err, c.ok)
			}
		})
	}
	if err := CheckAccount(jid.JID{}, nil); !errors.Is(err, ErrInvalid) {
		t.Errorf("zero JID: got %v", err)
	}
}
