package core_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/hexmpp/hexmpp/adapters/sessionfile"
	store "github.com/hexmpp/hexmpp/adapters/storage/memory"
	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/core/offline"
	"github.com/hexmpp/hexmpp/ports/auth"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// restarted is what outlives a process: storage, spool and the file of sessions. All
// of it is in memory but the file.
type restarted struct {
	t      *testing.T
	store  *rosters
	spool  *spool
	saved  storage.SavedSessions
	log    bytes.Buffer
	change func(*core.Options, *core.Ports)
	*world
}

// accountsOf is the source of the accounts that are in a store; anybody can log in.
type accountsOf struct {
	open
	storage.Store
}

func (a accountsOf) Get(ctx context.Context, user jid.JID) (auth.Account, error) {
	got, err := a.Store.Account(ctx, user)
	if errors.Is(err, storage.ErrNotFound) {
		err = auth.ErrNotFound
	}
	return auth.Account{User: got.User, Created: got.Created}, err
}

// newRestarted has the accounts romeo, juliet and nurse, of whom the first two are
// contacts, and a first process.
func newRestarted(t *testing.T, change func(*core.Options, *core.Ports)) *restarted {
	t.Helper()
	s := store.New()
	r := &restarted{
		t: t, store: &rosters{Store: s, m: map[jid.JID]storage.Roster{}}, spool: &spool{held: map[uint64]storage.SpoolRecord{}},
		saved: sessionfile.New(t.TempDir()), change: change,
	}
	for _, name := range []string{"romeo", "juliet", "nurse"} {
		r.create(name, time.Now().Add(-time.Hour))
	}
	both := func(contact string) storage.Roster {
		return storage.Roster{Version: 1, Items: []storage.RosterItem{{Contact: jid.MustParse(contact), Subscription: storage.SubBoth}}}
	}
	r.store.m[romeo], r.store.m[juliet] = both("juliet@example.test"), both("romeo@example.test")
	r.start()
	return r
}

func (r *restarted) create(name string, at time.Time) {
	r.t.Helper()
	if err := r.store.CreateAccount(r.t.Context(), storage.Account{User: jid.MustParse(name + "@example.test"), Created: at}); err != nil {
		r.t.Fatal(err)
	}
}

// reload makes the spool what another process finds.
func (r *restarted) reload() {
	sp := &spool{held: map[uint64]storage.SpoolRecord{}, last: r.spool.last}
	for id := uint64(1); id <= r.spool.last; id++ {
		if rec, held := r.spool.held[id]; held {
			rec.ID = id
			sp.old = append(sp.old, rec)
		}
	}
	r.spool = sp
}

func (r *restarted) ports(o *core.Options, p *core.Ports) {
	o.Domains, o.TLSRequired, o.Offline = []string{"example.test"}, true, offline.Options{Messages: 100}
	newPorts(p)
	p.Store, p.Spool, p.Saved, p.Accounts = r.store, r.spool, r.saved, accountsOf{Store: r.store}
	p.Log = zap.New(zapcore.NewCore(zapcore.NewConsoleEncoder(zapcore.EncoderConfig{MessageKey: "m"}), zapcore.AddSync(&r.log), zap.InfoLevel))
	if r.change != nil {
		r.change(o, p)
	}
}

// start is another process.
func (r *restarted) start() {
	r.t.Helper()
	r.reload()
	r.world = newWorld(r.t, r.ports)
}

// im is world.im for a server whose offline messages come to rest first.
func (r *restarted) im(full string) *client {
	r.t.Helper()
	c := r.world.im(full)
	synctest.Wait()
	c.take()
	return c
}

// stop ends the process in good order; clients are those that are connected.
func (r *restarted) stop(clients ...*client) {
	r.t.Helper()
	ended := make(chan error)
	go func() { ended <- r.k.Shutdown(r.t.Context()) }()
	synctest.Wait()
	for _, c := range clients {
		if !c.closing {
			r.t.Error("a connection was not closed")
		}
		c.reap()
	}
	r.spool.sync(r.spool.last)
	if err := <-ended; err != nil {
		r.t.Error(err)
	}
}

func (r *restarted) restart(clients ...*client) {
	r.t.Helper()
	r.stop(clients...)
	r.start()
}

