package spool

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/ports/storage"
)

// small are options with which a log has many segments soon.
func small(t *testing.T) Options {
	return Options{Dir: t.TempDir(), SegmentBytes: 4 << 10, MaxBytes: 16 << 10}
}

func sizeOf(t *testing.T, dir string) (bytes int64) {
	t.Helper()
	for _, f := range files(t, dir) {
		info, err := os.Stat(f)
		if errors.Is(err, fs.ErrNotExist) { // dropped meanwhile
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		bytes += info.Size()
	}
	return bytes
}

// come has messages come that are acknowledged at once.
func (x *opened) come(n int) {
	for range n {
		id := x.Append(record(strings.Repeat("x", 300), "", 0))
		x.wait(id)
		x.Done(id)
	}
}

// However much of an old segment is needed, what came and went since is let go.
func TestPinnedSegments(t *testing.T) {
	for _, pinned := range []int{1, 8, 12, 16} { // 10 fit into a segment, and 40 into a log
		o := small(t)
		s := open(t, o)
		var held []uint64
		for range pinned {
			held = append(held, s.Append(record(strings.Repeat("x", 300), "", 0)))
		}
		s.wait(held[pinned-1])
		most := int64(0)
		for range 40 {
			s.come(25)
			most = max(most, sizeOf(t, o.Dir))
		}
		if most > o.MaxBytes+3*o.SegmentBytes {
			t.Errorf("%d are needed: the log had %d bytes", pinned, most)
		}
		s.close()
		s = open(t, o)
		var found []uint64
		for _, r := range s.found {
			found = append(found, r.ID)
		}
		if !slices.Equal(found, held) {
			t.Errorf("%d are needed: there are %v, want %v", pinned, found, held)
		}
		s.close()
	}
}

// When most of the log is needed nothing is written anew, however long it is.
func TestNoMoreIsWrittenThanNeedBe(t *testing.T) {
	o := small(t)
	s := open(t, o)
	last := uint64(0)
	for i := range 300 {
		last = s.Append(record(strings.Repeat("x", 300), "", 0))
		s.wait(last)
		if i%3 == 2 {
			s.Done(last)
		}
	}
	s.close()
	if n := len(files(t, o.Dir)); s.number != uint64(n) {
		t.Errorf("%d files were written, and %d are there", s.number, n)
	}
	if s = open(t, o); len(s.found) != 200 {
		t.Error(len(s.found))
	}
}

// The sessions that each segment begins with may fill more than a segment.
func TestManySessions(t *testing.T) {
	o := small(t)
	s := open(t, o)
	for i := range 300 {
		s.Began(storage.SpoolSession{ID: strings.Repeat("s", 30) + string(rune('A'+i)), User: romeo.Bare()})
	}
	held := s.Append(record("needed", "", 0))
	s.wait(held)
	s.come(200)
	s.close()
	if n := len(files(t, o.Dir)); n > 8 {
		t.Errorf("%d files, and a log has room for 4", n)
	}
	if s.number > 60 {
		t.Errorf("%d files were written for 80 KiB of messages", s.number)
	}
	s = open(t, o)
	if len(s.sessions) != 300 || !slices.Equal(s.bodies(), []string{"needed"}) {
		t.Error(len(s.sessions), s.bodies())
	}
	for _, seg := range s.segments[:len(s.segments)-1] {
		if seg.head < 300*50 || seg.head > seg.size {
			t.Errorf("a head of %d bytes in a file of %d", seg.head, seg.size)
		}
	}
}

// A file that somebody removed ends nothing, and one that was damaged while the spool
// was open is kept.
func TestFilesThatChangeUnderneath(t *testing.T) {
	for name, harm := range map[string]func(path string) error{
		"removed": os.Remove,
		"emptied": func(path string) error { return os.Truncate(path, 0) },
		"hurt": func(path string) error {
			p, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return os.WriteFile(path, []byte(strings.ReplaceAll(string(p), "one", "two")), 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := small(t)
			s := open(t, o)
			s.Append(record("one", "", 0))
			other := s.Append(record("three", "", 0))
			s.wait(other)
			first := files(t, o.Dir)[0]
			if err := harm(first); err != nil {
				t.Fatal(err)
			}
			s.come(300)
			s.close()
			if slices.Contains(files(t, o.Dir), first) {
				t.Error("the file is there still")
			}
			if _, err := os.Stat(first + aside); (err == nil) != (name != "removed") {
				t.Error("kept aside:", err)
			}
			want := []string(nil)
			if name == "hurt" {
				want = []string{"three"}
			}
			if s = open(t, o); !slices.Equal(s.bodies(), want) {
				t.Error(s.bodies())
			}
		})
	}
}
