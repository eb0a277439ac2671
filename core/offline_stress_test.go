package core_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strconv"
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
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// line is a connection that turns, Flush and Close use as a real adapter does.
type line struct {
	held
	s       transport.Stream
	turns   sync.Mutex // one at a time
	closing atomic.Bool
	again   bool // the kernel wants to go on when others had their turns

	mu    sync.Mutex // guards what follows, and that one goroutine drains
	ready bool
	stuck bool // the client does not read
	out   []byte
}

func (l *line) Flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for n := -1; l.ready && !l.stuck && n != len(l.out); {
		n = len(l.out)
		l.out = l.s.Drain(l.out, 4<<10)
	}
}
func (l *line) StartTLS(string)     {}
func (l *line) Pause(time.Duration) { l.again = true }
func (l *line) Close()              { l.closing.Store(true) }

func (l *line) feed(xml string) {
	l.turns.Lock()
	defer l.turns.Unlock()
	var b transport.Batch
	p := []byte(xml)
	for !l.closing.Load() {
		wait := l.s.Feed(&b, p)
		b.Flush()
		if wait == nil && !l.again && !l.over() {
			return
		}
		if l.again = false; wait != nil {
			wait(context.Background())
		}
		p = nil
	}
}

// take returns what came since the last call.
func (l *line) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := string(l.out)
	l.out = nil
	return out
}

func (l *line) reads(reads bool) {
	l.mu.Lock()
	l.stuck = !reads
	l.mu.Unlock()
	l.Flush()
}

// end is the end of the connection; nothing comes behind it.
func (l *line) end(err error) {
	l.turns.Lock()
	defer l.turns.Unlock()
	l.mu.Lock()
	was := l.ready
	l.ready = false
	l.mu.Unlock()
	if was {
		var b transport.Batch
		l.s.Closed(&b, err)
		b.Flush()
	}
}

func dial(k *core.Kernel, user string) *line {
	l := &line{}
	s := k.NewStream(overTLS, l)
	l.mu.Lock()
	l.s, l.ready = s, true
	l.mu.Unlock()
	l.feed(fmt.Sprintf(head, "example.test") + plain(user, "pw"))
	l.feed(fmt.Sprintf(head, "example.test"))
	l.take()
	return l
}

// note is one message: the n-th of a sender.
type note struct{ sender, n int }

// ledger is what must be true of all messages together.
type ledger struct {
	t      *testing.T
	strict bool // one session at a time: order holds over all of them

	mu       sync.Mutex
	sent     map[note]bool
	got      map[note]int
	acked    map[note]bool
	last     map[int]int // the newest that came of each sender
	problems int
}

func (g *ledger) fail(format string, args ...any) {
	if g.problems++; g.problems < 10 {
		g.t.Errorf(format, args...)
	}
}

func (g *ledger) complete() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.got) == len(g.sent)
}

// reader is juliet's client: a session, and what it knows of it.
type reader struct {
	g        *ledger
	k        *core.Kernel
	r        *rand.Rand
	pause    func(r *rand.Rand)
	resource string

	line    *line
	id      string // for resumption; "" without stream management
	pending []string
	h       int    // stanzas that were handled, since stream management is on
	handled []note // of those, not acknowledged
	seen    map[note]bool
	old     map[note]bool // acknowledged before the session began
	last    map[int]int
}

var (
	stanzaStart = regexp.MustCompile(`<(?:message|presence|iq)[ />]`)
	noteText    = regexp.MustCompile(`<body>(\d+):(\d+)</body>`)
)

// receive takes what has come off the line.
func (c *reader) receive() {
	out := c.line.take()
	at := stanzaStart.FindAllStringIndex(out, -1)
	for i, p := range at {
		end := len(out)
		if i+1 < len(at) {
			end = at[i+1][0]
		}
		c.pending = append(c.pending, out[p[0]:end])
	}
}

// handle handles up to n stanzas that have come.
func (c *reader) handle(n int) {
	c.g.mu.Lock()
	defer c.g.mu.Unlock()
	for ; n > 0 && len(c.pending) > 0; n-- {
		st := c.pending[0]
		c.pending = c.pending[1:]
		c.h++
		if m := noteText.FindStringSubmatch(st); m != nil {
			sender, _ := strconv.Atoi(m[1])
			seq, _ := strconv.Atoi(m[2])
			c.note(note{sender, seq}, strings.Contains(st, "<delay "))
		}
	}
}

