package federation

import (
	"fmt"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/test/harness"
	"github.com/hexmpp/hexmpp/test/harness/netlab"
)

// hasty are options with which a broken connection is noticed, and given up, while a test waits.
const hasty = "queue-time: 8s, ack-time: 3s, connect-time: 5s, resume-time: 8s, back-off: 1s"

// patient ones wait for longer than the test cuts connections.
const patient = "queue-time: 2m, ack-time: 4s, connect-time: 5s, resume-time: 2m, back-off: 1s"

// What users see of connections that are cut.
func TestCuts(t *testing.T) {
	l := netlab.New(t)
	type row struct {
		name, options string
		cut           func(t *testing.T, near, far *server, there, back *flow)
	}
	rows := []row{
		{"partition", patient, func(t *testing.T, near, far *server, there, back *flow) {
			part(near, far, true)
			// An event a second: TCP has things to send all the time.
			tick := time.NewTicker(time.Second)
			defer tick.Stop()
			for range 30 {
				there.send(1)
				back.send(1)
				<-tick.C
			}
			part(near, far, false)
		}},
		{"longer", hasty, func(t *testing.T, near, far *server, there, back *flow) {
			part(near, far, true)
			there.send(20)
			there.from.Sendf("<iq type='get' id='lost' to='%s'><query xmlns='jabber:iq:version'/></iq>", far.domain)
			if far.kind != "ejabberd" { // only the operating system knows that it is gone
				there.await("the fate of all", func(ty tally) bool { return ty.known() == there.sent })
			}
			there.from.refused("iq", "lost", "remote-server-timeout")
			part(near, far, false)
		}},
		{"again and again", patient, func(t *testing.T, near, far *server, there, back *flow) {
			defer traffic(20*time.Millisecond, there, back)()
			for _, d := range []time.Duration{1, 6, 2, 7, 1} {
				part(near, far, true)
				wait(t, d*time.Second)
				part(near, far, false)
				wait(t, 2*time.Second)
			}
		}},
		{"nobody speaks", "idle-time: 10s", func(t *testing.T, near, far *server, there, back *flow) {
			if !harness.Eventually(t, within, func() bool { return len(near.connections(far)) == 0 }) {
				t.Errorf("connections: %q", near.connections(far))
			}
		}},
		{"nothing arrives there", patient, func(t *testing.T, near, far *server, there, back *flow) {
			near.host.Mute(far.host, true)
			there.send(20)
			back.send(20)
			wait(t, 10*time.Second)
			near.host.Mute(far.host, false)
		}},
		{"nothing comes back", patient, func(t *testing.T, near, far *server, there, back *flow) {
			far.host.Mute(near.host, true)
			there.send(20)
			back.send(20)
			wait(t, 10*time.Second)
			far.host.Mute(near.host, false)
		}},
	}
	// Hosts are the network's: all of them are started before anything is cut.
	type pair struct {
		row
		near, far *server
	}
	others := map[string]*server{"prosody": {kind: "prosody", domain: "prosody.example"}, "ejabberd": {kind: "ejabberd", domain: "ejabberd.example"}}
	all := []*server{others["prosody"], others["ejabberd"]}
	var pairs []pair
	for i, r := range rows {
		near := &server{kind: "hexmpp", domain: fmt.Sprintf("hexmpp%d.example", i), policy: policy{options: r.options}}
		far := &server{kind: "hexmpp", domain: fmt.Sprintf("other%d.example", i), policy: policy{options: r.options}}
		all = append(all, near, far)
		pairs = append(pairs, pair{r, near, far}, pair{r, near, others["prosody"]}, pair{r, near, others["ejabberd"]})
	}
	starts(t, l, all...)
	t.Run("at once", func(t *testing.T) {
		for i, p := range pairs {
			t.Run(p.name+" "+p.far.kind, func(t *testing.T) {
				t.Parallel()
				romeo, juliet := p.near.client(t, fmt.Sprint("romeo", i)), p.far.client(t, fmt.Sprint("juliet", i))
				there, back := newFlow(t, romeo, juliet, fmt.Sprint("there", i)), newFlow(t, juliet, romeo, fmt.Sprint("back", i))
				talk(romeo, juliet, "first")
				there.send(20)
				back.send(20)
				there.settle()
				back.settle()
				p.cut(t, p.near, p.far, there, back)
				there.settle()
				back.settle()
				switch {
				case p.far.kind == "hexmpp":
					there.check(exactly1)
					back.check(exactly1)
				case p.far.kind == "prosody":
					there.check(accounted)
					back.check(never2)
				default:
					there.check(never2)
					back.check(never2)
				}
			})
		}
	})
}

// part has two servers not hear from each other.
func part(a, b *server, on bool) {
	a.host.Mute(b.host, on)
	b.host.Mute(a.host, on)
}

// wait is the time that a cut lasts.
func wait(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
	}
}

// A server is there again after it was not: between messages, and under traffic.
func TestRestart(t *testing.T) {
	l := netlab.New(t)
	s := starts(t, l,
		&server{kind: "hexmpp", domain: "hexmpp.example", policy: policy{options: hasty}},
		&server{kind: "hexmpp", domain: "other.example", policy: policy{options: hasty}},
		&server{kind: "prosody", domain: "prosody.example"},
		&server{kind: "ejabberd", domain: "ejabberd.example"})
	for _, far := range s[1:] {
		t.Run(far.domain, func(t *testing.T) {
			romeo := s[0].client(t, "romeo")
			talk(romeo, far.client(t, "juliet"), "before")
			far.stop()
			far.launch()
			far.ready()
			juliet := far.client(t, "juliet")
			there := newFlow(t, romeo, juliet, "between")
			there.settle()
			talk(romeo, juliet, "after")

			// To the account: one for a session may be given to it before it has what was stored.
			first := newFlow(t, romeo, juliet, "traffic")
			first.addr = juliet.Bare()
			first.send(100)
			first.await("some", func(ty tally) bool { return len(ty.arrived) > 10 })
			far.kill()
			first.send(100)
			far.launch()
			far.ready()
			juliet = far.client(t, "juliet")
			second := newFlow(t, romeo, juliet, "traffic")
			second.addr, second.sent = first.addr, first.sent
			second.settle()
			was, is := first.tally(), second.tally()
			for n := range is.has {
				if was.has[n] {
					t.Errorf("%d arrived before and after", n)
				}
			}
			second.check(never2)
		})
	}
}
