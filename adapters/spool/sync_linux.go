package spool

import (
	"os"

	"golang.org/x/sys/unix"
)

// dataSync has what was written on disk, and the file's length.
func dataSync(f *os.File) error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if err != unix.EINTR {
			return err
		}
	}
}
