package chaos

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/test/harness"
)

// guest is a client without stream management that is in some rooms. One goroutine writes, another one
// reads.
type guest struct {
	client
	rooms []int // that it is in

	mu      sync.Mutex
	grown   chan struct{}    // closed, and made anew, when something comes
	entered int              // rooms whose subject came
	others  int              // presences of others while all enter
	heard   map[int][]string // of each room: ids, in order
	sent    map[int]int      // to each room
	lists   map[string]int   // occupants by the answers to disco#items; -1 for an error
	pings   map[string]bool  // whether a self-ping was answered well
	settled bool             // all have entered: presence is a fault from now on
	faults  []string
	closing bool
	ended   error
}

func (g *guest) fault(format string, args ...any) {
	if len(g.faults) < 20 {
		g.faults = append(g.faults, fmt.Sprintf(format, args...))
	}
}

func crowd(i int) string { return fmt.Sprintf("crowd%d@conference.%s", i, domain) }

// listen reads until the connection ends.
func (g *guest) listen() {
	for {
		e, err := g.next()
		g.mu.Lock()
		if err != nil {
			if g.ended = err; !g.closing {
				g.fault("the connection ended: %v", err)
			}
			close(g.grown)
			g.mu.Unlock()
			return
		}
		g.take(e)
		close(g.grown)
		g.grown = make(chan struct{})
		g.mu.Unlock()
	}
}

// take notes what came. g.mu is held.
func (g *guest) take(e *element) {
	local, _, _ := strings.Cut(e.From, "@")
	room, err := strconv.Atoi(strings.TrimPrefix(local, "crowd"))
	switch {
	case e.is("iq"):
		if what, jid, _ := strings.Cut(e.ID, " "); what == "items" {
			g.lists[jid] = -1
			if query := e.child("query"); query != nil && e.Type == "result" {
				g.lists[jid] = len(query.all("item"))
			}
		} else {
			g.pings[jid] = e.Type == "result"
		}
	case !strings.Contains(e.From, "@conference."):
	case err != nil, e.Type == "error":
		g.fault("%s of type %q came from %s, id %q", e.XMLName.Local, e.Type, e.From, e.ID)
	case e.is("presence") && g.settled:
		g.fault("presence of type %q came from %s", e.Type, e.From)
	case e.is("presence"):
		g.others++
	case e.child("subject") != nil:
		g.entered++
	case e.is("message"):
		g.heard[room] = append(g.heard[room], e.ID)
	}
}

// await waits until something is so of what came.
func (g *guest) await(limit <-chan struct{}, is func() bool) bool {
	for {
		g.mu.Lock()
		done, ended, grown := is(), g.ended, g.grown
		g.mu.Unlock()
		if done || ended != nil {
			return done
		}
		select {
		case <-grown:
		case <-limit:
			return false
		}
	}
}

// talk says something to one of its rooms now and then.
func (g *guest) talk(every time.Duration, over <-chan struct{}) error {
	clock := time.NewTicker(every)
	defer clock.Stop()
	for {
		select {
		case <-over:
			return nil
		case <-clock.C:
		}
		room := g.rooms[rand.IntN(len(g.rooms))]
		g.mu.Lock()
		g.sent[room]++
		n := g.sent[room]
		g.mu.Unlock()
		if err := g.send("<message to='%s' type='groupchat' id='%s %d'><body>%d</body></message>", crowd(room), g.user, n, n); err != nil {
			return err
		}
	}
}

