package core_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// keyed handles the events of each key in their order, and those of all keys at once.
type keyed struct {
	handle func(e *extension.RemoteEvent)
	mu     sync.Mutex
	queues map[string][]*extension.RemoteEvent
	all    sync.WaitGroup
}

func (x *keyed) Attach(extension.Kernel) {}
func (x *keyed) Reset(string)            {}

func (x *keyed) Dispatch(e *extension.RemoteEvent) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.queues[e.Key]) >= 20 {
		return extension.ErrFull
	}
	x.queues[e.Key] = append(x.queues[e.Key], e)
	if len(x.queues[e.Key]) == 1 {
		x.all.Go(func() { x.work(e.Key) })
	}
	return nil
}

func (x *keyed) work(key string) {
	for {
		x.mu.Lock()
		if len(x.queues[key]) == 0 {
			x.mu.Unlock()
			return
		}
		e := x.queues[key][0]
		x.mu.Unlock()
		x.handle(e)
		x.mu.Lock()
		x.queues[key] = x.queues[key][1:]
		x.mu.Unlock()
	}
}

// However outcomes end, each message has one answer, of one sender in the order in
// which they were handled, and each event one end.
func TestRemoteInOrder(t *testing.T) {
	const senders, rooms, each = 4, 3, 150
	var dispatched, ended atomic.Int64
	var down atomic.Bool
	x := &keyed{queues: map[string][]*extension.RemoteEvent{}}
	x.handle = func(e *extension.RemoteEvent) {
		st := e.Stanza()
		if rand.N(20) == 0 {
			fail(e, extension.ErrDown)
			return
		}
		o := &extension.Outcome{Effects: func(h *extension.Host) error {
			if rand.N(2) == 0 {
				h.Store.Put(jid.JID{}, "k"+e.Key, []byte(st.ID))
			}
			return h.Stanzas.Send(stanza.New(stanza.Header{Kind: stanza.Message, ID: st.ID, From: st.To, To: st.From}))
		}}
		if rand.N(20) == 0 {
			o = &extension.Outcome{Err: stanza.Err(stanza.Forbidden, "")}
		}
		for {
			err := apply(e, o)
			if !errors.Is(err, extension.ErrUnavailable) {
				if err != nil {
					t.Error(err)
				}
				return
			}
		}
	}
	w := newWorld(t, func(o *core.Options, p *core.Ports) {
		with(extension.Registration{Name: "rooms", Remote: x, Components: []extension.Component{{Domain: "rooms.example.test", Handle: someHandle}}})(o, p)
		p.Store = &flaky{p.Store, &down}
		p.Remote.Dispatched = func(_, _ string, err error) {
			if err == nil {
				dispatched.Add(1)
			}
		}
		p.Remote.Ended = func(string, string, time.Duration, error) { ended.Add(1) }
	})
	var all sync.WaitGroup
	var clients [senders]*client
	for i := range clients {
		clients[i] = w.login(fmt.Sprintf("romeo@example.test/%d", i), "")
		all.Go(func() {
			for n := range each {
				down.Store(rand.N(3) == 0)
				clients[i].send(fmt.Sprintf("<message id='%d' to='r%d@rooms.example.test'/>", n, n%rooms))
			}
		})
	}
	all.Wait()
	down.Store(false)
	x.all.Wait()
	for i, c := range clients {
		last := map[string]int{}
		seen := map[int]bool{}
		for _, one := range strings.Split(c.take(), "<message ")[1:] {
			var n, room int
			_, id, _ := strings.Cut(one, " id='")
			_, from, _ := strings.Cut(one, "from='")
			if _, err := fmt.Sscanf(id, "%d'", &n); err != nil {
				t.Fatal(one)
			}
			if _, err := fmt.Sscanf(from, "r%d@", &room); err != nil {
				t.Fatal(one)
			}
			if seen[n] {
				t.Errorf("client %d: two answers to %d", i, n)
			}
			seen[n] = true
			if strings.Contains(one, "<resource-constraint") { // at once, before those that wait
				continue
			}
			key := fmt.Sprint(room)
			if before, any := last[key]; any && n < before {
				t.Errorf("client %d, room %d: %d behind %d", i, room, n, before)
			}
			last[key] = n
		}
		if len(seen) != each {
			t.Errorf("client %d: %d answers", i, len(seen))
		}
	}
	if dispatched.Load() != ended.Load() || dispatched.Load() == 0 {
		t.Error(dispatched.Load(), "dispatched,", ended.Load(), "ended")
	}
}

// flaky is a store that is down at times.
type flaky struct {
	storage.Store
	down *atomic.Bool
}

func (f *flaky) Commit(ctx context.Context, w storage.Writes) error {
	if f.down.CompareAndSwap(true, false) {
		return storage.ErrUnavailable
	}
	return f.Store.Commit(ctx, w)
}

// What an outcome sends may have to pass handlers of the same extension, and ask it
// something: it does not wait for itself.
func TestRemoteWaitsNotForItself(t *testing.T) {
	romeos := jid.MustParse("romeo@example.test")
	var kinds []string
	var mu sync.Mutex
	x := &keyed{queues: map[string][]*extension.RemoteEvent{}}
	x.handle = func(e *extension.RemoteEvent) {
		mu.Lock()
		kinds = append(kinds, e.Kind.String())
		mu.Unlock()
		o := &extension.Outcome{}
		if e.Kind == extension.Asked && e.IQ.Child.Local == "first" {
			o.Effects = func(h *extension.Host) error {
				return errors.Join(
					h.Stanzas.Send(stanza.New(stanza.Header{Kind: stanza.Message, Type: stanza.Chat, ID: "warning", From: jid.MustParse("example.test"), To: romeos})),
					h.Stanzas.Request(stanza.New(stanza.Header{Kind: stanza.IQ, Type: stanza.Get, From: jid.MustParse("example.test"), To: romeos}, stanza.El("urn:x", "second")), time.Minute, nil))
			}
		}
		if err := apply(e, o); err != nil {
			t.Error(err)
		}
	}
	reg := remoteStage("far", x, extension.StageHandler{Class: extension.Decide})
	reg.Stages = append(reg.Stages, remoteStage("", x, extension.StageHandler{Class: extension.Observe}).Stages[0])
	reg.IQ = []extension.IQHandler{
		{Space: "urn:x", Local: "first", To: extension.ToOwnAccount}, {Space: "urn:x", Local: "second", To: extension.ToAccount},
	}
	synctest.Test(t, func(t *testing.T) {
		kinds = nil
		w := newWorld(t, with(reg))
		romeo := w.login("romeo@example.test/x", "<presence/>")
		began := time.Now()
		romeo.send("<iq id='1' type='get'><first xmlns='urn:x'/></iq>")
		synctest.Wait()
		if took := time.Since(began); took != 0 {
			t.Error("it took", took)
		}
		if out := romeo.take(); !strings.Contains(out, "id='1' type='result'") || !strings.Contains(out, "id='warning'") {
			t.Error(out)
		}
		slices.Sort(kinds)
		if got := strings.Join(kinds, " "); got != "iq iq reply stage stage" {
			t.Error(got)
		}
	})
}
