package core_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/observe"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// M1 is being stored while a session becomes available and finds nothing: it
// still comes in front of M2.
func TestStoredWhileASessionBecomesAvailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, m := offlineWorld(t, nil)
		r := w.login("romeo@example.test/x", "")
		before, behind := make(gateway), make(gateway)
		m.set(&m.add, before.pass)
		m.set(&m.added, behind.pass)
		sent := make(chan struct{})
		go func() { defer close(sent); r.send(tell("1", "2")) }()
		synctest.Wait()
		j := w.arrives("juliet@example.test/a")
		j.hears()
		m.set(&m.add, nil)
		close(before)
		keeps(t, m, "1") // committed, but that is not known yet
		j.hears()
		close(behind)
		<-sent
		j.hears("1", "2")
		keeps(t, m)
	})
}

// The same while a session reads: it reads once more.
func TestStoredWhileASessionReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, m := offlineWorld(t, nil)
		r := w.login("romeo@example.test/x", "")
		write, read := make(gateway), make(gateway)
		m.set(&m.add, write.pass)
		m.set(&m.read, read.pass)
		sent := make(chan struct{})
		go func() { defer close(sent); r.send(tell("1", "2")) }()
		synctest.Wait()
		j := w.login("juliet@example.test/a", "")
		j.send("<presence/>")
		synctest.Wait() // it has read nothing
		close(write)
		<-sent
		j.hears()
		m.set(&m.read, nil)
		close(read)
		j.hears("1", "2")
		keeps(t, m)
	})
}

// XEP-0198: what was not acknowledged is still stored, and is not stored twice;
// live messages that were behind it come behind it again.
func TestUnacknowledgedStoredMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, m := offlineWorld(t, nil)
		r := w.login("romeo@example.test/x", "")
		r.send(tell(count(1, 5)...))
		j := w.login("juliet@example.test/a", "")
		j.manage()
		j.send("<presence/>").hears(count(1, 5)...)
		r.send(tell("6"))
		j.hears("6")
		keeps(t, m, count(1, 5)...)
		j.send("<a xmlns='urn:xmpp:sm:3' h='2'/>")
		keeps(t, m, "3", "4", "5")
		j.cut()
		r.send(tell("7")) // detached, still available
		keeps(t, m, "3", "4", "5")
		time.Sleep(11 * time.Minute)
		keeps(t, m, count(3, 7)...)
		r.send(tell("8"))
		again := w.login("juliet@example.test/b", "")
		again.send("<presence/>").hears(count(3, 8)...)
		keeps(t, m)
	})
}

// XEP-0198 5: the messages go on where they were, on another connection.
func TestStoredMessagesAcrossAResumption(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, m := offlineWorld(t, nil)
		r := w.login("romeo@example.test/x", "")
		r.send(tell(count(1, 100)...))
		j := w.login("juliet@example.test/a", "")
		id := j.manage()
		j.send("<presence/>")
		synctest.Wait()
		got := len(bodiesOf(j.take()))
		if got < 10 || got > 74 {
			t.Fatalf("%d messages came", got)
		}
		r.send(tell("live 1"))
		j.cut()
		r.send(tell("live 2"))
		keeps(t, m, count(1, 100)...)
		again := w.resume("juliet@example.test", id, 3)
		keeps(t, m, count(4, 100)...)
		var all []string
		for len(all) < 97+2 {
			synctest.Wait()
			more := bodiesOf(again.take())
			if len(more) == 0 {
				t.Fatalf("no more come than %q", all)
			}
			all = append(all, more...)
			again.send(fmt.Sprintf("<a xmlns='urn:xmpp:sm:3' h='%d'/>", 3+len(all)))
		}
		if !slices.Equal(all, append(count(4, 100), "live 1", "live 2")) {
			t.Errorf("got %q", all)
		}
		keeps(t, m)
	})
}

// A client that can't resume comes back by another session: it does not wait for
// the end of the old one.
func TestFetchMovesFromALostConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, m := offlineWorld(t, nil)
		r := w.login("romeo@example.test/x", "")
		r.send(tell(count(1, 100)...))
		j := w.login("juliet@example.test/a", "")
		j.manage()
		j.send("<presence/>")
		synctest.Wait()
		got := len(bodiesOf(j.take()))
		j.cut()
		again := w.arrives("juliet@example.test/b")
		again.hears(count(got+1, 100)...)
		keeps(t, m, count(1, got)...)
		time.Sleep(11 * time.Minute)
		again.hears(count(1, got)...)
		keeps(t, m)
	})
}

