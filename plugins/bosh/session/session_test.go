package session_test

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/plugins/bosh/session"
)

var start = time.UnixMilli(1_700_000_000_000)

// world is a session, what it said, and a clock.
type world struct {
	t       *testing.T
	s       *session.Session
	now     time.Time
	ticket  session.Ticket
	server  []string // what is for the server
	answers map[session.Ticket]session.Answer
}

func options() session.Options { return session.DefaultOptions() }

// begin begins a session with the attributes of a request; rid is 1000.
func begin(t *testing.T, attributes string, o session.Options) *world {
	t.Helper()
	w := &world{t: t, now: start, answers: map[session.Ticket]session.Answer{}}
	b := w.parse("rid='1000' to='example.org' xmlns:xmpp='urn:xmpp:xbosh' xmpp:version='1.0' "+attributes, "")
	w.ticket++
	s, out := session.New(b, "SID", true, w.ticket, w.now, o)
	w.s = s
	w.take(out)
	return w
}

// running is a session of a client that holds one request, has its features, and rid 1001 is next.
func running(t *testing.T, attributes string) *world {
	t.Helper()
	w := begin(t, "ver='1.6' wait='60' hold='1' "+attributes, options())
	w.push("<stream:features/>")
	w.answered(1)
	w.server = nil
	return w
}

