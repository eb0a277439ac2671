package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
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

// counting is a store that counts commits, which can wait or fail.
type counting struct {
	storage.Store
	commits atomic.Int32
	goOn    chan struct{}
	fail    error
}

func (c *counting) Commit(ctx context.Context, w storage.Writes) error {
	c.commits.Add(1)
	if c.goOn != nil {
		<-c.goOn
	}
	if c.fail != nil {
		return c.fail
	}
	return c.Store.Commit(ctx, w)
}

// noticed is an extension that writes the status of each notice, by account.
type noticed struct {
	h    *Hosts
	s    *counting
	log  *bytes.Buffer
	told notes[string]
}

func newNoticed(t *testing.T, accounts int) *noticed {
	t.Helper()
	n := &noticed{s: &counting{Store: memory.New()}, log: &bytes.Buffer{}}
	for i := range accounts {
		if err := n.s.CreateAccount(t.Context(), storage.Account{User: accountN(i)}); err != nil {
			t.Fatal(err)
		}
	}
	n.h = New(Deps{Domains: []string{"example.test"}, Store: n.s, Sessions: registry.New(),
		Log: slog.New(slog.NewTextHandler(n.log, nil)), Now: time.Now, Workers: 4})
	n.h.Start(&router{})
	n.h.NewGuest(&extension.Registration{Name: "test", Notices: []extension.Event{extension.BecameUnavailable}, Notice: n.notice},
		[]extension.Permission{extension.SeePresence}, nil)
	n.h.NewGuest(&extension.Registration{Name: "deaf", Notice: func(context.Context, *extension.Host, extension.Notice) error {
		t.Error("told of what it did not ask for")
		return nil
	}}, nil, nil)
	return n
}

func (n *noticed) notice(_ context.Context, h *extension.Host, x extension.Notice) error {
	text := x.Presence.Find("", "status").Text()
	n.told.add(x.Session.String() + " " + text)
	switch text {
	case "fail":
		return errors.New("no luck")
	case "panic":
		panic("at the disco")
	}
	h.Store.Put(x.Session, "last", []byte(text))
	return nil
}

// gone tells of a session that has become unavailable.
func (n *noticed) gone(account jid.JID, resource, status string) {
	full, err := account.WithResource(resource)
	if err != nil {
		panic(err)
	}
	n.h.Notify(extension.Notice{Event: extension.BecameUnavailable, Session: full,
		Presence: stanza.New(stanza.Header{Kind: stanza.Presence, Type: stanza.Unavailable, From: full}, stanza.El("", "status").WithText(status))})
}

func (n *noticed) stored(t *testing.T, account jid.JID) string {
	t.Helper()
	e, err := n.s.Get(t.Context(), "test", account, "last")
	if err != nil {
		return err.Error()[strings.LastIndex(err.Error(), " ")+1:]
	}
	return string(e.Value)
}

// Notices come in order, each once, and those of many accounts share commits.
func TestNotices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const accounts = 10 * noticeBatch
		n := newNoticed(t, accounts)
		n.s.goOn = make(chan struct{})
		var want []string
		for round := range 2 {
			for i := range accounts {
				n.gone(accountN(i), "x", fmt.Sprint(round))
				want = append(want, fmt.Sprintf("%s/x %d", accountN(i), round))
			}
		}
		close(n.s.goOn)
		synctest.Wait()
		if got := n.told.take(); strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%d of %d were told, or in another order", len(got), len(want))
		}
		for i := range accounts {
			if got := n.stored(t, accountN(i)); got != "1" {
				t.Errorf("%s: %s", accountN(i), got)
			}
		}
		if got := n.s.commits.Load(); got > 2*accounts/noticeBatch+1 {
			t.Errorf("%d commits", got)
		}
		stop(t, n.h)
		if n.log.Len() > 0 {
			t.Error(n.log)
		}
	})
}

// What one notice comes to costs no other: a handler that fails, an account that
// was removed meanwhile, another notice of the same account.
func TestNoticesThatFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNoticed(t, 4)
		n.s.goOn = make(chan struct{})
		n.gone(accountN(3), "x", "first") // while it is written the others wait
		synctest.Wait()
		n.gone(accountN(0), "x", "one")
		n.gone(accountN(0), "y", "two")
		n.gone(accountN(1), "x", "panic")
		n.gone(jid.MustParse("nobody@example.test"), "x", "three")
		n.gone(accountN(2), "x", "fail")
		n.gone(accountN(3), "x", "last")
		close(n.s.goOn)
		synctest.Wait()
		for i, want := range []string{"two", "found", "found", "last"} {
			if got := n.stored(t, accountN(i)); got != want {
				t.Errorf("%s: %s, want %s", accountN(i), got, want)
			}
		}
		if got := n.told.take(); len(got) != 7 {
			t.Error(got)
		}
		stop(t, n.h)
		for _, part := range []string{"no luck", "handler panicked"} {
			if !strings.Contains(n.log.String(), part) {
				t.Errorf("the log lacks %q: %s", part, n.log)
			}
		}
		if strings.Contains(n.log.String(), "its writes failed") { // that an account was removed is no failure
			t.Error(n.log)
		}
	})
}

