//go:build unix

package spool

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/hexmpp/hexmpp/ports/storage"
)

// childVariable makes this test binary one that may limit itself.
const childVariable = "HEXMPP_TEST_FULL"

// apart runs the test in a process of its own, for the test tool writes files, too.
// It is true there.
func apart(t *testing.T) bool {
	t.Helper()
	if os.Getenv(childVariable) != "" {
		return true
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), exe, "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=1m")
	child.Env = append(os.Environ(), childVariable+"=1")
	if out, err := child.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

// limitFiles lets no file of this process grow over so many bytes, which is what a
// quota looks like, until lift is called.
func limitFiles(t *testing.T, bytes int64) (lift func()) {
	t.Helper()
	signal.Ignore(syscall.SIGXFSZ)
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	low := was
	low.Cur = uint64(bytes)
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &low); err != nil {
		t.Fatal(err)
	}
	lift = func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(lift)
	return lift
}

// told is a log whose lines a test waits for.
type told struct {
	t     *testing.T
	lines chan string
}

func newTold(t *testing.T) (*told, *zap.Logger) {
	l := &told{t, make(chan string, 100)}
	return l, zap.New(zapcore.NewNopCore(), zap.WrapCore(func(zapcore.Core) zapcore.Core {
		return zapcore.RegisterHooks(zapcore.NewCore(zapcore.NewJSONEncoder(zapcore.EncoderConfig{}), zapcore.AddSync(discard{}), zapcore.InfoLevel),
			func(e zapcore.Entry) error { l.lines <- e.Message; return nil })
	}))
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func (l *told) want(text string) {
	l.t.Helper()
	if line := <-l.lines; !strings.Contains(line, text) {
		l.t.Fatalf("the log says %q, not %q", line, text)
	}
}

// opening is open with a log of ours, and a disk that is tried again soon.
func opening(t *testing.T, dir string, segment int64, log *zap.Logger) *opened {
	t.Helper()
	s, err := Open(Options{Dir: dir, SegmentBytes: segment, RetryEvery: time.Millisecond}, log)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(func(storage.SpoolRecord) error { return nil }); err != nil {
		t.Fatal(err)
	}
	x := &opened{Spool: s, t: t, synced: make(chan uint64, 10_000)}
	s.Synced(func(id uint64) { x.synced <- id })
	return x
}

// What a full disk does not take waits, is told to be safe no sooner than it is on
// disk, and is in order then.
func TestFullDisk(t *testing.T) {
	if !apart(t) {
		return
	}
	for name, segment := range map[string]int64{"in mid-segment": 1 << 20, "as a segment begins": 1} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			log, logger := newTold(t)
			s := opening(t, dir, segment, logger)
			s.Began(storage.SpoolSession{ID: "sm", User: romeo.Bare()})
			a := s.Append(record("one", "sm", 1))
			s.wait(a)
			info, err := os.Stat(files(t, dir)[0])
			if err != nil {
				t.Fatal(err)
			}
			fits := info.Size() + 20 // the next record in part
			if segment == 1 {
				fits = 20
			}
			lift := limitFiles(t, fits)
			b := s.Append(record(strings.Repeat("two ", 100), "sm", 2))
			log.want("is full")
			c := s.Append(record("three", "sm", 3))
			s.Began(storage.SpoolSession{ID: "brief", User: juliet})
			s.Ended("brief")
			s.Done(a)
			if !s.Full() || len(s.synced) != 0 {
				t.Errorf("full %v; %d more are told to be safe", s.Full(), len(s.synced))
			}
			for _, f := range files(t, dir) {
				p, err := os.ReadFile(f)
				if err != nil || strings.Contains(string(p), "two") {
					t.Errorf("%s has a part of what did not fit (%v)", f, err)
				}
			}
			if n := notes(s.Spool, "brief"); n != 0 {
				t.Errorf("%d notes of a session that came and went", n)
			}
			lift()
			log.want("written again")
			s.wait(c)
			if s.Full() {
				t.Error("it is full still")
			}
			s.close()
			if len(log.lines) != 0 {
				t.Errorf("more in the log: %q", <-log.lines)
			}

			s = open(t, Options{Dir: dir})
			var ids []uint64
			for _, r := range s.found {
				ids = append(ids, r.ID)
			}
			if !slices.Equal(ids, []uint64{b, c}) || len(s.sessions) != 1 || s.sessions[0].Handled != 3 {
				t.Errorf("found %v, %v", ids, s.sessions)
			}
		})
	}
}

func notes(s *Spool, id string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.notes {
		if s.notes[i].session.ID == id {
			n++
		}
	}
	return n
}

// A spool whose disk stays full ends all the same, and says that something is missing.
func TestCloseWithAFullDisk(t *testing.T) {
	if !apart(t) {
		return
	}
	dir := t.TempDir()
	log, logger := newTold(t)
	s := opening(t, dir, 1<<20, logger)
	s.RetryEvery = time.Hour
	a := s.Append(record("one", "", 0))
	s.wait(a)
	lift := limitFiles(t, 1)
	s.Append(record("two", "", 0))
	log.want("is full")
	if err := s.Close(); !errors.Is(err, errFull) {
		t.Error(err)
	}
	lift()
	if s := open(t, Options{Dir: dir}); !slices.Equal(s.bodies(), []string{"one"}) {
		t.Error(s.bodies())
	}
}

// What is done while the disk is full makes room.
func TestFullDiskIsFreed(t *testing.T) {
	if !apart(t) {
		return
	}
	dir := t.TempDir()
	log, logger := newTold(t)
	s := opening(t, dir, 1, logger) // a segment for each
	var ids []uint64
	for range 5 {
		ids = append(ids, s.Append(record("x", "", 0)))
		s.wait(ids[len(ids)-1])
	}
	lift := limitFiles(t, 1)
	last := s.Append(record("y", "", 0))
	log.want("is full")
	for _, id := range ids[:4] {
		s.Done(id)
	}
	for len(files(t, dir)) > 2 { // the one with a live record, and the new one
		runtime.Gosched()
	}
	lift()
	log.want("written again")
	s.wait(last)
	s.close()
	if s := open(t, Options{Dir: dir}); !slices.Equal(s.bodies(), []string{"x", "y"}) {
		t.Error(s.bodies())
	}
}

// What counts as full is what write(2) says of it.
func TestNoRoom(t *testing.T) {
	f, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("this system has no /dev/full")
	}
	defer f.Close()
	_, err = f.Write([]byte("x"))
	if !errors.Is(noRoom(err), errFull) || !errors.Is(noRoom(err), syscall.ENOSPC) {
		t.Error(err)
	}
	if errors.Is(noRoom(syscall.EIO), errFull) {
		t.Error("a broken disk is none that is full")
	}
}
