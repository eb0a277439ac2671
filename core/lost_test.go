package core_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/core/offline"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// What is stored when a session leaves it is safe like a chat message, also where
// without the session it would go back to its sender (RFC 6121 8.5.3.2.1).
func TestNormalMessagesToFullJIDsAreSpooled(t *testing.T) {
	for _, typ := range []string{"", " type='normal'", " type='nonsense'"} {
		synctest.Test(t, func(t *testing.T) {
			sp := &spool{}
			m := &mailbox{Store: accountsIn(t, "juliet@example.test")}
			w := spooledWorld(t, sp, func(_ *core.Options, p *core.Ports) { p.Store = m })
			romeo, juliet := w.login("romeo@example.test/x", ""), w.online("juliet@example.test/a")
			romeo.manage()
			juliet.manage()
			romeo.send("<message to='juliet@example.test/a'" + typ + "><body>1</body></message>" + askAck).want(ack(0))
			sp.wantHeld(t, 1)
			sp.sync(1)
			romeo.want(ack(1))
			juliet.send("</stream:stream>")
			keeps(t, m, "1")
			sp.wantHeld(t, 0)
			romeo.send("<message to='juliet@example.test/a'" + typ + " id='2'><body>2</body></message>" + askAck)
			romeo.wantPart("<service-unavailable ")
			keeps(t, m, "1")
			sp.wantHeld(t, 0)
		})
	}
}

// leftWorld has romeo, who was told that his messages are safe, and juliet, who has not
// acknowledged them.
func leftWorld(t *testing.T, messages int, change func(*core.Options, *core.Ports)) (w *world, sp *spool, m *mailbox, romeo, juliet *client) {
	sp = &spool{}
	w = spooledWorld(t, sp, func(o *core.Options, p *core.Ports) {
		m = &mailbox{Store: accountsIn(t, "juliet@example.test", "romeo@example.test")}
		p.Store = m
		if change != nil {
			change(o, p)
		}
	})
	romeo, juliet = w.login("romeo@example.test/x", ""), w.online("juliet@example.test/a")
	romeo.manage()
	juliet.manage()
	for i := range messages {
		romeo.send(say(i + 1))
	}
	sp.sync(uint64(messages))
	romeo.send(askAck).want(ack(messages))
	return w, sp, m, romeo, juliet
}

// Storage fails while a session ends: what was acknowledged is stored when it works
// again, in order, and nobody is told of anything; until then the spool has it.
func TestStorageFailsWhileASessionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, sp, m, romeo, juliet := leftWorld(t, 3, nil)
		m.set(&m.add, func() error { return errors.New("database is away for a moment") })
		juliet.send("</stream:stream>")
		synctest.Wait()
		time.Sleep(5 * time.Minute)
		sp.wantHeld(t, 3)
		keeps(t, m)
		m.set(&m.add, nil)
		time.Sleep(2 * time.Minute)
		keeps(t, m, "1", "2", "3")
		sp.wantHeld(t, 0)
		romeo.want("")
	})
}

// Nor is it stored twice if nobody knows whether it was.
func TestStorageDoesNotAnswerWhileASessionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, sp, m, _, juliet := leftWorld(t, 3, nil)
		m.set(&m.added, func() error { return errors.New("connection lost") })
		juliet.send("</stream:stream>")
		keepsFirst(t, m, "1", "2", "3")
		sp.wantHeld(t, 3)
		m.set(&m.added, nil)
		time.Sleep(time.Minute)
		keeps(t, m, "1", "2", "3")
		sp.wantHeld(t, 0)
	})
}

// Nor does it come twice to a session that might fetch it meanwhile.
func TestStorageDoesNotAnswerAndAnotherSessionComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, sp, m, romeo, a := leftWorld(t, 3, nil)
		m.set(&m.added, func() error { return errors.New("connection lost") })
		a.send("</stream:stream>")
		keepsFirst(t, m, "1", "2", "3")
		b := w.login("juliet@example.test/b", "")
		b.send("<presence/>").hears()
		romeo.send(strings.ReplaceAll(say(4), "/a", "/b"))
		b.hears()
		m.set(&m.added, nil)
		time.Sleep(time.Minute)
		b.hears("1", "2", "3", "4")
		time.Sleep(time.Hour)
		b.hears()
		keeps(t, m)
		sp.wantHeld(t, 0)
	})
}