// A store that fails is an error in the log, and loses what is written meanwhile.
func TestNoticesWithoutStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNoticed(t, 2)
		n.s.fail = storage.ErrUnavailable
		n.gone(accountN(0), "x", "lost")
		synctest.Wait()
		n.s.fail = nil
		n.gone(accountN(1), "x", "kept")
		stop(t, n.h)
		if a, b := n.stored(t, accountN(0)), n.stored(t, accountN(1)); a != "found" || b != "kept" || strings.Count(n.log.String(), "its writes failed") != 1 {
			t.Errorf("%s, %s: %s", a, b, n.log)
		}
	})
}

// An account of which there is more to tell than can be told holds up no other, and
// nothing of others is dropped: what it is last is what counts.
func TestNoticesOfOneAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNoticed(t, noticeBatch)
		n.s.goOn = make(chan struct{})
		n.gone(accountN(1), "x", "first")
		synctest.Wait() // it waits for its commit
		const many = maxNotices + 10
		for i := range many {
			n.gone(accountN(0), "x", fmt.Sprint(i))
		}
		for i := 1; i < noticeBatch; i++ {
			n.gone(accountN(i), "x", "other")
		}
		n.s.goOn <- struct{}{}
		synctest.Wait() // the next batch
		if got := n.told.take(); len(got) != 1+noticeBatch {
			t.Errorf("%d were told", len(got))
		}
		close(n.s.goOn)
		synctest.Wait()
		if got := n.told.take(); len(got) != maxNoticesOfAccount-1 || !strings.HasSuffix(got[len(got)-1], fmt.Sprint(" ", many-1)) {
			t.Errorf("%d were told: %q", len(got), got)
		}
		if got := n.stored(t, accountN(0)); got != fmt.Sprint(many-1) {
			t.Error(got)
		}
		stop(t, n.h)
		if n.log.Len() > 0 {
			t.Error(n.log)
		}
	})
}

// The bounds, in notices and in bytes: more are dropped, said once, and there is
// room again when those have been told.
func TestNoticesAreBounded(t *testing.T) {
	for name, row := range map[string]struct {
		status string
		most   int
	}{
		"many":  {"", maxNotices},
		"large": {strings.Repeat("x", 1<<20), maxNoticeBytes / (1 << 20)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNoticed(t, 3)
				n.s.goOn = make(chan struct{})
				n.gone(accountN(0), "x", "first")
				synctest.Wait() // it waits for its commit, and takes no room
				presence := stanza.New(stanza.Header{Kind: stanza.Presence, Type: stanza.Unavailable}, stanza.El("", "status").WithText(row.status))
				for i := range row.most + 5 {
					n.h.Notify(extension.Notice{Event: extension.BecameUnavailable, Session: accountN(i), Presence: presence})
				}
				n.h.mu.Lock()
				waiting := n.h.noticed[0].notices.n
				n.h.mu.Unlock()
				if waiting > row.most || waiting < row.most-2 {
					t.Errorf("%d wait", waiting)
				}
				if got := strings.Count(n.log.String(), "notices are dropped"); got != 1 {
					t.Errorf("%d lines in the log", got)
				}
				n.h.noticed[0].Reg.Notice = func(_ context.Context, h *extension.Host, x extension.Notice) error { n.told.add(""); return nil }
				close(n.s.goOn)
				synctest.Wait()
				n.gone(accountN(2), "x", "again")
				stop(t, n.h)
				if got := len(n.told.take()); got != waiting+2 {
					t.Errorf("%d were told", got)
				}
			})
		})
	}
}

