package sessionfile

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/storage/frame"
)

// exampleState has everything that can be saved.
func exampleState() *storage.SavedState {
	return &storage.SavedState{At: stop, Sessions: stop.Add(time.Microsecond), Extensions: []storage.SavedExtension{
		{Name: "muc", Revision: 12,
			Memory: []storage.SavedValue{{Key: "a", Value: []byte("\x00value"), Revision: 3}, {Key: "b", Revision: 12}},
			Groups: []storage.SavedGroup{
				{Name: "room@rooms.example.org", Members: []storage.SavedMember{
					{JID: juliet, Classes: []string{"moderator", "owner"}}, {JID: romeo, From: romeo.Bare()},
				}},
				{Name: "other", Members: []storage.SavedMember{{JID: romeo.Bare()}}},
			},
			Timers: []storage.SavedTimer{{Key: "t", Due: stop.Add(time.Hour), Order: "room@rooms.example.org", State: []byte("state")}, {Key: "u"}},
		},
		{Name: "empty"},
		{Name: "events", Events: []storage.SavedEvent{
			{At: stop, Stanza: message("a"), Origin: storage.SavedOrigin{Session: romeo, Domain: "example.org", Addr: netip.MustParseAddr("192.0.2.1"), Secure: true},
				Ticket: storage.SavedTicket{ID: "sm-1", N: 1<<32 - 1}},
			{At: stop, Reply: true, Order: "key", State: []byte("state"), Stanza: message("answer")},
			{At: stop, Stanza: message("of nobody's client")},
			{Reply: true},
		}},
		{Name: "timers", Timers: []storage.SavedTimer{{Key: "t", Due: stop}}},
	}}
}

func TestExtensions(t *testing.T) {
	dir := t.TempDir()
	f := NewExtensions(dir)
	if s, err := f.Load(); s != nil || err != nil {
		t.Fatal(s, err)
	}
	for _, want := range []*storage.SavedState{exampleState(), {At: stop}} {
		if err := f.Save(want); err != nil {
			t.Fatal(err)
		}
		for range 2 { // a start that fails leaves it to the next one
			got, err := NewExtensions(dir).Load()
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, %v; want %+v", got, err, want)
			}
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "extensions")); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info, err)
	}
	for range 2 {
		if err := f.Discard(); err != nil {
			t.Error(err)
		}
	}
	if s, err := f.Load(); s != nil || err != nil {
		t.Error(s, err)
	}
}

// What is damaged, cut off or of a newer version is put aside as a whole.
func TestExtensionsThatCanNotBeRead(t *testing.T) {
	var whole bytes.Buffer
	if err := writeState(&whole, exampleState()); err != nil {
		t.Fatal(err)
	}
	newer := frame.Append(nil, stateHead, func(dst []byte) []byte {
		return appendTime(frame.AppendUint(frame.AppendString(dst, stateMagic), stateVersion+1), stop)
	})
	tests := map[string][]byte{"newer": newer, "the file of sessions": func() []byte {
		var b bytes.Buffer
		if err := write(&b, example()); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}()}
	for n := range whole.Len() {
		tests[fmt.Sprint("cut at ", n)] = whole.Bytes()[:n]
		flipped := bytes.Clone(whole.Bytes())
		flipped[n] ^= 0x20
		tests[fmt.Sprint("damaged at ", n)] = flipped
	}
	for name, content := range tests {
		dir := t.TempDir()
		f := NewExtensions(dir)
		f.now = func() time.Time { return stop }
		if err := os.WriteFile(filepath.Join(dir, "extensions"), content, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := f.Load()
		if s != nil || !errors.Is(err, storage.ErrUnreadable) || !strings.Contains(err.Error(), "extensions.unreadable-20231114T221320") {
			t.Errorf("%s: %v, %v", name, s, err)
		}
		if s, err := f.Load(); s != nil || err != nil {
			t.Errorf("%s: it is still there: %v, %v", name, s, err)
		}
	}
}

// What the version before wrote is read; and an event with a stanza that is none costs itself.
func TestEventThatCanNotBeRead(t *testing.T) {
	state := func(version uint64) []byte {
		b := frame.Append(nil, stateHead, func(dst []byte) []byte {
			return appendTime(frame.AppendUint(frame.AppendString(dst, stateMagic), version), stop)
		})
		b = frame.Append(b, stateExtension, func(dst []byte) []byte { return frame.AppendUint(frame.AppendString(dst, "muc"), 1) })
		n := uint64(2)
		if version > 1 {
			for _, stanza := range []string{"<message", "<message xmlns='jabber:client' id='1'/>"} {
				b = frame.Append(b, stateReply, func(dst []byte) []byte {
					dst = frame.AppendString(frame.AppendString(appendTime(dst, stop), "key"), "")
					return append(append(dst, eventStanza), stanza...)
				})
				n++
			}
		}
		return frame.Append(b, stateEnd, func(dst []byte) []byte { return frame.AppendUint(dst, n) })
	}
	for version, events := range map[uint64]int{1: 0, 2: 1} {
		b := state(version)
		s, err := readState(bytes.NewReader(b), int64(len(b)))
		if err != nil || len(s.Extensions) != 1 || len(s.Extensions[0].Events) != events || len(s.Spoiled) != events {
			t.Errorf("version %d: %+v, %v", version, s, err)
		}
	}
}

// FuzzState reads whatever is in frames that are whole: what is read can be written,
// and read again.
func FuzzState(f *testing.F) {
	var whole bytes.Buffer
	if err := writeState(&whole, exampleState()); err != nil {
		f.Fatal(err)
	}
	f.Add(whole.Bytes())
	// Frames without checksums: the fuzzer could not make these.
	f.Fuzz(func(t *testing.T, in []byte) {
		if s, err := readState(bytes.NewReader(in), int64(len(in))); err == nil {
			again(t, s)
		}
		var framed []byte
		n := uint64(0)
		for len(in) > 1 {
			size := min(int(in[1]), len(in)-2)
			framed = frame.Append(framed, in[0], func(dst []byte) []byte { return append(dst, in[2:2+size]...) })
			in = in[2+size:]
			n++
		}
		framed = frame.Append(framed, stateEnd, func(dst []byte) []byte { return frame.AppendUint(dst, n) })
		if s, err := readState(bytes.NewReader(framed), int64(len(framed))); err == nil {
			again(t, s)
		}
	})
}

func again(t *testing.T, s *storage.SavedState) {
	var out bytes.Buffer
	s.Spoiled = nil // is not written
	if err := writeState(&out, s); err != nil {
		t.Fatal(err)
	}
	got, err := readState(&out, int64(out.Len()))
	if err != nil || !reflect.DeepEqual(got, s) {
		t.Errorf("got %+v, %v; want %+v", got, err, s)
	}
}
