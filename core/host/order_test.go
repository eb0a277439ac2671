package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	registry "github.com/hexmpp/hexmpp/adapters/cluster/memory"
	memory "github.com/hexmpp/hexmpp/adapters/storage/memory"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// waiting is a Router of which each route may wait; ways has the order in which
// stanzas reach their end.
type waiting struct {
	waits func(id string) bool
	ways  notes[string]
}

func (r *waiting) Route(_ *transport.Batch, e *extension.Envelope) transport.Wait {
	id := e.Stanza.ID
	if r.waits(id) {
		return func(context.Context) { r.ways.add(id) }
	}
	r.ways.add(id)
	return nil
}

func (r *waiting) Submit(b *transport.Batch, e *extension.Envelope) transport.Wait {
	return r.Route(b, e)
}

func (r *waiting) Copy(*transport.Batch, *Copy) Fate                                      { return Fate{} }
func (r *waiting) Far(*transport.Batch, string, *stanza.Stanza, []jid.JID) transport.Wait { return nil }
func (r *waiting) CopyWaiting(context.Context, *transport.Batch, *Copy) Fate              { return Fate{} }

func messageID(id string) *stanza.Stanza {
	return stanza.New(stanza.Header{Kind: stanza.Message, ID: id, From: server, To: romeo})
}

// RFC 6120 10.1: the answer comes first, then what the handler sent, in its
// order, whichever of them has to wait.
func TestWhatIsSentStaysInOrder(t *testing.T) {
	for _, writes := range []bool{false, true} {
		for _, wait := range []string{"", "answer", "1", "2", "answer 1", "answer 1 2 3"} {
			r := &waiting{waits: func(id string) bool { return slices.Contains(strings.Fields(wait), id) }}
			h, _ := newHosts(1)
			h.Start(r)
			g := h.NewGuest(&extension.Registration{Name: "test"}, nil, nil)
			var b transport.Batch
			w := g.Run(t.Context(), &b, func(_ context.Context, h *extension.Host) error {
				if writes {
					h.Store.Put(jid.JID{}, "k", nil)
				}
				return errors.Join(h.Stanzas.Send(messageID("1")), h.Stanzas.Send(messageID("2")), h.Stanzas.Send(messageID("3")))
			}, func(b *transport.Batch, _ error) transport.Wait {
				return r.Route(b, &extension.Envelope{Stanza: messageID("answer")})
			})
			if w != nil {
				w(t.Context())
			} else if writes || wait != "" {
				t.Errorf("writes %v, %q waits: nothing to wait for", writes, wait)
			}
			if got := r.ways.take(); strings.Join(got, " ") != "answer 1 2 3" {
				t.Errorf("writes %v, %q waits: %v", writes, wait, got)
			}
			stop(t, h)
		}
	}
}

// What a stanza asked for is done even if its sender's connection is gone.
func TestConnectionThatIsGone(t *testing.T) {
	h, r := newHosts(1)
	defer stop(t, h)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	g := h.NewGuest(&extension.Registration{Name: "test"}, nil, nil)
	var err error
	handler := func(ctx context.Context, h *extension.Host) error {
		h.Store.Put(jid.JID{}, "k", nil)
		return errors.Join(ctx.Err(), h.Stanzas.Send(messageID("1")))
	}
	g.Later(handler, told(&err))(gone)
	if err != nil || len(r.routed) != 1 {
		t.Errorf("%v, %d sent", err, len(r.routed))
	}
	var b transport.Batch
	h.Store = &strict{h.Store}
	g.Run(t.Context(), &b, handler, told(&err))(gone)
	if err != nil || len(r.routed) != 2 {
		t.Errorf("behind a commit: %v, %d sent", err, len(r.routed))
	}
}

// strict is a store that looks at the context first.
type strict struct{ storage.Store }

func (s *strict) Commit(ctx context.Context, w storage.Writes) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.Store.Commit(ctx, w)
}

