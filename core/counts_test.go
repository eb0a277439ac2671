package core_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// failedAt is the answer to who resumes a session that has ended.
func failedAt(h int) string {
	return fmt.Sprintf("<failed xmlns='urn:xmpp:sm:3' h='%d'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>", h)
}

// XEP-0198 5: <failed h> counts what is safe, which may be more later.
func TestFailedCountsWhatIsSafe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sp := &spool{}
		w := spooledWorld(t, sp, nil)
		romeo, juliet := w.login("romeo@example.test/x", ""), w.online("juliet@example.test/a")
		juliet.manage()
		id := romeo.manage()
		romeo.send(say(1) + say(2) + "</stream:stream>")
		for h := range 3 {
			w.resume("romeo@example.test", id, 0).want(failedAt(h))
			sp.sync(uint64(h + 1))
		}
	})
}

// So does what is in hand when the session ends.
func TestFailedCountsWhatWasInHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		commit := make(chan struct{})
		sp := &spool{}
		w := spooledWorld(t, sp, func(_ *core.Options, p *core.Ports) {
			p.Store = slowOffline{accountsIn(t, "nurse@example.test"), commit}
		})
		romeo := w.login("romeo@example.test/x", "")
		id := romeo.manage()
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			romeo.send("<message to='nurse@example.test' type='chat' id='n'><body>stored</body></message>")
		}()
		synctest.Wait()
		sp.sync(1)
		w.login("romeo@example.test/x", "") // the same resource: the session ends
		w.resume("romeo@example.test", id, 0).want(failedAt(0))
		close(commit)
		<-sent
		w.resume("romeo@example.test", id, 0).want(failedAt(1))
	})
}

// The count is told also while the end of the session is just being told to others.
func TestFailedWhileTheSessionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var commit hook
		w := spooledWorld(t, &spool{}, func(o *core.Options, p *core.Ports) {
			with(staged(extension.Submit, extension.Decide, func(_ context.Context, h *extension.Host, e *extension.Envelope) (extension.Verdict, error) {
				if e.Stanza.Kind == stanza.Presence {
					h.Store.Put(jid.JID{}, "k", nil)
				}
				return extension.Verdict{}, nil
			}))(o, p)
			p.Store.(*rosters).m[romeo] = storage.Roster{Version: 1, Items: []storage.RosterItem{{Contact: juliet, Subscription: storage.SubFrom}}}
			p.Store = &slowCommits{p.Store, &commit}
		})
		romeo := w.login("romeo@example.test/x", "")
		id := romeo.manage()
		romeo.send("<iq type='result' id='1'/>")
		wait := make(gateway)
		commit.set(wait.pass)
		told, bound := make(chan struct{}), make(chan struct{})
		go func() { defer close(told); romeo.send("<presence/>") }()
		synctest.Wait()
		go func() { defer close(bound); w.login("romeo@example.test/x", "") }()
		synctest.Wait()
		w.resume("romeo@example.test", id, 0).want(failedAt(1))
		close(wait)
		<-told
		<-bound
		w.resume("romeo@example.test", id, 0).want(failedAt(2))
	})
}

// A resumption that is given up before everything is safe takes nothing from the
// session: <resumed/> would count what may be lost.
func TestResumptionIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sp := &spool{}
		w := spooledWorld(t, sp, nil)
		romeo, juliet := w.login("romeo@example.test/x", ""), w.online("juliet@example.test/a")
		juliet.manage()
		id := romeo.manage()
		romeo.send(say(1))
		romeo.cut()
		c := w.connect().open("example.test").send(plain("romeo", "pw")).open("example.test")
		c.take()
		var b transport.Batch
		wait := c.s.Feed(&b, []byte("<resume xmlns='urn:xmpp:sm:3' h='0' previd='"+id+"'/>"))
		over, end := context.WithCancel(t.Context())
		end()
		wait(over)
		c.s.Feed(&b, nil)
		b.Flush()
		if out := c.take(); strings.Contains(out, "<resumed") || !strings.Contains(out, "<connection-timeout ") {
			t.Errorf("got %s", out)
		}
		c.reap()
		sp.sync(1)
		w.resume("romeo@example.test", id, 0).wantPart("<resumed xmlns='urn:xmpp:sm:3' h='1' ")
	})
}

// XEP-0198 5: a server that resumes nothing says so.
func TestResumptionIsOff(t *testing.T) {
	w := newWorld(t, func(o *core.Options, _ *core.Ports) { o.Limits.ResumeTime = -1 })
	w.resume("romeo@example.test", "any", 0).want("<failed xmlns='urn:xmpp:sm:3'><feature-not-implemented xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>")
}

// Whatever was there when the process was killed is known to the next one.
func TestCountsOfManySessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sp := &spool{}
		const n = 300
		for i := range n {
			sp.senders = append(sp.senders, storage.SpoolSession{ID: fmt.Sprint("id-", i), User: romeo, Handled: uint32(i)})
		}
		w := spooledWorld(t, sp, func(o *core.Options, _ *core.Ports) { o.Limits.PastSessions = 10 })
		w.login("juliet@example.test/a", "").manage()
		c := w.login("juliet@example.test/b", "")
		c.manage()
		c.send("</stream:stream>") // pushes nobody out
		for _, i := range []int{0, 1, n / 2, n - 1} {
			w.resume("romeo@example.test", fmt.Sprint("id-", i), 0).want(failedAt(i))
		}
	})
}

// Nobody makes the server forget the counts of others.
func TestCountsAreBoundedForEachAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sp := &spool{}
		w := spooledWorld(t, sp, func(o *core.Options, _ *core.Ports) { o.Limits.PastSessions = 150 })
		session := func(full string) string {
			c := w.login(full, "")
			id := c.manage()
			c.send("</stream:stream>")
			return id
		}
		other := session("juliet@example.test/a")
		first := session("romeo@example.test/x")
		var last string
		for range 300 {
			last = session("romeo@example.test/x")
		}
		w.resume("juliet@example.test", other, 0).want(failedAt(0))
		w.resume("romeo@example.test", last, 0).want(failedAt(0))
		w.resume("romeo@example.test", first, 0).want("<failed xmlns='urn:xmpp:sm:3'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>")
		if ended := sp.ended.Load(); ended != 201 {
			t.Errorf("%d sessions are forgotten", ended)
		}
	})
}

// After a kill a client is not to send again what it was told is handled: counts that
// go over what no message is in are noted, once.
func TestToldCountsAreNoted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sp := &spool{}
		w := spooledWorld(t, sp, nil)
		romeo, juliet := w.login("romeo@example.test/x", ""), w.online("juliet@example.test/a")
		juliet.manage()
		id := romeo.manage()
		want := func(counts ...uint32) {
			t.Helper()
			sp.mu.Lock()
			defer sp.mu.Unlock()
			if !slices.Equal(sp.told[id], counts) {
				t.Errorf("noted are %v, want %v", sp.told[id], counts)
			}
		}
		nothing := "<iq type='result' id='1'/>"
		romeo.send(nothing + nothing)
		want()
		romeo.send(askAck + askAck).want(ack(2) + ack(2))
		want(2)
		romeo.send(say(3) + askAck)
		sp.sync(1)
		want(2) // the record has it
		romeo.send(nothing + askAck)
		want(2, 4)
		romeo.send(nothing)
		romeo.cut()
		w.resume("romeo@example.test", id, 0).wantPart("<resumed xmlns='urn:xmpp:sm:3' h='5' ")
		want(2, 4, 5)
	})
}
