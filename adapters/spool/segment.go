package spool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// segment is one file of the log.
type segment struct {
	number uint64
	path   string
	size   int64
	head   int64 // of its bytes: what it begins with
	// damaged: something in it can't be read. It is kept aside when nothing else in it
	// is needed.
	damaged bool

	// Records in it that are not done, and their bytes; Spool.mu guards them.
	live      int
	liveBytes int64
}

// filled returns how many bytes came behind the head.
func (seg *segment) filled() int64 { return seg.size - seg.head }

const (
	suffix = ".spool"
	aside  = ".damaged" // follows it in the name of a file that is kept aside
)

func segmentPath(dir string, number uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%016x%s", number, suffix))
}

// segments returns the files of the log in dir, in order, and the highest number
// that a file has or had, of those that are kept aside, too.
func segments(dir string) (all []*segment, last uint64, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, 0, fmt.Errorf("spool: %w", err)
	}
	for _, e := range entries {
		file, old := strings.CutSuffix(e.Name(), aside)
		name, ok := strings.CutSuffix(file, suffix)
		number, err := strconv.ParseUint(name, 16, 64)
		if !ok || err != nil || !e.Type().IsRegular() {
			continue
		}
		last = max(last, number)
		if !old {
			all = append(all, &segment{number: number, path: filepath.Join(dir, e.Name())})
		}
	}
	slices.SortFunc(all, func(a, b *segment) int {
		if a.number < b.number {
			return -1
		}
		return 1
	})
	return all, last, nil
}

// remove takes the file of a segment out of the log.
func (seg *segment) remove() error {
	var err error
	if seg.damaged {
		err = os.Rename(seg.path, seg.path+aside)
	} else {
		err = os.Remove(seg.path)
	}
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	return nil
}

// create makes the file of a segment, whose name is on disk when it returns.
func create(dir string, number uint64) (*segment, *os.File, error) {
	s := &segment{number: number, path: segmentPath(dir, number)}
	f, err := os.OpenFile(s.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("spool: %w", noRoom(err))
	}
	if err := syncDir(dir); err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return s, f, nil
}

// syncDir writes the names in a folder to disk.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("spool: sync %s: %w", dir, err)
	}
	return nil
}
