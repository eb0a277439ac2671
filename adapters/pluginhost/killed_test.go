//go:build unix

package pluginhost

import (
	"fmt"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/adapters/pluginhost/runner"
	"github.com/hexmpp/hexmpp/ports/admin"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// ledger has what was applied, by key, in its order.
type ledger struct {
	mu      sync.Mutex
	applied map[string][]string
	failed  []error
	total   int
	changed *sync.Cond
}

func newLedger() *ledger {
	l := &ledger{applied: map[string][]string{}}
	l.changed = sync.NewCond(&l.mu)
	return l
}

func (l *ledger) note(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
	l.total++
	l.changed.Broadcast()
}

// until waits for so many ends.
func (l *ledger) until(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.total < n {
		l.changed.Wait()
	}
}

// entry is an event in the ledger. Every seventh outcome is applied later, on another
// goroutine, as one is that is committed to storage.
type entry struct {
	l    *ledger
	key  string
	late bool
	wg   *sync.WaitGroup
}

func (e *entry) Apply(_ *transport.Batch, o *extension.Outcome, done func(error)) {
	apply := func() {
		s := &sends{}
		err := o.Err
		if err == nil && o.Effects != nil {
			err = o.Effects(&extension.Host{Stanzas: s})
		}
		e.l.note(func() {
			if err != nil {
				e.l.failed = append(e.l.failed, err)
			}
			e.l.applied[e.key] = append(e.l.applied[e.key], s.texts...)
		})
		done(nil)
	}
	if e.late {
		e.wg.Go(apply)
	} else {
		apply()
	}
}

func (e *entry) Fail(_ *transport.Batch, err error) {
	e.l.note(func() { e.l.failed = append(e.l.failed, err) })
}

// TestKilledUnderLoad: whatever happens to processes, each event is applied once, and those
// of a key in order.
func TestKilledUnderLoad(t *testing.T) {
	for _, sdk := range []bool{false, true} {
		t.Run(fmt.Sprintf("sdk=%v", sdk), func(t *testing.T) {
			r := newRig(t, "")
			r.times.steady = time.Nanosecond // crashes don't add up
			if sdk {
				r.conf.Command = runner.Command{Self: true, Args: []string{"helper=echoes"}}
			}
			r.start()
			const keys, each = 8, 400
			l := newLedger()
			var late, senders sync.WaitGroup
			slots := make(chan struct{}, 100)
			for k := range keys {
				senders.Go(func() {
					key := fmt.Sprint("k", k)
					for i := range each {
						slots <- struct{}{}
						s := stanza.Raw(stanza.Header{Kind: stanza.Message, Type: "chat", ID: "m", From: romeo, To: jid.MustParse("raw.a.test")}, "", fmt.Sprintf("<body>%d</body>", i), nil)
						owner := &entry{l: l, key: key, late: i%7 == 0, wg: &late}
						if err := r.regs[0].Remote.Dispatch(&extension.RemoteEvent{Kind: extension.ToComponent, Key: key, At: time.Now(), Component: -1, Envelope: extension.Envelope{Stanza: s}, Owner: releasing{owner, slots}}); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			for i := range 6 {
				l.until((i + 1) * keys * each / 8)
				if i%3 == 2 {
					if err := r.host.ReloadPlugin(t.Context(), "raw"); err != nil {
						t.Error(err)
					}
					continue
				}
				before := r.info()
				if err := syscall.Kill(before.PID, syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
				r.until("ready again", func(i admin.PluginInfo) bool {
					return i.State == admin.PluginReady && i.Generation > before.Generation
				})
			}
			senders.Wait()
			l.until(keys * each)
			late.Wait()
			want := make([]string, each)
			for i := range want {
				want[i] = fmt.Sprint(i)
			}
			for k := range keys {
				if got := l.applied[fmt.Sprint("k", k)]; !slices.Equal(got, want) {
					t.Errorf("key %d: %d of %d, %v", k, len(got), each, got)
				}
			}
			if len(l.failed) > 0 {
				t.Errorf("%v", l.failed)
			}
			if i := r.info(); i.Restarts != 4 || i.Poisoned != 0 || i.LastExit != "the process was ended by the signal killed" {
				t.Errorf("%+v", i)
			}
		})
	}
}

// releasing gives back the slot of an event at its end.
type releasing struct {
	*entry
	slots chan struct{}
}

func (r releasing) Apply(b *transport.Batch, o *extension.Outcome, done func(error)) {
	r.entry.Apply(b, o, func(err error) { done(err); <-r.slots })
}

func (r releasing) Fail(b *transport.Batch, err error) {
	r.entry.Fail(b, err)
	<-r.slots
}