// What happened before the end is told before the end; what happens behind it is
// not.
func TestNoticesAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const accounts = 3*noticeBatch + 1
		n := newNoticed(t, accounts)
		n.s.goOn = make(chan struct{})
		for i := range accounts {
			n.gone(accountN(i), "x", "end")
		}
		ended := make(chan struct{})
		go func() { defer close(ended); stop(t, n.h) }()
		synctest.Wait()
		select {
		case <-ended:
			t.Fatal("the end did not wait")
		default:
		}
		close(n.s.goOn)
		<-ended
		if got := len(n.told.take()); got != accounts {
			t.Errorf("%d were told", got)
		}
		for i := range accounts {
			if got := n.stored(t, accountN(i)); got != "end" {
				t.Errorf("%s: %s", accountN(i), got)
			}
		}
		n.gone(accountN(0), "x", "late")
		synctest.Wait()
		if n.stored(t, accountN(0)) != "end" || !strings.Contains(n.log.String(), "notices are dropped") {
			t.Error(n.stored(t, accountN(0)), n.log)
		}
	})
}

// Who asks about an account reads behind its notices, and not behind those of
// others; it does not wait longer than it has time.
func TestRequestsComeBehindNotices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNoticed(t, 3)
		g := n.h.noticed[0]
		n.s.goOn = make(chan struct{})
		n.gone(accountN(0), "x", "one")
		synctest.Wait() // it is being written
		n.gone(accountN(0), "x", "two")
		n.gone(accountN(1), "x", "one")
		ask := func(i int) <-chan string {
			seen := make(chan string, 1)
			var err error
			w := g.Ask(extension.Origin{}, func(ctx context.Context, h *extension.Host) error {
				e, _, err := h.Store.Get(ctx, accountN(i), "last")
				list, _ := h.Store.Scan(ctx, accountN(i), "", "", 1)
				if seen <- string(e.Value); err == nil && len(list) > 0 != (e.Value != nil) {
					t.Error("Scan does not see what Get sees:", list)
				}
				return err
			}, told(&err))
			go w(context.Background())
			return seen
		}
		first, second, other := ask(0), ask(1), ask(2)
		synctest.Wait()
		if len(other) != 1 || len(first)+len(second) != 0 {
			t.Errorf("answered: %d, %d, and without notices %d", len(first), len(second), len(other))
		}
		n.s.goOn <- struct{}{}
		synctest.Wait()
		if len(first)+len(second) != 0 {
			t.Error("answered before the last notice was written")
		}
		close(n.s.goOn)
		if a, b := <-first, <-second; a != "two" || b != "one" {
			t.Errorf("saw %q and %q", a, b)
		}
		synctest.Wait()
		if g.notices.untold != nil || g.notices.n != 0 {
			t.Error("something is left:", g.notices)
		}
		n.s.goOn = make(chan struct{})
		n.gone(accountN(0), "x", "three")
		late := ask(0)
		time.Sleep(maxWorkTime + time.Second)
		synctest.Wait()
		if len(late) != 1 || <-late != "" { // it had no time left to read anything
			t.Error("a request has waited longer than it may, or was answered as if it had not waited")
		}
		close(n.s.goOn)
		stop(t, n.h)
	})
}

// Workers that wait for notices don't keep them from being told; nor does the guest
// itself, which asks about the account that it was told of.
func TestNoticesWaitForNoWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNoticed(t, 2)
		g := n.h.noticed[0]
		n.s.goOn = make(chan struct{})
		var saw notes[string]
		ask := func(i int) transport.Wait {
			return g.Ask(extension.Origin{}, func(ctx context.Context, h *extension.Host) error {
				e, _, err := h.Store.Get(ctx, accountN(i), "last")
				saw.add(string(e.Value))
				return err
			}, func(_ *transport.Batch, err error) transport.Wait {
				if err != nil {
					t.Error(err)
				}
				return nil
			})
		}
		n.h.router = asking{n.h.router, ask(1)}
		g.Reg.Notice = func(ctx context.Context, h *extension.Host, x extension.Notice) error {
			if x.Session.Bare() == accountN(1) {
				if err := h.Stanzas.Send(stanza.New(stanza.Header{Kind: stanza.Message, From: server, To: romeo})); err != nil {
					return err
				}
			}
			return n.notice(ctx, h, x)
		}
		n.gone(accountN(0), "x", "one")
		synctest.Wait() // it is being written
		n.gone(accountN(0), "x", "two")
		n.gone(accountN(1), "x", "self")
		for range n.h.Workers {
			n.h.Spawn(ask(0))
		}
		synctest.Wait()
		close(n.s.goOn)
		synctest.Wait()
		got := saw.take()
		slices.Sort(got)
		if want := append([]string{"self"}, slices.Repeat([]string{"two"}, n.h.Workers)...); !slices.Equal(got, want) {
			t.Errorf("saw %q, want %q", got, want)
		}
		stop(t, n.h)
	})
}

// asking is a router that comes to the guest's own handler with what it sends.
type asking struct {
	Router
	ask transport.Wait
}

func (a asking) Route(*transport.Batch, *extension.Envelope) transport.Wait { return a.ask }
