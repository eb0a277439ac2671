package core_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hexmpp/hexmpp/adapters/sessionfile"
	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// What clients ask extensions elsewhere, at the server and at accounts.

// asks feeds input whose last stanza that is taken an extension elsewhere has then: the
// connection is held, and no goroutine is asked for.
func (c *client) asks(t *testing.T, xml string) {
	t.Helper()
	var b transport.Batch
	if c.s.Feed(&b, []byte(xml)) != nil {
		t.Error("a goroutine has to wait")
	}
	b.Flush()
	if !c.holds {
		t.Error("the connection is read on")
	}
}

// goOn is what an adapter does when a connection that is held has been resumed.
func (c *client) goOn(t *testing.T) {
	t.Helper()
	synctest.Wait()
	select {
	case <-c.signal():
		c.holds = false
	default:
		t.Fatal("the connection is still held")
	}
	c.input("")
}

func (c *client) stillHeld(t *testing.T) {
	t.Helper()
	synctest.Wait()
	if len(c.signal()) > 0 {
		t.Error("the connection goes on")
	}
}

const askFar = "<iq id='q' type='get' to='example.test'><q xmlns='urn:far'/></iq>"

func far(x *elsewhere) extension.Registration {
	return extension.Registration{Name: "far", Remote: x, IQ: []extension.IQHandler{
		{Space: "urn:far", Local: "q", To: extension.ToStream | extension.ToServer | extension.ToOwnAccount},
	}}
}

// An extension that hangs holds up the streams that asked it something, however many, and
// nobody else: they hold no goroutine. Each has an answer, also one that is not logged in.
func TestRemoteManyWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &elsewhere{}
		w := newWorld(t, with(far(x)))
		const each = 1000
		var all []*client
		for i := range 2 * each {
			c := w.connect()
			if i < each {
				c.open("example.test").take()
			} else {
				c = w.login(fmt.Sprintf("u%d@example.test/x", i), "")
			}
			c.asks(t, "<iq id='q' type='get'><q xmlns='urn:far'/></iq>")
			all = append(all, c)
		}
		juliet := w.online("juliet@example.test/a")
		w.login("romeo@example.test/x", "").send(say(1))
		juliet.hears("1")
		keys := map[string]bool{}
		for i := range 2 * each {
			e := x.next(t)
			keys[e.Key] = true
			if i%2 > 0 {
				continue
			}
			if err := apply(e, &extension.Outcome{Result: stanza.El("urn:x", "a")}); err != nil {
				t.Error(err)
			}
		}
		if len(keys) != 2*each {
			t.Error("streams wait for each other:", len(keys))
		}
		time.Sleep(29 * time.Second)
		for i, c := range all {
			if i%2 > 0 {
				c.stillHeld(t)
			}
		}
		time.Sleep(time.Second)
		for i, c := range all {
			c.goOn(t)
			if want := map[int]string{0: "type='result'><a ", 1: "<remote-server-timeout "}[i%2]; strings.Count(c.take(), want) != 1 {
				t.Fatalf("%d has no %s", i, want)
			}
		}
	})
}

// What a client sends behind its request is not handled before all is done that the
// request's outcome asked for, also when a stage has the request first.
func TestNothingOvertakesARequest(t *testing.T) {
	for name, waits := range map[string]bool{"at once": false, "behind a stage that waits": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := &elsewhere{}
				regs := []extension.Registration{far(x)}
				if waits {
					l := &listing{stages: []extension.Stage{extension.Submit}}
					regs = append(regs, l.registration())
				}
				w := newWorld(t, with(regs...))
				juliet, romeo := w.online("juliet@example.test/a"), w.login("romeo@example.test/x", "")
				go romeo.input(askFar + say(2) + askFar + say(4))
				for i := 1; i < 4; i += 2 {
					synctest.Wait()
					juliet.want("")
					e := x.next(t)
					x.none(t)
					outcome := &extension.Outcome{Effects: remoteSendsFrom("example.test", jid.MustParse("juliet@example.test/a"), fmt.Sprint(i))}
					if err := apply(e, outcome); err != nil {
						t.Error(err)
					}
					synctest.Wait()
					juliet.want(fmt.Sprintf("<message from='example.test' to='juliet@example.test/a' id='%d'/>", i) + msg(i+1))
				}
			})
		})
	}
}

