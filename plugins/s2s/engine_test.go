package s2s

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// chat sends n messages each way, and expects them in order, each once.
func chat(t *testing.T, a, b *server, n int) {
	t.Helper()
	wantA, wantB := len(a.ids()), len(b.ids())
	var fromA, fromB []string
	for i := range n {
		x, y := fmt.Sprintf("a%d", i), fmt.Sprintf("b%d", i)
		fromA, fromB = append(fromA, x), append(fromB, y)
		a.send(message(t, "romeo@"+a.domains[0]+"/x", "juliet@"+b.domains[0], x))
		b.send(message(t, "juliet@"+b.domains[0]+"/x", "romeo@"+a.domains[0], y))
	}
	a.until("messages", func() bool { return len(a.got) >= wantA+n && len(a.events) == 0 })
	b.until("messages", func() bool { return len(b.got) >= wantB+n && len(b.events) == 0 })
	if got := b.ids()[wantB:]; !slices.Equal(got, fromA) {
		t.Errorf("b got %v", got)
	}
	if got := a.ids()[wantA:]; !slices.Equal(got, fromB) {
		t.Errorf("a got %v", got)
	}
	for _, s := range []*server{a, b} {
		for id, err := range s.answers {
			if err != nil || s.answered[id] != 1 {
				t.Errorf("event %d: %v, answered %d times", id, err, s.answered[id])
			}
		}
	}
}

func TestTwoServers(t *testing.T) {
	for name, set := range map[string]func(a, b *server){
		"external, both ways on one stream": func(a, b *server) {},
		"external, a stream each way":       func(a, b *server) { a.options.Bidi, b.options.Bidi = false, false },
		"dialback, both ways on one stream": func(a, b *server) { a.cert, b.cert = ca().issue(true, "x.example"), ca().issue(false, "y.example") },
		"dialback, a stream each way": func(a, b *server) {
			a.cert, b.cert = ca().issue(true, "x.example"), ca().issue(false, "y.example")
			a.options.Bidi, b.options.Bidi = false, false
		},
		"dialback without TLS": func(a, b *server) {
			a.options.WithoutTLS, b.options.WithoutTLS = []string{"b.example"}, []string{"a.example"}
			a.cert, b.cert = nil, nil
		},
		"certificates required": func(a, b *server) { a.options.Certificates, b.options.Certificates = "required", "required" },
		"direct TLS":            func(a, b *server) { a.direct, b.direct = true, true },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			a := w.server(ca().issue(false, "a.example"), "a.example")
			b := w.server(ca().issue(false, "b.example"), "b.example")
			set(a, b)
			start(t, a, b)
			chat(t, a, b, 1)
			chat(t, a, b, 300)
			how := ", proved by PKIX\n"
			switch {
			case a.cert == nil:
				how = "not encrypted\n"
			case strings.HasPrefix(name, "dialback"):
				how = ", no valid certificate\n"
			}
			for _, s := range []*server{a, b} { // RFC 7590 3.6
				if list := s.engine.List(); !strings.Contains(list, how) {
					t.Errorf("%q is not in %q", how, list)
				}
			}
		})
	}
}

// One connection for all hosted domains (XEP-0220 2.6.1).
func TestManyDomainsOnAStream(t *testing.T) {
	w := newWorld(t)
	a := w.server(ca().issue(false, "a.example"), "a.example", "a2.example", "rooms.a.example")
	b := w.server(ca().issue(false, "b.example"), "b.example")
	a.options.Bidi = false
	start(t, a, b)
	for i, d := range a.domains {
		a.send(message(t, "romeo@"+d, "juliet@b.example", fmt.Sprint(i)))
		b.until("message", func() bool { return len(b.got) == i+1 })
	}
	a.until("answers", func() bool { return len(a.events) == 0 })
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dials["b.example"] != 1 {
		t.Errorf("%d connections", w.dials["b.example"])
	}
}

func TestRecipients(t *testing.T) {
	w := newWorld(t)
	a := w.server(ca().issue(false, "a.example"), "a.example")
	b := w.server(ca().issue(false, "b.example"), "b.example")
	start(t, a, b)
	x := parse(t, "<message from='room@a.example/x' id='m' type='groupchat'><body>hi</body></message>")
	one, two := message(t, "x@a.example", "juliet@b.example/1", "").To, message(t, "x@a.example", "nurse@b.example/2", "").To
	a.send(x, one, two)
	b.until("copies", func() bool { return len(b.got) == 2 })
	if b.got[0].To != one || b.got[1].To != two || b.got[1].From.String() != "room@a.example/x" {
		t.Errorf("%v", b.got)
	}
	a.until("the answer", func() bool { return len(a.events) == 0 })
}

func TestWhatCanNotBeSent(t *testing.T) {
	for name, row := range map[string]struct {
		set  func(w *world, a, b *server)
		want stanza.Condition
	}{
		"no such domain":    {func(w *world, a, b *server) { delete(w.at, "b.example") }, stanza.RemoteServerNotFound},
		"not theirs":        {func(w *world, a, b *server) { b.domains = []string{"other.example"} }, stanza.RemoteServerNotFound},
		"refused here":      {func(w *world, a, b *server) { a.options.Deny = []string{"b.example"} }, stanza.NotAllowed},
		"federation is off": {func(w *world, a, b *server) { a.options.Mode = "none" }, stanza.NotAllowed},
		"not in the list":   {func(w *world, a, b *server) { a.options.Mode, a.options.Allow = "allow", []string{"c.example"} }, stanza.NotAllowed},
		"refused there":     {func(w *world, a, b *server) { b.options.Deny = []string{"a.example"} }, stanza.RemoteServerTimeout},
		"expired certificate": {func(w *world, a, b *server) {
			a.options.Certificates, b.cert = "required", ca().issue(true, "b.example")
		}, stanza.PolicyViolation},
		"certificate of other": {func(w *world, a, b *server) {
			a.options.CertificatesOf, b.cert = []string{"b.example"}, ca().issue(false, "c.example")
		}, stanza.PolicyViolation},
		"ours is not valid": {func(w *world, a, b *server) {
			b.options.Certificates, a.cert = "required", ca().issue(false, "c.example")
		}, stanza.RemoteServerTimeout},
		"nobody listens": {func(w *world, a, b *server) {
			w.cut = nil
			w.at["b.example"] = &server{listener: closedListener()}
		}, stanza.RemoteServerTimeout},
		"the key is invalid": {func(w *world, a, b *server) {
			a.cert, b.cert = nil, ca().issue(true, "x.example")
			a.cert = ca().issue(true, "x.example")
			c := w.server(ca().issue(true, "x.example"), "a.example") // whom b asks
			c.secret = []byte("another")
			w.at["a.example"] = c
			start(w.t, c)
		}, stanza.InternalServerError},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			a := w.server(ca().issue(false, "a.example"), "a.example")
			b := w.server(ca().issue(false, "b.example"), "b.example")
			row.set(w, a, b)
			start(t, a, b)
			id := a.send(message(t, "romeo@a.example", "juliet@b.example", "m"))
			a.until("the answer", func() bool { return len(a.events) == 0 })
			if !errors.Is(a.answers[id], &stanza.Error{Condition: row.want}) || len(b.ids()) > 0 {
				t.Errorf("%v, and b has %v", a.answers[id], b.ids())
			}
		})
	}
}