// An end amid the messages, with another session there: it gets what is stored,
// and then what the first one did not get of live ones.
func TestFetchGoesOnWithAnotherSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, m := offlineWorld(t, nil)
		r := w.login("romeo@example.test/x", "")
		r.send(tell(count(1, 30)...))
		j := w.login("juliet@example.test/a", "")
		j.manage()
		j.setStuck(true)
		j.send("<presence><priority>7</priority></presence>")
		synctest.Wait()
		r.send(tell("live"))
		other := w.arrives("juliet@example.test/b")
		other.hears()
		j.cut()
		time.Sleep(11 * time.Minute)
		r.send(tell("later"))
		other.hears(append(count(1, 30), "live", "later")...)
		keeps(t, m)
	})
}

// A login does not wait for the commit of receipts, and what they are for does
// not come a second time.
func TestLoginDoesNotWaitForReceipts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, m := offlineWorld(t, nil)
		slow := make(gateway)
		m.set(&m.delete, slow.pass)
		r := w.login("romeo@example.test/x", "")
		r.send(tell("1", "2"))
		j := w.arrives("juliet@example.test/a")
		j.hears("1", "2")
		j.send("</stream:stream>")
		r.send(tell("3"))
		j = w.arrives("juliet@example.test/a")
		j.hears("3")
		keeps(t, m, "1", "2", "3")
		close(slow)
		keeps(t, m)
	})
}

// What is deleted while it is being read is not delivered again.
func TestReceiptAmidARead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, m := offlineWorld(t, nil)
		deleting, reading := make(gateway), make(gateway)
		m.set(&m.delete, deleting.pass)
		r := w.login("romeo@example.test/x", "")
		r.send(tell("1"))
		j := w.arrives("juliet@example.test/a")
		j.hears("1")
		m.set(&m.read, reading.pass)
		again := w.arrives("juliet@example.test/b") // reads the message
		synctest.Wait()
		close(deleting)
		keeps(t, m) // deleted
		close(reading)
		again.hears()
		again.send("<presence><show>away</show></presence>")
		if out := again.hears(); !strings.Contains(out, "<show>away</show>") {
			t.Errorf("the gap is still there: %s", out)
		}
	})
}

// Storage that fails amid messages is tried again; nothing is lost or doubled.
func TestStorageFailsAmidMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, m := offlineWorld(t, nil)
		r := w.login("romeo@example.test/x", "")
		r.send(tell(count(1, 25)...))
		broken := func() error { return errors.Join(storage.ErrUnavailable, errors.New("the disk is full")) }
		reads := 0
		m.set(&m.read, func() error {
			if reads++; reads > 1 {
				return broken()
			}
			return nil
		})
		m.set(&m.delete, broken)
		j := w.arrives("juliet@example.test/a")
		j.hears(count(1, 10)...)
		m.set(&m.add, broken)
		juliet := w.login("romeo@example.test/y", "")
		juliet.send("<message to='romeo@example.test' type='chat' id='1'><body/></message>").wantPart("<internal-server-error ")
		m.set(&m.add, nil)
		r.send(tell("live"))
		j.hears()
		m.set(&m.read, nil)
		time.Sleep(time.Minute)
		j.hears(append(count(11, 25), "live")...)
		keeps(t, m, count(1, 25)...)
		j.send("</stream:stream>")
		w.arrives("juliet@example.test/a").hears()
		keeps(t, m, count(1, 25)...)
		m.set(&m.delete, nil)
		time.Sleep(time.Minute)
		keeps(t, m)
	})
}

// Receipts that could not be written are tried once more at the end.
func TestReceiptsAtShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, m := offlineWorld(t, nil)
		r := w.login("romeo@example.test/x", "")
		r.send(tell("1", "2"))
		m.set(&m.delete, func() error { return storage.ErrUnavailable })
		j := w.arrives("juliet@example.test/a")
		j.hears("1", "2")
		keeps(t, m, "1", "2")
		m.set(&m.delete, nil)
		j.send("</stream:stream>")
		r.send("</stream:stream>")
		if err := w.k.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		keeps(t, m)
	})
}

// XEP-0160: above the quota the sender is told, and what is stored stays.
func TestOfflineQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, m := offlineWorld(t, func(o *core.Options, _ *core.Ports) { o.Offline.Messages = 3 })
		r := w.login("romeo@example.test/x", "")
		r.send(tell("1", "2", "3")).want("")
		r.send(tell("4")).wantPart("<error type='wait'><resource-constraint ")
		keeps(t, m, "1", "2", "3")
		w.arrives("juliet@example.test/a").hears("1", "2", "3")
	})
}

