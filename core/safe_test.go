package core_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	store "github.com/hexmpp/hexmpp/adapters/storage/memory"
	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/core/offline"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// spool is a spool whose disk is as slow as the test wants: nothing is on it
// until sync.
type spool struct {
	old     []storage.SpoolRecord
	senders []storage.SpoolSession

	mu     sync.Mutex
	held   map[uint64]storage.SpoolRecord
	began  []string
	told   map[string][]uint32
	light  bool
	last   uint64
	ended  atomic.Int32
	synced func(uint64)
	full   bool
}

func (s *spool) Load(f func(storage.SpoolRecord) error) ([]storage.SpoolSession, error) {
	for _, r := range s.old {
		s.held[r.ID] = r
		s.last = max(s.last, r.ID)
		if err := f(r); err != nil {
			return nil, err
		}
	}
	return s.senders, nil
}

func (s *spool) Append(r storage.SpoolRecord) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	s.held[s.last] = r
	s.light = r.Light
	return s.last
}

func (s *spool) Done(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.held, id)
}

func (s *spool) Began(x storage.SpoolSession) { s.began = append(s.began, x.ID) }
func (s *spool) Told(id string, h uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.told == nil {
		s.told = map[string][]uint32{}
	}
	s.told[id] = append(s.told[id], h)
}
func (s *spool) Written(context.Context, uint64) {}
func (s *spool) Ended(string)                    { s.ended.Add(1) }
func (s *spool) Synced(f func(uint64))           { s.synced = f }
func (s *spool) Failed() <-chan struct{}         { return nil }
func (s *spool) Full() bool                      { return s.full }
func (s *spool) Close() error                    { return nil }
func (s *spool) Size() (records int, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.held), int64(1000 * len(s.held))
}

// sync is the disk, up to a record.
func (s *spool) sync(id uint64) { s.synced(id) }

// wantHeld checks how many records are not done.
func (s *spool) wantHeld(t *testing.T, n int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.held) != n {
		t.Errorf("%d records in the spool, want %d: %v", len(s.held), n, s.held)
	}
}

func spooledWorld(t *testing.T, sp *spool, change func(*core.Options, *core.Ports)) *world {
	sp.held = map[uint64]storage.SpoolRecord{}
	return newWorld(t, func(o *core.Options, p *core.Ports) {
		p.Spool, o.Offline = sp, offline.Options{Messages: 100}
		if change != nil {
			change(o, p)
		}
	})
}

const askAck = "<r xmlns='urn:xmpp:sm:3'/>"

func ack(h int) string { return fmt.Sprintf("<a xmlns='urn:xmpp:sm:3' h='%d'/>", h) }

// XEP-0198 4: <r/> is answered at once, with what is safe; what becomes safe later
// is told then. Delivery waits for nothing.
func TestNothingIsAcknowledgedBeforeItIsSafe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sp := &spool{}
		w := spooledWorld(t, sp, nil)
		romeo, juliet := w.login("romeo@example.test/x", ""), w.online("juliet@example.test/a")
		romeo.manage()
		juliet.manage()
		romeo.send(say(1) + "<iq type='get' id='p' to='example.test'><ping xmlns='urn:xmpp:ping'/></iq>" + say(2))
		juliet.want(msg(1) + msg(2))
		romeo.take()
		romeo.send(askAck).want(ack(0))
		sp.sync(1)
		romeo.want(ack(2)) // the iq behind the first message is safe, too
		sp.sync(1)
		romeo.want("")
		romeo.send(askAck).want(ack(2))
		sp.sync(2)
		romeo.want(ack(3))
		sp.sync(2)
		romeo.want("")
		romeo.send(askAck).want(ack(3))
		sp.wantHeld(t, 2)
		juliet.send(ack(1))
		sp.wantHeld(t, 1)
		juliet.send(ack(2))
		sp.wantHeld(t, 0)
	})
}

// A sender that did not ask is not told by itself.
func TestUnaskedIsAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sp := &spool{}
		w := spooledWorld(t, sp, nil)
		romeo, juliet := w.login("romeo@example.test/x", ""), w.online("juliet@example.test/a")
		romeo.manage()
		romeo.send(say(1))
		juliet.want(msg(1))
		sp.wantHeld(t, 0) // without stream management it is done when it is written
		sp.sync(1)
		romeo.want("")
		romeo.send(askAck).want(ack(1))
	})
}

