package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	memory "github.com/hexmpp/hexmpp/adapters/storage/memory"
	"github.com/hexmpp/hexmpp/ports/admin"
	"github.com/hexmpp/hexmpp/ports/extension"
)

type callFunc = func(ctx context.Context, args []string, out io.Writer) error

// callable is a guest that can be asked "do" with one argument, and one more.
func callable(h *Hosts, do callFunc) *Guest {
	return h.NewGuest(&extension.Registration{Name: "test", Calls: []extension.Call{
		{Name: "do", Args: []extension.CallArg{{Name: "what"}, {Name: "more", Optional: true}}, Do: do},
	}}, nil, nil)
}

// collect is a yield.
func collect(b *strings.Builder) func(string) error {
	return func(text string) error { b.WriteString(text); return nil }
}

func TestAdminCall(t *testing.T) {
	h, _ := hostsWith(memory.New(), nil)
	defer stop(t, h)
	g := callable(h, func(_ context.Context, args []string, out io.Writer) error {
		switch args[0] {
		case "panic":
			panic("secret")
		case "fail":
			fmt.Fprint(out, "begun\n")
			return errors.New("no\x1b[2Jgood")
		case "pieces": // a rune in two, a half one at the end, control characters
			for _, piece := range []string{"a\xe2\x82", "\xac\r\n", "\x1b[31m\tred", "\xff", "\xe2\x82"} {
				if n, err := io.WriteString(out, piece); n != len(piece) || err != nil {
					t.Error(n, err)
				}
			}
			return nil
		}
		fmt.Fprint(out, strings.Join(args, ","))
		return nil
	})
	for _, row := range []struct {
		call string
		args []string
		text string
		err  string
		is   error
	}{
		{"do", []string{"x"}, "x", "", nil},
		{"do", []string{"x", "y"}, "x,y", "", nil},
		{"do", nil, "", "test do: 0 arguments; it is called as: do WHAT [MORE]", nil},
		{"do", []string{"x", "y", "z"}, "", "test do: 3 arguments; it is called as: do WHAT [MORE]", nil},
		{"do", []string{"\xff"}, "", "test do: an argument is not UTF-8", nil},
		{"do", []string{"x", strings.Repeat("x", extension.MaxCallArgBytes)}, "", "test do: arguments have more than 8192 bytes together", nil},
		{"undo", nil, "", `admin: no such call: test has no "undo"`, admin.ErrNoCall},
		{"do", []string{"fail"}, "begun\n", "test do: no?[2Jgood", nil},
		{"do", []string{"panic"}, "", "test do: panic; the log has more", nil},
		{"do", []string{"pieces"}, "a€\n?[31m\tred??", "", nil},
	} {
		var b strings.Builder
		err := g.AdminCall(t.Context(), row.call, row.args, collect(&b))
		if b.String() != row.text || (err == nil) != (row.err == "") || err != nil && err.Error() != row.err || row.is != nil && !errors.Is(err, row.is) {
			t.Errorf("%s %.20q: %q, %v; want %q, %s", row.call, row.args, b.String(), err, row.text, row.err)
		}
	}
	if n := g.adminCalls.Load(); n != 0 {
		t.Errorf("%d calls run", n)
	}
}

// An answer is bounded, and says so; the call comes to its end nevertheless.
func TestAdminCallTooMuch(t *testing.T) {
	h, _ := hostsWith(memory.New(), nil)
	defer stop(t, h)
	ended := false
	g := callable(h, func(_ context.Context, args []string, out io.Writer) error {
		for range 3 * extension.MaxCallText / 3000 {
			if _, err := io.WriteString(out, strings.Repeat("€", 1000)); err != nil {
				return err
			}
		}
		ended = true
		return nil
	})
	var b strings.Builder
	err := g.AdminCall(t.Context(), "do", []string{"x"}, collect(&b))
	text, note, _ := strings.Cut(b.String(), "\n")
	if err != nil || !ended || len(text) > extension.MaxCallText || len(text) < extension.MaxCallText-3 || !utf8.ValidString(text) || !strings.Contains(note, "left out") || strings.Count(b.String(), "\n") != 2 {
		t.Errorf("%v, %v, %d bytes, then %q", err, ended, len(text), note)
	}
}