// With privacy.strangers: refuse only contacts are told, since there is no quota of an
// account that does not exist.
func TestOfflineQuotaAndStrangers(t *testing.T) {
	for _, subscribed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w, m := offlineWorld(t, func(o *core.Options, p *core.Ports) {
				o.Offline.Messages, o.RefuseStrangers = 1, true
				if subscribed {
					if err := p.Store.ChangeRoster(t.Context(), juliet, 0, []storage.RosterItem{{Contact: romeo, Subscription: storage.SubFrom}}, nil); err != nil {
						t.Fatal(err)
					}
				}
			})
			r := w.login("romeo@example.test/x", "")
			r.send(tell("1")).want("")
			r.send(strings.ReplaceAll(tell("1", "2"), "juliet", "nobody")).want("")
			r.send(tell("2"))
			if told := strings.Contains(r.take(), "<resource-constraint "); told != subscribed {
				t.Errorf("subscribed %v, told %v", subscribed, told)
			}
			keeps(t, m, "1")
		})
	}
}

// What is stored, arrives or is refused is counted (ports/observe).
func TestOfflineIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		stored, fetched, refused := 0, 0, ""
		w, m := offlineWorld(t, func(o *core.Options, p *core.Ports) {
			o.Offline.Messages = 2
			p.Observe = observe.Kernel{
				Stored:    func() { mu.Lock(); defer mu.Unlock(); stored++ },
				Fetched:   func(n int) { mu.Lock(); defer mu.Unlock(); fetched += n },
				NotStored: func(why observe.Reason) { mu.Lock(); defer mu.Unlock(); refused += string(why) + " " },
			}
		})
		want := func(s, f int, r string) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if stored != s || fetched != f || refused != r {
				t.Errorf("stored %d, arrived %d, refused %q; want %d, %d, %q", stored, fetched, refused, s, f, r)
			}
		}
		r := w.login("romeo@example.test/x", "")
		r.send(tell("1", "2", "3") + "<message to='nobody@example.test' type='chat'><body/></message>")
		want(2, 0, "quota ")
		j := w.login("juliet@example.test/a", "")
		j.manage()
		j.send("<presence/>").hears("1", "2")
		want(2, 0, "quota ")
		j.send(ack(3)) // presence is one
		want(2, 2, "quota ")
		j.send("<presence type='unavailable'/>")
		m.set(&m.add, func() error { return storage.ErrUnavailable })
		r.send(tell("4"))
		want(2, 2, "quota storage ")
	})
}

// limits.offline-messages 0: messages go back, and nothing is promised.
func TestOfflineMessagesOff(t *testing.T) {
	const info = "<iq type='get' id='1' to='example.test'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
	synctest.Test(t, func(t *testing.T) {
		w, m := offlineWorld(t, func(o *core.Options, _ *core.Ports) { o.Offline.Messages = -1 })
		r := w.login("romeo@example.test/x", "")
		r.send(tell("1")).wantPart("<service-unavailable ")
		keeps(t, m)
		r.send("<message to='juliet@example.test' type='chat'><active xmlns='http://jabber.org/protocol/chatstates'/></message>").want("")
		r.send(info)
		if out := r.take(); strings.Contains(out, "msgoffline") {
			t.Error(out)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		w, _ := offlineWorld(t, nil)
		w.login("romeo@example.test/x", "").send(info).wantPart("<feature var='msgoffline'/>")
	})
}

// What a session left is stored in front of what came later, however slow.
func TestLeftMessagesGoFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, m := offlineWorld(t, nil)
		r := w.login("romeo@example.test/x", "")
		j := w.login("juliet@example.test/a", "")
		j.manage()
		j.send("<presence/>").hears()
		j.cut()
		first := time.Now()
		r.send(tell("1", "2"))
		slow := make(gateway)
		m.set(&m.add, slow.pass)
		time.Sleep(10*time.Minute + time.Second)
		synctest.Wait() // the session has ended, "1" is being stored
		sent := make(chan struct{})
		go func() { defer close(sent); r.send(tell("3")) }()
		synctest.Wait()
		again := w.login("juliet@example.test/b", "")
		again.send("<presence/>").hears() // and is waited for
		close(slow)
		<-sent
		out := again.hears("1", "2", "3")
		if stamp := "stamp='" + first.UTC().Format("2006-01-02T15:04:05.000Z") + "'"; strings.Count(out, stamp) != 2 || strings.Count(out, "<delay ") != 3 {
			t.Errorf("stamps: %s", out)
		}
		keeps(t, m)
	})
}

