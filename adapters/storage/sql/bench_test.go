//go:build unix

package sql

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/test/harness/pgtest"
)

// cpu reports the CPU time of the process between now and the returned call,
// in microseconds an operation.
func cpu(b *testing.B) func() {
	b.Helper()
	used := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	begin := used()
	return func() { b.ReportMetric(float64((used()-begin).Microseconds())/float64(b.N), "cpu-us/op") }
}

// onEach runs a benchmark on SQLite and on PostgreSQL. What the server of the
// latter spends is not in cpu-us/op.
func onEach(b *testing.B, run func(b *testing.B, open func(*testing.B) Options)) {
	b.Run("sqlite", func(b *testing.B) {
		run(b, func(b *testing.B) Options { return Options{Path: filepath.Join(b.TempDir(), "hexmpp.db")} })
	})
	b.Run("postgres", func(b *testing.B) {
		server := pgtest.Start(b)
		run(b, func(b *testing.B) Options { return Options{Driver: Postgres, DSN: newSchema(b, server)} })
	})
}

// benchStore opens a store with accounts in it.
func benchStore(b *testing.B, o Options, accounts int) (*Store, []jid.JID) {
	b.Helper()
	s, err := New(context.Background(), o, zap.NewNop())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	users := make([]jid.JID, accounts)
	var wg sync.WaitGroup
	for w := range 32 {
		wg.Go(func() {
			for i := w; i < accounts; i += 32 {
				users[i] = jid.MustParse(fmt.Sprintf("user%d@example.org", i))
				key := func(hash string, n int) storage.Key {
					return storage.Key{Hash: hash, Salt: make([]byte, 16), Iterations: 10000, StoredKey: make([]byte, n), ServerKey: make([]byte, n)}
				}
				a := storage.Account{User: users[i], Created: time.Now(), Keys: []storage.Key{key("SHA-512", 64), key("SHA-256", 32), key("SHA-1", 20)}}
				if err := s.CreateAccount(context.Background(), a); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	return s, users
}

// concurrently runs do b.N times in all, by n goroutines.
func concurrently(b *testing.B, n int, do func(i int) error) {
	b.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	report := cpu(b)
	for range n {
		wg.Go(func() {
			for {
				i := int(next.Add(1))
				if i > b.N {
					return
				}
				if err := do(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	report()
}

func BenchmarkCommit(b *testing.B) {
	onEach(b, func(b *testing.B, open func(*testing.B) Options) {
		for _, waiting := range []int{1, 8, 64, 512} {
			b.Run(fmt.Sprintf("waiting=%d", waiting), func(b *testing.B) {
				s, users := benchStore(b, open(b), 1000)
				value := make([]byte, 300)
				concurrently(b, waiting, func(i int) error {
					op := storage.Op{Space: "s", Owner: users[i%len(users)], Key: fmt.Sprint(i), Value: value}
					return s.Commit(context.Background(), storage.Writes{Ops: []storage.Op{op}})
				})
			})
		}
	})
}

func BenchmarkAddOffline(b *testing.B) {
	onEach(b, func(b *testing.B, open func(*testing.B) Options) {
		for _, waiting := range []int{1, 8, 64, 512} {
			b.Run(fmt.Sprintf("waiting=%d", waiting), func(b *testing.B) {
				s, users := benchStore(b, open(b), 1000)
				m := storage.OfflineMessage{Stamp: time.Now(), XML: make([]byte, 400)}
				concurrently(b, waiting, func(i int) error {
					_, err := s.AddOffline(context.Background(), users[i%len(users)], m, 100)
					if errors.Is(err, storage.ErrQuota) { // of a long run
						err = nil
					}
					return err
				})
			})
		}
	})
}

// BenchmarkAddOfflineEach is one message of so many that are stored by one commit, for
// as many accounts as there are, or 1,000.
func BenchmarkAddOfflineEach(b *testing.B) {
	onEach(b, func(b *testing.B, open func(*testing.B) Options) {
		for _, waiting := range []int{1, 8, 64, 512} {
			b.Run(fmt.Sprintf("waiting=%d", waiting), func(b *testing.B) {
				s, users := benchStore(b, open(b), 1000)
				all := make([]storage.OfflineAdd, waiting)
				b.ResetTimer()
				report := cpu(b)
				for i := 0; i < b.N; i += len(all) {
					for n := range all {
						all[n] = storage.OfflineAdd{Owner: users[(i+n)%len(users)], Message: storage.OfflineMessage{Stamp: time.Now(), XML: make([]byte, 400)}}
					}
					if _, err := s.AddOfflineEach(context.Background(), all, 100); err != nil {
						b.Fatal(err)
					}
				}
				report()
			})
		}
	})
}

// BenchmarkAddOfflineAll is one message of as many as a recovery stores at once.
func BenchmarkAddOfflineAll(b *testing.B) {
	onEach(b, func(b *testing.B, open func(*testing.B) Options) {
		s, users := benchStore(b, open(b), 1)
		all := make([]storage.OfflineMessage, 512)
		for i := range all {
			all[i] = storage.OfflineMessage{Stamp: time.Now(), XML: make([]byte, 400)}
		}
		for i := 0; i < b.N; i += len(all) {
			if err := s.AddOfflineAll(context.Background(), users[0], all[:min(len(all), b.N-i)]); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkRoster(b *testing.B) {
	onEach(b, func(b *testing.B, open func(*testing.B) Options) {
		s, users := benchStore(b, open(b), 100)
		for _, u := range users {
			var all []storage.RosterItem
			for _, contact := range users {
				all = append(all, storage.RosterItem{Contact: contact, Name: contact.Local(), Groups: []string{"Friends"}, Subscription: storage.SubBoth})
			}
			if err := s.ChangeRoster(context.Background(), u, 0, all, nil); err != nil {
				b.Fatal(err)
			}
		}
		b.Run("read, 100 items", func(b *testing.B) {
			concurrently(b, 1, func(i int) error {
				r, err := s.Roster(context.Background(), users[i%len(users)])
				if err == nil && len(r.Items) != 100 {
					err = fmt.Errorf("%d items", len(r.Items))
				}
				return err
			})
		})
		for name, owner := range map[string]jid.JID{"a contact": users[0], "nobody": jid.MustParse("nobody@" + users[0].Domain())} {
			b.Run("subscription with "+name, func(b *testing.B) {
				concurrently(b, 1, func(i int) error {
					_, err := s.Subscription(context.Background(), owner, users[i%len(users)])
					return err
				})
			})
		}
		b.Run("change, 1 item", func(b *testing.B) {
			item := []storage.RosterItem{{Contact: users[0], Name: "name", Groups: []string{"Friends"}, Subscription: storage.SubBoth}}
			versions := make([]uint64, len(users))
			for i, u := range users {
				r, err := s.Roster(context.Background(), u)
				if err != nil {
					b.Fatal(err)
				}
				versions[i] = r.Version
			}
			concurrently(b, 1, func(i int) error {
				u := i % len(users)
				err := s.ChangeRoster(context.Background(), users[u], versions[u], item, nil)
				versions[u]++
				return err
			})
		})
	})
}

// What storage is asked for at a login: the account, its roster of 30 contacts,
// and messages, of which there are none.
func BenchmarkLogin(b *testing.B) {
	onEach(b, func(b *testing.B, open func(*testing.B) Options) {
		s, users := benchStore(b, open(b), 1000)
		var contacts []storage.RosterItem
		for _, contact := range users[:30] {
			contacts = append(contacts, storage.RosterItem{Contact: contact, Name: contact.Local(), Groups: []string{"Friends"}, Subscription: storage.SubBoth})
		}
		for _, u := range users {
			if err := s.ChangeRoster(context.Background(), u, 0, contacts, nil); err != nil {
				b.Fatal(err)
			}
		}
		for _, at := range []int{1, 8} {
			b.Run(fmt.Sprintf("at once=%d", at), func(b *testing.B) {
				concurrently(b, at, func(i int) error {
					u := users[i%len(users)]
					if _, err := s.Account(b.Context(), u); err != nil {
						return err
					}
					r, err := s.Roster(b.Context(), u)
					if err == nil && len(r.Items) != len(contacts) {
						err = fmt.Errorf("%d contacts", len(r.Items))
					}
					if err == nil {
						_, err = s.OfflineMessages(b.Context(), u, 0, 100)
					}
					return err
				})
			})
		}
	})
}

func BenchmarkAccount(b *testing.B) {
	onEach(b, func(b *testing.B, open func(*testing.B) Options) { benchmarkAccount(b, open(b)) })
}

func benchmarkAccount(b *testing.B, o Options) {
	s, users := benchStore(b, o, 10000)
	unknown := jid.MustParse("nobody@example.org")
	for _, c := range []struct {
		name string
		user func(i int) jid.JID
	}{
		{"known", func(i int) jid.JID { return users[i*7919%len(users)] }},
		{"unknown", func(int) jid.JID { return unknown }},
	} {
		for _, ctx := range []struct {
			name string
			ctx  context.Context
		}{{"background", context.Background()}, {"cancelable", b.Context()}} {
			b.Run(c.name+"/"+ctx.name, func(b *testing.B) {
				b.ReportAllocs()
				report := cpu(b)
				for i := range b.N {
					if _, err := s.Account(ctx.ctx, c.user(i)); err != nil && c.name == "known" {
						b.Fatal(err)
					}
				}
				report()
			})
		}
	}
}

func BenchmarkGet(b *testing.B) {
	onEach(b, func(b *testing.B, open func(*testing.B) Options) {
		s, users := benchStore(b, open(b), 100)
		for _, u := range users {
			if err := s.Commit(context.Background(), storage.Writes{Ops: []storage.Op{{Space: "s", Owner: u, Key: "k", Value: make([]byte, 300)}}}); err != nil {
				b.Fatal(err)
			}
		}
		for _, readers := range []int{1, 8} {
			b.Run(fmt.Sprintf("readers=%d", readers), func(b *testing.B) {
				concurrently(b, readers, func(i int) error {
					_, err := s.Get(context.Background(), "s", users[i%len(users)], "k")
					return err
				})
			})
		}
	})
}
