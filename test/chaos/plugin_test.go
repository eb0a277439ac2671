package chaos

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/test/harness"
)

// Bounds of the plugins in these tests. What may wait for the component fits: its speakers
// together leave no more than 6,000 of their stanzas unanswered.
const (
	queueBound    = 10_000
	inFlightBound = 1000
	unanswered    = 6000
)

// plugins is the configuration of the test's plugins. The grace time is longer than any
// of the test's waits: nothing may be answered with an error.
func plugins(echo, filter *victim) string {
	limits := fmt.Sprintf("{queue: %d, in-flight: %d, grace-time: 2m, start-time: 1m}", queueBound, inFlightBound)
	return fmt.Sprintf("plugins:\n  echo: {command: [%q, echo], limits: %s}\n  filter: {command: %q, permissions: [see-stanzas], limits: %s}\n",
		echo.program, limits, filter.program, limits)
}

// TestPlugins: while a component and a filter are killed and reloaded, at moments of chance,
// each stanza has what is to come of it once and in order, and nobody's connection ends.
func TestPlugins(t *testing.T) {
	clients := setting(t, "HEXMPP_CHAOS_CLIENTS", 20)
	rate := setting(t, "HEXMPP_CHAOS_RATE", 200)
	kills := setting(t, "HEXMPP_CHAOS_PLUGIN_KILLS", 3)
	reloads := setting(t, "HEXMPP_CHAOS_PLUGIN_RELOADS", 3)
	amid := setting(t, "HEXMPP_CHAOS_PLUGIN_AMID", 2)
	echo, filter := newVictim(t, "echo", "echo"), newVictim(t, "filter", "filter")
	victims := []*victim{echo, filter}
	s := harness.Start(t, harness.Config{ClearText: true, Registration: "open", Domains: []string{domain}, Extra: plugins(echo, filter)})

	all := make([]*speaker, clients)
	for i := range all {
		all[i] = newSpeaker(s.C2S, i, clients, echo, filter)
		if err := register(s.C2S, all[i].user); err != nil {
			t.Fatal(err)
		}
		if err := all[i].enter(); err != nil {
			t.Fatal(err)
		}
	}
	var listeners sync.WaitGroup
	for _, p := range all {
		listeners.Go(p.listen)
	}
	defer listeners.Wait()
	defer func() {
		for _, p := range all {
			p.conn.Close()
		}
	}()
	for _, p := range all {
		if err := p.say("join"); err != nil {
			t.Fatal(err)
		}
	}
	if !quiet(all) {
		t.Fatalf("not everybody could join: %v", faults(all))
	}
	before := s.Usage(t)

	began := time.Now()
	over := make(chan struct{})
	var talkers sync.WaitGroup
	for _, p := range all {
		talkers.Go(func() {
			if err := p.talk(time.Second*time.Duration(clients)/time.Duration(rate), unanswered/clients, over); err != nil {
				p.mu.Lock()
				p.fault("it could not write: %v", err)
				p.mu.Unlock()
			}
		})
	}
	watch := watchQueues(s, over, "echo", "filter")
	var strikers sync.WaitGroup
	for _, v := range victims {
		strikers.Go(func() {
			if err := v.strike(t, s, kills, reloads, amid); err != nil {
				t.Error(err)
			}
		})
	}
	strikers.Wait()
	close(over)
	talkers.Wait()
	lasted := time.Since(began)
	if !quiet(all) {
		t.Error("not everything was answered")
	}
	highest := <-watch
	check(t, all)
	stanzas, answers, unmarked, normal := 0, []time.Duration(nil), 0, 0
	for _, p := range all {
		for _, n := range p.sent {
			stanzas += n
		}
		answers = append(answers, p.answers...)
		unmarked += p.unmarked
		normal += p.sent["peer"]
	}
	after := metrics(t, s)
	for _, v := range victims {
		of := func(name string) int { return int(after[fmt.Sprintf("hexmpp_plugin_%s{plugin=%q}", name, v.name)]) }
		within := func(n, least, more int) bool { return n >= least && n <= least+more }
		if !within(of("restarts_total"), kills, amid) || !within(of("reloads_total"), reloads, amid) || !within(of("generation"), 1+kills+reloads, 2*amid) {
			t.Errorf("%s: %d restarts, %d reloads, generation %d; it was killed %d times and reloaded %d times, and %d times both at once", v.name, of("restarts_total"), of("reloads_total"), of("generation"), kills, reloads, amid)
		}
		refused := of("events_refused_total")
		if v == filter {
			refused = 0 // those that its open handler was not there for
		}
		if refused != 0 || of("events_poisoned_total") != 0 || of("events_dropped_total") != 0 {
			t.Errorf("%s: %d events were refused, %d given up, %d dropped", v.name, refused, of("events_poisoned_total"), of("events_dropped_total"))
		}
		// What was given to a process that died waits again, and is bounded by itself.
		if most := highest["queue "+v.name]; most > queueBound+inFlightBound {
			t.Errorf("%s: %d events waited, the bound is %d", v.name, most, queueBound)
		}
		if !harness.Eventually(t, patience, func() bool { return len(v.processes()) == 1 }) {
			t.Errorf("%s: processes %v run, of which one should", v.name, v.processes())
		}
		report(t, v, highest["queue "+v.name])
	}
	// What 2 plugins have open, and a little for what comes and goes.
	if now := s.Usage(t); now.FDs > before.FDs+20 {
		t.Errorf("the server has %d descriptors, and had %d before", now.FDs, before.FDs)
	}
	t.Logf("%d clients, %d stanzas in %.0f s: %.0f a second; answers of the component after %s; %d messages passed the open filter unseen, of about %d",
		clients, stanzas, lasted.Seconds(), float64(stanzas)/lasted.Seconds(), quantiles(answers), unmarked, normal/2)
	for _, p := range all {
		p.mu.Lock()
		p.closing = true
		p.mu.Unlock()
	}
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	for _, v := range victims {
		if left := v.processes(); len(left) > 0 {
			t.Errorf("%s: processes %v outlived the server", v.name, left)
		}
	}
}

