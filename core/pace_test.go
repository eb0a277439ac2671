package core_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/core/throttle"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// paced is a world with low rates, and what was counted.
func paced(t *testing.T, r throttle.RateOptions) (w *world, logs *observer.ObservedLogs, counted *counts) {
	counted = &counts{refused: map[string]int{}, paused: map[string]time.Duration{}}
	zapcore, logs := observer.New(zap.WarnLevel)
	w = newWorld(t, func(o *core.Options, p *core.Ports) {
		o.Rates = r
		p.Log = zap.New(zapcore)
		p.Observe.Paused = counted.pause
		p.Observe.Refused = counted.refuse
	})
	return w, logs, counted
}

type counts struct {
	mu      sync.Mutex
	refused map[string]int
	paused  map[string]time.Duration
}

func (c *counts) pause(limit string, d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.paused[limit] += d
}

func (c *counts) refuse(reason string) { c.mu.Lock(); defer c.mu.Unlock(); c.refused[reason]++ }

// rested returns how long the adapter was asked not to read since the last call.
func (c *client) rested() time.Duration {
	d := c.paused
	c.paused = 0
	return d
}

// Who sends too fast is read more slowly: nothing is lost or refused, and all
// sessions of an account share its rates.
func TestAccountsArePaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, logs, counted := paced(t, throttle.RateOptions{Bytes: 1000, BytesBurst: 20_000, Stanzas: 10, StanzasBurst: 50})
		juliet := w.online("juliet@example.test/a")
		romeo, also := w.login("romeo@example.test/x", ""), w.login("romeo@example.test/y", "")
		time.Sleep(time.Minute) // what the logins took is back
		var all strings.Builder
		for i := range 60 {
			all.WriteString(say(i))
		}
		romeo.send(all.String())
		for i := range 60 {
			if got := juliet.take(); i == 0 && strings.Count(got, "<message") != 60 {
				t.Fatalf("got %s", got)
			}
		}
		if d := romeo.rested(); d != time.Second { // 10 too many
			t.Errorf("romeo rests %v", d)
		}
		also.send(say(60))
		juliet.wantPart(" id='60'")
		if d := also.rested(); d != 1100*time.Millisecond {
			t.Errorf("his other session rests %v", d)
		}
		if n := w.k.Gauges().Resting; n != 2 {
			t.Errorf("%d streams rest", n)
		}
		if juliet.send(say(1)).rested() != 0 {
			t.Error("somebody else has to rest")
		}
		time.Sleep(3 * time.Second)
		for _, c := range []*client{romeo, also} {
			if c.send(" ").rested() != 0 {
				t.Error("he rests when it is paid back")
			}
		}
		if n := w.k.Gauges().Resting; n != 0 {
			t.Errorf("%d streams rest when all is paid back", n)
		}
		time.Sleep(time.Hour)
		romeo.send("<message to='juliet@example.test/a' id='big'><body>" + strings.Repeat("x", 25_000) + "</body></message>")
		juliet.wantPart(" id='big'")
		if d := romeo.rested(); d < 5*time.Second || d > 6*time.Second {
			t.Errorf("for 25 KB he rests %v", d)
		}
		romeo.drop()
		if n := w.k.Gauges().Resting; n != 0 {
			t.Errorf("%d streams rest when they are gone", n)
		}
		again := w.login("romeo@example.test/z", "")
		if again.send(" ").rested() < 4*time.Second {
			t.Error("who comes back owes nothing any more")
		}
		if counted.paused["stanzas"] != 2100*time.Millisecond || counted.paused["bytes"] == 0 {
			t.Error(counted.paused)
		}
		if n := logs.FilterMessageSnippet("sends faster than it may").Len(); n != 2 { // an hour lies between
			t.Errorf("%d lines in the log:\n%v", n, logs.All())
		}
	})
}

// A client whose acknowledgements are not read, since it rests, is not given up.
func TestARestTakesNoSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _, _ := paced(t, throttle.RateOptions{Stanzas: 1, StanzasBurst: 100})
		romeo, juliet := w.login("romeo@example.test/x", ""), w.online("juliet@example.test/a")
		juliet.manage()
		flood := strings.Repeat("<iq type='get' id='p' to='example.test'><ping xmlns='urn:xmpp:ping'/></iq>", 400)
		juliet.send(flood)
		if d := juliet.rested(); d < 5*time.Minute-10*time.Second {
			t.Fatalf("she rests %v", d)
		}
		romeo.send(say(1))
		juliet.wantPart(" id='1'")
		tick := func() { // as an adapter does
			juliet.tick(time.Now())
			juliet.reap()
		}
		for range 7 {
			tick()
			if juliet.closing {
				t.Fatal("she is given up, though she could not be heard")
			}
			time.Sleep(time.Minute)
		}
		tick()
		if !juliet.closing {
			t.Error("she is not given up, though she has said nothing for long")
		}
	})
}

