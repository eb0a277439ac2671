package chaos

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/test/harness"
)

// victim is a plugin whose processes are killed and replaced.
type victim struct {
	name, program string

	mu    sync.Mutex
	first map[string]time.Time // when something came first of what a process did
	news  chan string          // these processes
	last  string               // the process that did what came last
	at    time.Time            // when

	kills, reloads, amid int
	recoveries           []time.Duration // from a kill to what the next process did
	cutOvers             []time.Duration // from a reload to what the new process did
}

func newVictim(t *testing.T, name, program string) *victim {
	return &victim{name: name, program: harness.Plugin(t, program), first: map[string]time.Time{}, news: make(chan string, 10_000)}
}

// saw notes that something came of what a process did.
func (v *victim) saw(pid string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.last, v.at = pid, time.Now()
	if _, known := v.first[pid]; !known {
		v.first[pid] = v.at
		select {
		case v.news <- pid:
		default: // more processes than any test has
		}
	}
}

// listed is what `hexmpp plugin list` says.
type listed struct {
	Name, State, Detail       string
	Generation, PID, Restarts int
	Queue, InFlight           int
}

func (v *victim) status(t testing.TB, s *harness.Server) listed {
	out := s.CLI(t, "plugin", "list", "--json")
	var list []listed
	if err := json.Unmarshal([]byte(out.Stdout), &list); err != nil {
		t.Fatalf("plugin list: status %d: %v\n%s%s", out.Code, err, out.Stdout, out.Stderr)
	}
	for _, p := range list {
		if p.Name == v.name {
			return p
		}
	}
	t.Fatalf("plugin list: no %s in %s", v.name, out.Stdout)
	return listed{}
}

// kill ends the process by SIGKILL, and waits for what the next one does.
func (v *victim) kill(t testing.TB, s *harness.Server) error {
	p := v.status(t, s)
	if !v.is(p.PID) {
		return fmt.Errorf("%s: %+v is no process of it", v.name, p)
	}
	at := time.Now()
	if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil {
		return fmt.Errorf("%s: kill %d: %w", v.name, p.PID, err)
	}
	v.kills++
	took, err := v.next(strconv.Itoa(p.PID), at)
	v.recoveries = append(v.recoveries, took)
	return err
}

// reload replaces the process, and waits for what the new one does.
func (v *victim) reload(t testing.TB, s *harness.Server) error {
	p := v.status(t, s)
	at := time.Now()
	if out := s.CLI(t, "plugin", "reload", v.name); out.Code != 0 {
		return fmt.Errorf("plugin reload %s: status %d\n%s%s", v.name, out.Code, out.Stdout, out.Stderr)
	}
	v.reloads++
	took, err := v.next(strconv.Itoa(p.PID), at)
	v.cutOvers = append(v.cutOvers, took)
	return err
}

// killAmid kills one of its processes at some moment of a reload: the one that acts, or the
// one that is to take over. Whatever comes of the reload, a process acts behind it.
func (v *victim) killAmid(t testing.TB, s *harness.Server) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.CLI(t, "plugin", "reload", v.name)
	}()
	pause(time.Duration(rand.IntN(200)) * time.Millisecond)
	if pids := v.processes(); len(pids) > 0 {
		if err := syscall.Kill(pids[rand.IntN(len(pids))], syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
	}
	<-done
	v.amid++
	ended := time.Now()
	if !harness.Eventually(t, time.Minute, func() bool {
		p := v.status(t, s)
		v.mu.Lock()
		defer v.mu.Unlock()
		return p.State == "ready" && v.last == strconv.Itoa(p.PID) && v.at.After(ended)
	}) {
		return fmt.Errorf("%s: nothing came behind a reload in which a process was killed: %+v", v.name, v.status(t, s))
	}
	return nil
}

// pause lets time pass: for a moment of chance there is no event to wait for.
func pause(d time.Duration) { <-time.After(d) }

// next waits for the first thing that another process did.
func (v *victim) next(before string, since time.Time) (time.Duration, error) {
	limit := time.After(time.Minute)
	for {
		select {
		case pid := <-v.news:
			v.mu.Lock()
			at := v.first[pid]
			v.mu.Unlock()
			if pid != before && at.After(since) {
				return at.Sub(since), nil
			}
		case <-limit:
			return time.Minute, fmt.Errorf("%s: nothing came of a process behind %s within a minute", v.name, before)
		}
	}
}

// is says whether a process is one of the plugin.
func (v *victim) is(pid int) bool {
	path, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "exe"))
	return err == nil && path == v.program
}

// processes are all that there are of the plugin's program, whoever started them.
func (v *victim) processes() (pids []int) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && v.is(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}
