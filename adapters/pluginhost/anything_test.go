//go:build unix

package pluginhost

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/ports/admin"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// books have what became of events, by key.
type books struct {
	mu      sync.Mutex // guards what follows
	applied map[string][]int
	ends    map[string]int // of each event
	failed  int
	wrong   []string // outcomes
}

// numbered is an event, whose storage is of all kinds.
type numbered struct {
	b     *books
	key   string
	n     int
	moods []int // what storage does, the next one first
	wg    *sync.WaitGroup
	slot  chan struct{}
}

func (o *numbered) end(f func()) {
	o.b.mu.Lock()
	defer o.b.mu.Unlock()
	o.b.ends[fmt.Sprint(o.key, " ", o.n)]++
	f()
	<-o.slot
}

func (o *numbered) Apply(_ *transport.Batch, out *extension.Outcome, done func(error)) {
	mood := 0
	if len(o.moods) > 0 {
		mood, o.moods = o.moods[0], o.moods[1:]
	}
	s := &sends{}
	err := out.Err
	if err == nil && out.Effects != nil {
		err = out.Effects(&extension.Host{Stanzas: s})
	}
	tell := func() {
		switch {
		case mood == 1:
			done(extension.ErrConflict)
		case mood == 2:
			done(extension.ErrUnavailable)
		default:
			o.end(func() {
				if err != nil || !slices.Equal(s.texts, []string{fmt.Sprint(o.n)}) {
					o.b.wrong = append(o.b.wrong, fmt.Sprintf("%s %d: %q, %v", o.key, o.n, s.texts, err))
				}
				o.b.applied[o.key] = append(o.b.applied[o.key], o.n)
			})
			done(err)
		}
	}
	if mood == 3 || o.n%3 == 0 {
		o.wg.Go(tell)
	} else {
		tell()
	}
}

func (o *numbered) Fail(*transport.Batch, error) { o.end(func() { o.b.failed++ }) }

// seeds of TestWhateverHappens.
const seeds = 2

// TestWhateverHappens: processes are killed, replaced, taken back, stopped and started again, and
// storage fails now and then: each event has one end, and those of a key are in order.
func TestWhateverHappens(t *testing.T) {
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { whatever(t, rand.New(rand.NewPCG(seed, 1))) })
	}
}

func whatever(t *testing.T, rng *rand.Rand) {
	r := newRig(t, "version=1")
	r.times.steady, r.times.backoff, r.times.backoffMax = time.Nanosecond, time.Millisecond, 10*time.Millisecond
	r.times.quiet = 50 * time.Millisecond
	r.start()
	b := &books{applied: map[string][]int{}, ends: map[string]int{}}
	stop := make(chan struct{})
	slots := make(chan struct{}, 200)
	var senders, storage sync.WaitGroup
	taken := make([]int, 6)
	for k := range taken {
		rng := rand.New(rand.NewPCG(rng.Uint64(), 2))
		senders.Go(func() {
			key := fmt.Sprint("k", k)
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				case slots <- struct{}{}:
				}
				o := &numbered{b: b, key: key, n: n, wg: &storage, slot: slots}
				if rng.IntN(20) == 0 {
					o.moods = []int{1 + rng.IntN(3), 1 + rng.IntN(3)}
				}
				s := stanza.Raw(stanza.Header{Kind: stanza.Message, Type: "chat", ID: "m", From: romeo, To: jid.MustParse("raw.a.test")}, "", fmt.Sprintf("<body>%d</body>", n), nil)
				err := r.regs[0].Remote.Dispatch(&extension.RemoteEvent{Kind: extension.ToComponent, Key: key, At: time.Now(), Component: -1, Envelope: extension.Envelope{Stanza: s}, Owner: o})
				if err != nil {
					<-slots
					if !errors.Is(err, extension.ErrDown) && !errors.Is(err, extension.ErrFull) {
						t.Error(err)
						return
					}
					continue
				}
				taken[k]++
			}
		})
	}
	kill := func() {
		if pid := r.info().PID; pid != 0 {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended by itself
		}
	}
	var beside sync.WaitGroup
	for range 25 {
		switch rng.IntN(7) {
		case 0, 1:
			kill()
		case 2:
			_ = r.host.ReloadPlugin(t.Context(), "raw") // which may find that there is none
		case 3:
			beside.Go(func() { _ = r.host.ReloadPlugin(context.Background(), "raw") })
			kill()
		case 4:
			if err := r.host.DisablePlugin(t.Context(), "raw"); err != nil {
				t.Error(err)
			}
			_ = r.host.EnablePlugin(t.Context(), "raw")
		case 5:
			r.say("version=2 die-at-" + []string{"start", "configure", "session", "activate"}[rng.IntN(4)])
			_ = r.host.ReloadPlugin(t.Context(), "raw")
			r.say("version=1")
		case 6:
			if rng.IntN(2) == 0 { // not always: else nothing is handled between
				r.until("ready", func(i admin.PluginInfo) bool { return i.State == admin.PluginReady || i.State == admin.PluginFailed })
			}
		}
	}
	beside.Wait()
	r.say("version=1")
	if err := r.host.EnablePlugin(t.Context(), "raw"); err != nil {
		t.Error(err)
	}
	r.until("ready", func(i admin.PluginInfo) bool { return i.State == admin.PluginReady })
	close(stop)
	senders.Wait()
	r.until("done", func(i admin.PluginInfo) bool { return i.Queue+i.InFlight == 0 && len(slots) == 0 })
	storage.Wait()
	ends, all := 0, 0
	b.mu.Lock()
	defer b.mu.Unlock()
	for what, n := range b.ends {
		if n != 1 {
			t.Errorf("event %s has %d ends", what, n)
		}
		ends += n
	}
	for k, n := range taken {
		all += n
		if got := b.applied[fmt.Sprint("k", k)]; !slices.IsSorted(got) {
			t.Errorf("key %d: not in order: %v", k, got)
		}
	}
	if ends != all || len(b.wrong) > 0 {
		t.Errorf("%d events were taken, %d have an end, %d of them failed; %v", all, ends, b.failed, b.wrong)
	}
}
