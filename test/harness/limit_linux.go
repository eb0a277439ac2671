package harness

import (
	"testing"

	"golang.org/x/sys/unix"
)

// FillDisk lets no file of the server grow any more, until the function that it
// returns is called. That is what a full disk, or a quota, does to it; it needs no
// privilege and no file system of its own.
func (s *Server) FillDisk(t testing.TB) (free func()) {
	t.Helper()
	var was unix.Rlimit
	pid := s.cmd.Process.Pid
	if err := unix.Prlimit(pid, unix.RLIMIT_FSIZE, nil, &was); err != nil {
		t.Fatalf("harness: fill the disk: %v", err)
	}
	if err := unix.Prlimit(pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 1, Max: was.Max}, nil); err != nil {
		t.Fatalf("harness: fill the disk: %v", err)
	}
	return func() {
		t.Helper()
		if err := unix.Prlimit(pid, unix.RLIMIT_FSIZE, &was, nil); err != nil {
			t.Fatalf("harness: free the disk: %v", err)
		}
	}
}