// keepsFirst wants the first of these to be stored, at least one: how many of what a
// session left go into the first transaction depends on when it begins.
func keepsFirst(t *testing.T, m *mailbox, bodies ...string) {
	t.Helper()
	synctest.Wait()
	got := m.waiting(t, juliet)
	if len(got) == 0 || len(got) > len(bodies) || !slices.Equal(got, bodies[:len(got)]) {
		t.Errorf("stored are %q, want the first of %q", got, bodies)
	}
}

// A server that ends meanwhile leaves it in the spool.
func TestStorageFailsUntilTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, sp, m, romeo, juliet := leftWorld(t, 3, nil)
		m.set(&m.add, func() error { return errors.New("disk full") })
		juliet.send("</stream:stream>")
		romeo.send("</stream:stream>")
		synctest.Wait()
		if err := w.k.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		sp.wantHeld(t, 3)
		if m.batches < 2 {
			t.Error("it was not tried a last time")
		}
	})
}

// What comes later waits for what can't be stored, but not for ever.
func TestOrderYieldsToStorageThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _, m, romeo, a := leftWorld(t, 1, nil)
		m.set(&m.add, func() error { return errors.New("disk full") })
		a.send("</stream:stream>")
		b := w.login("juliet@example.test/b", "")
		b.send("<presence/>")
		romeo.send(tell("2"))
		b.hears()
		time.Sleep(time.Minute)
		b.hears("2")
		m.set(&m.add, nil)
		time.Sleep(time.Minute)
		b.hears("1")
	})
}

// notingRecall writes something for each message that waited.
func notingRecall() extension.Registration {
	return staged(extension.Recall, extension.Decide, func(_ context.Context, h *extension.Host, e *extension.Envelope) (extension.Verdict, error) {
		if e.Stanza.Kind == stanza.Message {
			h.Store.Put(e.Account, "recalled", []byte(e.Stanza.ID))
		}
		return extension.Verdict{}, nil
	})
}

// recalling has notingRecall, whose commits ask commit before.
func recalling(commit *hook) func(*core.Options, *core.Ports) {
	return func(o *core.Options, p *core.Ports) {
		with(notingRecall())(o, p)
		p.Store = &slowCommits{p.Store, commit}
	}
}

// hook is a function that a test changes while others call it.
type hook struct{ atomic.Pointer[func() error] }

func (h *hook) set(f func() error) { h.Store(&f) }

func (h *hook) ask() error {
	if f := h.Load(); f != nil && *f != nil {
		return (*f)()
	}
	return nil
}

type slowCommits struct {
	storage.Store
	before *hook
}

func (s *slowCommits) Commit(ctx context.Context, w storage.Writes) error {
	if err := s.before.ask(); err != nil {
		return err
	}
	return s.Store.Commit(ctx, w)
}

// So it is where an extension can't say whether they go on.
func TestRecallFailsWhileASessionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var commit hook
		_, sp, m, romeo, juliet := leftWorld(t, 2, recalling(&commit))
		commit.set(func() error { return errors.New("database is away") })
		juliet.send("</stream:stream>")
		time.Sleep(time.Minute)
		sp.wantHeld(t, 2)
		keeps(t, m)
		commit.set(nil)
		time.Sleep(2 * time.Minute)
		keeps(t, m, "1", "2")
		sp.wantHeld(t, 0)
		romeo.want("")
	})
}

// A handler that fails decides nothing; one that refuses does.
func TestUndeliveredFailsWhileASessionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var verdict hook
		_, sp, m, romeo, juliet := leftWorld(t, 1, with(staged(extension.Undelivered, extension.Decide, func(context.Context, *extension.Host, *extension.Envelope) (extension.Verdict, error) {
			return extension.Verdict{}, verdict.ask()
		})))
		verdict.set(func() error { return errors.New("a push service is away") })
		juliet.send("</stream:stream>")
		time.Sleep(time.Minute)
		sp.wantHeld(t, 1)
		verdict.set(func() error { return stanza.Err(stanza.NotAcceptable, "") })
		time.Sleep(time.Minute)
		sp.wantHeld(t, 0)
		keeps(t, m)
		romeo.wantPart("<not-acceptable ")
	})
}