// RFC 6120 8.3.3.12: requests for subscriptions to ever new people are refused for a
// while, and nothing of them happens.
func TestSubscriptionRequestsAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, logs, counted := paced(t, throttle.RateOptions{Requests: 3})
		romeo := w.login("romeo@example.test/x", "")
		ask := func(i int) string {
			return fmt.Sprintf("<presence type='subscribe' id='s%d' to='u%[1]d@example.net'/>", i)
		}
		for i := range 3 {
			romeo.send(ask(i))
		}
		if out := romeo.take(); strings.Contains(out, "error") {
			t.Fatal(out)
		}
		romeo.send(ask(3)).want("<presence from='u3@example.net' to='romeo@example.test' id='s3' type='error'>" +
			"<error type='wait'><policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>" +
			"<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='en'>too many requests for subscriptions, try again later</text></error></presence>")
		romeo.send("<presence type='unsubscribe' to='u1@example.net'/><presence to='u9@example.net'/>")
		if out := romeo.take(); strings.Contains(out, "error") {
			t.Error("something else is refused: " + out)
		}
		time.Sleep(20 * time.Minute)
		romeo.send(ask(4))
		if out := romeo.take(); strings.Contains(out, "error") {
			t.Error("it does not come back: " + out)
		}
		if counted.refused["rate"] != 1 || logs.FilterMessageSnippet("subscription-requests-per-hour").Len() != 1 {
			t.Error(counted.refused, logs.All())
		}
	})
}

// While the disk takes nothing, what would have to be kept safe is refused; all else
// goes on.
func TestNoRoomForSafety(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sp := &spool{}
		w := spooledWorld(t, sp, nil)
		romeo, mercutio, juliet := w.login("romeo@example.test/x", ""), w.login("mercutio@example.test/x", ""), w.online("juliet@example.test/a")
		romeo.manage()
		sp.full = true
		romeo.send(say(1))
		out := romeo.take()
		if !strings.Contains(out, " id='1'") || !strings.Contains(out, "<error type='wait'><resource-constraint ") {
			t.Errorf("got %s", out)
		}
		juliet.want("")
		sp.wantHeld(t, 0)
		romeo.send(askAck).want(ack(1)) // it is answered, so it is safe
		romeo.send("<message to='juliet@example.test/a' type='headline' id='h'><body>x</body></message>" +
			"<iq type='get' id='q' to='juliet@example.test/a'><q xmlns='urn:x'/></iq>")
		juliet.wantPart(" id='h'")
		mercutio.send(say(2)) // without stream management nothing was promised
		juliet.wantPart(" id='2'")
		sp.full = false
		romeo.send(say(3))
		juliet.wantPart(" id='3'")
	})
}

// Input that takes long to be worked through is left for a while, so that others have
// their turns; nothing of it is lost or comes out of order.
func TestTurnsAreFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, with(extension.Registration{Name: "slow", IQ: []extension.IQHandler{{
			Space: "urn:slow", Local: "q", Type: stanza.Get, To: extension.ToServer, Inline: true,
			Handle: func(context.Context, *extension.Host, extension.IQ) (*stanza.Element, error) {
				time.Sleep(100 * time.Microsecond)
				return nil, nil
			},
		}}}))
		romeo := w.login("romeo@example.test/x", "")
		var in strings.Builder
		var want []int
		for i := range 100 {
			fmt.Fprintf(&in, "<iq type='get' to='example.test' id='%d'><q xmlns='urn:slow'/></iq>", i)
			want = append(want, i)
		}
		var b transport.Batch
		var got []int
		turns := 0
		for p := []byte(in.String()); turns == 0 || romeo.again; p = nil {
			romeo.again = false
			began := time.Now()
			if wait := romeo.s.Feed(&b, p); wait != nil {
				t.Fatal("a handler that is inline waits")
			}
			clear(p) // what is held is the stream's own
			b.Flush()
			turns++
			if d := time.Since(began); d > 4*time.Millisecond {
				t.Errorf("turn %d takes %v", turns, d)
			}
			got = append(got, numbers(romeo.take())...)
		}
		if turns < 3 || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%d turns, answers %v", turns, got)
		}
	})
}