// XEP-0198 5, over a restart: counts go on, what was not acknowledged comes once and
// in order, contacts see nothing, and the session is what it was.
func TestPlannedRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRestarted(t, nil)
		romeo, juliet := r.im("romeo@example.test/x"), r.im("juliet@example.test/a")
		synctest.Wait()
		rid, jid := romeo.manage(), juliet.manage()
		romeo.send(say(1) + say(2) + "<presence to='nurse@example.test/n'/>" + say(3))
		juliet.take()
		juliet.send(ack(1))
		romeo.take()
		r.restart(romeo, juliet)
		romeo.want("") // the stream is left unfinished (XEP-0198 7)
		juliet.want("")
		if s := r.k.Gauges(); s.Sessions != 2 || s.Resumable != 2 {
			t.Errorf("%+v", s)
		}

		nurse := r.login("nurse@example.test/n", "<presence/>") // romeo's directed presence is known
		romeo = r.resume("romeo@example.test", rid, 0)
		romeo.want("<resumed xmlns='urn:xmpp:sm:3' h='4' previd='" + rid + "'/>")
		romeo.send(say(4) + "<presence><show>away</show></presence>")
		romeo.wantPart("<show>away</show>") // the own resource is told, too
		juliet = r.resume("juliet@example.test", jid, 2)
		juliet.want("<resumed xmlns='urn:xmpp:sm:3' h='0' previd='" + jid + "'/>" + msg(3) + msg(4) +
			"<presence from='romeo@example.test/x' to='juliet@example.test'><show>away</show></presence>")
		r.spool.wantHeld(t, 2)
		juliet.send(ack(4))
		r.spool.wantHeld(t, 0)
		juliet.send("<iq type='set' id='1'><query xmlns='jabber:iq:roster'><item jid='nurse@example.test'/></query></iq>").wantPart("<item jid='nurse@example.test'") // interest
		romeo.send("</stream:stream>")
		nurse.until("<presence from='romeo@example.test/x' to='nurse@example.test/n' type='unavailable'/>")
		juliet.wantPart("<presence from='romeo@example.test/x' to='juliet@example.test' type='unavailable'/>")
		for _, line := range []string{"sessions are kept over the restart", "sessions of before the restart can be resumed"} {
			if !strings.Contains(r.log.String(), line) {
				t.Errorf("the log does not say: %s", line)
			}
		}
		if saved, err := r.saved.Load(); saved != nil || err != nil {
			t.Errorf("what was saved is still there: %v", err)
		}
	})
}

// A restart of a server whose sessions nobody resumed in between.
func TestTwoRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRestarted(t, nil)
		romeo, juliet := r.im("romeo@example.test/x"), r.im("juliet@example.test/a")
		romeo.manage()
		id := juliet.manage()
		juliet.take()
		romeo.send(say(1))
		r.restart(romeo, juliet)
		romeo = r.im("romeo@example.test/y")
		romeo.manage()
		romeo.send(say(2))
		r.restart(romeo)
		r.spool.wantHeld(t, 2)
		juliet = r.resume("juliet@example.test", id, 0)
		synctest.Wait()
		out := juliet.take() // romeo's presence is among it
		if got := bodiesOf(out); !slices.Equal(got, count(1, 2)) {
			t.Errorf("got %q", got)
		}
		juliet.send(ack(len(stanzaXML.FindAllString(out, -1))))
		r.spool.wantHeld(t, 0)
	})
}

// Whoever can't resume is told of the end, and leaves as ever.
func TestUnmanagedSessionsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRestarted(t, nil)
		romeo, juliet := r.im("romeo@example.test/x"), r.im("juliet@example.test/a")
		id := juliet.manage()
		nurse := r.login("nurse@example.test/n", "")
		nurse.send("<enable xmlns='urn:xmpp:sm:3'/>").take() // counts, and does not resume
		juliet.take()
		romeo.take()
		r.restart(romeo, juliet, nurse)
		romeo.wantPart(faultText("system-shutdown", "the server is shutting down"))
		nurse.wantPart("<system-shutdown ")
		r.resume("juliet@example.test", id, 0).wantPart("<presence from='romeo@example.test/x' to='juliet@example.test' type='unavailable'/>")
	})
}