// A handler that fails for good holds up what sessions of the account leave for some
// minutes, and no longer; only while storage works.
func TestRecallFailsForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var commit hook
		_, sp, m, romeo, juliet := leftWorld(t, 2, recalling(&commit))
		commit.set(func() error { return errors.New("no luck") })
		m.set(&m.add, func() error { return errors.New("database is away") })
		romeo.send("<message to='juliet@example.test/a' type='chat' id='3'><body>3</body><no-store xmlns='urn:xmpp:hints'/></message>" +
			"<iq to='juliet@example.test/a' type='get' id='q'><query xmlns='urn:example:question'/></iq>" + say(4))
		sp.sync(sp.last)
		juliet.send("</stream:stream>")
		synctest.Wait()
		romeo.take()
		time.Sleep(9 * time.Minute)
		m.set(&m.add, nil)
		time.Sleep(30 * time.Second)
		sp.wantHeld(t, 3)
		keeps(t, m)
		m.set(&m.add, func() error { return errors.New("database is away") })
		time.Sleep(10 * time.Minute)
		sp.wantHeld(t, 3)
		m.set(&m.add, nil)
		time.Sleep(2 * time.Minute)
		keeps(t, m, "1", "2", "4")
		sp.wantHeld(t, 0)
	})
}

// The quota is for what is not accepted yet; and what is left is stored by few commits.
func TestNoQuotaForWhatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, sp, m, romeo, juliet := leftWorld(t, 700, func(o *core.Options, _ *core.Ports) { o.Offline = offline.Options{Messages: 5} })
		m.set(&m.add, func() error { time.Sleep(10 * time.Millisecond); return nil })
		juliet.send("</stream:stream>")
		time.Sleep(time.Second)
		m.set(&m.add, nil)
		keeps(t, m, count(1, 700)...)
		sp.wantHeld(t, 0)
		romeo.want("")
		romeo.send(tell("more"))
		romeo.wantPart("<resource-constraint ")
		if m.batches > 3 {
			t.Errorf("%d commits for 700 messages", m.batches)
		}
	})
}

// What a session leaves waits for storage; what is sent later comes behind it.
func TestOrderWhereRecallWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var commit hook
		_, _, m, romeo, juliet := leftWorld(t, 2, recalling(&commit))
		wait := make(gateway)
		commit.set(wait.pass)
		juliet.send("</stream:stream>")
		sent := make(chan struct{})
		go func() { defer close(sent); romeo.send(tell("3")) }()
		synctest.Wait()
		keeps(t, m)
		close(wait)
		<-sent
		keeps(t, m, "1", "2", "3")
	})
}

// A server that ends waits for it.
func TestShutdownWaitsForWhatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var commit hook
		w, sp, m, romeo, juliet := leftWorld(t, 2, recalling(&commit))
		juliet.cut()
		romeo.send("</stream:stream>")
		commit.set(func() error { time.Sleep(time.Second); return nil })
		if err := w.k.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		keeps(t, m, "1", "2")
		sp.wantHeld(t, 0)
	})
}

// old is what an earlier process had accepted for juliet.
func old(n int) (records []storage.SpoolRecord) {
	for i := 1; i <= n; i++ {
		body := fmt.Sprint(i)
		records = append(records, storage.SpoolRecord{ID: uint64(i), Stamp: time.Date(2026, 1, 2, 3, 4, 5, i*1000, time.UTC), To: juliet, Stanza: stanza.New(
			stanza.Header{Kind: stanza.Message, Type: stanza.Chat, ID: body, From: jid.MustParse("romeo@example.test/x"), To: juliet},
			stanza.El("", "body").WithText(body))})
	}
	return records
}

// A recovery that fails half-way: what is stored is done, the rest is stored by and
// by, also by the next process; nothing comes twice.
func TestRecoveryThatFailsHalfWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sp := &spool{old: old(1200)}
		m := &mailbox{Store: accountsIn(t, "juliet@example.test")}
		gone := errors.New("disk full")
		fail := func() error {
			if m.batches > 1 {
				return gone
			}
			return nil
		}
		m.set(&m.add, fail)
		start := func() *world { return spooledWorld(t, sp, func(_ *core.Options, p *core.Ports) { p.Store = m }) }
		w := start()
		sp.wantHeld(t, 1200-512)
		juliet := w.login("juliet@example.test/a", "")
		juliet.send("<presence/>")
		time.Sleep(20 * time.Second)   // order yields
		juliet.hears(count(1, 512)...) // and are not stored any more
		juliet.send("</stream:stream>")
		if err := w.k.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		sp.left()
		w = start()
		sp.wantHeld(t, 1200-512)
		m.set(&m.add, nil)
		time.Sleep(time.Minute)
		sp.wantHeld(t, 0)
		keeps(t, m, count(513, 1200)...)
		w.login("juliet@example.test/a", "").send("<presence/>").hears(count(513, 1200)...)
	})
}