// XEP-0198 4, 5: a request is counted when it is over, and a session is resumed behind it. The
// end of its connection waits for nothing.
func TestRequestOverALostConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &elsewhere{}
		w := newWorld(t, with(far(x)))
		juliet, romeo := w.online("juliet@example.test/a"), w.login("romeo@example.test/x", "")
		id := romeo.manage()
		romeo.asks(t, say(1)+askFar+say(3))
		juliet.want(msg(1))
		romeo.cut()
		var again *client
		resumed := make(chan struct{})
		go func() {
			defer close(resumed)
			again = w.resume("romeo@example.test", id, 0)
		}()
		synctest.Wait()
		select {
		case <-resumed:
			t.Error("resumed before the request is over")
		default:
		}
		if err := apply(x.next(t), &extension.Outcome{Result: stanza.El("urn:x", "a")}); err != nil {
			t.Error(err)
		}
		<-resumed
		again.want(resumedWith(id, 2) + "<iq from='example.test' to='romeo@example.test/x' id='q' type='result'><a xmlns='urn:x'/></iq>")
		again.send(say(3) + askAck).want(ack(3)) // it was not read before
		juliet.want(msg(3))
		x.none(t)
	})
}

// A planned stop does not wait longer for requests than for other events: the client has
// an error as the answer, once, when it has resumed its session.
func TestRequestOverARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		var x *elsewhere
		r := newRestarted(t, func(o *core.Options, p *core.Ports) {
			p.Saved, p.SavedExtensions = sessionfile.New(dir), sessionfile.NewExtensions(dir)
			x = &elsewhere{}
			with(far(x))(o, p)
		})
		romeo := r.im("romeo@example.test/x")
		id := romeo.manage()
		romeo.asks(t, askFar+say(2))
		began := time.Now()
		r.stop(romeo)
		if took := time.Since(began); took != 5*time.Second {
			t.Error("it took", took)
		}
		r.start()
		x.none(t)
		r.resume("romeo@example.test", id, 0).want(resumedWith(id, 1) + "<iq from='example.test' to='romeo@example.test/x' id='q' type='error'>" +
			"<error type='wait'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>" +
			"<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='en'>the service is down; send it again later</text></error></iq>")
	})
}

// Those that are behind notices, or in the turn of another request, hold no goroutine either.
func TestRemoteWaitsBehindNotices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &elsewhere{}
		reg := far(x)
		reg.Permissions, reg.Notices = []extension.Permission{extension.SeePresence}, []extension.Event{extension.BecameUnavailable}
		w := newWorld(t, with(reg))
		ids := func(all ...*extension.RemoteEvent) (s string) {
			for _, e := range all {
				s += e.IQ.From.Resource() + " "
			}
			return s
		}
		var all []*client
		for i := range 5 {
			all = append(all, w.login(fmt.Sprintf("romeo@example.test/%d", i), ""))
		}
		leave := func() {
			w.login("romeo@example.test/gone", "<presence/>").send("<presence type='unavailable'/>").drop()
			synctest.Wait()
		}
		leaves := func() *extension.RemoteEvent {
			leave()
			e := x.next(t)
			if e.Kind != extension.Noticed {
				t.Fatal(e.Kind)
			}
			return e
		}
		notice := leaves()
		for _, c := range all {
			c.asks(t, askFar)
		}
		x.none(t)
		w.login("juliet@example.test/a", "").asks(t, askFar)
		if got := ids(x.next(t)); got != "a " {
			t.Error(got)
		}
		if err := apply(notice, &extension.Outcome{}); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		for i, c := range all {
			e := x.next(t)
			if got := ids(e); got != fmt.Sprint(i, " ") {
				t.Error(got)
			}
			if err := apply(e, &extension.Outcome{}); err != nil {
				t.Error(err)
			}
			c.goOn(t)
		}
		leaves() // it is never handled
		all[0].asks(t, askFar)
		time.Sleep(29 * time.Second)
		synctest.Wait()
		x.none(t)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := ids(x.next(t)); got != "0 " {
			t.Error(got)
		}
		x.refuses(extension.ErrFull) // and when it is its turn the extension may not take it
		leave()
		all[1].asks(t, askFar)
		time.Sleep(31 * time.Second)
		all[1].goOn(t)
		all[1].wantPart("<resource-constraint ")
	})
}
