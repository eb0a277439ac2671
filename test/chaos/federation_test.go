package chaos

import (
	"encoding/json"
	"fmt"
	"net"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/test/harness"
)

// underWay is how many messages a penfriend has under way.
const underWay = 30

// penfriend is a client that writes to one at another server, who writes back. One goroutine writes,
// another one reads.
type penfriend struct {
	client
	friend string        // bare JID
	room   chan struct{} // a place for each message under way; the friend's reader gives it back

	mu     sync.Mutex
	got    int
	faults []string
	over   bool
}

func (p *penfriend) fault(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.over && len(p.faults) < 20 {
		p.faults = append(p.faults, fmt.Sprintf(format, args...))
	}
}

func (p *penfriend) enter() error {
	if err := p.register(); err != nil {
		return err
	}
	var err error
	if p.conn, err = net.DialTimeout("tcp", p.addr, patience); err != nil {
		return err
	}
	if err := p.login(); err != nil {
		return err
	}
	if err := p.bindResource(); err != nil {
		return err
	}
	return p.send("<presence/>")
}

// write sends numbered messages.
func (p *penfriend) write(n int, stop <-chan struct{}) {
	for i := range n {
		select {
		case p.room <- struct{}{}:
		case <-stop:
			return
		}
		if err := p.send("<message to='%s' type='chat' id='%d'><body>%d</body></message>", p.friend, i, i); err != nil {
			p.fault("it could not write: %v", err)
			return
		}
	}
}

// read takes the friend's messages: each once, in order, and nothing else.
func (p *penfriend) read(friend *penfriend, progress chan<- struct{}) {
	for {
		e, err := p.next()
		if err != nil {
			p.fault("the connection ended: %v", err)
			return
		}
		if e.is("presence") {
			continue
		}
		if !e.is("message") || e.Type != "chat" || e.Body != strconv.Itoa(p.got) {
			p.fault("message %d is to come, and there is %+v", p.got, e)
			if e.Type == "error" {
				continue
			}
		}
		p.mu.Lock()
		p.got++
		p.mu.Unlock()
		<-friend.room
		progress <- struct{}{}
	}
}

// federated is what `hexmpp plugin list` says of the plugin s2s.
func federated(t testing.TB, s *harness.Server) listed {
	t.Helper()
	out := s.CLI(t, "plugin", "list", "--json")
	var list []listed
	if err := json.Unmarshal([]byte(out.Stdout), &list); err != nil {
		t.Fatalf("plugin list: status %d: %v\n%s%s", out.Code, err, out.Stdout, out.Stderr)
	}
	for _, p := range list {
		if p.Name == "s2s" {
			return p
		}
	}
	t.Fatalf("plugin list: no s2s in %s", out.Stdout)
	return listed{}
}

// TestFederation: users of two servers write to each other while the plugins that federate are killed and
// reloaded, in turn: each message arrives once and in order, and none comes back.
func TestFederation(t *testing.T) {
	users := setting(t, "HEXMPP_CHAOS_FEDERATION_USERS", 10)
	messages := setting(t, "HEXMPP_CHAOS_FEDERATION_MESSAGES", 10_000)
	kills := setting(t, "HEXMPP_CHAOS_FEDERATION_KILLS", 4)
	reloads := setting(t, "HEXMPP_CHAOS_FEDERATION_RELOADS", 2)
	addrs, err := harness.FreePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	var servers []*harness.Server
	names := []string{"a.example.test", "b.example.test"}
	for i, name := range names {
		servers = append(servers, harness.Start(t, harness.Config{
			ClearText: true, Registration: "open", Domains: []string{name}, S2S: addrs[i],
			Extra: fmt.Sprintf("s2s: {overrides: {%s: %q}}\nplugins:\n  s2s: {limits: {grace-time: 2m, start-time: 1m}}\n", names[1-i], addrs[1-i]),
		}))
	}
	progress := make(chan struct{}, messages)
	stop := make(chan struct{})
	var pens [2][]*penfriend
	for i, s := range servers {
		for u := range users {
			p := &penfriend{client: client{addr: s.C2S, user: fmt.Sprint("u", u), resource: "r", server: names[i]}, friend: fmt.Sprintf("u%d@%s", u, names[1-i]), room: make(chan struct{}, underWay)}
			if err := p.enter(); err != nil {
				t.Fatal(err)
			}
			pens[i] = append(pens[i], p)
		}
	}
	each := messages / (2 * users)
	var readers, writers sync.WaitGroup
	for i := range pens {
		for u, p := range pens[i] {
			readers.Go(func() { p.read(pens[1-i][u], progress) })
			writers.Go(func() { p.write(each, stop) })
		}
	}
	// A blow each time that so many messages have come.
	total, blows, came, killed := each*2*users, kills+reloads, 0, 0
	timer := time.NewTimer(patience)
	for next := 1; came < total; came++ {
		timer.Reset(time.Minute)
		select {
		case <-progress:
		case <-timer.C:
			t.Errorf("nothing came for a minute; %d of %d messages are there", came, total)
			came = total
			continue
		}
		if next > blows || came < next*total/(blows+1) {
			continue
		}
		s := servers[next%2]
		if before := federated(t, s); next%3 == 0 && reloads > 0 || killed == kills {
			reloads--
			if out := s.CLI(t, "plugin", "reload", "s2s"); out.Code != 0 {
				t.Errorf("reload: status %d\n%s%s", out.Code, out.Stdout, out.Stderr)
			}
		} else {
			killed++
			if err := syscall.Kill(before.PID, syscall.SIGKILL); err != nil {
				t.Errorf("kill %d: %v", before.PID, err)
			}
		}
		next++
	}
	close(stop)
	writers.Wait()
	for i := range pens {
		for _, p := range pens[i] {
			p.mu.Lock()
			p.over = true
			if len(p.faults) > 0 || p.got != each {
				t.Errorf("%s@%s: %d of %d messages came: %q", p.user, names[i], p.got, each, p.faults)
			}
			p.mu.Unlock()
			p.conn.Close()
		}
	}
	readers.Wait()
	t.Logf("%d messages; killed %d times", total, killed)
}
