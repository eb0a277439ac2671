package harness

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Usage is what the operating system says about the server's process.
type Usage struct {
	RSS     int64 // resident memory, bytes
	Peak    int64 // highest resident memory since ResetPeak, bytes
	FDs     int   // open file descriptors
	Threads int
}

func (u Usage) String() string {
	return fmt.Sprintf("%d KiB resident (peak %d KiB), %d descriptors, %d threads", u.RSS>>10, u.Peak>>10, u.FDs, u.Threads)
}

// Usage reads /proc. Linux only.
func (s *Server) Usage(t testing.TB) Usage {
	t.Helper()
	status, err := os.ReadFile(s.proc("status"))
	if err != nil {
		t.Fatalf("harness: usage: %v", err)
	}
	fds, err := os.ReadDir(s.proc("fd"))
	if err != nil {
		t.Fatalf("harness: usage: %v", err)
	}
	return Usage{
		RSS:     statusField(t, status, "VmRSS:") << 10,
		Peak:    statusField(t, status, "VmHWM:") << 10,
		FDs:     len(fds),
		Threads: int(statusField(t, status, "Threads:")),
	}
}

// ResetPeak makes Usage.Peak start anew.
func (s *Server) ResetPeak(t testing.TB) {
	t.Helper()
	if err := os.WriteFile(s.proc("clear_refs"), []byte("5"), 0o200); err != nil {
		t.Fatalf("harness: reset the peak: %v", err)
	}
}

// PID is the server's process.
func (s *Server) PID() int { return s.cmd.Process.Pid }

func (s *Server) proc(name string) string {
	return filepath.Join("/proc", strconv.Itoa(s.PID()), name)
}

func statusField(t testing.TB, status []byte, name string) int64 {
	t.Helper()
	for line := range bytes.Lines(status) {
		if fields := strings.Fields(string(line)); len(fields) > 1 && fields[0] == name {
			n, err := strconv.ParseInt(fields[1], 10, 64)
			if err != nil {
				t.Fatalf("harness: %s in /proc: %v", name, err)
			}
			return n
		}
	}
	t.Fatalf("harness: no %s in /proc", name)
	return 0
}

// Goroutines ends the server with SIGQUIT and returns the stacks that the Go
// runtime then prints, one string a goroutine.
func (s *Server) Goroutines(t testing.TB) []string {
	t.Helper()
	start := len(s.Log.String())
	if err := s.Signal(syscall.SIGQUIT); err != nil {
		t.Fatalf("harness: goroutines: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), stopWithin)
	defer cancel()
	select {
	case <-s.exited:
	case <-ctx.Done():
	}
	s.Kill()
	var stacks []string
	for _, part := range strings.Split(s.Log.String()[start:], "\n\n") {
		if part = strings.TrimSpace(part); strings.HasPrefix(part, "goroutine ") && !strings.HasPrefix(part, "goroutine 0 ") {
			stacks = append(stacks, part)
		}
	}
	if len(stacks) == 0 {
		t.Fatalf("harness: no goroutines in what SIGQUIT left:\n%s", s.Log)
	}
	return stacks
}

// Eventually waits until the condition holds. It is for what gives no event,
// as /proc does; everything on a socket is awaited by reading.
func Eventually(t testing.TB, within time.Duration, holds func() bool) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if holds() {
			return true
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
}

// Freeze stops a process (SIGSTOP), and returns when each of its threads has stopped: one that runs at this moment goes on for
// a while.
func Freeze(t testing.TB, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatalf("SIGSTOP %d: %v", pid, err)
	}
	if !Eventually(t, time.Minute, func() bool {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		for _, name := range threads {
			text, err := os.ReadFile(name)
			if _, state, _ := strings.Cut(string(text), ") "); err == nil && !strings.HasPrefix(state, "T") {
				return false
			}
		}
		return err == nil && len(threads) > 0
	}) {
		t.Fatalf("process %d does not stop", pid)
	}
}
