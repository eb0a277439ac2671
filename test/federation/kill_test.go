package federation

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/test/harness/netlab"
	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

// The process of federation is killed while messages go both ways: with hexmpp nothing is lost, and nothing
// comes twice; with others nothing comes twice, and the sender is told of what may be lost where the other server acknowledges.
func TestPluginKilled(t *testing.T) {
	l := netlab.New(t)
	near := &server{kind: "hexmpp", domain: "hexmpp.example", policy: policy{options: patient}}
	fars := []*server{
		{kind: "hexmpp", domain: "other.example", policy: policy{options: patient}},
		{kind: "prosody", domain: "prosody.example"},
		{kind: "ejabberd", domain: "ejabberd.example"},
	}
	starts(t, l, append([]*server{near}, fars...)...)
	var flows [][]*flow
	for i, far := range fars {
		romeo, juliet := near.client(t, "romeo"+strconv.Itoa(i)), far.client(t, "juliet")
		talk(romeo, juliet, "first")
		flows = append(flows, []*flow{newFlow(t, romeo, juliet, "there"), newFlow(t, juliet, romeo, "back")})
	}
	questions := &asks{t: t, from: near.client(t, "nurse"), to: fars[0].domain}
	stop := traffic(5*time.Millisecond, append([]sender{questions}, senders(slices.Concat(flows...))...)...)
	for range 4 { // with one more the plugin would count as failed
		pid, n := near.plugin()
		for _, pair := range flows {
			was := len(pair[0].tally().arrived)
			pair[0].await("more", func(ty tally) bool { return len(ty.arrived) > was+20 })
		}
		syscall.Kill(pid, syscall.SIGKILL)
		ctx, cancel := context.WithTimeout(t.Context(), startWithin)
		if err := near.log.Await(ctx, func(string) bool { _, now := near.plugin(); return now > n }); err != nil {
			t.Error(err)
		}
		cancel()
	}
	stop()
	questions.check()
	for i, pair := range flows {
		for _, f := range pair {
			f.settle()
		}
		switch fars[i].kind {
		case "hexmpp":
			pair[0].check(exactly1)
			pair[1].check(exactly1)
		case "prosody":
			pair[0].check(accounted)
			pair[1].check(never2)
		default:
			pair[0].check(never2)
			pair[1].check(never2)
		}
	}
}

var pluginReady = regexp.MustCompile(`"the plugin is ready","plugin":"s2s","pid":(\d+)`)

// plugin returns the number of the process of federation, and how many there were.
func (s *server) plugin() (pid, n int) {
	all := pluginReady.FindAllStringSubmatch(s.log.String(), -1)
	if len(all) == 0 {
		s.t.Fatalf("%s: federation does not run", s.domain)
	}
	pid, _ = strconv.Atoi(all[len(all)-1][1])
	return pid, len(all)
}

// asks is a row of numbered requests of a user to a far server.
type asks struct {
	t    testing.TB
	from *client
	to   string
	sent int
}

// trySend implements sender.
func (a *asks) trySend() {
	if err := a.from.TrySend(fmt.Sprintf("<iq type='get' id='ask-%d' to='%s'><ping xmlns='%s'/></iq>", a.sent, a.to, xmppc.NSPing)); err != nil {
		a.t.Error(err)
	}
	a.sent++
}

// check asserts that each is answered once, by the far server or by the user's own.
func (a *asks) check() {
	a.t.Helper()
	var answers map[string]int
	errors := 0
	a.from.until("all answers", func(all []*xmppc.Element) bool {
		answers, errors = map[string]int{}, 0
		for _, e := range all {
			if id := e.Attr("id"); e.Local == "iq" && strings.HasPrefix(id, "ask-") {
				answers[id]++
				if e.Attr("type") == "error" {
					errors++
					if e.Condition() != "remote-server-timeout" {
						a.t.Fatalf("%s", e.Raw)
					}
				}
			}
		}
		return len(answers) >= a.sent
	})
	for id, n := range answers {
		if n != 1 {
			a.t.Errorf("%s was answered %d times", id, n)
		}
	}
	a.t.Logf("%d requests, %d were answered with errors", a.sent, errors)
}

// A message that a server has acknowledged, and that waits for another one, is not lost with the process: its sender is
// told that it is not known whether it arrived.
func TestQueuedOverRestart(t *testing.T) {
	l := netlab.New(t)
	near := &server{kind: "hexmpp", domain: "hexmpp.example", policy: policy{options: patient}}
	fars := []*server{
		{kind: "hexmpp", domain: "other.example", policy: policy{options: patient}},
		{kind: "prosody", domain: "prosody.example"},
		{kind: "ejabberd", domain: "ejabberd.example"},
	}
	starts(t, l, append([]*server{near}, fars...)...)
	for _, way := range []struct {
		name string
		end  func()
	}{{"stopped", near.stop}, {"killed", near.kill}, {"killed again", near.kill}} {
		t.Run(way.name, func(t *testing.T) {
			name, end := strings.ReplaceAll(way.name, " ", "-"), way.end
			romeo, id := near.managed(t, "romeo-"+name)
			var flows []*flow
			for _, far := range fars {
				juliet := far.client(t, "juliet")
				newFlow(t, juliet, romeo, name).settle() // what the other server had for the process before is broken
				f := newFlow(t, romeo, juliet, name)
				f.send(20)
				f.settle()
				flows = append(flows, f)
				part(near, far, true)
			}
			sent := 3 // present
			for _, f := range flows {
				f.send(20)
				sent += f.sent
			}
			romeo.Sendf("<r xmlns='%s'/>", xmppc.NSSM)
			romeo.await("the acknowledgement of all", func(e *xmppc.Element) bool { return e.Is(xmppc.NSSM, "a") && romeo.Count(e) == uint32(sent) })
			end()
			for _, far := range fars {
				part(near, far, false)
			}
			near.launch()
			near.ready()
			romeo.until("the end", func([]*xmppc.Element) bool { _, ended, _ := romeo.seen(); return ended })
			romeo = romeo.back("romeo-"+name, id)
			for i, f := range flows {
				f.from = romeo
				f.settle()
				switch fars[i].kind {
				case "hexmpp":
					f.check(exactly1)
				case "prosody":
					f.check(accounted)
				default:
					f.check(never2)
				}
			}
		})
	}
}