// Time goes on while no server runs: what a session had goes where it goes when its
// time is up, and its count can still be told. So it is where resumption was turned
// off meanwhile, and where the time is shorter now.
func TestTimeIsUpBehindARestart(t *testing.T) {
	for name, row := range map[string]struct {
		down   time.Duration
		change func(*core.Options, *core.Ports)
		ended  bool
	}{
		"a short time":      {9 * time.Minute, nil, false},
		"a long time":       {10 * time.Minute, nil, true},
		"none any more":     {0, func(o *core.Options, _ *core.Ports) { o.Limits.ResumeTime = -1 }, true},
		"less than before":  {9 * time.Minute, func(o *core.Options, _ *core.Ports) { o.Limits.ResumeTime = 8 * time.Minute }, true},
		"more than before":  {10 * time.Minute, func(o *core.Options, _ *core.Ports) { o.Limits.ResumeTime = time.Hour }, true},
		"enough of what is": {time.Minute, func(o *core.Options, _ *core.Ports) { o.Limits.ResumeTime = 8 * time.Minute }, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRestarted(t, nil)
				romeo, juliet := r.im("romeo@example.test/x"), r.im("juliet@example.test/a")
				rid, id := romeo.manage(), juliet.manage()
				juliet.send("<iq type='result' id='1'/>") // counts
				romeo.send(say(1))
				r.stop(romeo, juliet)
				time.Sleep(row.down)
				r.change = row.change
				r.start()
				synctest.Wait()
				again := r.resume("juliet@example.test", id, 0)
				if !row.ended {
					again.wantPart("<resumed xmlns='urn:xmpp:sm:3' h='1' ")
					return
				}
				failed := "<failed xmlns='urn:xmpp:sm:3' h='1'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>"
				if row.down == 0 {
					failed = strings.Replace(failed, "item-not-found", "feature-not-implemented", 1)
				}
				again.want(failed)
				other := r.resume("romeo@example.test", rid, 0)
				other.want(failed)
				r.spool.wantHeld(t, 0)
				b := r.login("juliet@example.test/b", "")
				b.send("<presence/>").hears("1")
				if row.down > 0 {
					r.restart(again, other, b) // the count is told again
					r.resume("juliet@example.test", id, 0).wantPart("<failed xmlns='urn:xmpp:sm:3' h='1'>")
				}
			})
		})
	}
}

// Accounts that were removed meanwhile have no sessions any more, and their messages
// are nobody's; not even of one that was made under the same name.
func TestAccountIsGoneBehindARestart(t *testing.T) {
	for _, anew := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := newRestarted(t, nil)
			romeo, juliet := r.im("romeo@example.test/x"), r.im("juliet@example.test/a")
			nurse := r.im("nurse@example.test/n")
			rid, nid, id := romeo.manage(), nurse.manage(), juliet.manage()
			juliet.send("<presence to='nurse@example.test/n'/>")
			nurse.take()
			nurse.send(ack(1))
			romeo.send(say(1))
			r.stop(romeo, juliet, nurse)
			if err := r.store.RemoveAccount(t.Context(), jid.MustParse("juliet@example.test")); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			if anew {
				r.create("juliet", time.Now())
			}
			r.start()
			if s := r.k.Gauges(); s.Sessions != 2 {
				t.Errorf("%+v", s)
			}
			for who, id := range map[string]string{"romeo": rid, "nurse": nid} { // who saw it sees that it is gone
				got := r.resume(who+"@example.test", id, map[string]int{"nurse": 1}[who])
				if out := got.take(); strings.Count(out, "<presence from='juliet@example.test/a' to='"+who+"@example.test' type='unavailable'/>") != 1 {
					t.Errorf("%s got %s", who, out)
				}
			}
			r.resume("juliet@example.test", id, 0).wantPart("<item-not-found ")
			r.login("juliet@example.test/b", "").send("<presence/>").hears()
			r.spool.wantHeld(t, 0)
		})
	}
}

// A kill at any moment between the stop and the first client: nothing is lost or
// doubled. Behind it the spool has what the sessions had.
func TestKillAroundARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRestarted(t, nil)
		romeo, juliet := r.im("romeo@example.test/x"), r.im("juliet@example.test/a")
		rid, id := romeo.manage(), juliet.manage()
		romeo.send(say(1) + say(2))
		r.stop(romeo, juliet)
		kept := &shelf{SavedSessions: r.saved, fail: errors.New("killed")}
		r.saved = kept
		for range 2 { // killed before what was saved is dropped: the next one begins again
			r.reload()
			var o core.Options
			var p core.Ports
			r.ports(&o, &p)
			k, err := core.New(o, p)
			if err != nil {
				t.Fatal(err)
			}
			if err := k.Start(t.Context()); err == nil {
				t.Fatal("it started")
			}
			r.spool.wantHeld(t, 2)
			keepsNothing(t, r)
		}
		kept.fail = nil
		r.start()
		r.start() // it was killed: the spool has what nobody acknowledged, and the counts
		r.spool.wantHeld(t, 0)
		r.resume("romeo@example.test", rid, 0).wantPart("<item-not-found ")
		r.resume("juliet@example.test", id, 0).wantPart("<item-not-found ")
		r.login("juliet@example.test/a", "").send("<presence/>").hears("1", "2")
	})
}

