package chaos

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/test/harness"
)

// How long before a kill an acknowledgement of a recipient may have been under way: to
// the server, and, of a message that was stored, from there into the database.
const (
	unsure       = 500 * time.Millisecond
	unsureStored = 2 * time.Second
)

// TestKill: kill -9 loses nothing that was acknowledged (XEP-0198), and doubles
// nothing but what may not have been acknowledged by its recipient.
func TestKill(t *testing.T) {
	onEach(t, func(t *testing.T, s *harness.Server) {
		all, kills := underLoad(t, s, setting(t, "HEXMPP_CHAOS_KILLS", 3), false, func() error {
			s.Kill()
			return s.Run()
		})
		doubled := 0
		for i, p := range all {
			doubled += p.checkDoubles(t, i, kills)
		}
		t.Logf("%d messages, %d kills, %d came twice since their recipient's acknowledgement was cut off", total(all), len(kills), doubled)
	})
}

// checkDoubles says which messages came twice and should not have, and returns how
// many came twice.
func (p *pair) checkDoubles(t *testing.T, i int, kills []death) int {
	t.Helper()
	for _, d := range p.doubles {
		window := unsure
		if strings.HasPrefix(d.how, " [delayed") {
			window = unsureStored
		}
		if !slices.ContainsFunc(kills, func(k death) bool {
			return k.at.Sub(d.first) < window && d.first.Before(k.until) && k.at.Before(d.then)
		}) {
			report := t.Errorf
			if os.Getenv("HEXMPP_CHAOS_KILLS") == "" { // how long an acknowledgement is under way depends on the machine
				report = t.Logf
			}
			report("pair %d: message %d came twice, its acknowledgement had arrived: %v, then %v %s %v", i, d.n, d.first.Format("05.000000"), d.then.Format("05.000000"), d.how, p.answers)
		}
	}
	return len(p.doubles)
}
