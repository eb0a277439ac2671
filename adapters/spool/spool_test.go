package spool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"pgregory.net/rapid"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/storage/frame"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

var (
	romeo  = jid.MustParse("romeo@example.org/orchard")
	juliet = jid.MustParse("juliet@example.org")
)

func message(body string) *stanza.Stanza {
	return stanza.New(stanza.Header{Kind: stanza.Message, Type: stanza.Chat, ID: "1", From: romeo, To: juliet}, stanza.El("", "body").WithText(body))
}

func record(body, sender string, h uint32) storage.SpoolRecord {
	return storage.SpoolRecord{Stamp: time.UnixMicro(1_700_000_000_123_456).UTC(), To: juliet, Stanza: message(body), Sender: sender, Handled: h}
}

// opened is a spool with what was in it.
type opened struct {
	*Spool
	t        testing.TB
	found    []storage.SpoolRecord
	sessions []storage.SpoolSession
	synced   chan uint64
}

func open(t testing.TB, o Options) *opened {
	t.Helper()
	s, err := Open(o, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	x := &opened{Spool: s, t: t, synced: make(chan uint64, 10_000)}
	x.sessions, err = s.Load(func(r storage.SpoolRecord) error {
		x.found = append(x.found, r)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(x.sessions, func(a, b storage.SpoolSession) int { return strings.Compare(a.ID, b.ID) })
	s.Synced(func(id uint64) { x.synced <- id })
	t.Cleanup(func() { s.Close() })
	return x
}

// wait returns when everything up to id is safe.
func (x *opened) wait(id uint64) {
	for got := range x.synced {
		if got >= id {
			return
		}
	}
}

func (x *opened) bodies() (all []string) {
	for _, r := range x.found {
		all = append(all, r.Stanza.Find("", "body").Text())
	}
	return all
}

func (x *opened) close() {
	x.t.Helper()
	if err := x.Spool.Close(); err != nil {
		x.t.Error(err)
	}
}

func TestWhatIsNotDoneIsThereAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	s := open(t, Options{Dir: dir})
	s.Began(storage.SpoolSession{ID: "sm", User: romeo.Bare()})
	first, second := record("one", "sm", 1), record("two", "sm", 2)
	a, b := s.Append(first), s.Append(second)
	s.wait(b)
	s.Done(a)
	s.close()

	s = open(t, Options{Dir: dir})
	if len(s.found) != 1 || s.found[0].ID != b {
		t.Fatal(s.found)
	}
	second.ID = b
	got := s.found[0]
	if got.Stanza.String() != second.Stanza.String() {
		t.Error(got.Stanza)
	}
	if got.Stanza = second.Stanza; got != second {
		t.Errorf("%+v, want %+v", got, second)
	}
	if want := []storage.SpoolSession{{ID: "sm", User: romeo.Bare(), Handled: 2}}; !slices.Equal(s.sessions, want) {
		t.Error(s.sessions)
	}
	if c := s.Append(record("three", "sm", 3)); c <= b {
		t.Error("an ID was given twice")
	}
	s.Done(b)
	s.Ended("sm")
	s.close()

	s = open(t, Options{Dir: dir})
	if got := s.bodies(); !slices.Equal(got, []string{"three"}) || len(s.sessions) != 0 {
		t.Error(got, s.sessions)
	}
}

// A record that is done before its turn is not written; the count of its sender
// is.
func TestDoneBeforeItIsWritten(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(Options{Dir: dir}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	s.Began(storage.SpoolSession{ID: "sm", User: romeo.Bare()})
	s.Done(s.Append(record("secret", "sm", 7)))
	up := make(chan uint64, 1)
	s.Synced(func(id uint64) { up <- id })
	if id := <-up; id != 1 {
		t.Error(id)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	x := open(t, Options{Dir: dir})
	if len(x.found) != 0 || len(x.sessions) != 1 || x.sessions[0].Handled != 7 {
		t.Error(x.found, x.sessions)
	}
	for _, f := range files(t, dir) {
		if p, err := os.ReadFile(f); err != nil || strings.Contains(string(p), "secret") {
			t.Error(err, "it was written")
		}
	}
}

// A session is known after a kill though it sent nothing that is kept.
func TestSessionThatSendsNothing(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(Options{Dir: dir}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	want := storage.SpoolSession{ID: "sm", User: romeo.Bare(), Handled: 5}
	s.Began(want)
	select {
	case <-s.wake:
	default:
		t.Fatal("the writer is not told")
	}
	if _, err := s.turn(); err != nil {
		t.Fatal(err)
	}
	defer s.file.Close()
	if x := open(t, Options{Dir: killed(t, dir)}); !slices.Equal(x.sessions, []storage.SpoolSession{want}) {
		t.Error(x.sessions)
	}
}

// What is too long to be read again is not kept, and does no harm to others.
func TestRecordThatIsTooLong(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir})
	s.Append(record("before", "", 0))
	long := s.Append(record(strings.Repeat("x", maxBody), "", 0))
	s.wait(s.Append(record("behind", "", 0)))
	if n, bytes := s.Size(); n != 2 || bytes > 10_000 {
		t.Error(n, bytes)
	}
	s.Done(long)
	s.close()
	if s = open(t, Options{Dir: dir}); !slices.Equal(s.bodies(), []string{"before", "behind"}) {
		t.Error(len(s.bodies()))
	}
}

// However many are done at a time, it can be read again.
func TestManyDone(t *testing.T) {
	ids := make([]uint64, 2_000_000)
	for i := range ids {
		ids[i] = uint64(i) << 40
	}
	n := 0
	for p := appendDone(nil, ids); len(p) > 0; {
		kind, body, behind, err := nextFrame(p)
		if err != nil || kind != kindDone || len(body) > 1<<20 {
			t.Fatal(kind, len(body), err)
		}
		for f := (frame.Fields{P: body}); len(f.P) > 0; n++ {
			if id := f.Uint(); n >= len(ids) || id != ids[n] {
				t.Fatalf("number %d is %d", n, id)
			}
		}
		p = behind
	}
	if n != len(ids) {
		t.Errorf("%d of %d", n, len(ids))
	}
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

// A process that is killed leaves its last write cut off anywhere: what was whole
// is there, in order, and nothing else.
func TestCutAtEveryByte(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir})
	s.Began(storage.SpoolSession{ID: "sm", User: romeo.Bare()})
	var ends []int64
	for i := range 4 {
		s.wait(s.Append(record(fmt.Sprint("m", i), "sm", uint32(i+1))))
		info, err := os.Stat(files(t, dir)[0])
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, info.Size())
	}
	s.close()
	whole, err := os.ReadFile(files(t, dir)[0])
	if err != nil {
		t.Fatal(err)
	}
	for cut := range len(whole) + 1 {
		other := t.TempDir()
		if err := os.WriteFile(segmentPath(other, 1), whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		x := open(t, Options{Dir: other})
		var want []string
		for i, end := range ends {
			if end <= int64(cut) {
				want = append(want, fmt.Sprint("m", i))
			}
		}
		if got := x.bodies(); !slices.Equal(got, want) {
			t.Fatalf("cut at %d: %v, want %v", cut, got, want)
		}
		if len(want) > 0 && (len(x.sessions) != 1 || x.sessions[0].Handled != uint32(len(want))) {
			t.Fatalf("cut at %d: %v", cut, x.sessions)
		}
		x.wait(x.Append(record("new", "", 0))) // and the log goes on
		x.close()
		if again := open(t, Options{Dir: other}); !slices.Equal(again.bodies(), append(want, "new")) {
			t.Fatalf("cut at %d, then: %v", cut, again.bodies())
		} else {
			again.close()
		}
	}
}

// Segments go when they are not needed; one record that nobody acknowledges does
// not hold up all that came after it.
func TestSegmentsAreDropped(t *testing.T) {
	dir := t.TempDir()
	o := Options{Dir: dir, SegmentBytes: 4 << 10, MaxBytes: 16 << 10}
	s := open(t, o)
	s.Began(storage.SpoolSession{ID: "sm", User: romeo.Bare()})
	pinned := s.Append(record("pinned", "sm", 1))
	for i := range 1000 {
		id := s.Append(record(strings.Repeat("x", 300), "sm", uint32(i+2)))
		s.wait(id)
		s.Done(id)
	}
	s.close()
	size := int64(0)
	for _, f := range files(t, dir) {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	if size > o.MaxBytes+2*o.SegmentBytes {
		t.Errorf("the log has %d bytes", size)
	}
	s = open(t, o)
	if len(s.found) != 1 || s.found[0].ID != pinned || s.sessions[0].Handled != 1001 {
		t.Error(s.bodies(), s.sessions)
	}
	s.Done(pinned)
	s.close()
	if s = open(t, o); len(s.found) != 0 {
		t.Error(s.bodies())
	}
}

// When everything that is held is needed the log grows, rather than turn in
// circles.
func TestAllOfItIsNeeded(t *testing.T) {
	o := Options{Dir: t.TempDir(), SegmentBytes: 4 << 10, MaxBytes: 8 << 10}
	s := open(t, o)
	last := uint64(0)
	for range 200 {
		last = s.Append(record(strings.Repeat("x", 300), "", 0))
		s.wait(last)
	}
	s.close()
	if s = open(t, o); len(s.found) != 200 {
		t.Error(len(s.found))
	}
}

// A disk that fails ends the spool, and nothing is called safe any more.
func TestFailingDisk(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir()})
	s.wait(s.Append(record("safe", "", 0)))
	s.syncing.Lock()
	f := s.file
	s.syncing.Unlock()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	s.Append(record("not", "", 0))
	<-s.Failed()
	if err := s.Spool.Close(); !errors.Is(err, storage.ErrSpool) {
		t.Error(err)
	}
	if len(s.synced) != 0 {
		t.Error("called safe")
	}
}

// Whatever happens, what is neither done nor cut off is there after a restart.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp("", "spool")
		if err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(dir)
		o := Options{Dir: dir, SegmentBytes: 1 << 10, MaxBytes: 3 << 10}
		held := map[uint64]string{}
		n := 0
		for range rapid.IntRange(1, 4).Draw(rt, "lives") {
			s := open(t, o)
			if len(s.found) != len(held) {
				rt.Fatalf("%v, want %v", s.bodies(), held)
			}
			for i, r := range s.found {
				if held[r.ID] != s.bodies()[i] || i > 0 && s.found[i-1].ID >= r.ID {
					rt.Fatalf("%v, want %v", s.bodies(), held)
				}
			}
			for range rapid.IntRange(0, 40).Draw(rt, "acts") {
				if rapid.Bool().Draw(rt, "done") && len(held) > 0 {
					ids := make([]uint64, 0, len(held))
					for id := range held {
						ids = append(ids, id)
					}
					slices.Sort(ids)
					id := rapid.SampledFrom(ids).Draw(rt, "id")
					s.Done(id)
					delete(held, id)
					continue
				}
				n++
				body := fmt.Sprint("m", n, strings.Repeat("x", rapid.IntRange(0, 300).Draw(rt, "size")))
				id := s.Append(record(body, "", 0))
				held[id] = body
				if rapid.Bool().Draw(rt, "wait") {
					s.wait(id)
				}
			}
			s.close()
		}
	})
}

