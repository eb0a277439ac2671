package s2s

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/plugins/s2s/peerstream"
	"github.com/hexmpp/hexmpp/ports/extension"
)

// A stream that ends while its key is verified counts for nothing, and nothing is sent on it (XEP-0220, XEP-0288).
func TestVerifiedTooLate(t *testing.T) {
	w := newWorld(t)
	a := plain(w)
	asked, go_ := make(chan struct{}, 1), make(chan struct{})
	got := make(chan string, 1)
	w.script("far.example", func(r *raw) {
		r.hear(`<stream:stream`)
		r.say(rawHeader + "id='raw' from='far.example' to='a.example'><stream:features><dialback xmlns='urn:xmpp:features:dialback'/></stream:features>")
		what, _ := r.hear(`<db:(result|verify) `)
		if what == "result" { // of a stream of ours, later
			r.say("<db:result from='far.example' to='a.example' type='valid'/>")
			id, _ := r.hear(`<message [^>]*id='([^']*)'`)
			got <- id
			return
		}
		id, _ := r.hear(`id='([^']*)'`)
		asked <- struct{}{}
		<-go_
		r.say("<db:verify from='far.example' to='a.example' id='" + id + "' type='valid'/>")
		r.hear("</stream:stream>")
	})
	start(t, a)
	r := open(t, a, "far.example")
	r.say("<bidi xmlns='urn:xmpp:bidi'/><db:result from='far.example' to='a.example'>key</db:result>")
	<-asked
	r.conn.Close()
	e := a.engine
	waitFor(t, "the end of the stream", func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return e.halfOpen == 0
	})
	close(go_)
	waitFor(t, "the end of the verification", func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return len(e.sessions) == 0 && e.checks == 0
	})
	e.mu.Lock()
	if len(e.domains) > 0 {
		t.Errorf("streams that are counted: %v", e.domains)
	}
	e.mu.Unlock()
	a.send(message(t, "one@a.example", "x@far.example", "m"))
	select {
	case id := <-got:
		if id != "m" {
			t.Errorf("%q came", id)
		}
	case <-time.After(10 * time.Second):
		t.Error("nothing is sent to the domain any more")
	}
}

// waitFor waits for what nobody tells of.
func waitFor(t *testing.T, what string, holds func() bool) {
	t.Helper()
	every, limit := time.NewTicker(time.Millisecond), time.After(10*time.Second)
	defer every.Stop()
	for !holds() {
		select {
		case <-every.C:
		case <-limit:
			t.Fatalf("%s does not come", what)
		}
	}
}

// What could not be noted for a stream that was resumed on another one meanwhile is not queued twice.
func TestNoteFailsBehindResumption(t *testing.T) {
	w := newWorld(t)
	a := w.server(ca().issue(false, "a.example"), "a.example")
	start(t, a)
	p := a.engine.lock("far.example")
	l := p.newLink("a.example")
	old, next := &session{e: a.engine, st: &peerstream.Stream{}}, &session{e: a.engine, st: &peerstream.Stream{}}
	it := &item{ev: &extension.FarEvent{ID: 1, Domain: "far.example", Stanza: message(t, "x@a.example", "y@far.example", "1"), Done: func(error) {}}, local: "a.example", n: 1, first: 1, size: 1}
	p.add(it)
	l.sess, l.phase, l.managed, l.resumable, l.sent, l.begun = old, ready, true, true, 1, []*item{it}
	p.route("a.example").assign(l)
	it.end, l.writing, l.sess = 10, []*item{it}, next
	if wrong := l.resumed(0); wrong != nil {
		t.Fatal(wrong)
	}
	p.mu.Unlock()
	l.wrote(old, 0) // the writer of the old stream is told of its end
	p.mu.Lock()
	defer p.mu.Unlock()
	if r := p.route("a.example"); len(r.queue) != 1 || len(l.begun) != 0 || l.sent != 0 {
		t.Errorf("%d wait, %d are begun, %d sent", len(r.queue), len(l.begun), l.sent)
	}
}

// A peer that ends streams at once, without a stanza, is not asked again and again without a pause.
func TestStreamsThatEndAtOnce(t *testing.T) {
	w := newWorld(t)
	a := w.server(ca().issue(false, "a.example"), "a.example")
	start(t, a)
	p := a.engine.lock("far.example")
	defer p.mu.Unlock()
	s := &session{e: a.engine}
	for range someTries {
		p.ended(s, time.Now())
	}
	l := p.newLink("a.example")
	l.connect()
	if l.connecting || l.retry == nil || time.Until(p.calm) > firstWait {
		t.Errorf("no pause: %v", p.calm)
	}
	for range 100 {
		p.ended(s, time.Now())
	}
	if wait := time.Until(p.calm); wait < time.Minute || wait > seconds(a.options.BackOff) {
		t.Errorf("a pause of %v", wait)
	}
	s.moved.Store(true)
	p.ended(s, time.Now())
	if p.brief != 0 {
		t.Error("a stream that brought something counts")
	}
}

