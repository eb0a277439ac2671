//go:build unix

package main

import (
	"os/signal"
	"syscall"
)

// fileLimit makes a limit on the size of files (ulimit -f, LimitFSIZE= in systemd)
// an error of the write that meets it, as a full disk is: else it ends the process.
func fileLimit() { signal.Ignore(syscall.SIGXFSZ) }
