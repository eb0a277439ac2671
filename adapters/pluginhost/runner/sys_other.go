//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package runner

import (
	"errors"
	"os"
	"syscall"
)

// What other systems have: no groups of processes, no signals but the one that
// kills, no owners of files that we would know how to read.
const (
	maxSocketPath       = 103
	selfPath            = ""
	executesDescriptors = false
	nonBlocking         = 0
)

var errLocked = errors.New("locked by another process")

func attributes(*os.File) *syscall.SysProcAttr           { return nil }
func highDescriptor(f *os.File, _ int) (*os.File, error) { return f, nil }
func keepDescriptors()                                   {}
func awaitExit(int) bool                                 { return false }
func settle(int) (left int)                              { return 0 }
func private(string) error                               { return nil }
func trusted(path string) (string, error)                { return path, nil }
func endedBy(*os.ProcessState) string                    { return "" }

func killGroup(pid int) error {
	p, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	if err := p.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

func askGroup(int) error { return errors.ErrUnsupported }

// locksFiles is false: no folder is known to be of a dead server.
const locksFiles = false

func lockFile(*os.File) error { return nil }

func outlive(*syscall.SysProcAttr) {}

// Nothing is kept here, see executesDescriptors.
func reopen(*os.File) (*os.File, error) { return nil, errors.ErrUnsupported }
func exePath(int) string                { return "" }
