package roster

import (
	"context"
	"errors"
	"testing"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// shelf is a store of rosters that counts what is read.
type shelf struct {
	rosters map[jid.JID]storage.Roster
	reads   int
	fail    error
}

func (s *shelf) Roster(_ context.Context, owner jid.JID) (storage.Roster, error) {
	return s.rosters[owner], s.fail
}

func (s *shelf) Subscription(_ context.Context, owner, contact jid.JID) (storage.Subscription, error) {
	s.reads++
	for _, i := range s.rosters[owner].Items {
		if i.Contact == contact {
			return i.Subscription, s.fail
		}
	}
	return storage.SubNone, s.fail
}

func (s *shelf) ChangeRoster(context.Context, jid.JID, uint64, []storage.RosterItem, []jid.JID) error {
	return s.fail
}

func TestSubscribed(t *testing.T) {
	romeo := jid.MustParse("romeo@example.test")
	s := &shelf{rosters: map[jid.JID]storage.Roster{romeo: {Version: 1, Items: []storage.RosterItem{
		{Contact: jid.MustParse("both@example.test"), Subscription: storage.SubBoth},
		{Contact: jid.MustParse("from@example.test"), Subscription: storage.SubFrom},
		{Contact: jid.MustParse("none@example.test"), Subscription: storage.SubNone, Request: []byte("<presence/>")},
		{Contact: jid.MustParse("to@example.test"), Subscription: storage.SubTo},
	}}}}
	for _, online := range []bool{false, true} {
		r := New(s, Limits{})
		if online {
			a, err := r.Hold(t.Context(), romeo)
			if err != nil {
				t.Fatal(err)
			}
			defer a.Drop()
		}
		for _, row := range []struct {
			account, contact string
			want             bool
		}{
			{"romeo@example.test", "both@example.test", true},
			{"romeo@example.test/x", "from@example.test/y", true},
			{"romeo@example.test", "none@example.test", false},
			{"romeo@example.test", "to@example.test/y", false},
			{"romeo@example.test", "nurse@example.test", false},
			{"romeo@example.test", "example.test", false},
			{"romeo@example.test", "romeo@example.test/x", true},
			{"nobody@example.test", "both@example.test", false},
		} {
			account, contact := jid.MustParse(row.account), jid.MustParse(row.contact)
			s.reads = 0
			got, err := r.Subscribed(t.Context(), account, contact)
			if err != nil || got != row.want {
				t.Errorf("online %v: %s to %s: %v, %v", online, row.contact, row.account, got, err)
			}
			if !got && s.reads != 1 { // whoever is told no can't see whether the account is online
				t.Errorf("online %v: %s to %s: read %d times", online, row.contact, row.account, s.reads)
			}
			if known := r.Known(account, contact); known && !got || known != (s.reads == 0) {
				t.Errorf("online %v: %s to %s is known: %v", online, row.contact, row.account, known)
			}
		}
	}
	s.fail = errors.New("broken")
	if got, err := New(s, Limits{}).Subscribed(t.Context(), romeo, jid.MustParse("both@example.test")); got || !errors.Is(err, s.fail) {
		t.Error(got, err)
	}
}
