//go:build unix

package plugin

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// redirect returns what the standard output was, for the handshake line, and has
// whatever else is printed there go where the log goes.
func redirect() (*os.File, error) {
	fd, err := unix.FcntlInt(1, unix.F_DUPFD_CLOEXEC, 3)
	if err == nil {
		err = unix.Dup2(2, 1)
	}
	if err != nil {
		return nil, fmt.Errorf("plugin: standard output: %w", err)
	}
	return os.NewFile(uintptr(fd), "handshake"), nil
}