// TestRooms: while the plugin of rooms is killed and reloaded at moments of chance, everybody in a room gets
// what is said there once, in one order for all; nobody is seen to leave, and all are still there.
func TestRooms(t *testing.T) {
	rooms := setting(t, "HEXMPP_CHAOS_ROOMS", 5)
	occupants := setting(t, "HEXMPP_CHAOS_OCCUPANTS", 8)
	each := setting(t, "HEXMPP_CHAOS_ROOMS_EACH", 4) // rooms of a client
	rate := setting(t, "HEXMPP_CHAOS_RATE", 100)
	kills := setting(t, "HEXMPP_CHAOS_PLUGIN_KILLS", 3)
	reloads := setting(t, "HEXMPP_CHAOS_PLUGIN_RELOADS", 3)
	s := harness.Start(t, harness.Config{ClearText: true, Registration: "open", Domains: []string{domain}, Extra: fmt.Sprintf(
		"plugins: {muc: {options: {lock-new-rooms: false, rate: 0}, limits: {queue: %d, in-flight: %d, grace-time: 2m, start-time: 1m}}}\n", queueBound, inFlightBound)})

	all := guests(t, s, rooms, occupants, each)
	var listeners sync.WaitGroup
	for _, g := range all {
		listeners.Go(g.listen)
	}
	defer listeners.Wait()
	defer func() {
		for _, g := range all {
			g.conn.Close()
		}
	}()
	enter(t, all, occupants)

	over := make(chan struct{})
	var talkers sync.WaitGroup
	began := time.Now()
	for _, g := range all {
		talkers.Go(func() {
			if err := g.talk(time.Second*time.Duration(len(all))/time.Duration(rate), over); err != nil {
				g.mu.Lock()
				g.fault("it could not write: %v", err)
				g.mu.Unlock()
			}
		})
	}
	watch := watchQueues(s, over, "muc")
	if err := strikeRooms(t, s, kills, reloads); err != nil {
		t.Error(err)
	}
	close(over)
	talkers.Wait()
	lasted := time.Since(began)
	highest := <-watch
	said := settle(t, all, rooms)
	sameOrder(t, all, rooms)
	present(t, all, occupants)
	if most := highest["queue muc"]; most > queueBound+inFlightBound {
		t.Errorf("%d events waited, the bound is %d", most, queueBound)
	}
	after := metrics(t, s)
	for _, name := range []string{"events_refused_total", "events_poisoned_total", "events_dropped_total"} {
		if n := after[fmt.Sprintf("hexmpp_plugin_%s{plugin=%q}", name, "muc")]; n != 0 {
			t.Errorf("%s: %.0f", name, n)
		}
	}
	for _, g := range all {
		g.mu.Lock()
		for _, f := range g.faults {
			t.Errorf("%s: %s", g.user, f)
		}
		g.closing = true
		g.mu.Unlock()
	}
	t.Logf("%d rooms of %d, %d clients, %d messages in %.0f s: %.0f a second, %d copies; killed %d times and reloaded %d times; %d events waited at most",
		rooms, occupants, len(all), said, lasted.Seconds(), float64(said)/lasted.Seconds(), said*occupants, kills, reloads, highest["queue muc"])
}

// guests are logged in: each is in so many rooms that follow one another.
func guests(t *testing.T, s *harness.Server, rooms, occupants, each int) []*guest {
	t.Helper()
	if rooms*occupants%each != 0 || each > rooms {
		t.Fatalf("%d rooms of %d can't be filled by clients in %d", rooms, occupants, each)
	}
	all := make([]*guest, rooms*occupants/each)
	for i := range all {
		g := &guest{client: client{addr: s.C2S, user: name(i), resource: "r"}, grown: make(chan struct{}),
			heard: map[int][]string{}, sent: map[int]int{}, lists: map[string]int{}, pings: map[string]bool{}}
		for k := range each {
			g.rooms = append(g.rooms, (i*each+k)%rooms)
		}
		if err := register(s.C2S, g.user); err != nil {
			t.Fatal(err)
		}
		var err error
		if g.conn, err = net.DialTimeout("tcp", g.addr, patience); err != nil {
			t.Fatal(err)
		}
		if err := g.login(); err != nil {
			t.Fatal(err)
		}
		if err := g.bindResource(); err != nil {
			t.Fatal(err)
		}
		all[i] = g
	}
	return all
}

// patiently is a limit of time for what all wait for together.
func patiently() (limit chan struct{}, stop func() bool) {
	limit = make(chan struct{})
	return limit, time.AfterFunc(3*time.Minute, func() { close(limit) }).Stop
}

