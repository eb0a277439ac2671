//go:build unix

package sql

import (
	"context"
	"errors"
	options "flag"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

var archiveRows = options.Int("archive-rows", 0, "how many messages the archive of BenchmarkArchivePage has; 10,000,000 take 10 GB and a quarter of an hour")

// benchMessage is of usual size.
var benchMessage = "<message xmlns='jabber:client' from='user1@example.org/phone.aTzQ' to='user2@example.org/desk.k3xP' id='9f1cbd14-6b7c-4df0' type='chat'>" +
	"<body>" + strings.Repeat("But, soft! what light ", 4) + "</body><markable xmlns='urn:xmpp:chat-markers:0'/></message>"

// BenchmarkArchiveAppend has 200,000 rows of 1,000 accounts in the archives
// already.
func BenchmarkArchiveAppend(b *testing.B) {
	onEach(b, func(b *testing.B, open func(*testing.B) Options) {
		s, users := benchStore(b, open(b), 1000)
		people := make([]jid.JID, len(users))
		for i, u := range users {
			people[i], _ = u.WithResource("phone")
		}
		var next atomic.Uint64
		row := func(i int) storage.Row {
			return storage.Row{Space: "mam", Owner: users[i%len(users)], ID: next.Add(1), Stamp: time.Now(), With: people[i*7919%20+(i%len(users))/50*20], XML: benchMessage}
		}
		for range 200 {
			rows := make([]storage.Row, 1000)
			for i := range rows {
				rows[i] = row(i)
			}
			if err := s.Commit(context.Background(), storage.Writes{Rows: rows}); err != nil {
				b.Fatal(err)
			}
		}
		for _, waiting := range []int{1, 8, 64, 512} {
			b.Run(fmt.Sprintf("waiting=%d", waiting), func(b *testing.B) {
				late := new(atomic.Int64)
				concurrently(b, waiting, func(i int) error {
					for {
						err := s.Commit(context.Background(), storage.Writes{Rows: []storage.Row{row(i)}})
						if !errors.Is(err, storage.ErrConflict) {
							return err
						}
						late.Add(1)
					}
				})
				b.ReportMetric(float64(late.Load())/float64(b.N), "late/op")
			})
		}
	})
}

// BenchmarkArchivePage reads pages of 50 out of a big archive, in which one of a
// thousand messages is with a rare contact. It makes the archive by SQL; each
// fourth message in the table is another account's.
func BenchmarkArchivePage(b *testing.B) {
	n := max(*archiveRows, 10_000)
	onEach(b, func(b *testing.B, open func(*testing.B) Options) {
		s, users := benchStore(b, open(b), 2)
		archives := make([]int64, 2)
		for i, u := range users {
			row := storage.Row{Space: "mam", Owner: u, ID: 1, Stamp: time.UnixMicro(0), With: users[0], XML: benchMessage}
			if err := s.Commit(context.Background(), storage.Writes{Rows: []storage.Row{row}}); err != nil {
				b.Fatal(err)
			}
			if err := s.readers.Get(&archives[i], s.readers.Rebind("SELECT a.id FROM archives a JOIN accounts u ON u.id = a.owner WHERE u.local = ?"), u.Local()); err != nil {
				b.Fatal(err)
			}
		}
		begin := time.Now()
		fill(b, s, archives, n)
		b.Logf("%d messages made in %v", n, time.Since(begin).Round(time.Second))
		owner := users[0]
		common, rare := jid.MustParse("c7@example.org"), jid.MustParse("rare@example.org")
		resource := jid.MustParse("rare@example.org/r1")
		middle := uint64(n) * 2 / 3 / 4 * 4 * idStep
		for _, c := range []struct {
			name string
			f    storage.Filter
			p    storage.Page
		}{
			{"last", storage.Filter{}, storage.Page{Backwards: true}},
			{"first", storage.Filter{}, storage.Page{}},
			{"before the middle", storage.Filter{Before: middle}, storage.Page{Backwards: true}},
			{"after the middle", storage.Filter{After: middle}, storage.Page{}},
			{"from a time", storage.Filter{After: middle, Start: time.UnixMicro(int64(middle))}, storage.Page{}},
			{"last with one of 50", storage.Filter{With: common}, storage.Page{Backwards: true}},
			{"last with one of 1,000", storage.Filter{With: rare}, storage.Page{Backwards: true}},
			{"last with a resource", storage.Filter{With: resource}, storage.Page{Backwards: true}},
			{"last with a stranger", storage.Filter{With: jid.MustParse("stranger@example.org")}, storage.Page{Backwards: true}},
			{"the only one", storage.Filter{IDs: []uint64{middle}}, storage.Page{}},
		} {
			c.p.Limit = 50
			b.Run(c.name, func(b *testing.B) {
				worst := time.Duration(0)
				report := cpu(b)
				for range b.N {
					begin := time.Now()
					if _, _, err := s.Rows(context.Background(), storage.ArchiveKey{Space: "mam", Owner: owner}, c.f, c.p); err != nil {
						b.Fatal(err)
					}
					worst = max(worst, time.Since(begin))
				}
				report()
				b.ReportMetric(float64(worst.Microseconds()), "worst-us")
			})
		}
		b.Run("last ID of all", func(b *testing.B) {
			for range b.N {
				if _, err := s.LastRow(context.Background()); err != nil {
					b.Fatal(err)
				}
			}
		})
		for _, most := range []int{1000, 100_000} {
			b.Run(fmt.Sprintf("count to %d", most), func(b *testing.B) {
				for range b.N {
					if _, _, err := s.CountRows(context.Background(), storage.ArchiveKey{Space: "mam", Owner: owner}, storage.Filter{}, most); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	})
}

// idStep is the difference of two IDs that fill makes.
const idStep = 1000

// fill makes n messages in the first archive, and a third of that in the second.
func fill(b *testing.B, s *Store, archives []int64, n int) {
	numbers := "WITH RECURSIVE g (i) AS (SELECT CAST(? AS BIGINT) UNION ALL SELECT i + 1 FROM g WHERE i < ?)"
	if s.dialect.remote {
		numbers = "WITH g (i) AS (SELECT generate_series(CAST(? AS BIGINT), CAST(? AS BIGINT)))"
	}
	r1 := resourceHash("r1")
	statement := numbers + `
		INSERT INTO archived_messages (archive, id, stamp, contact, resource, resource_hash, xml)
		SELECT CASE WHEN i % 4 = 3 THEN CAST(? AS BIGINT) ELSE CAST(? AS BIGINT) END, i * 1000, i * 1000,
			CASE WHEN i % 1000 = 0 THEN 'rare@example.org' ELSE 'c' || (i / 4 % 50) || '@example.org' END, 'r1', CAST(? AS BIGINT), CAST(? AS TEXT)
		FROM g`
	const some = 100_000
	last := n * 4 / 3
	for from := 1; from <= last; from += some {
		if err := s.write(context.Background(), "fill", func(t *tx) error {
			_, err := t.exec(statement, from, min(from+some-1, last), archives[1], archives[0], r1, benchMessage)
			return err
		}); err != nil {
			b.Fatal(err)
		}
	}
	if s.dialect.remote {
		if err := s.write(context.Background(), "analyze", func(t *tx) error {
			_, err := t.exec("ANALYZE archived_messages")
			return err
		}); err != nil {
			b.Fatal(err)
		}
	}
}