// strike kills and reloads a plugin so many times each, and so many times kills it amid a
// reload, at moments of chance. Between two reloads it kills three times at most: a plugin that
// crashes five times within a minute has failed, and is let alone for a while.
func (v *victim) strike(t testing.TB, s *harness.Server, kills, reloads, amid int) error {
	row := 0
	for kills > 0 || reloads > 0 || amid > 0 {
		pause(time.Duration(rand.IntN(700)) * time.Millisecond)
		if rand.IntN(kills+reloads+amid) < amid {
			if err := v.killAmid(t, s); err != nil {
				return err
			}
			amid, row = amid-1, 1
			continue
		}
		kill := rand.IntN(kills+reloads) < kills
		switch {
		case kill && row == 3 && reloads > 0:
			kill = false
		case kill && row == 3:
			pause(16 * time.Second) // crashes of before are forgotten of one that is steady
			row = 0
		}
		var err error
		if kill {
			err = v.kill(t, s)
			kills, row = kills-1, row+1
		} else {
			err = v.reload(t, s)
			reloads, row = reloads-1, 0
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// quiet waits until nobody waits for an answer, and everybody has what the peer and the
// others in the room said.
func quiet(all []*speaker) bool {
	limit := make(chan struct{})
	clock := time.AfterFunc(2*time.Minute, func() { close(limit) })
	defer clock.Stop()
	sent := make([]map[string]int, len(all))
	for i, p := range all {
		p.mu.Lock()
		sent[i] = p.sent
		p.mu.Unlock()
	}
	for i, p := range all {
		complete := func() bool {
			if p.waiting > 0 {
				return false
			}
			for j, q := range all {
				if q.peer == i && p.came[q.user] < sent[j]["peer"] || room(i) == room(j) && p.casts[q.user] < sent[j][room(j)] {
					return false
				}
			}
			return true
		}
		if !p.await(limit, complete) {
			return false
		}
	}
	return true
}

func faults(all []*speaker) (list []string) {
	for _, p := range all {
		p.mu.Lock()
		for _, f := range p.faults {
			list = append(list, p.user+": "+f)
		}
		p.mu.Unlock()
	}
	return list
}

// check says what was not as it should be. All have stopped to talk.
func check(t *testing.T, all []*speaker) {
	t.Helper()
	for i, f := range faults(all) {
		if i == 50 {
			t.Error("and more")
			break
		}
		t.Error(f)
	}
	for i, p := range all {
		p.mu.Lock()
		for key, open := range p.open {
			if len(open) > 0 {
				t.Errorf("%s: %d stanzas to %s have no answer, of %d", p.user, len(open), key, p.sent[key])
			}
		}
		for _, q := range all {
			if q.peer == i && p.came[q.user] != q.sent["peer"] {
				t.Errorf("%s: %d messages of %s came, not %d", p.user, p.came[q.user], q.user, q.sent["peer"])
			}
			if room(q.index) == room(i) && p.casts[q.user] != q.sent[room(i)] {
				t.Errorf("%s: of %s in the room %d came, not %d", p.user, q.user, p.casts[q.user], q.sent[room(i)])
			}
		}
		p.mu.Unlock()
	}
}

// watchQueues looks at the metrics until it is over, and then gives the highest depth of
// the queues of these plugins.
func watchQueues(s *harness.Server, over <-chan struct{}, names ...string) <-chan map[string]int {
	result := make(chan map[string]int, 1)
	go func() {
		highest := map[string]int{}
		clock := time.NewTicker(100 * time.Millisecond)
		defer clock.Stop()
		for {
			select {
			case <-clock.C:
			case <-over:
				result <- highest
				return
			}
			values, err := scrape(s)
			if err != nil {
				continue // a slow machine; the next look counts
			}
			for _, name := range names {
				highest["queue "+name] = max(highest["queue "+name], int(values[fmt.Sprintf("hexmpp_plugin_queue{plugin=%q}", name)]))
			}
		}
	}()
	return result
}

func metrics(t *testing.T, s *harness.Server) map[string]float64 {
	t.Helper()
	values, err := scrape(s)
	if err != nil {
		t.Fatal(err)
	}
	return values
}

// scrape reads the metrics.
func scrape(s *harness.Server) (map[string]float64, error) {
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := client.Get("http://" + s.HTTP + "/metrics")
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	values := map[string]float64{}
	lines := bufio.NewScanner(r.Body)
	for lines.Scan() {
		if i := strings.LastIndexByte(lines.Text(), ' '); i > 0 {
			if v, err := strconv.ParseFloat(lines.Text()[i+1:], 64); err == nil {
				values[lines.Text()[:i]] = v
			}
		}
	}
	return values, lines.Err()
}

func report(t *testing.T, v *victim, highest int) {
	t.Helper()
	slow := 0
	for _, d := range v.recoveries {
		if d > time.Second {
			slow++
		}
	}
	t.Logf("%s: killed %d times, back after %s, %d times after more than a second; reloaded %d times, the new process acts after %s; %d events waited at most",
		v.name, v.kills, quantiles(v.recoveries), slow, v.reloads, quantiles(v.cutOvers), highest)
}

// quantiles tells the half, 99 of 100, and the longest.
func quantiles(list []time.Duration) string {
	if len(list) == 0 {
		return "-"
	}
	list = slices.Clone(list)
	slices.Sort(list)
	at := func(share float64) time.Duration {
		return list[int(share*float64(len(list)-1))].Round(100 * time.Microsecond)
	}
	return fmt.Sprintf("%v (p50), %v (p99), %v (longest)", at(0.5), at(0.99), at(1))
}