func (c *reader) note(x note, late bool) {
	g := c.g
	switch {
	case c.seen[x]:
		g.fail("%s: %v came twice in a session", c.resource, x)
	case c.old[x]:
		g.fail("%s: %v came again, though it was acknowledged", c.resource, x)
	case x.n <= c.last[x.sender] && (g.strict || !late):
		g.fail("%s: %v came behind %d (late: %v)", c.resource, x, c.last[x.sender], late)
	case g.strict && g.got[x] == 0 && x.n <= g.last[x.sender]:
		g.fail("%s: %v came for the first time behind %d", c.resource, x, g.last[x.sender])
	}
	c.seen[x] = true
	c.last[x.sender] = max(x.n, c.last[x.sender])
	g.last[x.sender] = max(x.n, g.last[x.sender])
	g.got[x]++
	c.handled = append(c.handled, x)
	if c.id == "" {
		c.acknowledged()
	}
}

// acknowledged notes that the server knows of everything that was handled.
func (c *reader) acknowledged() {
	for _, x := range c.handled {
		c.g.acked[x] = true
	}
	c.handled = nil
}

// idle makes sure that nothing live is on its way to the client: what others
// send while it is unavailable is stored, and would be in front of what it then
// leaves.
func (c *reader) idle() bool {
	c.line.reads(true)
	return c.id == ""
}

func (c *reader) ack() {
	if c.id == "" {
		return
	}
	c.g.mu.Lock()
	n := c.handled
	c.g.mu.Unlock()
	c.line.feed(fmt.Sprintf("<a xmlns='urn:xmpp:sm:3' h='%d'/>", c.h))
	c.g.mu.Lock()
	defer c.g.mu.Unlock()
	if !c.line.closing.Load() && len(n) == len(c.handled) {
		c.acknowledged()
	}
}

// login begins a session.
func (c *reader) login(managed bool) {
	c.line = dial(c.k, "juliet")
	c.begin(managed)
}

func (c *reader) begin(managed bool) {
	c.g.mu.Lock()
	c.id, c.h, c.pending, c.handled = "", 0, nil, nil
	c.seen, c.last, c.old = map[note]bool{}, map[int]int{}, map[note]bool{}
	for x := range c.g.acked {
		c.old[x] = true
	}
	c.g.mu.Unlock()
	c.line.feed(bind(c.resource))
	enable := "<enable xmlns='urn:xmpp:sm:3' resume='true'/>"
	if managed && c.r.IntN(2) == 0 { // behind the presence
		c.line.feed("<presence/>")
		c.pause(c.r)
		c.enable(enable)
		return
	}
	if managed {
		c.enable(enable)
	}
	c.line.take()
	c.line.feed("<presence/>")
}

// enable turns stream management on: what stands in front of the answer is
// handled without it.
func (c *reader) enable(request string) {
	c.line.feed(request)
	c.line.mu.Lock()
	out := string(c.line.out)
	m := smID.FindStringSubmatchIndex(out)
	for m == nil { // another one may be about to flush the connection
		c.line.mu.Unlock()
		if c.line.closing.Load() {
			return
		}
		time.Sleep(10 * time.Microsecond)
		c.line.mu.Lock()
		out = string(c.line.out)
		m = smID.FindStringSubmatchIndex(out)
	}
	before := out[:m[0]]
	c.line.out = []byte(out[m[1]:])
	c.line.mu.Unlock()
	rest := &line{out: []byte(before)}
	l := c.line
	c.line = rest
	c.receive()
	c.line = l
	c.handle(len(c.pending))
	c.g.mu.Lock()
	c.id, c.h = out[m[2]:m[3]], 0
	c.g.mu.Unlock()
}

// gone is the end of the connection. Without stream management the client has
// all that was written to it.
func (c *reader) gone(err error) {
	if c.id == "" {
		c.line.reads(true)
	}
	c.line.end(err)
	c.receive()
	if c.id == "" {
		c.handle(len(c.pending))
	}
	c.pending = nil
}

// resume goes on with the session on another connection, or begins anew.
func (c *reader) resume() {
	c.line = dial(c.k, "juliet")
	c.line.feed(fmt.Sprintf("<resume xmlns='urn:xmpp:sm:3' h='%d' previd='%s'/>", c.h, c.id))
	if c.line.closing.Load() {
		c.line.end(nil)
		c.login(true)
		return
	}
	c.line.mu.Lock()
	failed := strings.Contains(string(c.line.out), "<failed ")
	c.line.mu.Unlock()
	if failed {
		c.line.take()
		c.begin(c.r.IntN(2) == 0)
		return
	}
	c.g.mu.Lock()
	c.acknowledged()
	c.g.mu.Unlock()
}