// A start that is given up leaves the rest of it to the next one, and nothing running.
func TestRecoveryIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sp := &spool{old: old(1200), held: map[uint64]storage.SpoolRecord{}}
		m := &mailbox{Store: accountsIn(t, "juliet@example.test")}
		ctx, giveUp := context.WithCancel(t.Context())
		m.set(&m.add, func() error { // each takes its time
			if m.batches > 1 {
				giveUp()
				time.Sleep(time.Second)
				return ctx.Err()
			}
			time.Sleep(20 * time.Second)
			return nil
		})
		o := core.Options{Domains: []string{"example.test"}}
		var p core.Ports
		newPorts(&p)
		p.Store, p.Spool = m, sp
		k, err := core.New(o, p)
		if err != nil {
			t.Fatal(err)
		}
		if err := k.Start(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		sp.wantHeld(t, 1200-512)
		keeps(t, m, count(1, 512)...)
		m.set(&m.add, nil)
		sp.left()
		spooledWorld(t, sp, func(_ *core.Options, p *core.Ports) { p.Store = m })
		sp.wantHeld(t, 0)
		keeps(t, m, count(1, 1200)...)
	})
}

// left makes what is not done the records of an earlier process.
func (s *spool) left() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.old = slices.DeleteFunc(s.old, func(r storage.SpoolRecord) bool { _, held := s.held[r.ID]; return !held })
}

// lookups is a store whose accounts can't be read for a while.
type lookups struct {
	storage.Store
	before *hook
}

func (l *lookups) Account(ctx context.Context, user jid.JID) (storage.Account, error) {
	if err := l.before.ask(); err != nil {
		return storage.Account{}, err
	}
	return l.Store.Account(ctx, user)
}

// So it is where it can't be read whether the account is the one of before.
func TestRecoveryOfAccountsThatCanNotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sp := &spool{old: old(3)}
		m := &mailbox{Store: accountsIn(t, "juliet@example.test")}
		var account hook
		account.set(func() error { return errors.New("database is away") })
		spooledWorld(t, sp, func(_ *core.Options, p *core.Ports) { p.Store = &lookups{m, &account} })
		sp.wantHeld(t, 3)
		account.set(nil)
		time.Sleep(time.Minute)
		sp.wantHeld(t, 0)
		keeps(t, m, "1", "2", "3")
	})
}

// Messages that are the same but for what they say are different ones; those that are
// stored already are not stored again.
func TestRecoveryCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		same := old(3)
		for i := range same {
			same[i].Stamp = same[0].Stamp
			h := same[i].Stanza.Header
			h.ID = ""
			same[i].Stanza = same[i].Stanza.With(h)
		}
		m := &mailbox{Store: accountsIn(t, "juliet@example.test")}
		if _, err := m.Store.AddOffline(t.Context(), juliet, storage.OfflineMessage{Stamp: same[0].Stamp, XML: same[0].Stanza.Append(nil, jid.JID{}, "jabber:client")}, 10); err != nil {
			t.Fatal(err)
		}
		spooledWorld(t, &spool{old: same}, func(_ *core.Options, p *core.Ports) { p.Store = m })
		keeps(t, m, "1", "2", "3")
	})
}

// What can never be stored is told to its sender, and holds up nothing.
func TestTooLongForStorage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, sp, m, romeo, juliet := leftWorld(t, 1, func(o *core.Options, _ *core.Ports) { o.Limits.StanzaBytes, o.Limits.OutboxBytes = 4<<20, 16<<20 })
		romeo.send("<message to='juliet@example.test/a' type='chat' id='long'><body>" + strings.Repeat("x", storage.MaxValue) + "</body></message>" + say(3))
		sp.sync(3)
		juliet.send("</stream:stream>")
		synctest.Wait()
		romeo.wantPart("<resource-constraint ")
		keeps(t, m, "1", "3")
		sp.wantHeld(t, 0)
	})
}
