package e2e

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/test/harness"
	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

// quietPairs talk while somebody floods, each a message in quietEvery.
const (
	quietPairs = 20
	quietEvery = 50 * time.Millisecond
)

// fairTime is how long each flood lasts; HEXMPP_FAIR_TIME sets it for figures.
func fairTime(t *testing.T) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(cmp.Or(os.Getenv("HEXMPP_FAIR_TIME"), "1s"))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestFairTurns has one account flood, or be flooded, while others talk: they lose
// nothing, and get everything in order. How long their messages take is logged, and
// is in docs/performance.md: HEXMPP_FAIR_TIME=20s go test -run TestFairTurns -v ./test/e2e
func TestFairTurns(t *testing.T) {
	for _, rates := range []bool{false, true} {
		t.Run(fmt.Sprintf("rates %t", rates), func(t *testing.T) {
			s := harness.Start(t, harness.Config{Rates: rates})
			quiet := []string{"benvolio", "nurse", "friar", "paris"} // each within what an account may
			for _, user := range append([]string{"romeo", "juliet", "absent"}, quiet...) {
				s.MustAddUser(t, user+"@"+domain, secret)
			}
			var pairs []*quietPair
			for i := range quietPairs {
				pairs = append(pairs, &quietPair{from: session(t, s, quiet[i%4], ""), to: session(t, s, quiet[(i+1)%4], "")})
			}
			talk(t, pairs, "nobody floods", nil)
			for _, f := range floodKinds {
				talk(t, pairs, f.what, func(stop <-chan struct{}) { f.flood(t, s, stop) })
			}
			goodClient(t, &hostile{Server: s, user: "romeo"})
		})
	}
}

// floodKinds are what one account can do to others. Each ends soon after stop.
var floodKinds = []struct {
	what  string
	flood func(t *testing.T, s *harness.Server, stop <-chan struct{})
}{
	{"one session sends to another as fast as it can", func(t *testing.T, s *harness.Server, stop <-chan struct{}) {
		from, to := session(t, s, "romeo", ""), session(t, s, "juliet", "")
		// As fast as the other one reads: whoever does not keep up loses the session.
		counted, room := make(chan int, 1), make(chan struct{}, 40)
		go func() { counted <- countUntil(to, "<body>flood</body>", "id='last'", room) }()
		sent := pour(from, "<message type='chat' to='"+to.JID+"'><body>flood</body></message>", room, stop)
		from.Sendf("<message type='chat' id='last' to='%s'/>", to.JID)
		if got := <-counted; got != sent {
			t.Errorf("%d messages of %d arrived", got, sent)
		}
		from.Drop()
		to.Drop()
	}},
	{"ten sessions send to one that does not read", func(t *testing.T, s *harness.Server, stop <-chan struct{}) {
		deaf := session(t, s, "juliet", "")
		var all sync.WaitGroup
		for range 10 {
			c := session(t, s, "romeo", "")
			all.Go(func() { // its errors and what comes to it are read
				end := make(chan struct{})
				go func() { defer close(end); io.Copy(io.Discard, c.Net()) }()
				pour(c, "<message type='normal' to='"+deaf.JID+"'><body>"+strings.Repeat("x", 1000)+"</body></message>", nil, stop)
				c.Drop()
				<-end
			})
		}
		all.Wait()
		deaf.Drop()
	}},
	{"one session sends to somebody absent: each is a commit", func(t *testing.T, s *harness.Server, stop <-chan struct{}) {
		pourAndRead(t, s, "<message type='chat' to='absent@"+domain+"'><body>flood</body></message>", stop)
	}},
	{"one session writes to storage", func(t *testing.T, s *harness.Server, stop <-chan struct{}) {
		pourAndRead(t, s, "<iq type='set' id='p'><query xmlns='jabber:iq:private'><x xmlns='urn:x'>"+strings.Repeat("x", 500)+"</x></query></iq>", stop)
	}},
	{"one session asks the server", func(t *testing.T, s *harness.Server, stop <-chan struct{}) {
		pourAndRead(t, s, "<iq type='get' id='p' to='"+domain+"'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>", stop)
	}},
	{"a hundred sessions of one account write to storage", func(t *testing.T, s *harness.Server, stop <-chan struct{}) {
		var all sync.WaitGroup
		for range 95 { // what the floods before left may still be ending
			c := session(t, s, "romeo", "")
			all.Go(func() {
				end := make(chan struct{})
				go func() { defer close(end); io.Copy(io.Discard, c.Net()) }()
				pour(c, "<iq type='set' id='p'><query xmlns='jabber:iq:private'><x xmlns='urn:x'>x</x></query></iq>", nil, stop)
				c.Drop()
				<-end
			})
		}
		all.Wait()
	}},
}

