package spool

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"
	"pgregory.net/rapid"

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

// Wherever a process is killed, between turns or while it writes, what it had written
// and nobody had acknowledged is there, and what was noted as done is not.
func TestKilledModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		o := Options{Dir: t.TempDir(), SegmentBytes: 1 << 10, MaxBytes: 3 << 10}
		type state struct {
			body                     string
			written, done, doneThere bool
		}
		all := map[uint64]*state{}
		ids := func() []uint64 { return slices.Sorted(maps.Keys(all)) }
		for life := range rapid.IntRange(1, 4).Draw(rt, "lives") {
			s, err := Open(o, zap.NewNop())
			if err != nil {
				rt.Fatal(err)
			}
			found := map[uint64]bool{}
			sessions, err := s.Load(func(r storage.SpoolRecord) error {
				found[r.ID] = true
				if x := all[r.ID]; x == nil || x.doneThere || r.Stanza.Find("", "body").Text() != x.body {
					rt.Fatalf("life %d: record %d is there", life, r.ID)
				}
				return nil
			})
			if err != nil || len(sessions) != life {
				rt.Fatal(err, sessions)
			}
			for id, x := range all {
				if x.written && !x.done && !found[id] {
					rt.Fatalf("life %d: record %d is lost; there are %v", life, id, found)
				}
				if x.done = false; !found[id] { // else it is as new
					delete(all, id)
				}
			}
			turn := func() {
				if _, err := s.turn(); err != nil {
					rt.Fatal(err)
				}
				for _, x := range all {
					x.written, x.doneThere = true, x.done
				}
			}
			s.Began(storage.SpoolSession{ID: string(rune('a' + life)), User: romeo.Bare()})
			turn()
			acts := func(n int) {
				for range n {
					switch known := ids(); {
					case len(known) > 0 && rapid.IntRange(0, 2).Draw(rt, "done") > 0:
						id := rapid.SampledFrom(known).Draw(rt, "id")
						s.Done(id)
						all[id].done = true
					default:
						body := strings.Repeat("x", rapid.IntRange(0, 300).Draw(rt, "size"))
						id := s.Append(record(body, "", 0))
						if all[id] != nil {
							rt.Fatalf("ID %d again", id)
						}
						all[id] = &state{body: body}
					}
				}
			}
			for range rapid.IntRange(0, 30).Draw(rt, "turns") {
				acts(rapid.IntRange(0, 4).Draw(rt, "acts"))
				turn()
			}
			acts(3)
			if rapid.Bool().Draw(rt, "while it writes") { // and so that nothing is dropped before
				if err := s.open(); err != nil {
					rt.Fatal(err)
				}
				if err := s.put(); err != nil {
					rt.Fatal(err)
				}
				s.take()
				part := s.buf[:rapid.IntRange(0, len(s.buf)).Draw(rt, "cut")]
				if _, err := s.file.WriteAt(part, s.active().size); err != nil {
					rt.Fatal(err)
				}
			}
			o.Dir = killed(t, o.Dir)
			if err := s.file.Close(); err != nil {
				rt.Fatal(err)
			}
		}
	})
}