// enter has everybody enter all rooms, and see all others there.
func enter(t *testing.T, all []*guest, occupants int) {
	t.Helper()
	limit, stop := patiently()
	defer stop()
	for _, g := range all {
		for _, room := range g.rooms {
			if err := g.send("<presence to='%s/%s'><x xmlns='http://jabber.org/protocol/muc'/></presence>", crowd(room), g.user); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, g := range all {
		if !g.await(limit, func() bool { return g.entered == len(g.rooms) && g.others == len(g.rooms)*occupants }) {
			t.Fatalf("%s is in %d rooms of %d and has seen %d presences: %v", g.user, g.entered, len(g.rooms), g.others, g.faults)
		}
	}
	for _, g := range all {
		g.mu.Lock()
		g.settled = true
		g.mu.Unlock()
	}
}

// strikeRooms kills and reloads the plugin at moments of chance. See victim.strike.
func strikeRooms(t *testing.T, s *harness.Server, kills, reloads int) error {
	row := 0
	for kills > 0 || reloads > 0 {
		pause(time.Duration(rand.IntN(700)) * time.Millisecond)
		kill := rand.IntN(kills+reloads) < kills
		switch {
		case kill && row == 3 && reloads > 0:
			kill = false
		case kill && row == 3:
			pause(16 * time.Second)
			row = 0
		}
		before := roomsPlugin(t, s)
		if kill {
			if err := syscall.Kill(before.PID, syscall.SIGKILL); err != nil {
				return fmt.Errorf("kill %d: %w", before.PID, err)
			}
			kills, row = kills-1, row+1
		} else {
			if out := s.CLI(t, "plugin", "reload", "muc"); out.Code != 0 {
				return fmt.Errorf("plugin reload: status %d\n%s%s", out.Code, out.Stdout, out.Stderr)
			}
			reloads, row = reloads-1, 0
		}
		if !harness.Eventually(t, time.Minute, func() bool {
			p := roomsPlugin(t, s)
			return p.State == "ready" && p.PID > 0 && p.Generation > before.Generation
		}) {
			return fmt.Errorf("the plugin is not back: %+v, and was %+v", roomsPlugin(t, s), before)
		}
	}
	return nil
}

func roomsPlugin(t *testing.T, s *harness.Server) listed {
	t.Helper()
	out := s.CLI(t, "plugin", "list", "--json")
	var list []listed
	if err := json.Unmarshal([]byte(out.Stdout), &list); err != nil {
		t.Fatalf("plugin list: status %d: %v\n%s%s", out.Code, err, out.Stdout, out.Stderr)
	}
	i := slices.IndexFunc(list, func(p listed) bool { return p.Name == "muc" })
	if i < 0 {
		t.Fatalf("no muc in %s", out.Stdout)
	}
	return list[i]
}

// settle waits until everybody has what was said, and returns how many messages that were.
func settle(t *testing.T, all []*guest, rooms int) (said int) {
	t.Helper()
	total := make([]int, rooms)
	for _, g := range all {
		for room, n := range g.sent {
			total[room] += n
			said += n
		}
	}
	limit, stop := patiently()
	defer stop()
	for _, g := range all {
		if !g.await(limit, func() bool {
			for _, room := range g.rooms {
				if len(g.heard[room]) < total[room] {
					return false
				}
			}
			return true
		}) {
			t.Errorf("%s did not get all that was said", g.user)
		}
	}
	return said
}

// sameOrder wants each message once, those of a sender in order, and one order for all in a room.
func sameOrder(t *testing.T, all []*guest, rooms int) {
	t.Helper()
	for room := range rooms {
		var first []string
		var whose string
		sent := map[string]int{}
		for _, g := range all {
			if slices.Contains(g.rooms, room) {
				sent[g.user] = g.sent[room]
			}
		}
		for _, g := range all {
			if !slices.Contains(g.rooms, room) {
				continue
			}
			g.mu.Lock()
			heard := g.heard[room]
			g.mu.Unlock()
			last := map[string]int{}
			for _, id := range heard {
				who, number, _ := strings.Cut(id, " ")
				if n, _ := strconv.Atoi(number); n != last[who]+1 {
					t.Errorf("%s: in room %d message %d of %s came behind number %d", g.user, room, n, who, last[who])
				}
				last[who]++
			}
			for who, n := range sent {
				if last[who] != n {
					t.Errorf("%s: in room %d %d messages of %s came, not %d", g.user, room, last[who], who, n)
				}
			}
			if first == nil {
				first, whose = heard, g.user
			} else if !slices.Equal(first, heard) {
				t.Errorf("room %d: %s and %s were told in another order", room, whose, g.user)
			}
		}
	}
}

// present wants everybody to be in all his rooms, with all others.
func present(t *testing.T, all []*guest, occupants int) {
	t.Helper()
	for _, g := range all {
		for _, room := range g.rooms {
			if err := g.send("<iq type='get' id='ping %[1]s' to='%[1]s/%[2]s'><ping xmlns='urn:xmpp:ping'/></iq><iq type='get' id='items %[1]s' to='%[1]s'><query xmlns='http://jabber.org/protocol/disco#items'/></iq>",
				crowd(room), g.user); err != nil {
				t.Error(err)
			}
		}
	}
	limit, stop := patiently()
	defer stop()
	for _, g := range all {
		g.await(limit, func() bool { return len(g.pings) == len(g.rooms) && len(g.lists) == len(g.rooms) })
		g.mu.Lock()
		for _, room := range g.rooms {
			if !g.pings[crowd(room)] || g.lists[crowd(room)] != occupants {
				t.Errorf("%s: room %d: in it: %t, with %d occupants, want %d", g.user, room, g.pings[crowd(room)], g.lists[crowd(room)], occupants)
			}
		}
		g.mu.Unlock()
	}
}