// shelf is a SavedSessions of which nothing can be discarded, or saved.
type shelf struct {
	storage.SavedSessions
	fail, full error
}

func (s *shelf) Discard() error {
	if s.fail != nil {
		return s.fail
	}
	return s.SavedSessions.Discard()
}

func (s *shelf) Save(x *storage.Saved) error {
	if s.full != nil {
		return s.full
	}
	return s.SavedSessions.Save(x)
}

func keepsNothing(t *testing.T, r *restarted) {
	t.Helper()
	if all, err := r.store.OfflineMessages(t.Context(), juliet, 0, 10); err != nil || len(all) > 0 {
		t.Errorf("stored: %v %v", all, err)
	}
}

// Where nothing can be written, what was acknowledged is safe all the same.
func TestSessionsCanNotBeSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRestarted(t, nil)
		r.saved = &shelf{SavedSessions: r.saved, full: errors.New("no space left on device")}
		r.start()
		romeo, juliet := r.im("romeo@example.test/x"), r.im("juliet@example.test/a")
		romeo.manage()
		id := juliet.manage()
		romeo.send(say(1))
		r.restart(romeo, juliet)
		if !strings.Contains(r.log.String(), "no space left on device") {
			t.Error(r.log.String())
		}
		r.resume("juliet@example.test", id, 0).wantPart("<item-not-found ")
		r.login("juliet@example.test/a", "").send("<presence/>").hears("1")
	})
}

var stanzaXML = regexp.MustCompile(`(?s)<message .*?</message>|<presence .*?/>`)

// Stored messages that are on their way to a client come once, in front of what
// others sent meanwhile; received is how many stanzas its client has when the server
// stops, and says so when it comes back.
func TestStoredMessagesOverARestart(t *testing.T) {
	for received := range 3 {
		t.Run(fmt.Sprint(received), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRestarted(t, func(o *core.Options, _ *core.Ports) { o.Limits.Unacknowledged = 2 })
				romeo := r.login("romeo@example.test/x", "")
				romeo.manage()
				for n := range 90 { // more than are on their way at once
					romeo.send(fmt.Sprintf("<message to='juliet@example.test' type='chat'><body>%d</body></message>", n+1))
				}
				juliet := r.login("juliet@example.test/a", "")
				id := juliet.manage()
				juliet.send("<presence/>")
				synctest.Wait()
				before := stanzaXML.FindAllString(juliet.take(), -1)
				romeo.send(strings.Replace(say(91), "juliet@example.test/a", "juliet@example.test", 1))
				if len(before) != 2 {
					t.Fatalf("%d stanzas are written ahead", len(before))
				}
				r.restart(romeo, juliet)
				juliet = r.resume("juliet@example.test", id, received)
				all, h := strings.Join(before[:received], ""), received
				for {
					synctest.Wait()
					out := stanzaXML.FindAllString(juliet.take(), -1)
					if len(out) == 0 {
						break
					}
					h += len(out)
					all += strings.Join(out, "")
					juliet.send(ack(h))
				}
				if got := bodiesOf(all); !slices.Equal(got, count(1, 91)) {
					t.Errorf("got %q", got)
				}
				keepsNothing(t, r)
				r.spool.wantHeld(t, 0)
			})
		})
	}
}

// What was held back of an inactive client comes behind a restart; marks of the
// session stay, those of the connection do not.
func TestMarksAndHeldOverARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRestarted(t, with(marking(holding(), told(extension.Deliver, "stays", "stays"))))
		romeo, juliet := r.login("romeo@example.test/x", ""), r.login("juliet@example.test/a", "")
		id := juliet.manage()
		juliet.send(on("goes") + on("stays"))
		romeo.send(typing(1) + headline(2) + typing(3))
		juliet.want("")
		r.restart(romeo, juliet)
		romeo = r.login("romeo@example.test/x", "")
		romeo.send(typing(4))
		out := r.resume("juliet@example.test", id, 0).take()
		if got := numbers(out); !slices.Equal(got, []int{2, 3, 4}) || strings.Count(out, "<stays ") != 3 {
			t.Errorf("got %s", out)
		}
	})
}