func TestWhatIsSentIsChecked(t *testing.T) {
	h, r := newHosts(1)
	defer stop(t, h)
	g := h.NewGuest(&extension.Registration{Name: "test", Reply: func(context.Context, *extension.Host, extension.Reply) error { return nil }},
		[]extension.Permission{extension.SendAsAccount}, nil)
	iq := func(typ, id string, children ...*stanza.Element) *stanza.Stanza {
		return stanza.New(stanza.Header{Kind: stanza.IQ, Type: typ, ID: id, From: server, To: server}, children...)
	}
	q := stanza.El("urn:x", "q")
	for rule, s := range map[string]*stanza.Stanza{
		"RFC 6120 8.2.3 rule 1: no id":                iq("get", "", q),
		"RFC 6120 8.2.3 rule 2: no type":              iq("", "1", q),
		"RFC 6120 8.2.3 rule 5: a get without child":  iq("get", "1"),
		"RFC 6120 8.2.3 rule 5: a set of two":         iq("set", "1", q, q),
		"RFC 6120 8.2.3 rule 6: a result of two":      iq("result", "1", q, q),
		"RFC 6120 8: a stanza that is of no kind":     stanza.New(stanza.Header{From: server, To: romeo}),
		"RFC 6120 8: a stanza that is of no kind (9)": stanza.New(stanza.Header{Kind: 9, From: server, To: romeo}),
		"no stanza": nil,
	} {
		for name, send := range map[string]func(h *extension.Host) error{
			"Send":    func(h *extension.Host) error { return h.Stanzas.Send(s) },
			"SendAs":  func(h *extension.Host) error { return h.Stanzas.SendAs(romeo.Bare(), s) },
			"Request": func(h *extension.Host) error { return h.Stanzas.Request(s, time.Minute, nil) },
		} {
			var told error
			err := run(t, g, func(_ context.Context, h *extension.Host) error { told = send(h); return nil })
			if name == "Request" && strings.Contains(rule, "rule 1") { // has an id of its own
				told = errors.Join(told, errors.New("as it should"))
				r.routed = nil
			}
			if told == nil || err != nil || len(r.routed) != 0 || len(r.submitted) != 0 {
				t.Errorf("%s: %s: %v, %v, %d sent", name, rule, told, err, len(r.routed)+len(r.submitted))
			}
		}
	}
}

// Spawn keeps to its bound, and says so when it drops.
func TestSpawnIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		h := New(Deps{Log: slog.New(slog.NewTextHandler(&log, nil)), Workers: 2})
		goOn := make(chan struct{})
		var ran notes[int]
		for i := range maxLeftovers + 1 {
			h.Spawn(func(context.Context) { <-goOn; ran.add(i) })
		}
		if n := strings.Count(log.String(), "was dropped"); n != 1 {
			t.Errorf("%d lines in the log", n)
		}
		close(goOn)
		synctest.Wait()
		if n := len(ran.take()); n != maxLeftovers {
			t.Errorf("%d ran", n)
		}
		h.Spawn(func(context.Context) { ran.add(0) }) // there is room again
		stop(t, h)
		if n := len(ran.take()); n != 1 {
			t.Errorf("%d ran behind the bound", n)
		}
	})
}

// slow is a store whose commits wait.
type slow struct {
	storage.Store
	goOn chan struct{}
	keys notes[string]
}

func (s *slow) Commit(_ context.Context, w storage.Writes) error {
	<-s.goOn
	s.keys.add(w.Ops[0].Key)
	return nil
}

