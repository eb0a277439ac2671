//go:build unix

package core_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/adapters/extension/blocking"
	"github.com/hexmpp/hexmpp/adapters/extension/carbons"
	"github.com/hexmpp/hexmpp/adapters/extension/mam"
	"github.com/hexmpp/hexmpp/adapters/storage/sql"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// BenchmarkChatArchived is chat of so many pairs at once whose messages are archived
// on SQLite, for both of each pair: a message is two rows. cpu-us/op is the time of all
// CPUs. Without the extension it is the same chat.
func BenchmarkChatArchived(b *testing.B) {
	for _, pairs := range []int{1, 8, 64, 256} {
		b.Run(fmt.Sprintf("pairs=%d", pairs), func(b *testing.B) { chatArchived(b, pairs, mam.New(mam.Options{})) })
	}
	b.Run("off", func(b *testing.B) { chatArchived(b, 64) })
}

func chatArchived(b *testing.B, pairs int, regs ...extension.Registration) {
	s, err := sql.New(context.Background(), sql.Options{Driver: sql.SQLite, Path: filepath.Join(b.TempDir(), "bench.db")}, zap.NewNop())
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	k := benchKernelOn(b, s, append([]extension.Registration{blocking.New(blocking.Options{})}, append(regs, carbons.New())...)...)
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := k.Shutdown(ctx); err != nil {
			b.Error(err)
		}
	}()
	clients := make([]*pipe, 2*pairs)
	for i := range clients {
		user := fmt.Sprint("user", i)
		if err := s.CreateAccount(context.Background(), storage.Account{User: jid.MustParse(user + "@example.test")}); err != nil {
			b.Fatal(err)
		}
		clients[i] = negotiate(k, user, "r")
		defer clients[i].close()
		var batch transport.Batch
		clients[i].feed(&batch, []byte("<presence/>"))
	}
	var left atomic.Int64
	left.Store(int64(b.N))
	began := cpu()
	b.ReportAllocs()
	b.ResetTimer()
	var wait sync.WaitGroup
	for i := range pairs {
		wait.Go(func() {
			var batch transport.Batch
			in := []byte(fmt.Sprintf("<message to='user%d@example.test/r' id='c0ffee00-1234-4321-aaaa-0123456789ab' type='chat'><body>%s</body><request xmlns='urn:xmpp:receipts'/></message>", 2*i+1, strings.Repeat("x", 150)))
			for left.Add(-1) >= 0 {
				clients[2*i].feed(&batch, in)
			}
		})
	}
	wait.Wait()
	if err := k.Drain(context.Background()); err != nil {
		b.Error(err)
	}
	b.StopTimer()
	b.ReportMetric(float64((cpu()-began)/time.Nanosecond)/1e3/float64(b.N), "cpu-us/op")
	for i := range pairs {
		if errors := string(clients[2*i].out); strings.Contains(errors, "type='error'") {
			b.Fatal(errors)
		}
	}
}

// cpu is the CPU time of this process.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
