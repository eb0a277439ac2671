package chaos

import (
	"context"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness"
)

// TestRestartIsCutOff: a kill amid a planned restart is one like any other: when the
// stop has just begun, when the sessions are saved and the process has not ended yet,
// or when the next one has just read them.
func TestRestartIsCutOff(t *testing.T) {
	onEach(t, func(t *testing.T, s *harness.Server) {
		restart := func() error {
			if err := s.Stop(); err != nil {
				return err
			}
			return s.Run()
		}
		moments := []func() error{
			func() error { return stopUntil(t, s, `"stopping"`) },
			func() error { return stopUntil(t, s, `"sessions are kept over the restart"`) },
			restart,
		}
		all, kills := underLoad(t, s, setting(t, "HEXMPP_CHAOS_CUTOFFS", 4), false, func() error {
			if err := moments[rand.IntN(len(moments))](); err != nil {
				return err
			}
			s.Kill()
			return s.Run()
		})
		doubled := 0
		for i, p := range all {
			doubled += p.checkDoubles(t, i, kills)
		}
		t.Logf("%d messages, %d restarts that were cut off, %d came twice since their recipient's acknowledgement was cut off", total(all), len(kills), doubled)
	})
}

// stopUntil begins a planned stop, and returns when the log says something.
func stopUntil(t *testing.T, s *harness.Server, line string) error {
	before := strings.Count(s.Log.String(), line)
	if err := s.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return s.Log.Await(ctx, func(text string) bool { return strings.Count(text, line) > before })
}