func FuzzFrames(f *testing.F) {
	r := record("hi", "sm", 3)
	f.Add(appendSession(appendMessage(nil, &r), &storage.SpoolSession{ID: "sm", User: romeo.Bare(), Handled: 9}))
	f.Add(appendEnded(appendDone(nil, []uint64{1, 300}), "sm"))
	f.Add(appendLast(appendHead(nil, 9, map[string]storage.SpoolSession{"sm": {ID: "sm", User: romeo.Bare()}}), 10))
	f.Add(append(appendEnded(nil, "sm"), 0xFF, 0, 0, 0, 1, 2, 3, 4, kindDone, 5))
	f.Fuzz(func(t *testing.T, p []byte) {
		s := &Spool{log: zap.NewNop(), sessions: map[string]storage.SpoolSession{}}
		seg, l := &segment{}, loading{records: map[uint64]loaded{}}
		if err := s.scan(seg, p, &l); err != nil && !errors.Is(err, errFormat) {
			t.Error(err)
		}
		for _, r := range l.records {
			if r.Stanza == nil {
				t.Error("a record without its stanza")
			}
		}
		// Whatever p is, a record behind it is found.
		if len(p) < 800 {
			last := record("last", "", 0)
			last.ID = 1 << 60
			l := loading{records: map[uint64]loaded{}}
			if err := s.scan(seg, appendMessage(slices.Clone(p), &last), &l); err != nil {
				return
			}
			if _, found := l.records[last.ID]; !found {
				t.Error("a record behind this is lost")
			}
		}
		// A body behind a right checksum, too.
		for kind := kindMessage; kind <= lastKind; kind++ {
			_ = s.apply(&l, kind, p, place{seg: seg})
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	s := open(b, Options{Dir: b.TempDir()})
	b.ReportAllocs()
	st := message(strings.Repeat("x", 200))
	r := record("", "sm", 0)
	r.Stanza = st
	b.ResetTimer()
	for i := range b.N {
		id := s.Append(r)
		if i%64 == 63 {
			s.wait(id)
			for d := id - 63; d <= id; d++ {
				s.Done(d)
			}
		}
	}
}
