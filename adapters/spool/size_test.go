package spool

import (
	"os"
	"path/filepath"
	"testing"
)

// Size counts what is not done, written or not, and the bytes of the files.
func TestSize(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	check := func(s *opened, when string, want int) (bytes int64) {
		t.Helper()
		records, bytes := s.Size()
		if records != want {
			t.Errorf("%s: %d records, want %d", when, records, want)
		}
		return bytes
	}
	s := open(t, Options{Dir: dir})
	if bytes := check(s, "empty", 0); bytes != 0 {
		t.Errorf("%d bytes", bytes)
	}
	s.syncing.Lock() // the disk is slow
	a := s.Append(record("one", "sm", 1))
	b := s.Append(record("two", "sm", 2))
	check(s, "on their way", 2)
	s.syncing.Unlock()
	s.wait(b)
	check(s, "written", 2)
	s.Done(a)
	check(s, "one is done", 1)
	s.close()
	onDisk := func() (sum int64) {
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			info, err := f.Info()
			if err != nil {
				t.Fatal(err)
			}
			sum += info.Size()
		}
		return sum
	}
	if bytes := check(s, "closed", 1); bytes != onDisk() || bytes == 0 {
		t.Errorf("%d bytes, on the disk are %d", bytes, onDisk())
	}
	before := onDisk()
	if bytes := check(open(t, Options{Dir: dir}), "loaded", 1); bytes != before {
		t.Errorf("%d bytes, on the disk are %d", bytes, before)
	}
}
