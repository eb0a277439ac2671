package host

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	registry "github.com/hexmpp/hexmpp/adapters/cluster/memory"
	storage "github.com/hexmpp/hexmpp/adapters/storage/memory"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// router keeps what it is given.
type router struct {
	mu                sync.Mutex
	routed, submitted []*stanza.Stanza
}

func (r *router) Route(_ *transport.Batch, e *extension.Envelope) transport.Wait {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.routed = append(r.routed, e.Stanza)
	return nil
}

func (r *router) Submit(_ *transport.Batch, e *extension.Envelope) transport.Wait {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.submitted = append(r.submitted, e.Stanza)
	return nil
}

// Copy delivers nothing: it is routed, so that a test sees it.
func (r *router) Copy(_ *transport.Batch, c *Copy) Fate { return Fate{Onward: c.Addressed()} }
func (r *router) Far(*transport.Batch, string, *stanza.Stanza, []jid.JID) transport.Wait {
	panic("no test sends copies to far domains")
}
func (r *router) CopyWaiting(_ context.Context, b *transport.Batch, c *Copy) Fate {
	return r.Copy(b, c)
}

// notes is what handlers of several goroutines noted.
type notes[T any] struct {
	mu   sync.Mutex
	list []T
}

func (n *notes[T]) add(v T) { n.mu.Lock(); defer n.mu.Unlock(); n.list = append(n.list, v) }

// take returns what was noted since the last call.
func (n *notes[T]) take() []T {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := n.list
	n.list = nil
	return list
}

var (
	server = jid.MustParse("example.test")
	romeo  = jid.MustParse("romeo@example.test/x")
)

func newHosts(workers int) (*Hosts, *router) {
	h := New(Deps{
		Domains: []string{"example.test"}, Store: storage.New(), Sessions: registry.New(),
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Now: time.Now, Workers: workers,
	})
	r := &router{}
	h.Start(r)
	return h, r
}

// run calls fn as a handler of g and returns its error.
func run(t *testing.T, g *Guest, fn Handler) (err error) {
	t.Helper()
	g.Later(fn, told(&err))(t.Context())
	return err
}

// told is a Done that keeps the outcome.
func told(to *error) Done {
	return func(_ *transport.Batch, err error) transport.Wait {
		*to = err
		return nil
	}
}

func stop(t *testing.T, h *Hosts) {
	t.Helper()
	if err := h.Stop(context.Background()); err != nil {
		t.Error(err)
	}
}

func query() *stanza.Stanza {
	return stanza.New(stanza.Header{Kind: stanza.IQ, Type: stanza.Get, From: server, To: romeo, ID: "chosen"}, stanza.El("urn:y", "q"))
}