// live uses the client until stop is closed.
func (c *reader) live(stop <-chan struct{}) {
	c.login(c.r.IntN(2) == 0)
	for {
		select {
		case <-stop:
			return
		default:
		}
		c.pause(c.r)
		c.receive()
		if c.line.closing.Load() {
			c.gone(nil)
			c.login(c.r.IntN(2) == 0)
			continue
		}
		switch n := c.r.IntN(20); {
		case n < 8:
			c.handle(c.r.IntN(40))
			if c.r.IntN(2) == 0 {
				c.ack()
			}
		case n < 10 && c.g.strict && !c.idle():
		case n == 8:
			c.line.feed("<presence type='unavailable'/>")
			c.pause(c.r)
			c.line.feed("<presence/>")
		case n == 9:
			c.line.feed("<presence><priority>-1</priority></presence>")
			c.pause(c.r)
			c.line.feed("<presence><priority>3</priority></presence>")
		case n == 10:
			c.line.reads(false)
		case n == 11:
			c.line.reads(true)
		case n == 12: // in order
			c.line.feed("</stream:stream>")
			c.line.reads(true)
			c.gone(nil)
			c.pause(c.r)
			c.login(c.r.IntN(2) == 0)
		case n == 13 && c.id != "": // the connection is dead, but nobody knows
			c.line.reads(false)
			dead := c.line
			c.receive()
			c.login(c.r.IntN(2) == 0)
			dead.end(context.DeadlineExceeded)
		case n == 14:
			c.gone(context.DeadlineExceeded)
			c.pause(c.r)
			if c.id == "" || c.r.IntN(4) == 0 {
				c.login(c.r.IntN(2) == 0)
			} else {
				c.resume()
			}
		case n == 15 && c.id != "": // a resumption while the old connection stands
			dead := c.line
			c.receive()
			c.handle(c.r.IntN(10))
			c.pending = nil
			c.resume()
			dead.end(context.DeadlineExceeded)
		}
	}
}

// finish reads on until everything has come.
func (c *reader) finish(wait func() bool) {
	for wait() {
		c.receive()
		if c.line.closing.Load() {
			c.gone(nil)
			c.login(false)
		}
		c.line.reads(true)
		c.handle(1000)
		c.ack()
		if c.g.complete() {
			return
		}
	}
}

// stress has several senders write to juliet while her clients come and go.
func stress(t *testing.T, seed uint64, clients int, change func(*core.Options, *mailbox), pause func(*rand.Rand), patience time.Duration) {
	m := &mailbox{Store: store.New()}
	users := []jid.JID{juliet}
	const senders, each = 4, 60
	for i := range senders {
		users = append(users, jid.MustParse(fmt.Sprintf("sender%d@example.test", i)))
	}
	for _, user := range users {
		if err := m.CreateAccount(t.Context(), storage.Account{User: user}); err != nil {
			t.Fatal(err)
		}
	}
	w := newWorld(t, func(o *core.Options, p *core.Ports) {
		o.Offline = offline.Options{Messages: 10_000}
		o.Limits.UnauthenticatedTime = time.Hour
		o.Throttle.Disabled = true // of many logins at once
		p.Store = m
		change(o, m)
	})
	g := &ledger{t: t, strict: clients == 1, sent: map[note]bool{}, got: map[note]int{}, acked: map[note]bool{}, last: map[int]int{}}
	var writing, reading sync.WaitGroup
	for i := range senders {
		writing.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			l := dial(w.k, fmt.Sprint("sender", i))
			defer l.end(nil)
			l.feed(bind("s"))
			if out := l.take(); !strings.Contains(out, "<jid>") {
				t.Errorf("sender %d is not bound: %s, closing %v", i, out, l.closing.Load())
			}
			for n := 1; n <= each; {
				var xml strings.Builder
				for range 1 + r.IntN(4) {
					g.mu.Lock()
					g.sent[note{i, n}] = true
					g.mu.Unlock()
					xml.WriteString(tell(fmt.Sprintf("%d:%d", i, n)))
					n++
				}
				l.feed(xml.String())
				pause(r)
			}
			if out := l.take(); out != "" {
				t.Errorf("sender %d got %s", i, out)
			}
		})
	}
	stop := make(chan struct{})
	readers := make([]*reader, clients)
	for i := range readers {
		readers[i] = &reader{g: g, k: w.k, r: rand.New(rand.NewPCG(seed, uint64(100+i))), pause: pause, resource: fmt.Sprint("r", i)}
		reading.Go(func() { readers[i].live(stop) })
	}
	writing.Wait()
	close(stop)
	reading.Wait()
	deadline := time.Now().Add(patience)
	for _, c := range readers {
		reading.Go(func() {
			c.finish(func() bool { time.Sleep(time.Millisecond); return time.Now().Before(deadline) })
			c.line.end(nil)
		})
	}
	reading.Wait()
	for x := range g.sent {
		if g.got[x] == 0 {
			g.fail("%v was lost; stored are %q", x, m.waiting(t, juliet))
		}
	}
	if t.Failed() {
		t.Logf("seed %d", seed)
	}
}