// What needs no spool: whoever is promised nothing, what is stored, what is no
// message to be kept.
func TestNotSpooled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sp := &spool{}
		w := spooledWorld(t, sp, func(_ *core.Options, p *core.Ports) {
			p.Store = accountsIn(t, "juliet@example.test", "nurse@example.test")
		})
		romeo, juliet := w.login("romeo@example.test/x", ""), w.online("juliet@example.test/a")
		juliet.manage()
		romeo.send(say(1))
		juliet.want(msg(1))
		romeo.manage()
		for _, xml := range []string{
			"<message to='nurse@example.test' type='chat' id='n'><body>stored</body></message>",
			"<message to='juliet@example.test/a' type='headline' id='h'><body>h</body></message>",
			"<message to='juliet@example.test/a' type='chat' id='h'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>",
			"<presence to='juliet@example.test/a'/>",
		} {
			romeo.send(xml)
		}
		sp.sync(1)
		romeo.send(askAck).want(ack(4))
		sp.wantHeld(t, 0)
		if sp.last != 1 || !sp.light { // what is stored: the sender's count must outlive a kill
			t.Errorf("%d records", sp.last)
		}
	})
}

// accountsIn returns a store with accounts.
func accountsIn(t *testing.T, users ...string) storage.Store {
	t.Helper()
	s := store.New()
	for _, u := range users {
		if err := s.CreateAccount(t.Context(), storage.Account{User: jid.MustParse(u)}); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// One of two sessions acknowledged: the message can't be lost any more.
func TestForkIsDoneByTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sp := &spool{}
		w := spooledWorld(t, sp, nil)
		romeo := w.login("romeo@example.test/x", "")
		a, b := w.online("juliet@example.test/a"), w.online("juliet@example.test/b")
		romeo.manage()
		a.manage()
		b.manage()
		romeo.send("<message to='juliet@example.test' type='chat' id='1'><body>1</body></message>")
		sp.wantHeld(t, 1)
		b.send(ack(1))
		sp.wantHeld(t, 0)
	})
}

// What ended sessions leave is done when it is stored, or when the session that
// takes it has acknowledged it.
func TestWhatIsLeftStaysInTheSpool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sp := &spool{}
		w := spooledWorld(t, sp, func(_ *core.Options, p *core.Ports) { p.Store = accountsIn(t, "juliet@example.test") })
		romeo, a := w.login("romeo@example.test/x", ""), w.online("juliet@example.test/a")
		romeo.manage()
		a.manage()
		romeo.send(say(1))
		a.take()
		b := w.online("juliet@example.test/b")
		b.manage()
		a.send("</stream:stream>") // its message goes to b
		b.wantPart("<body>1</body>")
		sp.wantHeld(t, 1)
		b.send("</stream:stream>") // and from b into storage
		synctest.Wait()
		sp.wantHeld(t, 0)
		c := w.login("juliet@example.test/c", "")
		c.send("<presence/>")
		c.until("<body>1</body>")
	})
}

// online returns a client that is available, and has all that was stored for it.
func (w *world) online(full string) *client {
	w.t.Helper()
	c := w.login(full, "")
	c.send("<presence/>")
	c.until("<presence from='" + full + "' to='" + jid.MustParse(full).Bare().String() + "'/>")
	return c
}

// until wants part in what the client was sent, when all tasks of the kernel have
// come to rest.
func (c *client) until(part string) {
	c.w.t.Helper()
	synctest.Wait()
	c.wantPart(part)
}

// <resumed/> counts everything that was handled, and so waits until it is safe.
func TestResumptionWaitsForTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sp := &spool{}
		w := spooledWorld(t, sp, nil)
		romeo, juliet := w.login("romeo@example.test/x", ""), w.online("juliet@example.test/a")
		juliet.manage()
		id := romeo.manage()
		romeo.send(say(1) + say(2))
		romeo.cut()
		done := make(chan *client)
		go func() { done <- w.resume("romeo@example.test", id, 0) }()
		synctest.Wait()
		sp.sync(1)
		synctest.Wait()
		select {
		case <-done:
			t.Error("resumed before the second message is safe")
		default:
		}
		sp.sync(2)
		(<-done).wantPart("<resumed xmlns='urn:xmpp:sm:3' h='2' ")
	})
}

// After a kill: what was accepted is stored for its recipients, in order, with the
// time of its receipt; the counts of senders are known.
func TestRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		record := func(id uint64, to, body string) storage.SpoolRecord {
			return storage.SpoolRecord{ID: id, Stamp: at, To: jid.MustParse(to), Stanza: stanza.New(
				stanza.Header{Kind: stanza.Message, Type: stanza.Chat, ID: body, From: jid.MustParse("romeo@example.test/x"), To: jid.MustParse(to + "/gone")},
				stanza.El("", "body").WithText(body))}
		}
		sp := &spool{
			old: []storage.SpoolRecord{record(1, "juliet@example.test", "one"), record(2, "nurse@example.test", "x"),
				record(3, "juliet@example.test", "two"), record(4, "removed@example.test", "y")},
			senders: []storage.SpoolSession{{ID: "sm-of-romeo", User: jid.MustParse("romeo@example.test"), Handled: 7}},
		}
		w := spooledWorld(t, sp, func(_ *core.Options, p *core.Ports) {
			p.Store = accountsIn(t, "juliet@example.test", "nurse@example.test")
		})
		sp.wantHeld(t, 0)
		juliet := w.login("juliet@example.test/a", "")
		juliet.send("<presence/>")
		const stamp = "<delay xmlns='urn:xmpp:delay' from='example.test' stamp='2026-01-02T03:04:05.000Z'/></message>"
		juliet.until("<body>one</body>" + stamp + "<message from='romeo@example.test/x' to='juliet@example.test' id='two' type='chat'><body>two</body>" + stamp)
		w.resume("romeo@example.test", "sm-of-romeo", 0).wantPart("<failed xmlns='urn:xmpp:sm:3' h='7'><item-not-found ")
		w.resume("juliet@example.test", "sm-of-romeo", 0).wantPart("<failed xmlns='urn:xmpp:sm:3'><item-not-found ")
	})
}

