package federation

import (
	"context"
	"regexp"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/test/harness/netlab"
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
	stop := traffic(5*time.Millisecond, slices.Concat(flows...)...)
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