// seeds runs a test under several seeds, others each time.
func seeds(t *testing.T, n int, run func(t *testing.T, seed uint64)) {
	if testing.Short() {
		n = max(1, n/10)
	}
	for range n {
		seed := rand.Uint64()
		run(t, seed)
		if t.Failed() {
			return
		}
	}
}

// Every message comes, once where it was acknowledged, and in the order of its
// sender, whatever becomes of sessions and connections.
func TestOfflineStress(t *testing.T) {
	for clients := 1; clients <= 2; clients++ {
		t.Run(fmt.Sprint(clients, " at a time"), func(t *testing.T) {
			seeds(t, 10, func(t *testing.T, seed uint64) {
				stress(t, seed, clients, func(o *core.Options, m *mailbox) {
					o.Limits.ResumeTime = 5 * time.Millisecond
					o.Limits.Unacknowledged = 40
					o.Limits.OutboxBytes = 64 << 10
				}, func(r *rand.Rand) {
					if n := r.IntN(8); n > 4 {
						time.Sleep(time.Duration(r.IntN(1500)) * time.Microsecond)
					}
				}, 20*time.Second)
			})
		})
	}
}

// The same with storage that is slow and fails to read and to delete, in a
// bubble where that costs no time.
func TestOfflineStressWithStorageThatFails(t *testing.T) {
	for clients := 1; clients <= 2; clients++ {
		t.Run(fmt.Sprint(clients, " at a time"), func(t *testing.T) {
			seeds(t, 10, func(t *testing.T, seed uint64) {
				synctest.Test(t, func(t *testing.T) {
					var lock sync.Mutex
					r := rand.New(rand.NewPCG(seed, 7))
					random := func(n int) int { lock.Lock(); defer lock.Unlock(); return r.IntN(n) }
					stress(t, seed, clients, func(o *core.Options, m *mailbox) {
						o.Limits.ResumeTime = 300 * time.Millisecond
						o.Limits.Unacknowledged = 40
						slow := func(fails int) func() error {
							return func() error {
								time.Sleep(time.Duration(random(20)) * time.Millisecond)
								if fails > 0 && random(fails) == 0 {
									return storage.ErrUnavailable
								}
								return nil
							}
						}
						m.add, m.added, m.read, m.delete = slow(0), slow(0), slow(5), slow(3)
					}, func(r *rand.Rand) { time.Sleep(time.Duration(r.IntN(30)) * time.Millisecond) }, time.Hour)
				})
			})
		})
	}
}

// The same where it fails to store what sessions leave, or does so and does not say it.
func TestOfflineStressWithCommitsThatFail(t *testing.T) {
	for clients := 1; clients <= 2; clients++ {
		t.Run(fmt.Sprint(clients, " at a time"), func(t *testing.T) {
			seeds(t, 10, func(t *testing.T, seed uint64) {
				synctest.Test(t, func(t *testing.T) {
					var lock sync.Mutex
					r := rand.New(rand.NewPCG(seed, 7))
					well := 0 // order yields where it fails again and again
					commits := func() error {
						lock.Lock()
						defer lock.Unlock()
						if well++; well < 4 || r.IntN(3) > 0 {
							return nil
						}
						well = 0
						return storage.ErrUnavailable
					}
					stress(t, seed, clients, func(o *core.Options, m *mailbox) {
						o.Limits.ResumeTime = 300 * time.Millisecond
						o.Limits.Unacknowledged = 40
						m.addAll, m.addedAll = commits, commits
					}, func(r *rand.Rand) { time.Sleep(time.Duration(r.IntN(30)) * time.Millisecond) }, time.Hour)
				})
			})
		})
	}
}
