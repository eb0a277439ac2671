package chaos

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/test/harness"
)

// farDomains is how many far domains there are.
const farDomains = 4

// pal is a client that writes to somebody at each far domain, and knows what is to come back. One
// goroutine writes, another one reads.
type pal struct {
	client
	far *victim

	mu      sync.Mutex
	sent    [farDomains]int   // number of the last message
	echoes  [farDomains][]int // that are to come, in order
	refused map[string]bool   // ids of those that are to come back as errors
	answers []time.Duration   // how long each took
	times   map[string]time.Time
	faults  []string
	closing bool
}

func (p *pal) fault(format string, args ...any) {
	if len(p.faults) < 20 {
		p.faults = append(p.faults, fmt.Sprintf(format, args...))
	}
}

func (p *pal) waits() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.refused)
	for i := range p.echoes {
		n += len(p.echoes[i])
	}
	return n
}

// say sends the next message to a domain. Every seventh is one that is refused there.
func (p *pal) say(d int) error {
	p.mu.Lock()
	p.sent[d]++
	n := p.sent[d]
	id, body := fmt.Sprintf("%s-%d-%d", p.user, d, n), strconv.Itoa(n)
	if n%7 == 0 {
		body = "refuse " + body
		p.refused[id] = true
	} else {
		p.echoes[d] = append(p.echoes[d], n)
	}
	p.times[id] = time.Now()
	p.mu.Unlock()
	return p.send("<message to='somebody@far%d.test' type='chat' id='%s'><body>%s</body></message>", d, id, body)
}

func (p *pal) listen() {
	for {
		e, err := p.next()
		p.mu.Lock()
		if err != nil {
			if !p.closing {
				p.fault("the connection ended: %v", err)
			}
			p.mu.Unlock()
			return
		}
		p.take(e)
		p.mu.Unlock()
	}
}

// take looks at what came. mu is held.
func (p *pal) take(e *element) {
	var d int
	switch _, err := fmt.Sscanf(e.From, "somebody@far%d.test", &d); {
	case e.is("presence"):
		return
	case err != nil || d >= farDomains || !e.is("message"):
		p.fault("something else came: %+v", e)
		return
	}
	p.answers = append(p.answers, time.Since(p.times[e.ID]))
	if e.Type == "error" {
		if c := e.child("error"); !p.refused[e.ID] || c == nil || c.child("remote-server-timeout") == nil {
			p.fault("%s came back: %+v", e.ID, c)
		}
		delete(p.refused, e.ID)
		return
	}
	n, _ := strconv.Atoi(e.Body)
	if open := p.echoes[d]; len(open) == 0 || open[0] != n {
		p.fault("%s came, where %v is to come", e.ID, open[:min(3, len(open))])
		return
	}
	p.echoes[d] = p.echoes[d][1:]
	if c := e.child("n"); c != nil {
		p.far.saw(c.PID)
	} else {
		p.fault("%s has no process", e.ID)
	}
}

// journal is what the processes of the plugin wrote.
type journal struct {
	given, again int
}

// readJournal checks that each process was given what was not answered before, in order, whatever is
// given again under its ID.
func readJournal(t *testing.T, path string) (j journal) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	type event struct {
		id    uint64
		times int
		done  bool
	}
	stanzas := map[string]*event{} // by the id of the stanza
	order := map[string][]*event{} // of a domain, as they were given first
	place := map[uint64]int{}      // in order
	next := map[string]int{}       // of a process and a domain: place of the next one that it may be given
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var what, domain, name string
		var pid, attempt int
		var id uint64
		if _, err := fmt.Sscan(lines.Text(), &what, &pid, &domain, &id, &attempt, &name); err != nil {
			t.Fatalf("%q: %v", lines.Text(), err)
		}
		if name == "-" {
			name = fmt.Sprint(domain, id)
		}
		e := stanzas[name]
		if what == "done" {
			e.done = true
			continue
		}
		j.given++
		if e == nil {
			e = &event{id: id}
			stanzas[name] = e
			if all := order[domain]; len(all) > 0 && all[len(all)-1].id >= id {
				t.Errorf("%s: event %d behind %d", domain, id, all[len(all)-1].id)
			}
			place[id] = len(order[domain])
			order[domain] = append(order[domain], e)
		}
		if e.times++; e.times > 1 {
			j.again++
		}
		if e.id != id || attempt < e.times {
			t.Errorf("%s: %s is event %d, attempt %d: it was %d, and was given %d times", domain, name, id, attempt, e.id, e.times)
		}
		key := fmt.Sprint(pid, domain)
		for at := next[key]; at < place[id]; at++ { // those that it was not given
			if left := order[domain][at]; !left.done {
				t.Errorf("%s: process %d was given %d, and not %d before", domain, pid, id, left.id)
			}
		}
		if place[id] < next[key] {
			t.Errorf("%s: process %d was given %d too late", domain, pid, id)
		}
		next[key] = place[id] + 1
	}
	for name, e := range stanzas {
		if !e.done {
			t.Errorf("%s was not answered", name)
		}
	}
	return j
}

