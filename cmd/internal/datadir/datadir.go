// Package datadir is the data folder: it makes it, and sees to it that one
// process at a time uses it.
package datadir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Purpose of a Lock is the command that holds it.
type Purpose string

const (
	Serve Purpose = "serve" // holds it as long as the server runs
	User  Purpose = "user"  // a command that is done in a moment
)

// Held is the error when another process has the folder.
type Held struct {
	Folder  string
	PID     int     // 0 if it is not known
	Purpose Purpose // "" if it is not known
}

func (h *Held) Error() string {
	who := "another process"
	if h.PID > 0 {
		who = fmt.Sprintf("process %d", h.PID)
	}
	if h.Purpose != "" {
		who += fmt.Sprintf(" (hexmpp %s)", h.Purpose)
	}
	return fmt.Sprintf("the data folder %s is in use by %s: stop that process, or set another folder with the key data", h.Folder, who)
}

// Lock is the right to use a data folder.
type Lock struct{ file *os.File }

// retry is how often a lock is tried for again.
const retry = 50 * time.Millisecond

// Acquire makes the folder if it is missing and locks it. A lock that is held
// is waited for until ctx ends, or, if a server holds it, not at all: it would
// not be given back soon. Then the error is a *Held.
func Acquire(ctx context.Context, folder string, purpose Purpose) (*Lock, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	tick := time.NewTicker(retry)
	defer tick.Stop()
	for {
		l, err := try(folder, purpose)
		var held *Held
		if err == nil || !errors.As(err, &held) || held.Purpose == Serve {
			return l, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, err
		}
	}
}

// try takes the lock, or says who has it.
func try(folder string, purpose Purpose) (*Lock, error) {
	f, err := os.OpenFile(filepath.Join(folder, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		if errors.Is(err, fs.ErrPermission) {
			return nil, fmt.Errorf("data folder: %w: run this as the user that the folder belongs to", err)
		}
		return nil, fmt.Errorf("data folder: %w", err)
	}
	locked, err := lock(f)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("data folder: lock: %w", err), f.Close())
	}
	if !locked {
		held := holder(f)
		held.Folder = folder
		return nil, errors.Join(held, f.Close())
	}
	// The note is for whoever is refused; the lock is what counts.
	if err := note(f, purpose); err != nil {
		return nil, errors.Join(fmt.Errorf("data folder: lock: %w", err), f.Close())
	}
	return &Lock{f}, nil
}

func note(f *os.File, purpose Purpose) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(fmt.Sprintf("%d %s\n", os.Getpid(), purpose)), 0)
	return err
}

// holder reads the note of whoever has the lock; it may not be written yet.
func holder(f *os.File) *Held {
	text, err := io.ReadAll(io.LimitReader(f, 64))
	if err != nil {
		return &Held{}
	}
	fields := strings.Fields(string(text))
	if len(fields) != 2 {
		return &Held{}
	}
	pid, err := strconv.Atoi(fields[0])
	if err != nil {
		return &Held{}
	}
	return &Held{PID: pid, Purpose: Purpose(fields[1])}
}

// Release gives the folder back. The file stays: removing it would let two
// processes lock two files of the same name.
func (l *Lock) Release() error {
	// Emptied first, so that nobody is told of a process that is gone.
	return errors.Join(l.file.Truncate(0), l.file.Close())
}
