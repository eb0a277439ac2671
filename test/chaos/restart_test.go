package chaos

import (
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/test/harness"
)

// TestRestart: over a planned restart (SIGTERM) all sessions are resumed (XEP-0198
// 5), nothing is lost, and nothing comes twice.
func TestRestart(t *testing.T) {
	onEach(t, func(t *testing.T, s *harness.Server) {
		all, stops := underLoad(t, s, setting(t, "HEXMPP_CHAOS_RESTARTS", 3), true, func() error {
			if err := s.Stop(); err != nil {
				return err
			}
			return s.Run()
		})
		resumed := 0
		for i, p := range all {
			for _, d := range p.doubles {
				t.Errorf("pair %d: message %d came twice: %v, then %v %s %v", i, d.n, d.first.Format("05.000000"), d.then.Format("05.000000"), d.how, p.answers)
			}
			resumed += p.resumed
		}
		var away time.Duration
		for _, d := range stops {
			away += d.until.Sub(d.at)
		}
		t.Logf("%d messages, %d restarts of %v each, %d resumptions", total(all), len(stops), away/time.Duration(len(stops)), resumed)
	})
}