// Whoever has gone, or whose yield fails, is told nothing more.
func TestAdminCallOfSomebodyWhoGoes(t *testing.T) {
	h, _ := hostsWith(memory.New(), nil)
	defer stop(t, h)
	gone := errors.New("gone")
	var writes []error
	var late io.Writer
	g := callable(h, func(_ context.Context, _ []string, out io.Writer) error {
		late = out
		for range 2 {
			_, err := io.WriteString(out, "x")
			writes = append(writes, err)
		}
		return writes[1]
	})
	err := g.AdminCall(t.Context(), "do", []string{"x"}, func(string) error { return gone })
	if !errors.Is(err, gone) || len(writes) != 2 || !errors.Is(writes[0], gone) || !errors.Is(writes[1], gone) {
		t.Error(err, writes)
	}
	if _, err := io.WriteString(late, "x"); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("behind its end: %v", err)
	}
}

// Eight at a time; the time is over; the server stops.
func TestAdminCallBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := hostsWith(memory.New(), nil)
		g := callable(h, func(ctx context.Context, _ []string, out io.Writer) error {
			fmt.Fprint(out, "waits")
			<-ctx.Done()
			return ctx.Err()
		})
		ask := func(ctx context.Context) error {
			return g.AdminCall(ctx, "do", []string{"x"}, func(string) error { return nil })
		}
		ends := make(chan error, extension.MaxCalls)
		for range extension.MaxCalls {
			go func() { ends <- ask(t.Context()) }()
		}
		synctest.Wait()
		if err := ask(t.Context()); err == nil || !strings.Contains(err.Error(), "8 calls of it run already") {
			t.Errorf("the ninth: %v", err)
		}
		begun := time.Now()
		for range extension.MaxCalls {
			if err := <-ends; err == nil || !strings.Contains(err.Error(), "no answer within 5m0s") {
				t.Error(err)
			}
		}
		if took := time.Since(begun); took != extension.MaxCallTime {
			t.Errorf("it took %v", took)
		}
		short, cancel := context.WithTimeoutCause(t.Context(), time.Second, errors.New("enough"))
		defer cancel()
		if err := ask(short); err == nil || err.Error() != "test do: enough" {
			t.Errorf("by the caller: %v", err)
		}
		go func() { ends <- ask(t.Context()) }()
		synctest.Wait()
		begun = time.Now()
		stop(t, h)
		if err := <-ends; !errors.Is(err, errCallStop) || time.Since(begun) > 0 {
			t.Errorf("%v behind %v", err, time.Since(begun))
		}
		if err := ask(t.Context()); !errors.Is(err, errCallStop) {
			t.Errorf("behind the stop: %v", err)
		}
	})
}

// FuzzCallText: whatever is written, and however it is cut, what comes is text for a terminal, and
// does not depend on the cuts.
func FuzzCallText(f *testing.F) {
	f.Add([]byte("a\xe2\x82\xac\r\n\x1b[31m\xf0\x9f\x92"), uint8(1))
	f.Add([]byte("\xe2\xe2\x82\x82\xff\xc3"), uint8(2))
	f.Add([]byte("\xf0\x80\x80\xe2\x80\xae"), uint8(3))
	f.Fuzz(func(t *testing.T, b []byte, size uint8) {
		read := func(step int) string {
			var text strings.Builder
			w := &callText{yield: func(s string) error {
				if s == "" || !utf8.ValidString(s) {
					t.Errorf("%q", s)
				}
				text.WriteString(s)
				return nil
			}}
			for i := 0; i < len(b); i += step {
				piece := b[i:min(i+step, len(b))]
				if n, err := w.Write(piece); n != len(piece) || err != nil {
					t.Fatal(n, err)
				}
			}
			if err := w.end(); err != nil {
				t.Fatal(err)
			}
			return text.String()
		}
		whole := read(max(1, len(b)))
		if strings.ContainsFunc(whole, func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' || r == 0x7f }) {
			t.Errorf("%q has control characters", whole)
		}
		if cut := read(1 + int(size)); strings.ReplaceAll(cut, "?", "") != strings.ReplaceAll(whole, "?", "") {
			t.Errorf("%q in one piece, %q in many", whole, cut)
		}
	})
}
