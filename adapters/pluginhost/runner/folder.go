package runner

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// socketName is as long as the longest path of a socket below a folder of a
// Runner: go-plugin makes a folder for each process, and the plugin a file in it.
const socketName = "/plugin-dir4294967295/plugin4294967295"

// folderPrefix begins the name of a Runner's own folder in Options.Folder.
const folderPrefix = "r-"

// DefaultFolder is a place for the sockets of a server that was given none: below
// $RUNTIME_DIRECTORY (systemd's RuntimeDirectory=), else $XDG_RUNTIME_DIR, else the
// folder for temporary files.
func DefaultFolder() string {
	if dir, _, _ := strings.Cut(os.Getenv("RUNTIME_DIRECTORY"), ":"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "plugins")
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "hexmpp")
	}
	return filepath.Join(os.TempDir(), "hexmpp-"+strconv.Itoa(os.Getuid()))
}

// A folder is a Runner's own, and goes with it. While its lock is held nobody
// removes it.
type folder struct {
	path string
	lock *os.File
}

// makeFolder makes a folder in base, and removes those of servers that are dead.
func makeFolder(base string) (_ *folder, err error) {
	if !filepath.IsAbs(base) {
		return nil, fmt.Errorf("folder for sockets %q: not an absolute path", base)
	}
	if err := os.MkdirAll(base, 0o700); err != nil {
		return nil, fmt.Errorf("folder for sockets: %w", err)
	}
	if base, err = filepath.EvalSymlinks(base); err != nil {
		return nil, fmt.Errorf("folder for sockets: %w", err)
	}
	if err := private(base); err != nil {
		return nil, err
	}
	// The longest name that MkdirTemp makes is 10 digits.
	if n, most := len(base)+len("/"+folderPrefix)+10, maxSocketPath-len(socketName); n > most {
		return nil, fmt.Errorf("folder for sockets %s is %d characters too long, since paths of sockets have at most %d: choose another one", base, n-most, maxSocketPath)
	}
	// One at a time looks for what is left over and makes a folder: else one that
	// is not locked yet would be taken for that of a dead server.
	turn, err := os.OpenFile(filepath.Join(base, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("folder for sockets: %w", err)
	}
	defer turn.Close()
	if err := lockSoon(turn); err != nil {
		return nil, fmt.Errorf("folder for sockets: %s: %w", turn.Name(), err)
	}
	if err := sweep(base); err != nil {
		return nil, fmt.Errorf("folder for sockets: %w", err)
	}
	path, err := os.MkdirTemp(base, folderPrefix)
	if err != nil {
		return nil, fmt.Errorf("folder for sockets: %w", err)
	}
	f := &folder{path: path}
	f.lock, err = os.OpenFile(filepath.Join(path, "lock"), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		err = lockFile(f.lock) // it is new: nobody has it
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("folder for sockets: %w", err), f.remove())
	}
	return f, nil
}

// turnTime is how long others may take to make their folders.
const turnTime = 10 * time.Second

// lockSoon waits a while for a lock.
func lockSoon(f *os.File) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(turnTime); ; {
		err := lockFile(f)
		if !errors.Is(err, errLocked) || time.Now().After(end) {
			return err
		}
		<-tick.C
	}
}

// sweep removes folders whose lock nobody holds.
func sweep(base string) error {
	if !locksFiles {
		return nil
	}
	entries, err := os.ReadDir(base)
	if err != nil {
		return err
	}
	var failed []error
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), folderPrefix) {
			continue
		}
		path := filepath.Join(base, e.Name())
		f, err := os.OpenFile(filepath.Join(path, "lock"), os.O_RDWR, 0)
		if err == nil {
			err = lockFile(f)
			defer f.Close() // after the folder is gone
		}
		switch {
		case errors.Is(err, errLocked):
			continue // its server lives
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			failed = append(failed, err)
		default: // without a lock: a server died while it made the folder
			failed = append(failed, os.RemoveAll(path))
		}
	}
	return errors.Join(failed...)
}

func (f *folder) remove() error {
	err := os.RemoveAll(f.path)
	if f.lock != nil {
		err = errors.Join(err, f.lock.Close())
	}
	return err
}
