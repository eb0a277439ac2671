package sessionfile

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/storage/frame"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

var (
	romeo  = jid.MustParse("romeo@example.org/orchard")
	juliet = jid.MustParse("juliet@example.org/balcony")
	stop   = time.UnixMicro(1_700_000_000_123_456).UTC()
)

func message(body string) *stanza.Stanza {
	return stanza.New(stanza.Header{Kind: stanza.Message, Type: stanza.Chat, ID: "1", From: romeo, To: juliet, Lang: "it"}, stanza.El("", "body").WithText(body))
}

// example has everything that can be saved.
func example() *storage.Saved {
	caps := &storage.SavedCaps{XML: "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='n' ver='v'/>", Features: []string{"a", "b"}}
	first, copied := message("first"), message("copied")
	fork := &storage.SavedFork{Message: first, Record: 7, At: stop}
	other := &storage.SavedFork{Message: copied, Taken: true}
	carbon := &storage.SavedFork{}
	until := stop.Add(time.Minute).Truncate(time.Millisecond)
	return &storage.Saved{
		At: stop,
		Sessions: []storage.SavedSession{
			{
				JID: juliet, ID: "sm-1", Max: 10 * time.Minute, Until: until, Handled: 1 << 31, Acked: 1<<32 - 1, Interested: true, Priority: -5,
				Presence: stanza.New(stanza.Header{Kind: stanza.Presence, From: juliet}, stanza.El("", "priority").WithText("-5")),
				Directed: []jid.JID{romeo, romeo.Bare()}, Marks: []string{"carbons/enabled"}, Caps: caps,
				Queue: []storage.SavedStanza{
					{Stanza: first, At: stop, Fork: fork},
					{Stanza: message("second"), To: juliet, At: stop, Fork: other},
					{Stanza: message("stored"), At: stop, Stored: 42},
					{Stanza: message("before <enable/>")},
				},
				Written: 1, Gap: 3, Fetches: true,
				Tickets: []storage.SavedTicket{{N: 1<<31 - 7, Size: 100}, {N: 1 << 31}},
			},
			{JID: romeo, ID: "sm-2", Max: time.Second, Until: until, Gap: -1, Caps: caps, Queue: []storage.SavedStanza{
				{Stanza: first, At: stop, Fork: fork}, {Stanza: copied, At: stop, Fork: other}, {Stanza: message("carbon"), At: stop, Fork: carbon},
			}},
			{JID: romeo.Bare(), ID: "sm-3", Until: until, Gap: -1},
		},
		Ended: []storage.SpoolSession{{ID: "old", User: romeo.Bare(), Handled: 9}},
	}
}