func TestSendsAreBounded(t *testing.T) {
	h, r := newHosts(1)
	defer stop(t, h)
	reg := &extension.Registration{Name: "test", Reply: func(context.Context, *extension.Host, extension.Reply) error { return nil }}
	g := h.NewGuest(reg, []extension.Permission{extension.SendAsAccount}, nil)
	msg := stanza.New(stanza.Header{Kind: stanza.Message, From: server, To: romeo})
	ways := map[string]func(*extension.Host) error{
		"send":    func(h *extension.Host) error { return h.Stanzas.Send(msg) },
		"send as": func(h *extension.Host) error { return h.Stanzas.SendAs(romeo.Bare(), msg) },
		"request": func(h *extension.Host) error { return h.Stanzas.Request(query(), time.Minute, nil) },
	}
	for name, last := range ways {
		r.routed, r.submitted = nil, nil
		if err := run(t, g, func(_ context.Context, h *extension.Host) error {
			for range maxSends {
				if err := h.Stanzas.Send(msg); err != nil {
					return err
				}
			}
			if err := last(h); !errors.Is(err, extension.ErrBound) {
				t.Errorf("%s behind %d sends: %v", name, maxSends, err)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
		if len(r.routed) != maxSends || len(r.submitted) != 0 {
			t.Errorf("%s: %d stanzas went out", name, len(r.routed)+len(r.submitted))
		}
	}
}

func TestRequestsThatAreRefused(t *testing.T) {
	h, r := newHosts(1)
	defer stop(t, h)
	reply := func(context.Context, *extension.Host, extension.Reply) error { return nil }
	g := h.NewGuest(&extension.Registration{Name: "test", Reply: reply}, nil, []string{"c.example.test"})
	deaf := h.NewGuest(&extension.Registration{Name: "deaf"}, nil, nil)
	head := query().Header
	alter := func(f func(*stanza.Header)) *stanza.Stanza { h := head; f(&h); return query().With(h) }
	for name, row := range map[string]struct {
		g       *Guest
		s       *stanza.Stanza
		timeout time.Duration
		state   int
		is      error // nil: any
	}{
		"no Reply handler":     {deaf, query(), time.Minute, 0, nil},
		"a message":            {g, alter(func(h *stanza.Header) { h.Kind = stanza.Message }), time.Minute, 0, nil},
		"a result":             {g, alter(func(h *stanza.Header) { h.Type = stanza.Result }), time.Minute, 0, nil},
		"too long":             {g, query(), maxRequestTime + 1, 0, extension.ErrBound},
		"no time":              {g, query(), 0, 0, extension.ErrBound},
		"too much state":       {g, query(), time.Minute, maxState + 1, extension.ErrBound},
		"from an account":      {g, alter(func(h *stanza.Header) { h.From = jid.MustParse("juliet@example.test") }), time.Minute, 0, extension.ErrPermission},
		"from another domain":  {g, alter(func(h *stanza.Header) { h.From = jid.MustParse("d.example.test") }), time.Minute, 0, extension.ErrPermission},
		"from nobody":          {g, alter(func(h *stanza.Header) { h.From = jid.JID{} }), time.Minute, 0, extension.ErrPermission},
		"of another extension": {deaf, alter(func(h *stanza.Header) { h.From = jid.MustParse("c.example.test") }), time.Minute, 0, nil},
	} {
		if err := run(t, row.g, func(_ context.Context, h *extension.Host) error {
			return h.Stanzas.Request(row.s, row.timeout, make([]byte, row.state))
		}); err == nil || row.is != nil && !errors.Is(err, row.is) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := run(t, g, func(_ context.Context, h *extension.Host) error {
		return h.Stanzas.Request(alter(func(h *stanza.Header) { h.From = jid.MustParse("a@c.example.test/r") }), maxRequestTime, make([]byte, maxState))
	}); err != nil || len(r.routed) != 1 || r.routed[0].ID == "chosen" || len(r.routed[0].ID) < 20 {
		t.Errorf("%v, %v", err, r.routed)
	}
}

func TestReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, r := newHosts(4)
		defer stop(t, h)
		var replies notes[extension.Reply]
		g := h.NewGuest(&extension.Registration{Name: "test", Reply: func(_ context.Context, _ *extension.Host, p extension.Reply) error {
			replies.add(p)
			return nil
		}}, nil, nil)
		ask := func(state string) *stanza.Stanza {
			t.Helper()
			if err := run(t, g, func(_ context.Context, h *extension.Host) error {
				return h.Stanzas.Request(query(), time.Minute, []byte(state))
			}); err != nil {
				t.Fatal(err)
			}
			return r.routed[len(r.routed)-1]
		}
		answer := func(q *stanza.Stanza, from jid.JID) {
			h.Answer(&transport.Batch{}, stanza.New(stanza.Header{Kind: stanza.IQ, Type: stanza.Result, ID: q.ID, From: from, To: q.From}))
			synctest.Wait()
		}
		want := func(state string, answered bool) {
			t.Helper()
			synctest.Wait()
			if got := replies.take(); len(got) != 1 || string(got[0].State) != state || (got[0].Answer != nil) != answered {
				t.Errorf("replies %+v", got)
			}
		}
		q := ask("first")
		answer(q, romeo.Bare()) // somebody else
		answer(q, server)
		if len(replies.take()) != 0 {
			t.Error("a forged answer")
		}
		answer(q, romeo)
		want("first", true)
		answer(q, romeo) // once only
		if len(replies.take()) != 0 {
			t.Error("answered twice")
		}

		q = ask("late")
		time.Sleep(time.Minute - 1)
		synctest.Wait()
		if len(replies.take()) != 0 {
			t.Error("too early")
		}
		time.Sleep(time.Nanosecond)
		want("late", false)
		answer(q, romeo)
		if len(replies.take()) != 0 {
			t.Error("an answer behind the timeout was taken")
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := replies.take(); len(got) != 0 || len(h.requests) != 0 {
			t.Errorf("%d replies more, %d requests left", len(got), len(h.requests))
		}

		ask("stopped")
		if err := h.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Hour)
		if len(replies.take()) != 0 {
			t.Error("a reply behind Stop")
		}
	})
}

// Requests of the kernel itself: answered in the turn that brings the answer.
func TestExpect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := newHosts(1)
		defer stop(t, h)
		type outcome struct {
			b      *transport.Batch
			answer *stanza.Stanza
		}
		var told notes[outcome]
		ask := func() (q *stanza.Stanza, forget func()) {
			q = stanza.New(stanza.Header{Kind: stanza.IQ, Type: stanza.Get, ID: rand.Text(), From: server, To: romeo}, stanza.El("urn:q", "q"))
			return q, h.Expect(q, time.Minute, func(b *transport.Batch, answer *stanza.Stanza) { told.add(outcome{b, answer}) })
		}
		var b transport.Batch
		answer := func(q *stanza.Stanza, from, to jid.JID, id string) {
			h.Answer(&b, stanza.New(stanza.Header{Kind: stanza.IQ, Type: stanza.Result, ID: id, From: from, To: to}))
		}
		q, _ := ask()
		answer(q, romeo, server, "guessed")
		answer(q, romeo.Bare(), server, q.ID)
		answer(q, romeo, romeo.Bare(), q.ID)
		if len(told.take()) > 0 {
			t.Error("a forged answer")
		}
		answer(q, romeo, server, q.ID)
		answer(q, romeo, server, q.ID)
		if got := told.take(); len(got) != 1 || got[0].b != &b || got[0].answer == nil {
			t.Errorf("%+v", got)
		}
		ask()
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := told.take(); len(got) != 1 || got[0].b == nil || got[0].answer != nil {
			t.Errorf("late: %+v", got)
		}
		q, forget := ask()
		forget()
		answer(q, romeo, server, q.ID)
		forget()
		_, forget = ask()
		if err := h.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		forget()
		ask()
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := told.take(); len(got) > 0 || len(h.requests) > 0 {
			t.Errorf("%+v, %d requests left", got, len(h.requests))
		}
	})
}

