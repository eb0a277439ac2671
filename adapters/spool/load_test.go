package spool

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/storage/frame"
)

// three returns the file of a log with the messages m0, m1 and m2 in it, and where
// the frame of each begins and ends.
func three(t *testing.T) (file []byte, frames [][2]int) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir})
	for _, m := range []string{"m0", "m1", "m2"} {
		s.wait(s.Append(record(m, "", 0)))
	}
	s.close()
	file, err := os.ReadFile(files(t, dir)[0])
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(file); {
		kind, _, behind, err := nextFrame(file[at:])
		if err != nil {
			t.Fatal(err)
		}
		end := len(file) - len(behind)
		if kind == kindMessage {
			frames = append(frames, [2]int{at, end})
		}
		at = end
	}
	if len(frames) != 3 {
		t.Fatal(frames)
	}
	return file, frames
}

// reread opens a log that has one file, and tells what is in it. All of it is done,
// then: it returns what is kept aside.
func reread(t *testing.T, file []byte) (bodies []string, kept []byte) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(segmentPath(dir, 7), file, 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, Options{Dir: dir})
	bodies = s.bodies()
	for _, r := range s.found {
		s.Done(r.ID)
	}
	s.wait(s.Append(record("new", "", 0)))
	s.close()
	if _, err := os.Stat(segmentPath(dir, 7)); err == nil {
		t.Error("a file of which nothing is needed is there still")
	}
	if all, _ := filepath.Glob(filepath.Join(dir, "*"+aside)); len(all) > 0 {
		if kept, _ = os.ReadFile(all[0]); len(all) != 1 {
			t.Error(all)
		}
	}
	if s = open(t, Options{Dir: dir}); !slices.Equal(s.bodies(), []string{"new"}) {
		t.Error("then:", s.bodies())
	}
	s.close()
	return bodies, kept
}

// Damage takes no more than the record that it is in, and the file is kept.
func TestDamage(t *testing.T) {
	for hurt := range 3 {
		file, frames := three(t)
		from, to := frames[hurt][0], frames[hurt][1]
		for name, damage := range map[string]func(frame []byte){
			"a bit of the content":   func(p []byte) { p[len(p)/2] ^= 1 },
			"the checksum":           func(p []byte) { p[5] ^= 0x80 },
			"what it is":             func(p []byte) { p[frame.Head] = 99 },
			"all of it":              func(p []byte) { copy(p, bytes.Repeat([]byte{0xAA}, len(p))) },
			"zeros":                  func(p []byte) { clear(p) },
			"a length that is short": func(p []byte) { p[0] -= 9 },
			"a length past the file": func(p []byte) { p[2] = 0xFF },
			"a length of 4 GiB":      func(p []byte) { p[3] = 0xFF },
		} {
			t.Run(name, func(t *testing.T) {
				file := slices.Clone(file)
				damage(file[from:to])
				bodies, kept := reread(t, file)
				want := slices.Delete([]string{"m0", "m1", "m2"}, hurt, hurt+1)
				if !slices.Equal(bodies, want) {
					t.Errorf("record %d: %v, want %v", hurt, bodies, want)
				}
				// At the end of a file these can't be told from a record that was cut off.
				if cut := hurt == 2 && (name == "zeros" || name == "a length past the file"); !cut && !bytes.Equal(kept, file) {
					t.Errorf("record %d: the file is not kept as it is: %d bytes of %d", hurt, len(kept), len(file))
				}
			})
		}
	}
}

// A file that ends where a process was killed is not damaged.
func TestCutIsNoDamage(t *testing.T) {
	file, frames := three(t)
	for cut := frames[1][1]; cut < len(file); cut += 7 {
		if bodies, kept := reread(t, file[:cut]); !slices.Equal(bodies, []string{"m0", "m1"}) || kept != nil {
			t.Errorf("cut at %d: %v, %d bytes are kept aside", cut, bodies, len(kept))
		}
	}
	if _, kept := reread(t, append(slices.Clone(file), make([]byte, 100)...)); kept != nil {
		t.Error("a file that had grown by zeros is kept aside")
	}
}

// A record that is whole and makes no sense costs nothing but itself.
func TestSenselessRecords(t *testing.T) {
	file, frames := three(t)
	for name, frame := range map[string][]byte{
		"no stanza":       frame.Append(nil, kindMessage, func(p []byte) []byte { return append(p, "\x09\x00\x12juliet@example.org\x00\x00<mess"...) }),
		"no recipient":    frame.Append(nil, kindMessage, func(p []byte) []byte { return append(p, "\x09\x00\x01@\x00\x00<message/>"...) }),
		"IDs cut off":     frame.Append(nil, kindDone, func(p []byte) []byte { return append(p, 0x80) }),
		"a session":       frame.Append(nil, kindSession, func(p []byte) []byte { return append(p, 200, 'x') }),
		"of another kind": frame.Append(nil, 200, func(p []byte) []byte { return append(p, "hello"...) }),
	} {
		t.Run(name, func(t *testing.T) {
			with := slices.Concat(file[:frames[1][0]], frame, file[frames[1][0]:])
			bodies, kept := reread(t, with)
			if !slices.Equal(bodies, []string{"m0", "m1", "m2"}) || !bytes.Equal(kept, with) {
				t.Errorf("%v, %d bytes of %d are kept aside", bodies, len(kept), len(with))
			}
		})
	}
}