// Write handlers that store: in order, and no more than the bound.
func TestDetachIsOrderedAndBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := &slow{Store: memory.New(), goOn: make(chan struct{})}
		h := New(Deps{Domains: []string{"example.test"}, Store: s, Sessions: registry.New(),
			Log: slog.New(slog.NewTextHandler(&log, nil)), Now: time.Now, Workers: 4})
		r := &router{}
		h.Start(r)
		g := h.NewGuest(&extension.Registration{Name: "test"}, nil, nil)
		write := func(key string, puts bool) {
			var fx Effects
			var b transport.Batch
			if err := fx.Collect(g, nil, false, func(_ context.Context, h *extension.Host) error {
				if puts {
					h.Store.Put(jid.JID{}, key, nil)
				}
				return h.Stanzas.Send(messageID(key))
			}); err != nil {
				t.Error(err)
			}
			fx.Detach(&b)
		}
		const total = maxDetached + 11 // one is being written
		for i := range total {
			write(fmt.Sprint(i), i%2 == 0)
			if i == 0 {
				synctest.Wait()
			}
		}
		if n := strings.Count(log.String(), "is dropped"); n != 1 {
			t.Errorf("%d lines in the log", n)
		}
		close(s.goOn)
		synctest.Wait()
		if n := len(r.routed); n != maxDetached+1 {
			t.Errorf("%d were sent", n)
		}
		for i, st := range r.routed {
			if st.ID != fmt.Sprint(i) {
				t.Fatalf("%s came as number %d", st.ID, i)
			}
		}
		write("room again", true)
		stop(t, h)
		if n := len(r.routed); r.routed[n-1].ID != "room again" {
			t.Error(r.routed[n-1].ID)
		}
	})
}

// A Write handler whose Swap fails runs again.
func TestDetachedSwap(t *testing.T) {
	h, _ := newHosts(1)
	g := h.NewGuest(&extension.Registration{Name: "test"}, nil, nil)
	runs := 0
	var fx Effects
	var b transport.Batch
	if err := fx.Collect(g, nil, false, func(ctx context.Context, x *extension.Host) error {
		e, _, err := x.Store.Get(ctx, jid.JID{}, "k")
		if runs++; runs == 1 { // somebody else comes between
			err = errors.Join(err, h.Store.Commit(ctx, storage.Writes{Ops: []storage.Op{{Space: "test", Key: "k", Value: []byte("other")}}}))
		}
		x.Store.Swap(jid.JID{}, "k", append(e.Value, '!'), e.Revision)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	fx.Detach(&b)
	stop(t, h)
	if e, err := h.Store.Get(t.Context(), "test", jid.JID{}, "k"); err != nil || string(e.Value) != "other!" || runs != 2 {
		t.Errorf("%q, %v, %d runs", e.Value, err, runs)
	}
}

// No handler runs when Stop has returned, and none is called any more.
func TestNoHandlerBehindStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := newHosts(1)
		g := h.NewGuest(&extension.Registration{Name: "test"}, nil, nil)
		running := make(chan struct{})
		returned := false
		done := make(chan struct{})
		go func() { // of a stream: no task
			defer close(done)
			var err error
			g.Later(func(ctx context.Context, _ *extension.Host) error {
				close(running)
				<-ctx.Done()
				time.Sleep(cutOff / 2)
				returned = true
				return nil
			}, told(&err))(context.Background())
		}()
		<-running
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := h.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) || !returned {
			t.Errorf("%v, returned %v", err, returned)
		}
		<-done
		err := run(t, g, func(context.Context, *extension.Host) error { t.Error("called"); return nil })
		if stanza.AsError(err).Condition != stanza.ServiceUnavailable {
			t.Error(err)
		}
		if err := h.Stop(t.Context()); err != nil {
			t.Error("a second Stop:", err)
		}
	})
}

// A handler that does not return does not hold up the end for ever.
func TestHandlerThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := newHosts(1)
		g := h.NewGuest(&extension.Registration{Name: "test"}, nil, nil)
		goOn := make(chan struct{})
		var err error
		h.Spawn(g.Later(func(context.Context, *extension.Host) error { <-goOn; return nil }, told(&err)))
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		start := time.Now()
		if err := h.Stop(ctx); err == nil || !strings.Contains(err.Error(), "still run") || time.Since(start) != cutOff {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		close(goOn)
	})
}

