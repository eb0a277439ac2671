package s2s

import (
	"context"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"
)

// steps is a writer that tells of each line.
type steps chan string

func (s steps) Write(b []byte) (int, error) { s <- string(b); return len(b), nil }

func TestProbe(t *testing.T) {
	w := newWorld(t)
	a := w.server(ca().issue(false, "a.example"), "a.example")
	b := w.server(ca().issue(false, "b.example"), "b.example")
	old := w.server(ca().issue(true, "old.example"), "old.example")
	a.options.Deny = []string{"no.example"}
	start(t, a, b, old)
	for _, row := range []struct{ local, far, text, err string }{
		{"a.example", "b.example", `(?s)from a.example to b.example\n.*XEP-0198.*all is well\n$`, "^$"},
		{"a.example", "old.example", `(?s)the certificate is not valid for old.example: .*expired.*all is well`, `^$`},
		{"a.example", "none.example", `from a.example to none.example\n`, `.`},
		{"a.example", "no.example", `^$`, "the configuration refuses federation with no.example"},
		{"a.example", "a.example", `^$`, "a.example is a domain of this server"},
		{"b.example", "c.example", `^$`, "b.example is no domain of this server"},
		{"a.example", "juliet@b.example", `^$`, "no domain"},
		{"@", "b.example", `^$`, "no domain"},
	} {
		var out strings.Builder
		err := a.engine.Probe(t.Context(), row.local, row.far, &out)
		text := ""
		if err != nil {
			text = err.Error()
		}
		if !regexp.MustCompile(row.text).MatchString(out.String()) || !regexp.MustCompile(row.err).MatchString(text) {
			t.Errorf("%s to %s: %s, %v", row.local, row.far, out.String(), err)
		}
	}
	waitFor(t, "the end of the stream", func() bool {
		return !strings.Contains(b.engine.List(), "a.example")
	})
}

// What is not authenticated by a certificate is by dialback, or not at all.
func TestProbeByDialback(t *testing.T) {
	w := newWorld(t)
	a := w.server(ca().issue(true, "a.example"), "a.example")
	b := w.server(ca().issue(true, "b.example"), "b.example")
	strict := w.server(ca().issue(false, "strict.example"), "strict.example")
	strict.options.Certificates = "required"
	start(t, a, b, strict)
	var out strings.Builder
	if err := a.engine.Probe(t.Context(), "a.example", "b.example", &out); err != nil || !strings.Contains(out.String(), "authenticated by dialback") {
		t.Errorf("%s, %v", out.String(), err)
	}
	out.Reset()
	if err := a.engine.Probe(t.Context(), "a.example", "strict.example", &out); err == nil || strings.Contains(out.String(), "all is well") {
		t.Errorf("%s, %v", out.String(), err)
	}
}

// Whoever asked goes: the stream that was made for it ends.
func TestProbeThatIsGivenUp(t *testing.T) {
	w := newWorld(t)
	a := w.server(ca().issue(false, "a.example"), "a.example")
	b := w.server(ca().issue(false, "b.example"), "b.example")
	start(t, a, b)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	seen, done := make(steps), make(chan error, 1)
	go func() { done <- a.engine.Probe(ctx, "a.example", "b.example", seen) }()
	select {
	case <-seen:
	case <-time.After(10 * time.Second):
		t.Fatal("no step is told")
	}
	cancel()
	go func() {
		for range seen { // what was on its way
		}
	}()
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) && !strings.Contains(err.Error(), "canceled") {
		t.Error(err)
	}
	close(seen)
	waitFor(t, "the end of the stream", func() bool { return a.engine.List() == "no streams\n" })
}

func TestCloseDomain(t *testing.T) {
	w := newWorld(t)
	a := w.server(ca().issue(false, "a.example"), "a.example")
	b := w.server(ca().issue(false, "b.example"), "b.example")
	start(t, a, b)
	a.send(message(t, "romeo@a.example", "juliet@b.example", "1"))
	b.until("the message", func() bool { return len(b.got) == 1 })
	if text, err := a.engine.CloseDomain("c.example"); err != nil || text != "0 streams with c.example are closed\n" {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := a.engine.CloseDomain("romeo@b.example"); !errors.Is(err, ErrDomain) {
		t.Error(err)
	}
	if text, err := a.engine.CloseDomain("B.example"); err != nil || text != "1 streams with b.example are closed\n" {
		t.Errorf("%q, %v", text, err)
	}
	a.send(message(t, "romeo@a.example", "juliet@b.example", "2"))
	b.until("the next message", func() bool { return len(b.got) == 2 })
}

// TestCalls: what the registration says can be asked.
func TestCalls(t *testing.T) {
	w := newWorld(t)
	a := w.server(ca().issue(false, "a.example"), "a.example")
	b := w.server(ca().issue(false, "b.example"), "b.example")
	start(t, a, b)
	s := &service{engine: a.engine, process: process{own: "a.example"}}
	for _, c := range s.calls() {
		var out strings.Builder
		var args []string
		if len(c.Args) > 0 {
			args = []string{"b.example"}
		}
		if err := c.CheckArgs(args); err != nil {
			t.Error(err)
		}
		if err := c.Do(t.Context(), args, &out); err != nil || out.Len() == 0 {
			t.Errorf("%s: %q, %v", c.Name, out.String(), err)
		}
		if len(args) > 0 {
			if err := c.Do(t.Context(), []string{"b@example"}, io.Discard); !errors.Is(err, ErrDomain) {
				t.Errorf("%s: %v", c.Name, err)
			}
		}
	}
}