// failing stores nothing.
type failing struct{ storage.Store }

func (failing) AddOffline(context.Context, jid.JID, storage.OfflineMessage, int) (uint64, error) {
	return 0, errors.New("disk full")
}

func (failing) AddOfflineEach(context.Context, []storage.OfflineAdd, int) ([]error, error) {
	return nil, errors.New("disk full")
}

func (failing) AddOfflineAll(context.Context, jid.JID, []storage.OfflineMessage) error {
	return errors.New("disk full")
}

// What can't be stored stays in the spool for the next start.
func TestRecoveryThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sp := &spool{old: []storage.SpoolRecord{{ID: 5, To: jid.MustParse("juliet@example.test"),
			Stanza: stanza.New(stanza.Header{Kind: stanza.Message, To: jid.MustParse("juliet@example.test")})}}}
		spooledWorld(t, sp, func(_ *core.Options, p *core.Ports) { p.Store = failing{p.Store} })
		sp.wantHeld(t, 1)
	})
}

// A disk that is slower than a client stops the client, not the memory.
func TestSlowDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sp := &spool{}
		w := spooledWorld(t, sp, nil)
		romeo := w.login("romeo@example.test/x", "")
		w.online("juliet@example.test/a")
		romeo.manage()
		var all strings.Builder
		for i := range 1500 {
			all.WriteString(say(i))
		}
		sent := make(chan struct{})
		go func() { defer close(sent); romeo.send(all.String()) }()
		synctest.Wait()
		sp.mu.Lock()
		last := sp.last
		sp.mu.Unlock()
		if last != 1000 {
			t.Errorf("%d messages are under way", last)
		}
		select {
		case <-sent:
			t.Error("it was not stopped")
		default:
		}
		sp.sync(1000)
		<-sent
		if sp.last != 1500 {
			t.Error(sp.last)
		}
	})
}

// So it is with few large messages: it is memory that they take.
func TestSlowDiskAndLargeMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sp := &spool{}
		w := spooledWorld(t, sp, nil)
		romeo := w.login("romeo@example.test/x", "")
		w.online("juliet@example.test/a")
		romeo.manage()
		large := "<message to='juliet@example.test/a' type='chat'><body>" + strings.Repeat("x", 200_000) + "</body></message>"
		sent := make(chan struct{})
		go func() { defer close(sent); romeo.send(strings.Repeat(large, 12)) }()
		for at, upTo := range []uint64{6, 10, 12} { // 1 MiB; it goes on at half of that
			synctest.Wait()
			sp.mu.Lock()
			last := sp.last
			sp.mu.Unlock()
			if last != upTo {
				t.Errorf("%d. %d messages are under way, want %d", at, last, upTo)
			}
			sp.sync(upTo - 2)
		}
		<-sent
	})
}

// What is in hand, waiting for its commit, is not counted when what was sent
// before it becomes safe.
func TestWhatIsInHandIsNotSafe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sp := &spool{}
		commit := make(chan struct{})
		w := spooledWorld(t, sp, func(_ *core.Options, p *core.Ports) {
			p.Store = slowOffline{accountsIn(t, "nurse@example.test"), commit}
		})
		romeo := w.login("romeo@example.test/x", "")
		w.online("juliet@example.test/a").manage()
		romeo.manage()
		romeo.send(say(1) + askAck).want(ack(0))
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			romeo.send("<message to='nurse@example.test' type='chat' id='n'><body>stored</body></message>")
		}()
		synctest.Wait()
		sp.sync(2) // both are in the spool; the second is not committed
		romeo.want(ack(1))
		close(commit)
		<-sent
		romeo.want(ack(2))
	})
}

// slowOffline commits when the test lets it.
type slowOffline struct {
	storage.Store
	commit chan struct{}
}

func (s slowOffline) AddOfflineEach(ctx context.Context, all []storage.OfflineAdd, quota int) ([]error, error) {
	return addEach(ctx, s, all, quota)
}

func (s slowOffline) AddOffline(ctx context.Context, owner jid.JID, m storage.OfflineMessage, quota int) (uint64, error) {
	<-s.commit
	return s.Store.AddOffline(ctx, owner, m, quota)
}
