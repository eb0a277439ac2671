package s2s

import (
	"context"
	"net"
	"slices"
	"strconv"
	"testing"
	"time"
)

// stop ends the process as planned, and says how that went.
func (s *server) stop(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.engine.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	if list := s.engine.sessions; len(list) > 0 {
		t.Errorf("%d streams are left", len(list))
	}
}

// relieve has a process after a planned stop say nothing any more.
func (s *server) relieve() {
	s.takes.Lock()
	defer s.takes.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.process++
	s.engine = nil
}

// At a planned stop nothing is lost, doubled or answered in vain: the next process goes on.
func TestStop(t *testing.T) {
	for name, set := range map[string]func(a, b *server){
		"both ways on one stream": func(a, b *server) {},
		"a stream each way":       func(a, b *server) { a.options.Bidi, b.options.Bidi = false, false },
		"dialback":                func(a, b *server) { a.cert = ca().issue(true, "x.example") },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			a := w.server(ca().issue(false, "a.example"), "a.example")
			b := w.server(ca().issue(false, "b.example"), "b.example")
			set(a, b)
			start(t, a, b)
			chat(t, a, b, 3)
			var want []string
			n := len(b.ids())
			for i := range 300 {
				want = append(want, strconv.Itoa(i))
				a.send(message(t, "one@a.example", "x@b.example", want[i]))
				if i%100 == 50 {
					a.stop(t)
					a.relieve()
					a.run()
				}
			}
			a.until("answers", func() bool { return len(a.events) == 0 })
			b.until("messages", func() bool { return len(b.got) >= n+len(want) })
			if got := b.ids()[n:]; !slices.Equal(got, want) {
				t.Errorf("came: %v", got)
			}
			for id, err := range a.answers {
				if err != nil || a.answered[id] != 1 {
					t.Errorf("event %d: %v, answered %d times", id, err, a.answered[id])
				}
			}
		})
	}
}

// A planned stop while a server can't be reached answers nothing: that is for the next process.
func TestStopWhileConnecting(t *testing.T) {
	w := newWorld(t)
	a := w.server(ca().issue(false, "a.example"), "a.example")
	dialed := make(chan struct{}, 10)
	w.scripts["far.example"] = func(c net.Conn) {
		defer c.Close()
		dialed <- struct{}{}
		(&raw{conn: c}).hear("never")
	}
	start(t, a)
	p := a.engine.lock("far.example")
	p.failures = someTries // the next one would be the last
	p.mu.Unlock()
	a.send(message(t, "one@a.example", "x@far.example", "m"))
	<-dialed
	a.stop(t)
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.events) != 1 {
		t.Errorf("it is answered: %v", a.answers)
	}
}

// What a peer that can't resume acknowledges in front of the end of a stream has arrived.
func TestStopIsAcknowledged(t *testing.T) {
	w := newWorld(t)
	a := plain(w)
	came := make(chan struct{})
	w.script("far.example", func(r *raw) {
		if !r.receive("far.example", "<sm xmlns='urn:xmpp:sm:3'/>") {
			return
		}
		r.hear("<enable ")
		r.say("<enabled xmlns='urn:xmpp:sm:3'/>")
		r.hear("</message>")
		close(came)
		if _, ok := r.hear("</stream:stream>"); ok {
			r.say("<a xmlns='urn:xmpp:sm:3' h='1'/></stream:stream>")
		}
	})
	start(t, a)
	a.send(message(t, "one@a.example", "x@far.example", "m"))
	<-came
	a.stop(t)
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.events) != 0 || a.answers[1] != nil {
		t.Errorf("%d unanswered, answers %v", len(a.events), a.answers)
	}
}

// Stop of an engine that never began, and a second one, return.
func TestStopOfNothing(t *testing.T) {
	w := newWorld(t)
	a := w.server(ca().issue(false, "a.example"), "a.example")
	e, err := New(a.options, Deps{Kernel: &kernelOf{a, 0}, Dialer: w})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	start(t, a)
	a.stop(t)
	a.stop(t)
}