// The pause of a domain that can't be reached grows, up to back-off, for as long as somebody writes to it; then it is forgotten.
func TestBackOff(t *testing.T) {
	w := newWorld(t)
	a := w.server(ca().issue(false, "a.example"), "a.example")
	a.options.BackOff = 60
	start(t, a)
	p := a.engine.lock("far.example")
	last := time.Duration(0)
	for range 12 {
		l := p.newLink("a.example")
		l.failed(ErrNotFound)
		if p.wait < last || p.wait > time.Minute {
			t.Errorf("%v after %v", p.wait, last)
		}
		last = p.wait
		p.expire(p.until.Add(p.wait)) // not forgotten
		if p.dead {
			t.Fatal("it is forgotten")
		}
	}
	if last != time.Minute {
		t.Errorf("the last pause is %v", last)
	}
	p.expire(p.until.Add(p.wait + time.Second))
	if !p.dead {
		t.Error("it is not forgotten")
	}
	p.mu.Unlock()
}

// What a process of before left for a domain that nobody writes to goes.
func TestNotesGo(t *testing.T) {
	for _, n := range []*note{{}, {managed: true}, {managed: true, resumable: true, inbound: true, id: "x", locals: []string{"a.example"}}} {
		n.entries = []entry{{id: 1, first: 1, n: 1}}
		w := newWorld(t)
		a := w.server(ca().issue(false, "a.example"), "a.example")
		a.options.ResumeTime = 1
		a.memory[noteName("far.example", "a.example")] = n.append(nil)
		a.memory[recordName("far.example", "00")] = (&record{h: 3, far: "far.example", local: "a.example"}).append(nil)
		start(t, a)
		a.until("notes go", func() bool { return len(a.memory) == 0 })
		waitFor(t, "the domain goes", func() bool {
			a.engine.mu.Lock()
			defer a.engine.mu.Unlock()
			return len(a.engine.peers) == 0
		})
	}
}

// A record of what came on a stream of ours stays while the stream is there, also one that was resumed, and goes after it.
func TestRecordsOfOurStreams(t *testing.T) {
	w := newWorld(t)
	a := w.server(ca().issue(false, "a.example"), "a.example")
	b := w.server(ca().issue(false, "b.example"), "b.example")
	a.options.ResumeTime, b.options.ResumeTime = 2, 2
	start(t, a, b)
	talk := func(n int) { // on one stream
		a.send(message(t, "one@a.example", "x@b.example", "m"))
		b.until("the message", func() bool { return len(b.got) == n })
		b.send(message(t, "two@b.example", "x@a.example", "answer"))
		a.until("the answer", func() bool { return len(a.got) == n && len(a.events) == 0 })
	}
	talk(1)
	var record string
	a.mu.Lock()
	for key := range a.memory {
		if strings.HasPrefix(key, recordKey) {
			record = key
		}
	}
	a.mu.Unlock()
	if record == "" {
		t.Fatal("no record")
	}
	a.kill()
	a.run()
	talk(2)
	a.engine.mu.Lock()
	if _, goes := a.engine.broken[record]; goes {
		t.Error("the record of a stream that was resumed is to be deleted")
	}
	a.engine.mu.Unlock()
	b.kill()
	if _, err := a.engine.CloseDomain("b.example"); err != nil {
		t.Fatal(err)
	}
	a.until("the record goes", func() bool { return a.memory[record] == nil })
}

// A peer that opened a stream both ways and does not resume it gets another one, of ours.
func TestPeerDoesNotResume(t *testing.T) {
	w := newWorld(t)
	a := w.server(ca().issue(false, "a.example"), "a.example")
	b := w.server(ca().issue(false, "b.example"), "b.example")
	start(t, a, b)
	a.send(message(t, "one@a.example", "x@b.example", "m"))
	b.until("the message", func() bool { return len(b.got) == 1 })
	a.until("the answer", func() bool { return len(a.events) == 0 })
	a.kill()
	p := b.engine.lock("a.example")
	p.mu.Unlock()
	waitFor(t, "the end of the stream", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return slices.ContainsFunc(p.links, func(l *link) bool { return l.inbound && l.sess == nil })
	})
	clear(a.memory) // it knows nothing of the stream any more
	a.run()
	b.send(message(t, "two@b.example", "x@a.example", "late"))
	p.mu.Lock()
	p.expire(time.Now().Add(patience + time.Second))
	p.mu.Unlock()
	a.until("the message", func() bool { return len(a.got) == 1 })
}

// Keys that one address wants verified are bounded, and so are all.
func TestVerificationsAreBounded(t *testing.T) {
	w := newWorld(t)
	a := w.server(ca().issue(false, "a.example"), "a.example")
	start(t, a)
	e := a.engine
	n := 0
	for host := range 20 {
		s := &session{e: e, from: neighbours(netip.MustParseAddr(fmt.Sprintf("2001:db8:0:%d::%d", host, host)))}
		of := 0
		for e.check(s) {
			of++
		}
		if n += of; of > maxChecksOf {
			t.Errorf("%d of an address", of)
		}
		defer func() {
			for range of {
				e.checked(s)
			}
			if len(e.checking) == 0 && e.checks != 0 {
				t.Errorf("%d are left", e.checks)
			}
		}()
	}
	if n != maxChecks {
		t.Errorf("%d in all", n)
	}
}

func TestNeighbours(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.1": "192.0.2.1/32", "2001:db8::1": "2001:db8::/64", "2001:db8:0:1::1": "2001:db8:0:1::/64", "fe80::1%eth0": "fe80::/64",
	} {
		if got := neighbours(netip.MustParseAddr(text)); got.String() != want {
			t.Errorf("%s: %s", text, got)
		}
	}
}
