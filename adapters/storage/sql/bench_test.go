//go:build unix

package sql

import (
	"context"
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

func benchStore(b *testing.B, accounts int) (*Store, []jid.JID) {
	b.Helper()
	s, err := New(context.Background(), Options{Path: filepath.Join(b.TempDir(), "hexmpp.db")}, zap.NewNop())
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

func BenchmarkCommit(b *testing.B) {
	for _, waiting := range []int{1, 8, 64, 512} {
		b.Run(fmt.Sprintf("waiting=%d", waiting), func(b *testing.B) {
			s, users := benchStore(b, 1000)
			value := make([]byte, 300)
			var n atomic.Int64
			var wg sync.WaitGroup
			b.ReportAllocs()
			b.ResetTimer()
			report := cpu(b)
			for range waiting {
				wg.Go(func() {
					for {
						i := int(n.Add(1))
						if i > b.N {
							return
						}
						op := storage.Op{Space: "s", Owner: users[i%len(users)], Key: fmt.Sprint(i), Value: value}
						if err := s.Commit(context.Background(), []storage.Op{op}); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			report()
		})
	}
}

func BenchmarkAccount(b *testing.B) {
	s, users := benchStore(b, 10000)
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
	s, users := benchStore(b, 100)
	for _, u := range users {
		if err := s.Commit(context.Background(), []storage.Op{{Space: "s", Owner: u, Key: "k", Value: make([]byte, 300)}}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	report := cpu(b)
	for i := range b.N {
		if _, err := s.Get(b.Context(), "s", users[i%len(users)], "k"); err != nil {
			b.Fatal(err)
		}
	}
	report()
}
