package e2e

import (
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/test/harness"
	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

// stormSessions is how many log in, from accounts with stormEach sessions each.
const (
	stormSessions = 600
	stormEach     = 50
)

// TestMemoryAfterAStorm has many clients log in and leave: what that took comes back. For figures: HEXMPP_STORM=1000 go test -run TestMemoryAfterAStorm -v ./test/e2e
func TestMemoryAfterAStorm(t *testing.T) {
	n := stormSessions
	if harness.Race { // whose memory says little
		n = stormEach
	}
	if v := os.Getenv("HEXMPP_STORM"); v != "" {
		var err error
		if n, err = strconv.Atoi(v); err != nil {
			t.Fatal(err)
		}
	}
	s := harness.Start(t, harness.Config{Registration: "open"})
	locals := make([]string, n/stormEach+1)
	for i := range locals {
		locals[i] = account(t, s, "romeo")
	}
	login := func(i int) *xmppc.Conn { return online(t, s, locals[i/stormEach], "", 0) }
	login(0).Close()
	before := s.Usage(t)
	s.ResetPeak(t)
	all := make([]*xmppc.Conn, n)
	for i := range all {
		all[i] = login(i)
	}
	online := s.Usage(t)
	for _, c := range all {
		c.Drop()
	}
	margin := int64(stormSpare)
	if harness.Race {
		margin *= 16 // see spareMemory
	}
	var after harness.Usage
	back := harness.Eventually(t, 2*time.Minute, func() bool {
		after = s.Usage(t)
		return after.FDs <= before.FDs+spareDescriptors && after.RSS <= before.RSS+margin
	})
	t.Logf("before: %v", before)
	t.Logf("%d sessions: %v: %d bytes each", n, online, (online.RSS-before.RSS)/int64(n))
	t.Logf("after: %v", after)
	if !back {
		t.Error("the memory does not come back")
	}
}

// stormSpare is how much more memory there may be: a fraction of what the sessions
// take, 10 KiB each at least.
const stormSpare = 6 << 20