// What one client sends does not make the spool forget what others sent.
func TestOddStanzasHarmNobody(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir})
	s.Append(record("before", "", 0))
	odd := record("odd", "", 0)
	h := odd.Stanza.Header
	h.ID, h.From = strings.Repeat("'", 16300), sender
	odd.Stanza = odd.Stanza.With(h)
	s.Append(odd)
	s.wait(s.Append(record("behind", "", 0)))
	s.close()
	if s = open(t, Options{Dir: dir}); !slices.Equal(s.bodies(), []string{"before", "odd", "behind"}) {
		t.Error(s.bodies())
	}
}

// Files that are kept aside keep their names.
func TestNumbersAreNotGivenAgain(t *testing.T) {
	dir := t.TempDir()
	old := segmentPath(dir, 41) + aside
	if err := os.WriteFile(old, []byte("evidence"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, Options{Dir: dir})
	s.wait(s.Append(record("x", "", 0)))
	s.close()
	if got := files(t, dir); len(got) != 1 || got[0] != segmentPath(dir, 42) {
		t.Error(got)
	}
}

// A file as versions before the first release wrote it.
func TestFormerFormat(t *testing.T) {
	file, err := os.ReadFile("testdata/format1.spool")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(segmentPath(dir, 1), file, 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, Options{Dir: dir})
	if !slices.Equal(s.bodies(), []string{"two", "three"}) || s.found[0].ID != 2 {
		t.Error(s.found)
	}
	if want := []storage.SpoolSession{{ID: "sm", User: romeo.Bare(), Handled: 2}}; !slices.Equal(s.sessions, want) {
		t.Error(s.sessions)
	}
}

// killed returns a copy of what is in the folder of a log now: a kill leaves that.
func killed(t *testing.T, dir string) string {
	t.Helper()
	other := t.TempDir()
	for _, f := range files(t, dir) {
		p, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(other, filepath.Base(f)), p, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return other
}

// No ID is given twice, whatever has become of the first record that had it.
func TestIDsGrowAcrossRestarts(t *testing.T) {
	dir := t.TempDir()
	last := uint64(0)
	for life := range 6 {
		s, err := Open(Options{Dir: dir}, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		var old []uint64
		if _, err := s.Load(func(r storage.SpoolRecord) error { old = append(old, r.ID); return nil }); err != nil {
			t.Fatal(err)
		}
		for _, id := range old {
			s.Done(id)
		}
		id := s.Append(record("x", "", 0))
		if id <= last {
			t.Errorf("life %d: ID %d, and there had been %d", life, id, last)
		}
		last = id
		if life%2 == 1 {
			s.Done(id) // before it is written
		}
		up := make(chan uint64, 10)
		s.Synced(func(id uint64) { up <- id })
		for got := range up {
			if got >= id {
				break
			}
		}
		s.Done(id)
		if life < 3 {
			dir = killed(t, dir)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if life >= 3 {
			open(t, Options{Dir: dir}).close() // which removes what is not needed
		}
	}
}

// Not even that of a record that is never written.
func TestIDsOfWhatIsNotWritten(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(Options{Dir: dir}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	s.Append(record("x", "", 0))
	if _, err := s.turn(); err != nil {
		t.Fatal(err)
	}
	defer s.file.Close()
	id := s.Append(record("y", "", 0))
	s.Done(id)
	if _, err := s.turn(); err != nil {
		t.Fatal(err)
	}
	x := open(t, Options{Dir: killed(t, dir)})
	if again := x.Append(record("z", "", 0)); len(x.found) != 1 || again <= id {
		t.Errorf("ID %d, and there had been %d; %v", again, id, x.bodies())
	}
}

// What a newer version wrote is not guessed at.
func TestNewerFormat(t *testing.T) {
	dir := t.TempDir()
	newer := frame.Append(nil, kindHead, func(p []byte) []byte { return append(p, format+1, 99, 99, 99) })
	if err := os.WriteFile(segmentPath(dir, 1), append(newer, "whatever"...), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Open(Options{Dir: dir}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(nil); err == nil || !strings.Contains(err.Error(), "newer version") || !strings.Contains(err.Error(), segmentPath(dir, 1)) {
		t.Error(err)
	}
	if len(files(t, dir)) != 1 {
		t.Error("it is gone")
	}
}
