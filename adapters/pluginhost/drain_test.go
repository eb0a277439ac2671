//go:build unix

package pluginhost

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/adapters/pluginhost/runner"
	"github.com/hexmpp/hexmpp/ports/admin"
)

// reload reloads, and returns the process of before.
func (r *rig) reload() (before int) {
	r.t.Helper()
	before = r.info().PID
	if err := r.host.ReloadPlugin(r.t.Context(), "raw"); err != nil {
		r.t.Fatal(err)
	}
	return before
}

// said waits for words in the log of a process of the plugin.
func (r *rig) said(pid int, words string) {
	r.t.Helper()
	r.until(words, func(admin.PluginInfo) bool {
		return slices.ContainsFunc(r.host.plugins[0].ring.Last(200), func(e runner.Entry) bool { return e.PID == pid && e.Message == words })
	})
}

func (r *rig) logged(message string) int { return r.log.FilterMessage(message).Len() }

// TestDrain: a process with something to bring to an end does so beside the one that acts.
func TestDrain(t *testing.T) {
	file := pipe(t)
	r := newRig(t, "version=1 drains="+file)
	r.start()
	r.say("version=2 drains=" + file)
	old := r.reload()
	r.said(old, "draining")
	if i := r.info(); i.PID == old || !slices.Equal(i.Draining, []int{old}) || i.State != admin.PluginReady {
		t.Errorf("%+v", i)
	}
	r.expect("version", "2")
	r.again() // what happens to the one that acts is nothing to the other
	if i := r.info(); !slices.Equal(i.Draining, []int{old}) {
		t.Errorf("%+v", i)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r.until("drained", func(i admin.PluginInfo) bool { return len(i.Draining) == 0 })
	r.said(old, "shutdown")
	if r.logged("the process of before has ended: nothing was left") != 1 {
		t.Errorf("%v", r.log.All())
	}
	r.expect("version", "2")
}

// TestDrainEnds: a process that drains does not stay for ever, nor are there many of them.
func TestDrainEnds(t *testing.T) {
	file := pipe(t) // nobody writes
	gone := func(t *testing.T, r *rig, pids ...int) {
		t.Helper()
		r.until("ended", func(i admin.PluginInfo) bool {
			return !slices.ContainsFunc(pids, func(pid int) bool { return slices.Contains(i.Draining, pid) })
		})
	}
	t.Run("its time is over", func(t *testing.T) {
		r := newRig(t, "drains="+file)
		r.conf.Limits.DrainTime = 100 * time.Millisecond
		r.start()
		gone(t, r, r.reload())
		if r.logged("the process of before was ended with what it still had: its time was over") != 1 {
			t.Errorf("%v", r.log.All())
		}
	})
	t.Run("it has no time", func(t *testing.T) {
		r := newRig(t, "drains="+file)
		r.conf.Limits.DrainTime = -1
		r.start()
		r.said(r.reload(), "shutdown")
		if i := r.info(); len(i.Draining) > 0 {
			t.Errorf("%+v", i)
		}
	})
	t.Run("it dies", func(t *testing.T) {
		r := newRig(t, "drains="+file+" die-at-drain")
		r.start()
		gone(t, r, r.reload())
		if r.logged("the process of before did not come to its end by itself") != 1 || r.info().Restarts != 0 {
			t.Errorf("%v", r.log.All())
		}
		r.expect("hello", "hello")
	})
	t.Run("there are others", func(t *testing.T) {
		r := newRig(t, "drains="+file)
		r.start()
		var pids []int
		for range maxDraining + 1 {
			pids = append(pids, r.reload())
			r.said(pids[len(pids)-1], "draining")
		}
		gone(t, r, pids[0])
		if i := r.info(); !slices.Equal(i.Draining, pids[1:]) {
			t.Errorf("%+v, started %v", i, pids)
		}
		if err := r.host.DisablePlugin(t.Context(), "raw"); err != nil {
			t.Error(err)
		}
		gone(t, r, pids...)
	})
	t.Run("the server stops", func(t *testing.T) {
		r := newRig(t, "drains="+file+" hang-at-shutdown")
		r.times.shutdown = 10 * time.Millisecond
		r.start()
		old := r.reload()
		r.said(old, "draining")
		if err := r.regs[0].Stop(t.Context()); err != nil {
			t.Error(err)
		}
		if err := r.host.Close(); err != nil {
			t.Error(err)
		}
		if text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", old)); err == nil {
			t.Errorf("it is there: %s", text)
		}
	})
	t.Run("it has an event", func(t *testing.T) {
		r := newRig(t, "drains="+file)
		r.times.quiet = 10 * time.Millisecond
		r.start()
		other := pipe(t)
		waits, err := r.dispatch("k", "wait "+other)
		if err != nil {
			t.Fatal(err)
		}
		r.until("busy", func(i admin.PluginInfo) bool { return i.InFlight > 0 })
		r.reload() // the old one was killed: the event is the next one's
		if i := r.info(); len(i.Draining) > 0 {
			t.Errorf("%+v", i)
		}
		if err := os.WriteFile(other, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if e := r.wait(waits); e.err != nil {
			t.Errorf("%+v", e)
		}
	})
}
