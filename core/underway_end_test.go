package core_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/core/offline"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
)

// A session that takes the place of another one with the same full JID goes on behind
// what the old one has in hand, too: it may join what is under way.
func TestReplacedBehindWhatIsInHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []int
		open := make(chan struct{})
		echo := extension.Registration{Name: "echo", Components: []extension.Component{{
			Domain: "echo.$domain",
			Handle: func(_ context.Context, _ *extension.Host, e *extension.Envelope) error {
				n, _ := strconv.Atoi(e.Stanza.Find("", "body").Text())
				if n == 1 {
					<-open
				}
				got = append(got, n)
				return nil
			},
		}}}
		w := newWorld(t, with(echo))
		to := func(n int) string {
			return fmt.Sprintf("<message to='echo.example.test' type='chat'><body>%d</body></message>", n)
		}
		romeo := w.login("romeo@example.test/x", "")
		old := romeo.feed(to(1))
		synctest.Wait()
		again := w.login("romeo@example.test/x", "")
		done := sends(again, to(2))
		synctest.Wait()
		close(open)
		<-old
		<-done
		synctest.Wait()
		if fmt.Sprint(got) != "[1 2]" {
			t.Errorf("handled were %v", got)
		}
	})
}

// What is no XML ends the stream behind the messages before it, as all else that is none.
func TestBadXMLBehindWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := archiveWorld(t, nil)
		romeo, juliet := w.login("romeo@example.test/x", ""), w.online("juliet@example.test/a")
		romeo.input(say(1))
		synctest.Wait()
		done := sends(romeo, say(2)+"<a></b>")
		synctest.Wait()
		romeo.want("")
		g.open <- nil
		g.open <- fmt.Errorf("%w: disk full", storage.ErrUnavailable)
		<-done
		synctest.Wait()
		if got := juliet.gotNumbers(); got != "[1]" {
			t.Errorf("she got %s", got)
		}
		out := romeo.take()
		if e, s := strings.Index(out, "<internal-server-error "), strings.Index(out, "<stream:error>"); e < 0 || s < e {
			t.Errorf("he is sent %s", out)
		}
	})
}

// A client that can't resume is told a count that has what is still under way of its
// session: it sends none of it again.
func TestCountOfAnEndedSessionHasWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sp := &spool{held: map[uint64]storage.SpoolRecord{}}
		w, g := archiveWorld(t, func(o *core.Options, p *core.Ports) { o.Offline, p.Spool = offline.Options{Messages: 100}, sp })
		romeo, juliet := w.login("romeo@example.test/x", ""), w.online("juliet@example.test/a")
		id := romeo.manage()
		romeo.input(say(1))
		synctest.Wait()
		romeo.input(says(2, 3))
		w.login("romeo@example.test/x", "") // ends it
		romeo.reap()
		var again *client
		done := make(chan struct{})
		go func() {
			defer close(done)
			again = w.resume("romeo@example.test", id, 0)
		}()
		synctest.Wait()
		g.open <- nil
		g.open <- nil
		synctest.Wait()
		sp.sync(sp.last)
		<-done
		synctest.Wait()
		if got := juliet.gotNumbers(); got != upTo(1, 3) {
			t.Errorf("she got %s", got)
		}
		if out := again.take(); !strings.Contains(out, "<failed xmlns='urn:xmpp:sm:3' h='3'>") {
			t.Errorf("he is sent %s", out)
		}
	})
}
