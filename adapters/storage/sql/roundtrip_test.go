package sql

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/test/harness/pgtest"
)

// testRoundTrips counts how often a call waits for the server: with a server on
// another machine that is what it costs. Reads take one, also with a context
// that may be cancelled. Writes take two for the transaction, which all that
// wait share, and their own.
func testRoundTrips(t *testing.T, server *pgtest.Server) {
	line := newLine(t, server.Socket())
	s := openTest(t, Options{Driver: Postgres, DSN: newSchema(t, server) + " host=" + line.dir})
	ctx := t.Context()
	item := func(i int) storage.RosterItem {
		return storage.RosterItem{Contact: jid.MustParse(fmt.Sprintf("c%d@example.org", i)), Subscription: storage.SubBoth, Groups: []string{"a, b", "c"}}
	}
	if err := s.CreateAccount(ctx, storage.Account{User: romeo, Keys: []storage.Key{{Hash: "SHA-1"}, {Hash: "SHA-256"}, {Hash: "SHA-512"}}}); err != nil {
		t.Fatal(err)
	}
	if err := s.ChangeRoster(ctx, romeo, 0, []storage.RosterItem{item(1), item(2), item(3)}, nil); err != nil {
		t.Fatal(err)
	}
	entry := []storage.Op{{Space: "s", Owner: romeo, Key: "k", Value: []byte("v")}}
	if err := s.Commit(ctx, storage.Writes{Ops: entry}); err != nil {
		t.Fatal(err)
	}
	version := uint64(1)
	var messages []uint64
	const begin, commit = 1, 1
	for _, call := range []struct {
		name  string
		trips int
		do    func() error
	}{
		// What each login needs.
		{"Account", 1, func() error { _, err := s.Account(ctx, romeo); return err }},
		{"Roster", 1, func() error { _, err := s.Roster(ctx, romeo); return err }},
		{"OfflineMessages", 1, func() error { _, err := s.OfflineMessages(ctx, romeo, 0, 100); return err }},
		{"Scan", 1, func() error { _, err := s.Scan(ctx, "s", romeo, "", "", 100); return err }},
		{"Get", 1, func() error { _, err := s.Get(ctx, "s", romeo, "k"); return err }},
		{"Subscription", 1, func() error { _, err := s.Subscription(ctx, romeo, item(1).Contact); return err }},
		{"TouchAccounts", begin + 1 + commit, func() error { return s.TouchAccounts(ctx, map[jid.JID]time.Time{romeo: time.Now()}) }},

		{"ChangeRoster, one item", begin + 2 + commit, func() error {
			version++
			return s.ChangeRoster(ctx, romeo, version-1, []storage.RosterItem{item(4)}, nil)
		}},
		{"Commit, one entry", begin + 1 + commit, func() error { return s.Commit(ctx, storage.Writes{Ops: entry}) }},
		{"AddOffline", begin + 2 + commit, func() error {
			id, err := s.AddOffline(ctx, romeo, storage.OfflineMessage{XML: []byte("x")}, 100)
			messages = append(messages, id)
			return err
		}},
		{"AddOfflineEach, many for one account", begin + 3 + commit, func() error {
			all := make([]storage.OfflineAdd, insertSizes[0])
			for i := range all {
				all[i] = storage.OfflineAdd{Owner: romeo, Message: storage.OfflineMessage{XML: []byte("x")}}
			}
			results, err := s.AddOfflineEach(ctx, all, 1000)
			return errors.Join(append(results, err)...)
		}},
		{"DeleteOffline", begin + 1 + commit, func() error { return s.DeleteOffline(ctx, romeo, messages) }},
		{"AddOfflineAll", begin + 2 + commit, func() error {
			all := make([]storage.OfflineMessage, insertSizes[0])
			for i := range all {
				all[i].XML = []byte("x")
			}
			return s.AddOfflineAll(ctx, romeo, all)
		}},
	} {
		t.Run(call.name, func(t *testing.T) {
			if err := call.do(); err != nil { // prepares its statements
				t.Fatal(err)
			}
			var err error
			trips := line.count(func() { err = call.do() })
			if err != nil || trips != call.trips {
				t.Errorf("%d round trips, want %d: %v", trips, call.trips, err)
			}
		})
	}
	t.Run("those who wait share a transaction", func(t *testing.T) {
		const n = 20
		mustPut(t, s, "k") // prepares its statement
		var jobs []func(*tx) error
		for i := range n {
			jobs = append(jobs, putJob(fmt.Sprint("k", i), 1))
		}
		var errs []error
		trips := line.count(func() { errs = together(t, s, jobs...) })
		for _, err := range errs {
			if err != nil {
				t.Error(err)
			}
		}
		// together holds the writer by a transaction of its own.
		if want := begin + commit + begin + n + commit; trips != want {
			t.Errorf("%d round trips for %d writes that waited together, want %d", trips, n, want)
		}
	})
}