// text is everything, stanzas as XML, and shared things by their numbers.
func text(s *storage.Saved) string {
	var b strings.Builder
	numbers := map[any]int{}
	number := func(p any) int {
		if reflect.ValueOf(p).IsNil() {
			return 0
		}
		if numbers[p] == 0 {
			numbers[p] = len(numbers) + 1
		}
		return numbers[p]
	}
	fmt.Fprintln(&b, s.At, s.Ended)
	for _, one := range s.Sessions {
		q, caps, p := one.Queue, one.Caps, one.Presence
		one.Queue, one.Caps, one.Presence = nil, nil, nil
		fmt.Fprintf(&b, "%+v\n caps %d", one, number(caps))
		if caps != nil {
			fmt.Fprintf(&b, " %+v", *caps)
		}
		if p != nil {
			fmt.Fprintf(&b, "\n %s", p)
		}
		for _, x := range q {
			fmt.Fprintf(&b, "\n %s to %v at %v stored %d fork %d", x.Stanza, x.To, x.At, x.Stored, number(x.Fork))
			if f := x.Fork; f != nil {
				fmt.Fprintf(&b, " %v %d %v %v", f.Taken, f.Record, f.At, f.Message)
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func TestWhatWasSavedIsThere(t *testing.T) {
	dir := t.TempDir()
	f := New(dir)
	if s, err := f.Load(); s != nil || err != nil {
		t.Fatal(s, err)
	}
	if err := f.Discard(); err != nil { // there is none
		t.Fatal(err)
	}
	for range 2 { // and replaces what was there
		if err := f.Save(example()); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "sessions.new"), []byte("cut off"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // loading changes nothing
		got, err := f.Load()
		if err != nil {
			t.Fatal(err)
		}
		if got, want := text(got), text(example()); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	}
	if err := f.Discard(); err != nil {
		t.Fatal(err)
	}
	if s, err := f.Load(); s != nil || err != nil {
		t.Error(s, err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Error(left, err)
	}
}

func TestSavedFileIsForItsOwner(t *testing.T) {
	dir := t.TempDir()
	if err := New(dir).Save(example()); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(dir, "sessions")); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}
}

func TestNothingIsLeftOfASaveThatFails(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "missing")
	if err := New(dir).Save(example()); err == nil {
		t.Error("saved into a folder that is not there")
	}
	dir = t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "sessions", "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := New(dir).Save(example()); err == nil {
		t.Error("a folder was replaced")
	}
	if _, err := os.Stat(filepath.Join(dir, "sessions.new")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// A file that is damaged, not whole or newer is put aside, and stays.
func TestUnreadable(t *testing.T) {
	var whole bytes.Buffer
	if err := write(&whole, example()); err != nil {
		t.Fatal(err)
	}
	newer := frame.Append(nil, kindHead, func(dst []byte) []byte {
		return frame.AppendInt(frame.AppendUint(frame.AppendString(dst, magic), version+1), 1)
	})
	damaged := bytes.Clone(whole.Bytes())
	damaged[len(damaged)/2] ^= 1
	for what, p := range map[string][]byte{
		"empty": {}, "half": whole.Bytes()[:whole.Len()/2], "damaged": damaged, "newer": newer,
		"twice": append(bytes.Clone(whole.Bytes()), whole.Bytes()...), "text": []byte("what is this"),
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "sessions"), p, 0o600); err != nil {
				t.Fatal(err)
			}
			f := New(dir)
			f.now = func() time.Time { return stop }
			s, err := f.Load()
			aside := filepath.Join(dir, "sessions.unreadable-20231114T221320")
			if s != nil || !errors.Is(err, storage.ErrUnreadable) || !strings.Contains(err.Error(), aside) {
				t.Errorf("%v, %v", s, err)
			}
			if (what == "newer") != strings.Contains(err.Error(), "newer version") {
				t.Error(err)
			}
			if kept, err := os.ReadFile(aside); err != nil || !bytes.Equal(kept, p) {
				t.Error(err)
			}
			if s, err := f.Load(); s != nil || err != nil {
				t.Error(s, err)
			}
		})
	}
}

// A file that is cut anywhere is no file, and costs nothing.
func TestCutAnywhere(t *testing.T) {
	var whole bytes.Buffer
	if err := write(&whole, example()); err != nil {
		t.Fatal(err)
	}
	for n := range whole.Len() {
		if _, err := read(bytes.NewReader(whole.Bytes()[:n]), int64(n)); !errors.Is(err, frame.ErrFrame) {
			t.Fatalf("%d bytes of %d: %v", n, whole.Len(), err)
		}
	}
}

// A stanza that can't be read, in a frame that is whole, costs the sessions that have it.
func TestStanzaThatCanNotBeRead(t *testing.T) {
	for what, row := range map[string]struct {
		old, broken string
		left        string // the SM-IDs of what is left
	}{
		"of one session":          {"<body>second</body>", "<body>second</bodx>", "sm-2 sm-3"},
		"a presence":              {"<priority>-5</priority>", "<priority>-5</prioritx>", "sm-2 sm-3"},
		"the last one":            {"<body>carbon</body>", "<body>carbon</bodx>", "sm-1 sm-3"},
		"a message and its copy":  {"<body>first</body>", "<body>first</bodx>", "sm-3"},
		"a message, and no copy":  {"<body>copied</body>", "<body>copied</bodx>", "sm-3"},
		"nothing is wrong at all": {"<body>nowhere", "", "sm-1 sm-2 sm-3"},
	} {
		t.Run(what, func(t *testing.T) {
			var whole bytes.Buffer
			if err := write(&whole, example()); err != nil {
				t.Fatal(err)
			}
			var p []byte
			for rest := whole.Bytes(); len(rest) > 0; {
				kind, fields, behind, err := frame.Next(rest, 1<<20)
				if err != nil {
					t.Fatal(err)
				}
				p = frame.Append(p, kind, func(dst []byte) []byte {
					return append(dst, bytes.ReplaceAll(fields, []byte(row.old), []byte(row.broken))...)
				})
				rest = behind
			}
			s, err := read(bytes.NewReader(p), int64(len(p)))
			if err != nil {
				t.Fatal(err)
			}
			var left []string
			for _, one := range s.Sessions {
				left = append(left, one.ID)
			}
			if got := strings.Join(left, " "); got != row.left {
				t.Errorf("left: %s, want %s", got, row.left)
			}
			if lost := 3 - len(left); len(s.Spoiled) != lost || len(s.Ended) != 1+lost {
				t.Errorf("told of %v, and the counts %v", s.Spoiled, s.Ended)
			}
			if row.left == "sm-2 sm-3" && (s.Ended[1].ID != "sm-1" || s.Ended[1].Handled != 1<<31-8) { // in front of its first ticket
				t.Error(s.Ended)
			}
		})
	}
}

