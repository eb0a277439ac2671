package spool

import (
	"errors"
	"fmt"
	"io/fs"
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

	// Records in it that are not done, and their bytes; Spool.mu guards them.
	live      int
	liveBytes int64
}

const suffix = ".spool"

func segmentPath(dir string, number uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%016x%s", number, suffix))
}

// segments returns the files of the log in dir, in order.
func segments(dir string) ([]*segment, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	var all []*segment
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), suffix)
		number, err := strconv.ParseUint(name, 16, 64)
		if !ok || err != nil || !e.Type().IsRegular() {
			continue
		}
		all = append(all, &segment{number: number, path: filepath.Join(dir, e.Name())})
	}
	slices.SortFunc(all, func(a, b *segment) int {
		if a.number < b.number {
			return -1
		}
		return 1
	})
	return all, nil
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