func (w *world) parse(attributes, payload string) *session.Body {
	w.t.Helper()
	b, err := session.Parse([]byte("<body xmlns='"+session.NS+"' "+attributes+">"+payload+"</body>"), 1<<20)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

func (w *world) take(out session.Out) {
	for _, e := range out.Events {
		switch e.Kind {
		case session.Open:
			w.server = append(w.server, "open "+e.To)
		case session.Close:
			w.server = append(w.server, fmt.Sprintf("close %v", e.Clean))
		default:
			for _, x := range e.Elements {
				w.server = append(w.server, string(x))
			}
		}
	}
	for _, a := range out.Answers {
		if _, twice := w.answers[a.Ticket]; twice {
			w.t.Fatalf("ticket %d is answered twice", a.Ticket)
		}
		w.answers[a.Ticket] = a
	}
}

// send sends a request and returns its ticket.
func (w *world) send(rid int, attributes, payload string) session.Ticket {
	w.t.Helper()
	w.ticket++
	b := w.parse(fmt.Sprintf("rid='%d' sid='SID' xmlns:xmpp='urn:xmpp:xbosh' %s", rid, attributes), payload)
	w.take(w.s.Request(b, true, w.ticket, w.now))
	return w.ticket
}

func (w *world) push(elements ...string) {
	w.t.Helper()
	var all [][]byte
	for _, e := range elements {
		all = append(all, []byte(e))
	}
	out, err := w.s.Push(all, w.now)
	if err != nil {
		w.t.Fatal(err)
	}
	w.take(out)
}

func (w *world) pass(d time.Duration) {
	w.now = w.now.Add(d)
	w.take(w.s.Tick(w.now))
}

// answered returns the body of an answer, which must be there.
func (w *world) answered(ticket session.Ticket) string {
	w.t.Helper()
	a, ok := w.answers[ticket]
	if !ok {
		w.t.Fatalf("ticket %d has no answer", ticket)
	}
	return string(a.Body)
}

func (w *world) held(ticket session.Ticket) {
	w.t.Helper()
	if a, ok := w.answers[ticket]; ok {
		w.t.Fatalf("ticket %d is answered: %s", ticket, a.Body)
	}
}

func (w *world) is(got, want string) {
	w.t.Helper()
	if got != want {
		w.t.Fatalf("\n got %s\nwant %s", got, want)
	}
}

// has wants each of the parts.
func (w *world) has(got string, parts ...string) {
	w.t.Helper()
	for _, p := range parts {
		if !strings.Contains(got, p) {
			w.t.Fatalf("no %q in %s", p, got)
		}
	}
}

func (w *world) hasNot(got, part string) {
	w.t.Helper()
	if strings.Contains(got, part) {
		w.t.Fatalf("%q in %s", part, got)
	}
}

// toServer checks what was said to the server, and forgets it.
func (w *world) toServer(want ...string) {
	w.t.Helper()
	w.is(strings.Join(w.server, "\n"), strings.Join(want, "\n"))
	w.server = nil
}

func (w *world) ended(condition string, ticket session.Ticket) {
	w.t.Helper()
	w.is(w.answered(ticket), "<body xmlns='"+session.NS+"' type='terminate' condition='"+condition+"'/>")
	if !w.s.Ended() {
		w.t.Fatal("the session goes on")
	}
}

const (
	empty  = "<body xmlns='" + session.NS + "'/>"
	end    = "<body xmlns='" + session.NS + "' type='terminate'/>"
	again  = "<body xmlns='" + session.NS + "' type='error'/>"
	hello  = "<message xmlns='jabber:client'><body>hello</body></message>"
	answer = "<message xmlns='jabber:client'><body>answer</body></message>"
)

func body(elements string) string {
	return "<body xmlns='" + session.NS + "'>" + elements + "</body>"
}

func TestCreation(t *testing.T) { // 7.2, XEP-0206 4
	w := begin(t, "ver='1.6' wait='30' hold='5' content='text/html' ack='1' xml:lang='de'", options())
	w.toServer("open example.org")
	w.held(1)
	w.s.Opened("stream&1")
	w.push("<stream:features/>")
	w.has(w.answered(1), "sid='SID'", "wait='30'", "requests='2'", "hold='1'", "inactivity='60'", "polling='2'", "maxpause='120'",
		"ver='1.6'", "ack='1000'", "from='example.org'", "authid='stream&amp;1'", "xmpp:restartlogic='true'", "xmpp:version='1.0'",
		"xmlns:stream='http://etherx.jabber.org/streams'><stream:features/></body>")
	w.is(w.answers[1].Content, "text/html")

	w = begin(t, "", options()) // of a client of the first days
	w.push("<stream:features/>")
	w.hasNot(w.answered(1), " ver=")
	w.hasNot(w.answered(1), " ack=")
	w.is(w.answers[1].Content, "text/xml; charset=utf-8")

	w = begin(t, "ver='2.0' wait='3600'", options())
	w.push("<stream:features/>")
	w.has(w.answered(1), "ver='1.11'", "wait='60'")
	if got := session.Check(w.parse("rid='1'", "")); got != session.ImproperAddressing {
		t.Fatalf("a session without a domain: %q", got)
	}
}

func TestHeldUntilThereIsSomething(t *testing.T) { // 8
	w := running(t, "")
	one := w.send(1001, "", "")
	w.held(one)
	w.push(hello)
	w.is(w.answered(one), body(hello))
	w.push(answer) // waits for a request
	w.is(w.answered(w.send(1002, "", "")), body(answer))
	three := w.send(1003, "", "")
	w.pass(59 * time.Second)
	w.held(three)
	w.pass(time.Second)
	w.is(w.answered(three), empty)
}

func TestOlderRequestIsAnsweredFirst(t *testing.T) { // 4, 8
	w := running(t, "")
	one := w.send(1001, "", "")
	two := w.send(1002, "", hello)
	w.is(w.answered(one), empty)
	w.held(two)
	w.toServer(hello)
	w.push(answer)
	w.is(w.answered(two), body(answer))
}

func TestNothingTooLarge(t *testing.T) {
	o := options()
	o.AnswerBytes, o.QueueBytes = 100, 200
	w := begin(t, "ver='1.6' hold='1'", o)
	w.push("<stream:features/>")
	x := "<a xmlns='" + strings.Repeat("x", 80) + "'/>"
	w.push(x, x)
	if _, err := w.s.Push([][]byte{[]byte(x)}, w.now); err == nil {
		t.Fatal("more than fits is taken")
	}
	w.is(w.answered(w.send(1001, "", "")), body(x))
	w.pass(2 * time.Second)
	w.is(w.answered(w.send(1002, "", "")), body(x))
}

func TestRequestsInOrder(t *testing.T) { // 14.2
	w := running(t, "")
	two := w.send(1002, "", answer)
	w.held(two)
	w.toServer()
	one := w.send(1001, "", hello)
	w.toServer(hello, answer)
	w.is(w.answered(one), empty)
	w.held(two)
}

func TestWindow(t *testing.T) { // 14.2, 11
	w := running(t, "")
	w.ended(session.ItemNotFound, w.send(1003, "", ""))
	w.toServer("close false")

	w = running(t, "")
	w.send(1001, "", "")
	two := w.send(1003, "", "") // the third at once, and none is answered
	w.ended(session.PolicyViolation, two)
	w.ended(session.OtherRequest, 2)

	w = running(t, "")
	w.send(1001, "", "")
	w.held(w.send(1003, "type='terminate'", "")) // one more is allowed for the end
	w.send(1002, "", hello)
	w.toServer(hello, "close true")
}

func TestEarlyRequestIsGivenBack(t *testing.T) { // 17.3
	w := running(t, "")
	two := w.send(1002, "", answer)
	w.pass(time.Minute)
	w.is(w.answered(two), again)
	w.send(1001, "", hello)
	w.send(1002, "", answer)
	w.toServer(hello, answer)
}

func TestRepeated(t *testing.T) { // 14.3
	w := running(t, "")
	one := w.send(1001, "", hello)
	two := w.send(1001, "", hello)
	w.is(w.answered(one), again)
	w.held(two)
	w.push(answer)
	w.is(w.answered(two), body(answer))
	w.is(w.answered(w.send(1001, "", hello)), body(answer))
	w.toServer(hello)

	for rid := 1002; rid < 1006; rid++ {
		w.send(rid, "", hello)
		w.push(answer)
	}
	forgotten := w.send(1001, "", hello)
	w.is(w.answered(forgotten), "<body xmlns='"+session.NS+"' type='terminate' condition='item-not-found'/>")
	if w.s.Ended() {
		t.Fatal("a late copy ends the session")
	}

	w = running(t, "")
	for range options().Repeats {
		w.send(1001, "", "")
	}
	w.held(w.send(1001, "", ""))
	w.ended(session.PolicyViolation, w.send(1001, "", ""))
}

func TestBrokenConnection(t *testing.T) { // 14.3
	w := running(t, "")
	one := w.send(1001, "", hello)
	w.s.Gone(one, w.now)
	w.push(answer)
	w.held(one)
	w.is(w.answered(w.send(1001, "", hello)), body(answer))
	w.toServer(hello)
}

func TestInactivity(t *testing.T) { // 10
	w := running(t, "")
	w.pass(59 * time.Second)
	w.toServer()
	w.pass(time.Second)
	w.toServer("close false")
	w.is(w.answered(w.send(1001, "", "")), "<body xmlns='"+session.NS+"' type='terminate' condition='item-not-found'/>")
	if w.s.Over(w.now) {
		t.Fatal("over at once")
	}
	w.pass(time.Minute)
	if !w.s.Over(w.now) {
		t.Fatal("never over")
	}

	w = running(t, "") // a broken connection is none
	w.s.Gone(w.send(1001, "", ""), w.now)
	if want := w.now.Add(time.Minute); !w.s.Next().Equal(want) {
		t.Fatalf("next %v, want %v", w.s.Next(), want)
	}
	w.pass(time.Minute)
	w.toServer("close false")
}

func TestPause(t *testing.T) { // 10
	w := running(t, "")
	one := w.send(1001, "", "")
	two := w.send(1002, "pause='100'", "")
	w.is(w.answered(one), empty)
	w.is(w.answered(two), empty)
	w.push(hello)
	w.pass(99 * time.Second)
	w.toServer()
	w.is(w.answered(w.send(1003, "", "")), body(hello))
	w.pass(time.Minute)
	w.toServer("close false")

	w = running(t, "")
	w.held(w.send(1001, "pause='121'", "")) // longer than is offered
}

func TestTooFast(t *testing.T) { // 11, 12
	w := running(t, "")
	w.send(1001, "", "")
	w.ended(session.PolicyViolation, w.send(1002, "", ""))

	w = running(t, "")
	w.send(1001, "", "")
	w.pass(2 * time.Second)
	w.held(w.send(1002, "", ""))

	w = begin(t, "ver='1.6' hold='0'", options())
	w.has(w.answered(1), "hold='0'", "requests='1'", "inactivity='64'")
	w.push("<stream:features/>")
	w.has(w.answered(w.send(1001, "", "")), "<stream:features/>")
	w.is(w.answered(w.send(1002, "", "")), empty) // there was something in the one before
	w.ended(session.PolicyViolation, w.send(1003, "", ""))
}

func TestTerminate(t *testing.T) { // 13
	w := running(t, "")
	one := w.send(1001, "", "")
	two := w.send(1002, "type='terminate'", "<presence xmlns='jabber:client' type='unavailable'/>")
	w.is(w.answered(one), end)
	w.is(w.answered(two), empty)
	w.toServer("<presence xmlns='jabber:client' type='unavailable'/>", "close true")
	w.is(w.answered(w.send(1001, "", "")), end)
	w.is(w.answered(w.send(1003, "", "")), "<body xmlns='"+session.NS+"' type='terminate' condition='item-not-found'/>")
}

func TestRestart(t *testing.T) { // XEP-0206 5
	w := running(t, "")
	one := w.send(1001, "xmpp:restart='true' to='example.org'", hello)
	w.toServer("open example.org")
	w.push("<stream:features/>")
	w.has(w.answered(one), "xmlns:stream=", "<stream:features/>")
}

func TestServerCloses(t *testing.T) { // 17.2, XEP-0206 6
	w := running(t, "")
	one := w.send(1001, "", "")
	w.take(w.s.Closed([]byte("<stream:error><conflict/></stream:error>"), "", w.now))
	w.is(w.answered(one), "<body xmlns='"+session.NS+"' type='terminate' condition='remote-stream-error' xmlns:stream='http://etherx.jabber.org/streams'>"+
		"<stream:error><conflict/></stream:error></body>")
	w.toServer("close true")

	w = running(t, "") // nobody is there to be told
	w.push(hello)
	w.take(w.s.Closed(nil, session.SystemShutdown, w.now))
	want := "<body xmlns='" + session.NS + "' type='terminate' condition='system-shutdown'>" + hello + "</body>"
	w.is(w.answered(w.send(1001, "", "")), want)
	w.is(w.answered(w.send(1001, "", "")), want)
}

func hash(k string) string {
	sum := sha1.Sum([]byte(k))
	return hex.EncodeToString(sum[:])
}

func TestKeys(t *testing.T) { // 15
	one := hash("seed")
	two := hash(one)
	three := hash(two)
	w := running(t, "newkey='"+strings.ToUpper(three)+"'")
	w.send(1001, "key='"+two+"'", hello)
	w.send(1001, "key='"+two+"'", hello) // a copy has the same key
	w.push(answer)
	other := hash("other")
	w.send(1002, "key='"+strings.ToUpper(one)+"' newkey='"+hash(other)+"'", answer)
	w.push(answer)
	w.send(1003, "key='"+other+"'", hello)
	w.toServer(hello, answer, hello)
	w.ended(session.ItemNotFound, w.send(1004, "key='"+other+"'", hello))
	w.toServer("close false")

	w = running(t, "newkey='"+three+"'")
	w.ended(session.ItemNotFound, w.send(1001, "", hello))
	w.toServer("close false")

	w = running(t, "newkey='"+three+"'") // a copy that somebody else made
	w.send(1001, "key='"+two+"'", hello)
	w.ended(session.ItemNotFound, w.send(1001, "key='"+other+"'", hello))
}

func TestAcknowledgements(t *testing.T) { // 9
	w := running(t, "ack='1'")
	if w.s.Confirmed() != 0 {
		t.Fatal("confirmed before anything was asked")
	}
	one := w.send(1001, "", "") // without ack: it has all
	if got := w.s.Confirmed(); got != 1 {
		t.Fatalf("%d confirmed", got)
	}
	two := w.send(1002, "ack='1000'", hello)
	w.is(w.answered(one), "<body xmlns='"+session.NS+"' ack='1002'/>")
	w.push(answer)
	w.is(w.answered(two), body(answer))
	w.pass(3 * time.Second)
	three := w.send(1003, "ack='1001'", "") // the answer to 1002 has not come
	w.push(hello)
	w.is(w.answered(three), "<body xmlns='"+session.NS+"' report='1002' time='3000'>"+hello+"</body>")
	if got := w.s.Confirmed(); got != 1 {
		t.Fatalf("%d confirmed", got)
	}
	w.is(w.answered(w.send(1002, "ack='1000'", hello)), body(answer))
	w.send(1004, "ack='1003'", "")
	if got := w.s.Confirmed(); got != 3 {
		t.Fatalf("%d confirmed", got)
	}
	w.has(w.answered(w.send(1003, "ack='1001'", "")), "item-not-found") // it said that it has it
}

func TestSecureOnly(t *testing.T) { // 19.1
	w := running(t, "")
	b := w.parse("rid='1001' sid='SID'", hello)
	out := w.s.Request(b, false, 99, w.now)
	if len(out.Answers) != 1 || out.Answers[0].Status != 0 || len(out.Events) > 0 || w.s.Ended() {
		t.Fatalf("a request in clear: %+v", out)
	}
	w.send(1001, "", hello)
	w.toServer(hello)
}

func TestOldClientsHaveStatus(t *testing.T) { // 17.1
	for status, send := range map[int]func(w *world) session.Ticket{
		404: func(w *world) session.Ticket { return w.send(2000, "", "") },
		403: func(w *world) session.Ticket { w.send(1001, "", ""); return w.send(1002, "", "") },
	} {
		w := begin(t, "hold='1'", options())
		w.push("<stream:features/>")
		if a := w.answers[send(w)]; a.Status != status || len(a.Body) > 0 {
			t.Fatalf("want %d, got %+v", status, a)
		}
	}
}

func TestStateGoesOn(t *testing.T) {
	w := running(t, "ack='1'")
	w.send(1001, "", hello)
	w.push(answer)
	w.send(1002, "", hello)
	state := w.s.Append(nil)
	s, err := session.Decode(state, options(), w.now)
	if err != nil {
		t.Fatal(err)
	}
	w.is(string(s.Append(nil)), string(state))
	for n := range state {
		if _, err := session.Decode(state[:n], options(), w.now); err == nil {
			t.Fatalf("%d of %d bytes are a state", n, len(state))
		}
	}
	w.s, w.server = s, nil
	again := w.send(1002, "", hello)
	w.held(again)
	w.is(w.answered(w.send(1001, "", hello)), "<body xmlns='"+session.NS+"' type='terminate' condition='item-not-found'/>") // confirmed
	w.push(answer)
	w.is(w.answered(again), body(answer))
	w.toServer()
}