// An Observe handler whose writes fail keeps nothing back: neither the stanza
// nor what others asked for.
func TestObserversDoNotRefuse(t *testing.T) {
	gone := jid.MustParse("nobody@example.test")
	for _, observerConflicts := range []bool{false, true} {
		h, r := newHosts(1)
		g := h.NewGuest(&extension.Registration{Name: "test"}, nil, nil)
		var fx Effects
		collect := func(id string, observer bool, write func(h *extension.Host)) {
			if err := fx.Collect(g, nil, observer, func(_ context.Context, h *extension.Host) error {
				write(h)
				return h.Stanzas.Send(messageID(id))
			}); err != nil {
				t.Error(err)
			}
		}
		collect("decides", false, func(h *extension.Host) { h.Store.Put(jid.JID{}, "decides", nil) })
		collect("observes", true, func(h *extension.Host) {
			if observerConflicts {
				h.Store.Swap(jid.JID{}, "observes", nil, 77)
			} else {
				h.Store.Put(gone, "observes", nil)
			}
		})
		collect("observes well", true, func(h *extension.Host) { h.Store.Put(jid.JID{}, "observes well", nil) })
		if err := fx.Commit(t.Context()); err != nil || fx.Pending() {
			t.Errorf("conflict %v: %v", observerConflicts, err)
		}
		var b transport.Batch
		fx.Apply(&b)
		var sent []string
		for _, s := range r.routed {
			sent = append(sent, s.ID)
		}
		list, err := h.Store.Scan(t.Context(), "test", jid.JID{}, "", "", 10)
		if err != nil || len(list) != 2 || strings.Join(sent, ", ") != "decides, observes well" {
			t.Errorf("conflict %v: %v, %d stored, sent %v", observerConflicts, err, len(list), sent)
		}
		stop(t, h)
	}
}

// Rows of deciders are written once, whatever becomes of the writes of observers: their
// place in the archive can't be taken a second time.
func TestObserversDoNotRefuseRows(t *testing.T) {
	for _, queued := range []bool{false, true} {
		h, _ := newHosts(1)
		withAccounts(t, h.Store, romeo)
		g := h.NewGuest(&extension.Registration{Name: "test"}, nil, nil)
		var fx Effects
		for _, fn := range []struct {
			observer bool
			do       func(h *extension.Host)
		}{
			{false, func(h *extension.Host) { h.Archive.Append(archiveRow(romeo, h.Archive.NewID())) }},
			{true, func(h *extension.Host) { h.Store.Swap(jid.JID{}, "observes", nil, 77) }},
			{true, func(h *extension.Host) { h.Archive.Append(archiveRow(romeo, h.Archive.NewID())) }},
			{true, func(h *extension.Host) { h.Store.Put(jid.JID{}, "observes well", nil) }},
		} {
			if err := fx.Collect(g, nil, fn.observer, func(_ context.Context, h *extension.Host) error { fn.do(h); return nil }); err != nil {
				t.Error(err)
			}
		}
		if queued {
			fx.Queue()
		}
		if err := fx.Commit(t.Context()); err != nil || fx.Pending() {
			t.Errorf("queued %v: %v, pending %v", queued, err, fx.Pending())
		}
		rows, _, err := h.Store.Rows(t.Context(), storage.ArchiveKey{Space: "test", Owner: romeo.Bare()}, storage.Filter{}, storage.Page{Limit: 10})
		list, failed := h.Store.Scan(t.Context(), "test", jid.JID{}, "", "", 10)
		if err != nil || failed != nil || len(rows) != 2 || len(list) != 1 {
			t.Errorf("queued %v: %v, %v, %d rows, %d entries", queued, err, failed, len(rows), len(list))
		}
		stop(t, h)
	}
}