// A session that is replaced leaves its messages to the new one of its name.
func TestReplacedSessionLeavesMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, m := offlineWorld(t, nil)
		r := w.login("romeo@example.test/x", "")
		r.send(tell("1"))
		j := w.login("juliet@example.test/a", "")
		j.manage()
		j.send("<presence/>").hears("1")
		j.setStuck(true) // a dead connection
		r.send(tell("2", "3"))
		again := w.arrives("juliet@example.test/a")
		r.send(tell("4"))
		again.hears("1", "2", "3", "4")
		j.setStuck(false)
		j.hears() // not a second time
		keeps(t, m)
	})
}

// A stored message that can't be read any more is left out, and stays.
func TestStoredMessageThatIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, m := offlineWorld(t, nil)
		if _, err := m.AddOffline(t.Context(), juliet, storage.OfflineMessage{Stamp: time.Now(), XML: []byte("<message><body>1</body>")}, 10); err != nil {
			t.Fatal(err)
		}
		w.login("romeo@example.test/x", "").send(tell("2"))
		j := w.arrives("juliet@example.test/a")
		j.hears("2")
		keeps(t, m, "1")
	})
}

// slowToLeave holds up what the registry is told of a session that takes nothing any more.
type slowToLeave struct {
	cluster.Registry
	who  jid.JID
	gate gateway
}

func (s *slowToLeave) Update(e cluster.Entry) bool {
	if e.JID == s.who && !e.Available && s.gate != nil {
		<-s.gate
	}
	return s.Registry.Update(e)
}

// A message that was for a session which has just ended, and is given to another one, does not come in front of
// one that waits there behind what is stored.
func TestMostAvailableSessionEndsWhileAnotherFetches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leaving := &slowToLeave{who: jid.MustParse("juliet@example.test/b")}
		w, m := offlineWorld(t, func(_ *core.Options, p *core.Ports) {
			leaving.Registry = p.Sessions
			p.Sessions = leaving
		})
		r := w.login("romeo@example.test/x", "")
		r.send(tell(count(1, 100)...))
		a := w.login("juliet@example.test/a", "")
		a.manage()
		a.send("<presence/>")
		synctest.Wait() // it acknowledges nothing: there is more than it has room for
		r.send(tell("101"))
		b := w.login("juliet@example.test/b", "")
		b.manage()
		b.send("<presence><priority>3</priority></presence>")
		r.send(tell("102"))
		b.hears("102")
		leaving.gate = make(gateway)
		ended := make(chan struct{})
		go func() { defer close(ended); b.send("</stream:stream>") }()
		synctest.Wait()
		sent := make(chan struct{})
		go func() { defer close(sent); r.send(tell("103", "104")) }()
		synctest.Wait()
		close(leaving.gate)
		<-ended
		<-sent
		a.hearsAll(count(1, 104)...)
		keeps(t, m)
	})
}

// The gap is not that of a session which has ended: what others send to the one that is there by then comes behind what
// is stored, also while the first one has not left yet.
func TestFetchMovesFromASessionThatEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leaving := &slowToLeave{who: jid.MustParse("juliet@example.test/a")}
		w, m := offlineWorld(t, func(_ *core.Options, p *core.Ports) {
			leaving.Registry = p.Sessions
			p.Sessions = leaving
		})
		r := w.login("romeo@example.test/x", "")
		r.send(tell(count(1, 100)...))
		a := w.login("juliet@example.test/a", "")
		a.manage()
		a.send("<presence/>")
		synctest.Wait() // it acknowledges nothing: there is more than it has room for
		leaving.gate = make(gateway)
		ended := make(chan struct{})
		go func() { defer close(ended); a.send("</stream:stream>") }()
		synctest.Wait()
		b := w.login("juliet@example.test/b", "")
		b.manage()
		b.send("<presence/>")
		synctest.Wait()
		sent := make(chan struct{})
		go func() { defer close(sent); r.send(tell("101", "102")) }()
		synctest.Wait()
		close(leaving.gate)
		<-ended
		<-sent
		b.hearsAll(count(1, 102)...)
		keeps(t, m)
	})
}

// hearsAll acknowledges what comes, until nothing more does.
func (c *client) hearsAll(bodies ...string) {
	c.w.t.Helper()
	var got []string
	for {
		synctest.Wait()
		more := bodiesOf(c.take())
		if len(more) == 0 {
			break
		}
		got = append(got, more...)
		c.send(fmt.Sprintf("<a xmlns='urn:xmpp:sm:3' h='%d'/>", len(got)))
	}
	if !slices.Equal(got, bodies) {
		c.w.t.Errorf("got %q, want %q", got, bodies)
	}
}