func FuzzRead(f *testing.F) {
	var whole bytes.Buffer
	if err := write(&whole, example()); err != nil {
		f.Fatal(err)
	}
	f.Add(whole.Bytes())
	f.Add([]byte{})
	// What passes the checksums is what is hard to reach: the fuzzer gives bodies.
	f.Add(bodies(f, whole.Bytes()))
	f.Fuzz(func(t *testing.T, p []byte) {
		for _, p := range [][]byte{p, frames(p)} {
			s, err := read(bytes.NewReader(p), int64(len(p)))
			if err != nil {
				continue
			}
			var again bytes.Buffer
			if err := write(&again, s); err != nil {
				t.Fatal(err)
			}
			back, err := read(bytes.NewReader(again.Bytes()), int64(again.Len()))
			if err != nil {
				t.Fatalf("what was read can't be written and read: %v", err)
			}
			if text(back) != text(s) {
				t.Errorf("got\n%s\nwant\n%s", text(back), text(s))
			}
		}
	})
}

// bodies are frames without their heads, each with its length in front.
func bodies(f *testing.F, p []byte) (all []byte) {
	for len(p) > 0 {
		kind, fields, rest, err := frame.Next(p, 1<<20)
		if err != nil {
			f.Fatal(err)
		}
		all = frame.AppendString(all, string(kind)+string(fields))
		p = rest
	}
	return all
}

// frames makes frames of bodies.
func frames(p []byte) (all []byte) {
	f := frame.Fields{P: p}
	for len(f.P) > 0 {
		if body := f.Text(); len(body) > 0 {
			all = frame.Append(all, body[0], func(dst []byte) []byte { return append(dst, body[1:]...) })
		}
	}
	return all
}

// BenchmarkSave and BenchmarkLoad are of 10,000 sessions, each with a presence and two
// messages that their clients did not acknowledge.
func BenchmarkSave(b *testing.B) {
	f, s := New(b.TempDir()), many()
	for b.Loop() {
		if err := f.Save(s); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	f := New(b.TempDir())
	if err := f.Save(many()); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if s, err := f.Load(); err != nil || len(s.Sessions) != 10_000 {
			b.Fatal(err)
		}
	}
}

func many() *storage.Saved {
	s := &storage.Saved{At: stop}
	presence := stanza.New(stanza.Header{Kind: stanza.Presence, From: juliet}, stanza.El("", "show").WithText("away"))
	caps := &storage.SavedCaps{XML: "<c/>", Features: []string{"a", "b"}}
	for i := range 10_000 {
		one := storage.SavedSession{JID: juliet, ID: fmt.Sprintf("sm-%032d", i), Max: time.Minute, Until: stop, Presence: presence, Caps: caps, Gap: -1}
		for range 2 {
			st := message(strings.Repeat("x", 200))
			one.Queue = append(one.Queue, storage.SavedStanza{Stanza: st, At: stop, Fork: &storage.SavedFork{Message: st, Record: uint64(i + 1), At: stop}})
		}
		s.Sessions = append(s.Sessions, one)
	}
	return s
}
