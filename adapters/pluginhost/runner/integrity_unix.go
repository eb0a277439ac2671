//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package runner

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const nonBlocking = syscall.O_NONBLOCK

// maxLinks is how many symbolic links a path may lead through.
const maxLinks = 40

// trusted returns the path without symbolic links, if nobody but root, the
// server's user and the owners of the folders can change what it leads to: no
// part of it, nor of what the links on the way lead to, is writable by everybody. What is
// in a sticky folder (/tmp) must be root's or the server's. Access control lists
// are not looked at.
func trusted(path string) (string, error) {
	at := "/"
	info, err := os.Lstat(at)
	if err != nil {
		return "", err
	}
	todo := strings.Split(path, "/")
	for links := 0; len(todo) > 0; {
		name := todo[0]
		todo = todo[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			at = filepath.Dir(at)
			if info, err = os.Lstat(at); err != nil {
				return "", err
			}
			continue
		}
		next := filepath.Join(at, name)
		found, err := os.Lstat(next)
		if err != nil {
			return "", err
		}
		if info.Mode()&fs.ModeSticky != 0 && info.Mode().Perm()&0o002 != 0 {
			if owner := found.Sys().(*syscall.Stat_t).Uid; owner != 0 && int(owner) != os.Geteuid() {
				return "", fmt.Errorf("%s belongs to user %d, and is in %s, where every user of this machine can put files: move it to a folder of root or of the server's user", next, owner, at)
			}
		}
		if found.Mode()&fs.ModeSymlink != 0 {
			if links++; links > maxLinks {
				return "", fmt.Errorf("%s leads through more than %d symbolic links", path, maxLinks)
			}
			target, err := os.Readlink(next)
			if err != nil {
				return "", err
			}
			if filepath.IsAbs(target) {
				at = "/"
				if info, err = os.Lstat(at); err != nil {
					return "", err
				}
			}
			todo = append(strings.Split(target, "/"), todo...)
			continue
		}
		if err := writable(next, found); err != nil {
			return "", err
		}
		at, info = next, found
	}
	return at, nil
}
