package session_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/plugins/bosh/session"
)

// modelMessages is how many messages go each way.
const modelMessages = 10_000

// packet is on its way.
type packet struct {
	at      time.Time
	rid     int
	raw     []byte // of a request
	request bool
}

// model is a client, a network that loses, doubles, delays and reorders, a server, and a manager that
// keeps nothing but the state of its session.
type model struct {
	t       *testing.T
	r       *rand.Rand
	now     time.Time
	s       *session.Session
	network []packet

	// The client.
	acks     bool
	next     int // rid of the next request
	sent     map[int][]byte
	retry    map[int]time.Time
	got      map[int][]byte // answers
	read     int            // rid of the last answer that was read in order
	toSend   int            // messages
	received int

	// The server.
	heard  int
	toPush int

	ticket  session.Ticket
	waiting map[session.Ticket]int // connections that are open at the manager, and their rid

	answers, repeats, restarts, lost int
}

func TestModel(t *testing.T) {
	for seed := range uint64(4) {
		for name, acks := range map[string]bool{"plain": false, "acks": true} {
			t.Run(fmt.Sprintf("%s-%d", name, seed), func(t *testing.T) {
				t.Parallel()
				(&model{t: t, r: rand.New(rand.NewPCG(seed, 1)), acks: acks, now: start, next: 1000, read: 999, sent: map[int][]byte{},
					retry: map[int]time.Time{}, got: map[int][]byte{}, waiting: map[session.Ticket]int{}}).run()
			})
		}
	}
}

func (m *model) options() session.Options {
	o := session.DefaultOptions()
	o.Inactivity, o.AnswerBytes = 10*time.Minute, 300
	o.Repeats = 1_000_000
	return o
}

func (m *model) run() {
	ack := ""
	if m.acks {
		ack = " ack='1'"
	}
	b, err := session.Parse([]byte("<body xmlns='"+session.NS+"' rid='1000' to='example.org' ver='1.6' wait='5' hold='1'"+ack+"/>"), 4096)
	if err != nil {
		m.t.Fatal(err)
	}
	s, out := session.New(b, "SID", true, 0, m.now, m.options())
	m.s = s
	m.out(out)
	out, _ = m.s.Push([][]byte{[]byte("<stream:features/>")}, m.now)
	m.out(out)
	m.next, m.read = 1001, 1000
	for steps := 0; m.received < modelMessages || m.heard < modelMessages; steps++ {
		if steps > 200*modelMessages {
			m.t.Fatalf("no end: heard %d, received %d", m.heard, m.received)
		}
		m.step()
	}
	m.t.Logf("%d answers, %d repeated, %d restarts, %d packets lost, %v", m.answers, m.repeats, m.restarts, m.lost, m.now.Sub(start))
	if m.repeats == 0 || m.restarts == 0 || m.lost == 0 {
		m.t.Fatal("nothing was tried")
	}
}

func (m *model) step() {
	m.now = m.now.Add(time.Duration(m.r.IntN(60)) * time.Millisecond)
	m.client()
	if m.toPush < modelMessages && m.r.IntN(2) == 0 {
		var list [][]byte
		for range 1 + m.r.IntN(3) {
			if m.toPush < modelMessages {
				list = append(list, fmt.Appendf(nil, "<m n='%d'/>", m.toPush))
				m.toPush++
			}
		}
		out, err := m.s.Push(list, m.now)
		if err != nil {
			m.toPush -= len(list)
		}
		m.out(out)
	}
	if m.r.IntN(50) == 0 {
		m.restart()
	}
	if m.r.IntN(20) == 0 {
		for ticket := range m.waiting {
			delete(m.waiting, ticket) // the connection breaks
			m.s.Gone(ticket, m.now)
			break
		}
	}
	m.out(m.s.Tick(m.now))
	m.deliver()
	if have := int(m.s.Confirmed()); have > m.received+1 { // one for the features
		m.t.Fatalf("%d are confirmed, of %d", have, m.received)
	}
}

// restart: another process goes on from the state.
func (m *model) restart() {
	m.restarts++
	s, err := session.Decode(m.s.Append(nil), m.options(), m.now)
	if err != nil {
		m.t.Fatal(err)
	}
	m.s = s
	clear(m.waiting)
}

// client sends what it may, and repeats what has no answer for long.
func (m *model) client() {
	outstanding := m.next - 1 - m.read
	for m.toSend < modelMessages && outstanding < 2 && m.r.IntN(3) > 0 {
		m.request(1 + m.r.IntN(3))
		outstanding++
	}
	if outstanding == 0 && m.r.IntN(3) == 0 {
		m.request(0)
	}
	for rid, at := range m.retry {
		if m.now.After(at) {
			m.repeats++
			m.send(rid)
		}
	}
}

