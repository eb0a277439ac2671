package runner

import (
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
)

// Usage is what all processes of a plugin use together.
type Usage struct {
	PID       int           // of the first process
	Started   time.Time     // when it was started
	Processes int           // in its group
	RSS       int64         // resident memory in bytes; pages that processes share count for each
	CPU       time.Duration // user and system, with that of processes that have ended
}

// An Exit says how a process ended.
type Exit struct {
	Code   int           // that it exited with, -1 if a signal ended it
	Signal string        // that ended it, ""
	Reason Reason        //
	CPU    time.Duration // that the first process, and children that it waited for, used
	Peak   int64         // Reason OverMemory: the size in bytes at which it was killed, 0 if a control group did it
}

// A Reason is whose doing the end of a process was.
type Reason int

// The reasons.
const (
	Ended      Reason = iota // its own: it exited, or something outside of the server killed it
	Stopped                  // Stop or Kill was called, the server stops, or the start failed
	OverMemory               // it used more memory than its limit
)

func (e Exit) String() string {
	switch {
	case e.Reason == OverMemory && e.Peak > 0:
		return fmt.Sprintf("was killed at %d MiB of memory", e.Peak>>20)
	case e.Reason == OverMemory:
		return "was killed at its memory limit"
	case e.Signal != "":
		return "was ended by the signal " + e.Signal
	case e.Code == 0:
		return "ended by itself"
	}
	return fmt.Sprintf("exited with status %d", e.Code)
}

// watch looks at the memory of plugins that have a limit and no control group,
// until the Runner is closed. What grows beyond its limit and shrinks again in
// between is not seen.
func (r *Runner) watch() {
	t := time.NewTicker(r.options.Interval)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			r.checkMemory()
		case <-r.closing:
			return
		}
	}
}

func (r *Runner) checkMemory() {
	groups := map[int]int64{}
	limited := map[int]*child{}
	r.mu.Lock()
	for c := range r.children {
		if pid := c.running(); pid > 0 && c.spec.Memory > 0 && c.cgroup == nil {
			limited[pid] = c
			groups[pid] = 0
		}
	}
	r.mu.Unlock()
	if len(groups) == 0 {
		return
	}
	measureGroups(groups)
	for pid, rss := range groups {
		if c := limited[pid]; rss > c.spec.Memory {
			c.overMemory(rss)
		}
	}
}

// overMemory kills the process because of its size.
func (c *child) overMemory(rss int64) {
	c.mu.Lock()
	if c.pid == 0 || c.gone || c.reason != Ended {
		c.mu.Unlock()
		return
	}
	c.reason, c.peak = OverMemory, rss
	err := killGroup(c.pid)
	c.mu.Unlock()
	c.log.Error(c.spec.overMemory(),
		zap.String("plugin", c.spec.Name), zap.Int("pid", c.pid), zap.Int64("bytes", rss), zap.Int64("limit", c.spec.Memory), zap.Error(err))
}

// Usage measures what the process and those that it started use now. It reads
// files of /proc, a millisecond or a few. The error is os.ErrProcessDone after the
// end, errors.ErrUnsupported where there is no /proc: then PID and Started are
// all there is.
func (p *Process) Usage() (Usage, error) {
	u := Usage{}
	err := error(nil)
	if pid := p.child.running(); pid > 0 {
		u, err = measure(pid)
	} else {
		return Usage{}, fmt.Errorf("plugin %s: %w", p.child.spec.Name, errDone)
	}
	u.PID, u.Started = p.child.pid, p.child.started
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return Usage{}, fmt.Errorf("plugin %s: %w", p.child.spec.Name, err)
	}
	return u, err
}