// TestFarDomains: while the plugin that claims far domains is killed and reloaded under load, each event
// is given until it is answered, under its ID and in order, and nothing that goes to a far domain, or
// comes from there, is lost, comes twice or overtakes another.
func TestFarDomains(t *testing.T) {
	clients := setting(t, "HEXMPP_CHAOS_CLIENTS", 20)
	rate := setting(t, "HEXMPP_CHAOS_RATE", 200)
	far := newVictim(t, "far", "far")
	path := filepath.Join(t.TempDir(), "journal")
	s := harness.Start(t, harness.Config{ClearText: true, Registration: "open", Domains: []string{domain},
		Extra: fmt.Sprintf("plugins:\n  far: {command: [%q, %q], permissions: [far-domains], limits: {grace-time: 2m, start-time: 1m}}\n", far.program, path)})
	all := make([]*pal, clients)
	var listeners sync.WaitGroup
	for i := range all {
		p := &pal{client: client{addr: s.C2S, user: fmt.Sprint("pal", i), resource: "r"}, far: far, refused: map[string]bool{}, times: map[string]time.Time{}}
		all[i] = p
		if err := register(s.C2S, p.user); err != nil {
			t.Fatal(err)
		}
		var err error
		if p.conn, err = net.DialTimeout("tcp", p.addr, patience); err != nil {
			t.Fatal(err)
		}
		if err := p.login(); err != nil {
			t.Fatal(err)
		}
		if err := p.bindResource(); err != nil {
			t.Fatal(err)
		}
		listeners.Go(p.listen)
	}
	over := make(chan struct{})
	var talkers sync.WaitGroup
	for _, p := range all {
		talkers.Go(func() {
			clock := time.NewTicker(time.Second * time.Duration(clients) / time.Duration(rate))
			defer clock.Stop()
			for i := 0; ; i++ {
				select {
				case <-clock.C:
				case <-over:
					return
				}
				if p.waits() > 300 { // as a client does that has a window
					continue
				}
				if err := p.say(i % farDomains); err != nil {
					p.mu.Lock()
					p.fault("it could not write: %v", err)
					p.mu.Unlock()
					return
				}
			}
		})
	}
	err := far.strike(t, s, setting(t, "HEXMPP_CHAOS_PLUGIN_KILLS", 3), setting(t, "HEXMPP_CHAOS_PLUGIN_RELOADS", 3), setting(t, "HEXMPP_CHAOS_PLUGIN_AMID", 2))
	close(over)
	talkers.Wait()
	if err != nil {
		t.Errorf("%v\n%s", err, s.Log)
	}
	if !harness.Eventually(t, time.Minute, func() bool {
		for _, p := range all {
			if p.waits() > 0 {
				return false
			}
		}
		return true
	}) {
		t.Error("not everything has come back")
	}
	stanzas := 0
	for _, p := range all {
		p.mu.Lock()
		p.closing = true
		for _, f := range p.faults {
			t.Errorf("%s: %s", p.user, f)
		}
		if n := len(p.refused); n > 0 {
			t.Errorf("%s: %d errors are missing", p.user, n)
		}
		for d := range p.echoes {
			stanzas += p.sent[d]
			if n := len(p.echoes[d]); n > 0 {
				t.Errorf("%s: %d echoes of the domain %d are missing, from %d on", p.user, n, d, p.echoes[d][0])
			}
		}
		p.mu.Unlock()
		p.conn.Close()
	}
	listeners.Wait()
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	if strings.Contains(s.Log.String(), "an event can't be read") {
		t.Errorf("%s", s.Log)
	}
	j := readJournal(t, path)
	if j.given-j.again < stanzas {
		t.Errorf("%d events were given, of %d messages", j.given-j.again, stanzas)
	}
	t.Logf("%d messages, %d events were given again; killed %d times, reloaded %d times, both at once %d times", stanzas, j.again, far.kills, far.reloads, far.amid)
}