// Copies of one message: none is given on while another may still be acknowledged,
// and the spool has it until one is.
func TestForksOverARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRestarted(t, nil)
		romeo := r.login("romeo@example.test/x", "")
		romeo.manage()
		a, b := r.online("juliet@example.test/a"), r.online("juliet@example.test/b")
		aid, bid := a.manage(), b.manage()
		romeo.send(strings.Replace(say(1), "juliet@example.test/a", "juliet@example.test", 1) + strings.Replace(say(2), "juliet@example.test/a", "juliet@example.test", 1))
		a.take()
		a.send(ack(1)) // the first one can't be lost any more
		r.spool.wantHeld(t, 1)
		r.restart(romeo, a, b)
		a = r.resume("juliet@example.test", aid, 1)
		a.wantPart("<body>2</body>")
		a.send("</stream:stream>") // b still has a copy
		synctest.Wait()
		keepsNothing(t, r)
		r.spool.wantHeld(t, 1)
		b = r.resume("juliet@example.test", bid, 1)
		b.hears("2")
		b.send("</stream:stream>")
		synctest.Wait()
		r.spool.wantHeld(t, 0)
		r.login("juliet@example.test/c", "").send("<presence/>").hears("2")
	})
}

// What is in hand at the stop is finished first, and counts.
func TestStopWaitsForWhatIsInHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		goOn := make(chan struct{})
		r := newRestarted(t, func(_ *core.Options, p *core.Ports) {
			p.Store = &slowMail{Store: p.Store, goOn: goOn}
		})
		romeo := r.login("romeo@example.test/x", "")
		id := romeo.manage()
		var b transport.Batch
		wait := romeo.s.Feed(&b, []byte("<message to='nurse@example.test' type='chat' id='1'><body>1</body></message>"+say(2)+"<iq type='get' id='3' to='example.test'><ping xmlns='urn:xmpp:ping'/></iq>"))
		b.Flush()
		if wait == nil {
			t.Fatal("nothing waits")
		}
		go wait(context.Background())
		ended := make(chan error)
		go func() { ended <- r.k.Shutdown(t.Context()) }()
		synctest.Wait()
		romeo.reap()
		synctest.Wait()
		select {
		case <-ended:
			t.Error("it did not wait")
		default:
		}
		r.spool.sync(r.spool.last)
		close(goOn)
		if err := <-ended; err != nil {
			t.Error(err)
		}
		r.start()
		r.resume("romeo@example.test", id, 0).want("<resumed xmlns='urn:xmpp:sm:3' h='2' previd='" + id + "'/>") // the third was not taken
		r.login("nurse@example.test/n", "").send("<presence/>").hears("1")
		r.login("juliet@example.test/j", "").send("<presence/>").hears("2")
	})
}

type slowMail struct {
	storage.Store
	goOn chan struct{}
}

func (s *slowMail) AddOffline(ctx context.Context, owner jid.JID, m storage.OfflineMessage, quota int) (uint64, error) {
	<-s.goOn
	return s.Store.AddOffline(ctx, owner, m, quota)
}

func (s *slowMail) AddOfflineEach(ctx context.Context, all []storage.OfflineAdd, quota int) ([]error, error) {
	return addEach(ctx, s, all, quota)
}

// A client that comes back while the server stops is told nothing that it would take
// for the end of its session.
func TestResumptionDuringAStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRestarted(t, nil)
		juliet := r.im("juliet@example.test/a")
		id := juliet.manage()
		juliet.cut()
		again := r.connect().open("example.test").send(plain("juliet", "pw")).open("example.test")
		again.take()
		ended := make(chan error)
		go func() { ended <- r.k.Shutdown(t.Context()) }()
		synctest.Wait()
		again.closing = false // it had this in its hand
		again.send("<resume xmlns='urn:xmpp:sm:3' h='0' previd='" + id + "'/>")
		if out := again.take(); strings.Contains(out, "<failed") {
			t.Error(out)
		}
		again.closing = true
		again.reap()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		r.start()
		r.resume("juliet@example.test", id, 0).wantPart("<resumed ")
	})
}