// pourAndRead is a flood of requests whose answers are read.
func pourAndRead(t *testing.T, s *harness.Server, stanza string, stop <-chan struct{}) {
	c := session(t, s, "romeo", "")
	end := make(chan struct{})
	go func() { defer close(end); io.Copy(io.Discard, c.Net()) }()
	pour(c, stanza, nil, stop)
	c.Drop()
	<-end
}

// pourEach is how many stanzas pour writes at once.
const pourEach = 100

// pour writes a stanza again and again until stop, or until the connection ends, and
// returns how often. If room is not nil what is sent is as much ahead of what is read
// as there is room; else it is cut off in the end.
func pour(c *xmppc.Conn, stanza string, room chan struct{}, stop <-chan struct{}) (sent int) {
	block := []byte(strings.Repeat(stanza, pourEach))
	for {
		if room != nil {
			select {
			case room <- struct{}{}:
			case <-stop:
				return sent
			}
		}
		select {
		case <-stop:
			return sent
		default:
		}
		c.Net().SetDeadline(time.Now().Add(2 * time.Minute))
		done := make(chan error, 1)
		go func() { _, err := c.Net().Write(block); done <- err }()
		select {
		case err := <-done:
			if err != nil {
				return sent
			}
		case <-stop: // the server may let it wait for long
			if room == nil {
				c.Drop()
			}
			if err := <-done; err != nil {
				return sent
			}
		}
		sent += pourEach
	}
}

// countUntil counts a text in what a client is sent, until another one comes, and
// makes room.
func countUntil(c *xmppc.Conn, text, last string, room <-chan struct{}) (n int) {
	buf := make([]byte, 64<<10)
	var rest []byte
	for {
		c.Net().SetReadDeadline(time.Now().Add(2 * time.Minute))
		got, err := c.Net().Read(buf)
		rest = append(rest, buf[:got]...)
		was := n
		n += bytes.Count(rest, []byte(text))
		for range n/pourEach - was/pourEach {
			<-room
		}
		if err != nil || bytes.Contains(rest, []byte(last)) {
			return n
		}
		keep := 0
		if i := bytes.LastIndex(rest, []byte(text)); i >= 0 {
			keep = i + len(text)
		}
		rest = slices.Clone(rest[max(keep, len(rest)-max(len(text), len(last))+1):])
	}
}

// quietPair is somebody who sends a message now and then, and somebody who gets it.
type quietPair struct {
	from, to *xmppc.Conn
	next     int
}

// talk has the pairs talk while flood runs, and logs how long that took.
func talk(t *testing.T, pairs []*quietPair, what string, flood func(stop <-chan struct{})) {
	t.Helper()
	stop, flooded := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(flooded)
		if flood != nil {
			flood(stop)
		}
	}()
	var (
		all   sync.WaitGroup
		mu    sync.Mutex
		times []time.Duration
		wrong atomic.Int64
	)
	n := int(fairTime(t) / quietEvery)
	for i, p := range pairs {
		all.Go(func() {
			tick := time.NewTicker(quietEvery)
			defer tick.Stop()
			for range n {
				<-tick.C
				body := fmt.Sprint(p.next, " of ", i)
				p.next++
				began := time.Now()
				if p.from.TrySend("<message type='chat' to='"+p.to.JID+"'><body>"+body+"</body></message>") != nil {
					wrong.Add(1)
					return
				}
				m, err := p.to.TryNext()
				took := time.Since(began)
				if err != nil || m.Body() != body || m.Attr("from") != p.from.JID {
					wrong.Add(1)
					return
				}
				mu.Lock()
				times = append(times, took)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	close(stop)
	<-flooded
	if wrong.Load() > 0 {
		t.Errorf("%s: %d of %d pairs did not get what was sent", what, wrong.Load(), len(pairs))
		return
	}
	slices.Sort(times)
	at := func(q float64) time.Duration { return times[int(q*float64(len(times)-1))].Round(10 * time.Microsecond) }
	t.Logf("%-55s median %-8v p99 %-8v longest %v", what+":", at(0.5), at(0.99), at(1))
}
