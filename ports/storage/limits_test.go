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
		{"space with NUL", []Op{{Space: "a\x00", Key: "k"}}, false},
		{"space that is not UTF-8", []Op{{Space: "a\xff", Key: "k"}}, false},
		{"key of any bytes", []Op{{Space: "s", Key: "\x00\xff"}}, true},
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

func TestCheckName(t *testing.T) {
	for name, ok := range map[string]bool{
		"a": true, "é": true, strings.Repeat("n", MaxName): true,
		"": false, strings.Repeat("n", MaxName+1): false, "a\x00": false, "a\xff": false,
	} {
		if err := CheckName(name); ok && err != nil || !ok && !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: got %v, ok should be %v", name, err, ok)
		}
	}
}

func TestCheckRoster(t *testing.T) {
	romeo, juliet := jid.MustParse("romeo@example.org"), jid.MustParse("juliet@example.org")
	full := jid.MustParse("juliet@example.org/balcony")
	item := func(change func(*RosterItem)) []RosterItem {
		i := RosterItem{Contact: juliet, Subscription: SubNone}
		if change != nil {
			change(&i)
		}
		return []RosterItem{i}
	}
	for _, c := range []struct {
		name   string
		owner  jid.JID
		put    []RosterItem
		remove []jid.JID
		ok     bool
	}{
		{"nothing to do", romeo, nil, nil, true},
		{"an item", romeo, item(nil), []jid.JID{jid.MustParse("example.net")}, true},
		{"at the bound", romeo, item(func(i *RosterItem) { i.Request = make([]byte, MaxValue) }), nil, true},
		{"over the bound", romeo, item(func(i *RosterItem) { i.Request, i.Groups = make([]byte, MaxValue), []string{"g"} }), nil, false},
		{"owner with a resourcepart", full, nil, nil, false},
		{"contact with a resourcepart", romeo, item(func(i *RosterItem) { i.Contact = full }), nil, false},
		{"no contact", romeo, item(func(i *RosterItem) { i.Contact = jid.JID{} }), nil, false},
		{"removed with a resourcepart", romeo, nil, []jid.JID{full}, false},
		{"put twice", romeo, append(item(nil), item(nil)...), nil, false},
		{"put and removed", romeo, item(nil), []jid.JID{juliet}, false},
		{"no subscription", romeo, item(func(i *RosterItem) { i.Subscription = "" }), nil, false},
		{"subscription remove", romeo, item(func(i *RosterItem) { i.Subscription = "remove" }), nil, false},
		{"name with NUL", romeo, item(func(i *RosterItem) { i.Name = "a\x00" }), nil, false},
		{"name that is not UTF-8", romeo, item(func(i *RosterItem) { i.Name = "a\xff" }), nil, false},
		{"group that is not UTF-8", romeo, item(func(i *RosterItem) { i.Groups = []string{"a\xff"} }), nil, false},
		{"empty group", romeo, item(func(i *RosterItem) { i.Groups = []string{""} }), nil, false},
		{"a group twice", romeo, item(func(i *RosterItem) { i.Groups = []string{"a", "b", "a"} }), nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := CheckRoster(c.owner, c.put, c.remove)
			if c.ok && err != nil || !c.ok && !errors.Is(err, ErrInvalid) {
				t.Errorf("got %v, ok should be %v", err, c.ok)
			}
		})
	}
}

func TestCheckOffline(t *testing.T) {
	for _, c := range []struct {
		name  string
		owner string
		size  int
		ok    bool
	}{
		{"a message", "romeo@example.org", 1, true},
		{"at the bound", "romeo@example.org", MaxValue, true},
		{"over the bound", "romeo@example.org", MaxValue + 1, false},
		{"no message", "romeo@example.org", 0, false},
		{"owner with a resourcepart", "romeo@example.org/x", 1, false},
	} {
		err := CheckOffline(jid.MustParse(c.owner), OfflineMessage{XML: make([]byte, c.size)})
		if c.ok && err != nil || !c.ok && !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: got %v, ok should be %v", c.name, err, c.ok)
		}
	}
}