// The bound counts a request until its Reply handler has returned. Whoever asks
// beyond it is told at once.
func TestRequestsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, r := newHosts(1)
		defer stop(t, h)
		goOn := make(chan struct{})
		reg := func(name string) *extension.Registration {
			return &extension.Registration{Name: name, Reply: func(context.Context, *extension.Host, extension.Reply) error {
				<-goOn
				return nil
			}}
		}
		g, other := h.NewGuest(reg("test"), nil, nil), h.NewGuest(reg("other"), nil, nil)
		ask := func(g *Guest, n int) error {
			return run(t, g, func(_ context.Context, h *extension.Host) error {
				for range n {
					if err := h.Stanzas.Request(query(), time.Hour/20, nil); err != nil {
						return err
					}
				}
				return nil
			})
		}
		const some, left = 1000, 5
		for range maxRequests/some - 1 {
			if err := ask(g, some); err != nil {
				t.Fatal(err)
			}
		}
		if err := ask(g, some-left); err != nil {
			t.Fatal(err)
		}
		if err := ask(g, left+1); !errors.Is(err, extension.ErrBound) {
			t.Error("more in one handler than there is room for:", err)
		}
		if err := ask(g, left); err != nil {
			t.Error(err)
		}
		full := func(g *Guest, want error) {
			t.Helper()
			if err := ask(g, 1); !errors.Is(err, want) {
				t.Errorf("%v, want %v", err, want)
			}
		}
		full(g, extension.ErrBound)
		full(other, nil) // each extension has its own
		if len(r.routed) != maxRequests+1 {
			t.Errorf("%d were sent", len(r.routed))
		}
		q := r.routed[0]
		h.Answer(&transport.Batch{}, stanza.New(stanza.Header{Kind: stanza.IQ, Type: stanza.Result, ID: q.ID, From: q.To, To: q.From}))
		synctest.Wait()
		full(g, extension.ErrBound) // the handler has not returned
		close(goOn)
		synctest.Wait()
		full(g, nil)
	})
}

