//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package runner

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// errLocked is a lock that another process holds.
var errLocked error = syscall.EWOULDBLOCK

const locksFiles = true

// lockFile takes the lock of a file, or says that another process has it. It goes when the
// file is closed or the process ends.
func lockFile(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err != syscall.EINTR {
			return err
		}
	}
}

// private is the error that others may enter a folder.
func private(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("folder for sockets: %w", err)
	}
	owner := int(info.Sys().(*syscall.Stat_t).Uid)
	switch {
	case !info.IsDir():
		return fmt.Errorf("folder for sockets: %s is no folder", path)
	case owner != os.Geteuid():
		return fmt.Errorf("folder for sockets: %s belongs to user %d, not to the server's user %d: remove it, or choose another one", path, owner, os.Geteuid())
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("folder for sockets: others may enter %s: chmod 700 %s", path, path)
	}
	return nil
}

// signalGroup sends a signal to all processes of a group. That there are none
// left is fine.
func signalGroup(group int, sig syscall.Signal) error {
	if group <= 1 {
		return fmt.Errorf("no process group: %d", group)
	}
	if err := syscall.Kill(-group, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return os.NewSyscallError("kill", err)
	}
	return nil
}

func killGroup(group int) error { return signalGroup(group, syscall.SIGKILL) }

// askGroup asks all processes of a group to end.
func askGroup(group int) error { return signalGroup(group, syscall.SIGTERM) }

// endedBy is the signal that ended a process, or "".
func endedBy(s *os.ProcessState) string {
	if w, ok := s.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return w.Signal().String()
	}
	return ""
}
