//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package runner

import (
	"errors"
	"os"
	"syscall"
)

// maxSocketPath is the size of sun_path without the zero byte at its end.
const maxSocketPath = 103

const (
	selfPath            = "" // the path that the program was started by
	executesDescriptors = false
)

// attributes of a new process: the leader of a group of its own.
func attributes(*os.File) *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func highDescriptor(f *os.File, _ int) (*os.File, error) { return f, nil }

func keepDescriptors() {}

// awaitExit can't wait without taking the process away, so the number of the
// group may, for a moment, be another one's when the group is killed.
func awaitExit(int) bool { return false }

func settle(int) (left int) { return 0 }

func outlive(*syscall.SysProcAttr) {}

// Nothing is kept here, see executesDescriptors.
func reopen(*os.File) (*os.File, error) { return nil, errors.ErrUnsupported }
func exePath(int) string                { return "" }