func TestTimers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := newHosts(4)
		defer stop(t, h)
		var fired notes[string]
		timer := func(_ context.Context, _ *extension.Host, tm extension.Timer) error {
			fired.add(tm.Key + "=" + string(tm.State))
			return errors.New("logged")
		}
		g := h.NewGuest(&extension.Registration{Name: "one", Timer: timer}, nil, nil)
		two := h.NewGuest(&extension.Registration{Name: "two", Timer: timer}, nil, nil)
		do := func(g *Guest, fn func(extension.Timers) error) error {
			return run(t, g, func(_ context.Context, h *extension.Host) error { return fn(h.Timers) })
		}
		want := func(what string) {
			t.Helper()
			synctest.Wait()
			if got := strings.Join(fired.take(), " "); got != what {
				t.Errorf("fired %q, want %q", got, what)
			}
		}
		set := func(g *Guest, key string, d time.Duration, state string) {
			t.Helper()
			if err := do(g, func(x extension.Timers) error { return x.Set(key, d, []byte(state)) }); err != nil {
				t.Error(err)
			}
		}
		set(g, "a", time.Minute, "1")
		set(g, "a", 2*time.Minute, "2") // replaces
		set(two, "a", time.Minute, "3") // another extension's
		set(g, "b", time.Minute, "4")
		do(g, func(x extension.Timers) error { x.Cancel("b"); x.Cancel("never set"); return nil })
		time.Sleep(time.Minute)
		want("a=3")
		time.Sleep(time.Minute)
		want("a=2")
		set(g, "past", -time.Hour, "5")
		time.Sleep(time.Nanosecond)
		want("past=5")
		if err := do(g, func(x extension.Timers) error { x.Set("c", 0, nil); return errors.New("no") }); err == nil {
			t.Error("no error")
		}
		if err := do(g, func(x extension.Timers) error { return x.Set("c", 0, make([]byte, maxState+1)) }); !errors.Is(err, extension.ErrBound) {
			t.Error(err)
		}
		if err := do(h.NewGuest(&extension.Registration{Name: "deaf"}, nil, nil), func(x extension.Timers) error { return x.Set("c", 0, nil) }); err == nil {
			t.Error("a timer without a handler")
		}
		time.Sleep(time.Hour)
		want("")
		for i := range maxTimers {
			g.setTimer(timerKey{g, strconv.Itoa(i)}, time.Hour, nil, "")
		}
		if err := do(g, func(x extension.Timers) error { return x.Set("one more", time.Hour, nil) }); !errors.Is(err, extension.ErrBound) {
			t.Error("a timer beyond the bound:", err)
		}
		set(two, "of another extension", time.Second, "6")
		time.Sleep(time.Second)
		want("of another extension=6")
		set(g, "7", time.Minute, "again") // no further one
		time.Sleep(time.Minute)
		want("7=again")
		set(g, "room again", time.Hour, "8")
		do(g, func(x extension.Timers) error { x.Cancel("8"); return nil })
		set(g, "and again", time.Hour, "9")
		stop(t, h)
		time.Sleep(2 * time.Hour)
		want("")
		g.setTimer(timerKey{g, "late"}, 0, nil, "") // as what is still under way may
		time.Sleep(time.Hour)
		want("")
		if late := h.timers[timerKey{g, "late"}]; late == nil || late.clock != nil {
			t.Error("a timer runs behind Stop, or is not there for the next process")
		}
	})
}

func TestStopWaitsForHandlers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, r := newHosts(2)
		g := h.NewGuest(&extension.Registration{Name: "test"}, nil, nil)
		goOn := make(chan struct{})
		ran := 0
		var mu sync.Mutex
		for range 5 { // more than run at once: those that wait run as well
			h.Spawn(g.Later(func(ctx context.Context, host *extension.Host) error {
				<-goOn
				mu.Lock()
				defer mu.Unlock()
				ran++
				return host.Stanzas.Send(stanza.New(stanza.Header{Kind: stanza.Message, From: server, To: romeo}))
			}, func(_ *transport.Batch, err error) transport.Wait {
				if err != nil {
					t.Error(err)
				}
				return nil
			}))
		}
		stopped := make(chan error, 1)
		go func() { stopped <- h.Stop(context.Background()) }()
		synctest.Wait()
		select {
		case <-stopped:
			t.Fatal("Stop did not wait")
		default:
		}
		h.Spawn(func(context.Context) { mu.Lock(); defer mu.Unlock(); ran++ }) // left by a session that ends last
		close(goOn)
		if err := <-stopped; err != nil || ran != 6 || len(r.routed) != 5 {
			t.Errorf("%v, %d ran, %d sent", err, ran, len(r.routed))
		}
		h.Spawn(func(context.Context) { t.Error("a task began behind Stop") })
		synctest.Wait()
	})
}

func TestStopCutsOffHandlers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, r := newHosts(1)
		g := h.NewGuest(&extension.Registration{Name: "test"}, nil, nil)
		var got error
		h.Spawn(g.Later(func(ctx context.Context, host *extension.Host) error {
			host.Stanzas.Send(stanza.New(stanza.Header{Kind: stanza.Message, From: server, To: romeo}))
			<-ctx.Done()
			return ctx.Err()
		}, told(&got)))
		synctest.Wait()
		h.Spawn(func(context.Context) { t.Error("a task that waited ran behind the end") })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := h.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if !errors.Is(got, context.Canceled) || len(r.routed) != 0 {
			t.Errorf("%v, %d sent", got, len(r.routed))
		}
	})
}

func TestHandlerTimeIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := newHosts(1)
		defer stop(t, h)
		start := time.Now()
		if err := run(t, h.NewGuest(&extension.Registration{Name: "test"}, nil, nil), func(ctx context.Context, _ *extension.Host) error {
			<-ctx.Done()
			return ctx.Err()
		}); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != maxWorkTime {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

func TestSpawnRunsWorkersAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := newHosts(3)
		goOn := make(chan struct{})
		var mu sync.Mutex
		running, most := 0, 0
		for range 20 {
			h.Spawn(func(context.Context) {
				mu.Lock()
				running++
				most = max(most, running)
				mu.Unlock()
				<-goOn
				mu.Lock()
				running--
				mu.Unlock()
			})
		}
		synctest.Wait()
		if running != 3 {
			t.Errorf("%d run, want 3", running)
		}
		close(goOn)
		stop(t, h)
		if most != 3 {
			t.Errorf("%d ran at once", most)
		}
	})
}