func (m *model) request(messages int) {
	var b strings.Builder
	fmt.Fprintf(&b, "<body xmlns='%s' rid='%d' sid='SID'", session.NS, m.next)
	if m.acks && m.read != m.next-1 {
		fmt.Fprintf(&b, " ack='%d'", m.read)
	}
	b.WriteByte('>')
	for ; messages > 0 && m.toSend < modelMessages; messages-- {
		fmt.Fprintf(&b, "<m n='%d'/>", m.toSend)
		m.toSend++
	}
	b.WriteString("</body>")
	m.sent[m.next] = []byte(b.String())
	m.send(m.next)
	m.next++
}

// send puts a request on its way: once, twice, or not at all.
func (m *model) send(rid int) {
	m.retry[rid] = m.now.Add(time.Second + time.Duration(m.r.IntN(6000))*time.Millisecond)
	for range 1 + m.r.IntN(8)/7 {
		if m.r.IntN(10) == 0 {
			m.lost++
			continue
		}
		m.network = append(m.network, packet{at: m.delay(), rid: rid, raw: m.sent[rid], request: true})
	}
}

func (m *model) delay() time.Time {
	d := time.Duration(m.r.IntN(200)) * time.Millisecond
	if m.r.IntN(50) == 0 {
		d += time.Duration(m.r.IntN(20)) * time.Second
	}
	return m.now.Add(d)
}

// deliver takes what has arrived, in any order.
func (m *model) deliver() {
	var rest []packet
	due := m.network[:0:0]
	for _, p := range m.network {
		if p.at.After(m.now) {
			rest = append(rest, p)
		} else {
			due = append(due, p)
		}
	}
	m.network = rest
	m.r.Shuffle(len(due), func(i, j int) { due[i], due[j] = due[j], due[i] })
	for _, p := range due {
		if !p.request {
			m.answer(p.rid, p.raw)
			continue
		}
		b, err := session.Parse(p.raw, 4096)
		if err != nil {
			m.t.Fatal(err)
		}
		m.ticket++
		m.waiting[m.ticket] = p.rid
		m.out(m.s.Request(b, true, m.ticket, m.now))
	}
}

// out takes what the manager says: the server hears it exactly once and in order.
func (m *model) out(out session.Out) {
	for _, e := range out.Events {
		if e.Kind == session.Close {
			m.t.Fatalf("the session has ended: heard %d, received %d", m.heard, m.received)
		}
		for _, x := range e.Elements {
			if want := fmt.Sprintf("<m xmlns='jabber:client' n='%d'/>", m.heard); string(x) != want {
				m.t.Fatalf("the server heard %s, want %s", x, want)
			}
			m.heard++
		}
	}
	for _, a := range out.Answers {
		rid, ok := m.waiting[a.Ticket]
		if !ok {
			m.t.Fatalf("ticket %d is answered, and nobody waits there", a.Ticket)
		}
		delete(m.waiting, a.Ticket)
		m.answers++
		if m.r.IntN(10) == 0 {
			m.lost++
			continue
		}
		m.network = append(m.network, packet{at: m.delay(), rid: rid, raw: a.Body})
	}
}

// answer is what the client does with an answer.
func (m *model) answer(rid int, body []byte) {
	switch {
	case bytes.Contains(body, []byte("type='error'")):
		if m.got[rid] == nil && rid > m.read {
			m.retry[rid] = m.now
		}
		return
	case bytes.Contains(body, []byte("type='terminate'")):
		if rid > m.read && m.got[rid] == nil {
			m.t.Fatalf("%s for request %d, which has no answer", body, rid)
		}
		return // a copy that was late
	}
	if before, again := m.got[rid]; again {
		if !bytes.Equal(before, body) {
			m.t.Fatalf("request %d has two answers:\n%s\n%s", rid, before, body)
		}
		return
	}
	m.got[rid] = body
	delete(m.retry, rid)
	for m.got[m.read+1] != nil {
		m.read++
		m.take(m.got[m.read])
		delete(m.got, m.read-10)
		delete(m.sent, m.read-10)
	}
}

// take reads an answer: the client receives everything exactly once and in order.
func (m *model) take(body []byte) {
	for rest := string(body); ; {
		_, after, ok := strings.Cut(rest, "<m n='")
		if !ok {
			break
		}
		n, tail, _ := strings.Cut(after, "'")
		if n != fmt.Sprint(m.received) {
			m.t.Fatalf("received %s, want %d", n, m.received)
		}
		m.received++
		rest = tail
	}
}
