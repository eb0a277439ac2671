package bosh

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/plugins/bosh/session"
)

// post sends a body with headers, and returns the answer.
func (w *world) post(body string, headers ...string) (*http.Response, string) {
	w.t.Helper()
	a, text, err := w.try(body, headers...)
	if err != nil {
		w.t.Fatal(err)
	}
	return a, text
}

func (w *world) try(body string, headers ...string) (*http.Response, string, error) {
	r, err := http.NewRequest(http.MethodPost, w.url, strings.NewReader(body))
	if err != nil {
		return nil, "", err
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	a, err := (&http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}}).Do(r)
	if err != nil {
		return nil, "", err
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	return a, string(text), err
}

func body(attributes, payload string) string {
	return "<body xmlns='" + session.NS + "' " + attributes + ">" + payload + "</body>"
}

// features has the server answer each stream that begins, and echo what it is sent.
func (w *world) features(echo func(sid string, e session.Event)) {
	w.k.heard = func(sid string, e session.Event) {
		if e.Kind == session.Open {
			go func() { // streams begin once in these tests
				if err := w.service().Deliver(sid, Event{ID: 1, StreamID: "stream", Elements: [][]byte{[]byte("<stream:features/>")}}); err != nil {
					w.t.Error(err)
				}
			}()
		} else if echo != nil {
			echo(sid, e)
		}
	}
}

// begin begins a session and returns its ID; rid is 1.
func (w *world) begin(headers ...string) string {
	w.t.Helper()
	_, text := w.post(body("rid='1' to='example.org' ver='1.6' wait='20' hold='1'", ""), headers...)
	_, rest, ok := strings.Cut(text, " sid='")
	sid, _, _ := strings.Cut(rest, "'")
	if !ok || !strings.Contains(text, "<stream:features/>") {
		w.t.Fatalf("no session: %s", text)
	}
	return sid
}

func TestSession(t *testing.T) {
	w := newWorld(t, Options{})
	heard := make(chan struct{}, 10)
	w.features(func(string, session.Event) { heard <- struct{}{} })
	sid := w.begin()
	w.k.mu.Lock()
	facts := w.k.facts[sid]
	w.k.mu.Unlock()
	if facts != (Facts{Address: "127.0.0.1"}) {
		t.Errorf("%+v", facts)
	}
	held := make(chan string, 1)
	go func() { _, text := w.post(body("rid='2' sid='"+sid+"'", "<message/>")); held <- text }()
	<-heard
	answer := "<message xmlns='jabber:client'>" + strings.Repeat("long ", 1000) + "</message>"
	for range 2 { // the second time it is known
		if err := w.service().Deliver(sid, Event{ID: 2, Elements: [][]byte{[]byte(answer)}}); err != nil {
			t.Fatal(err)
		}
	}
	if got := <-held; got != "<body xmlns='"+session.NS+"'>"+answer+"</body>" {
		t.Errorf("%.300s", got)
	}
	a, packed := w.post(body("rid='2' sid='"+sid+"'", "<message/>"), "Accept-Encoding", "deflate, gzip;q=1.0")
	if a.Header.Get("Content-Encoding") != "gzip" || a.Header.Get("X-Content-Type-Options") != "nosniff" || a.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("%v", a.Header)
	}
	z, err := gzip.NewReader(strings.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(z); err != nil || !strings.Contains(string(b), answer) {
		t.Errorf("%v %.100s", err, b)
	}
	_, text := w.post(body("rid='3' sid='"+sid+"' type='terminate'", ""))
	if text != "<body xmlns='"+session.NS+"' type='terminate'/>" {
		t.Error(text)
	}
	w.k.mu.Lock()
	defer w.k.mu.Unlock()
	if list := w.k.streams[sid]; len(list) != 3 || list[2].Kind != session.Close || !list[2].Clean {
		t.Errorf("%+v", list)
	}
}

func TestRefusals(t *testing.T) {
	w := newWorld(t, Options{BodyBytes: 2000, PerAddress: 2, Sessions: 3})
	w.features(nil)
	bomb := func() string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		z.Write([]byte(body("rid='1'", "<a>"+strings.Repeat("x", 1<<20)+"</a>")))
		z.Close()
		return b.String()
	}()
	for name, c := range map[string]struct {
		body    string
		headers []string
		want    string
	}{
		"no XML":         {"hello", nil, session.BadRequest},
		"too long":       {body("rid='1'", "<a>"+strings.Repeat("x", 2000)+"</a>"), nil, session.BadRequest},
		"bomb":           {bomb, []string{"Content-Encoding", "gzip"}, session.BadRequest},
		"no gzip":        {body("rid='1'", ""), []string{"Content-Encoding", "gzip"}, session.BadRequest},
		"no encoding":    {body("rid='1'", ""), []string{"Content-Encoding", "br"}, session.BadRequest},
		"no domain":      {body("rid='1'", ""), nil, session.ImproperAddressing},
		"another domain": {body("rid='1' to='example.com'", ""), nil, session.HostUnknown},
		"no session":     {body("rid='1' sid='x'", ""), nil, session.ItemNotFound},
	} {
		a, text := w.post(c.body, c.headers...)
		if want := "<body xmlns='" + session.NS + "' type='terminate' condition='" + c.want + "'/>"; a.StatusCode != 200 || text != want {
			t.Errorf("%s: %d %.300s, want %s", name, a.StatusCode, text, want)
		}
	}
	w.begin()
	w.begin()
	if _, text := w.post(body("rid='1' to='example.org'", "")); !strings.Contains(text, session.PolicyViolation) {
		t.Errorf("a third session of one address: %s", text)
	}
	r, err := http.Get(w.url)
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if r.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", r.StatusCode)
	}
}

func TestOrigins(t *testing.T) {
	w := newWorld(t, Options{Origins: []string{"https://chat.example.org"}})
	for origin, want := range map[string]string{"https://chat.example.org": "https://chat.example.org", "https://evil.test": ""} {
		r, err := http.NewRequest(http.MethodOptions, w.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Origin", origin)
		a, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		a.Body.Close()
		if got := a.Header.Get("Access-Control-Allow-Origin"); a.StatusCode != 204 || got != want || (want != "") != (a.Header.Get("Access-Control-Allow-Methods") != "") {
			t.Errorf("%s: %d %v", origin, a.StatusCode, a.Header)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestSecureSessionsOnly(t *testing.T) { // 19.1
	w := newWorld(t, Options{RequireTLS: true})
	w.features(nil)
	if _, text := w.post(body("rid='1' to='example.org'", "")); !strings.Contains(text, session.PolicyViolation) {
		t.Errorf("in clear: %s", text)
	}
	sid := w.begin("X-Forwarded-Proto", "https")
	if a, _ := w.post(body("rid='2' sid='"+sid+"'", "<message/>")); a.StatusCode != 403 {
		t.Errorf("in clear for a session that is not: %d", a.StatusCode)
	}
	w.k.mu.Lock()
	defer w.k.mu.Unlock()
	if len(w.k.streams[sid]) != 1 || !w.k.facts[sid].Secure {
		t.Errorf("%+v", w.k.streams[sid])
	}
}

// TestInactive: a client that is gone leaves nothing behind, at any place.
func TestInactive(t *testing.T) {
	w := newWorld(t, Options{})
	w.features(nil)
	sid := w.begin()
	for _, ahead := range []time.Duration{2 * time.Minute, 4 * time.Minute} {
		w.now.Store(int64(ahead))
		w.service().tick()
	}
	w.k.mu.Lock()
	defer w.k.mu.Unlock()
	if list := w.k.streams[sid]; len(list) != 2 || list[1].Kind != session.Close || list[1].Clean {
		t.Errorf("%+v", list)
	}
	s := w.service()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(w.k.memory) != 0 || len(s.sessions) != 0 || len(s.addresses) != 0 {
		t.Errorf("left: %v %v %v", w.k.memory, s.sessions, s.addresses)
	}
}

// TestTransactionFails: what could not be done was not done, and the client is told to repeat it.
func TestTransactionFails(t *testing.T) {
	w := newWorld(t, Options{})
	w.features(nil)
	sid := w.begin()
	refuse := func(err error) {
		w.k.mu.Lock()
		defer w.k.mu.Unlock()
		w.k.refuse = err
	}
	refuse(errors.New("storage is away"))
	if _, text := w.post(body("rid='2' sid='"+sid+"' type='terminate'", "<message/>")); text != "<body xmlns='"+session.NS+"' type='error'/>" {
		t.Error(text)
	}
	refuse(nil)
	lose := func(l bool) {
		w.k.mu.Lock()
		defer w.k.mu.Unlock()
		w.k.lose = l
	}
	lose(true) // it was done, and nobody here knows
	if _, text := w.post(body("rid='2' sid='"+sid+"' type='terminate'", "<message/>")); text != "<body xmlns='"+session.NS+"' type='error'/>" {
		t.Error(text)
	}
	lose(false)
	if _, text := w.post(body("rid='2' sid='"+sid+"' type='terminate'", "<message/>")); text != "<body xmlns='"+session.NS+"' type='terminate'/>" {
		t.Error(text)
	}
	w.k.mu.Lock()
	defer w.k.mu.Unlock()
	if len(w.k.streams[sid]) != 3 {
		t.Errorf("%+v", w.k.streams[sid])
	}
}

// TestKilled: while processes are killed at any moment clients send messages, and have each of them echoed, once
// and in order.
func TestKilled(t *testing.T) {
	const clients, messages = 3, 300
	w := newWorld(t, Options{})
	var mu sync.Mutex
	queues := map[string]chan Event{} // of each stream, what the server says
	var echoes sync.WaitGroup
	defer echoes.Wait()
	stop := make(chan struct{})
	defer close(stop)
	progress := make(chan struct{}, 10*clients*messages)
	w.k.heard = func(sid string, e session.Event) { // w.k.mu is held
		select {
		case progress <- struct{}{}:
		default:
		}
		mu.Lock()
		defer mu.Unlock()
		q := queues[sid]
		if q == nil {
			q = make(chan Event, 10*messages)
			queues[sid] = q
			echoes.Go(func() { w.give(sid, q, stop) })
		}
		switch e.Kind {
		case session.Open:
			q <- Event{Elements: [][]byte{[]byte("<stream:features/>")}}
		case session.Elements:
			q <- Event{Elements: e.Elements}
		}
	}
	var running sync.WaitGroup
	kills := 0
	for i := range clients {
		running.Go(func() { w.client(i, messages) })
	}
	done := make(chan struct{})
	go func() { running.Wait(); close(done) }()
	for heard, over := 1, false; !over; heard++ {
		select {
		case <-done:
			over = true
		case <-progress:
			if heard%20 == 0 {
				w.kill()
				kills++
			}
		}
	}
	if kills < 5 {
		t.Errorf("%d kills", kills)
	}
	t.Logf("%d kills", kills)
	w.k.mu.Lock()
	defer w.k.mu.Unlock()
	for sid, list := range w.k.streams { // exactly once, in order
		n := 0
		for _, e := range list {
			for _, x := range e.Elements {
				if want := fmt.Sprintf("<m xmlns='jabber:client' n='%d'/>", n); string(x) != want {
					t.Fatalf("%s: the server heard %s, want %s", sid, x, want)
				}
				n++
			}
		}
		if n != messages && n != 0 { // a session whose first answer was lost has none
			t.Errorf("%s: the server heard %d", sid, n)
		}
	}
}

// give delivers the events of a stream, each until some process has it.
func (w *world) give(sid string, q chan Event, stop chan struct{}) {
	for id := uint64(1); ; id++ {
		select {
		case e := <-q:
			e.ID = id
			for {
				err := w.service().Deliver(sid, e)
				if err == nil {
					break
				}
				select {
				case <-stop:
					return
				case <-time.After(2 * time.Millisecond):
				}
			}
		case <-stop:
			return
		}
	}
}

// client sends messages one by one, repeats what has no answer, and checks what comes back.
func (w *world) client(i, messages int) {
	ask := func(text string) string {
		for range 1000 {
			a, got, err := w.try(text)
			if err == nil && a.StatusCode == 200 && !strings.Contains(got, "type='error'") {
				return got
			}
			<-time.After(time.Millisecond) // not all at once
		}
		w.t.Errorf("client %d: no answer to %s", i, text)
		return ""
	}
	got := ask(body("rid='1000' to='example.org' ver='1.6' wait='20' hold='1'", ""))
	_, rest, _ := strings.Cut(got, " sid='")
	sid, _, _ := strings.Cut(rest, "'")
	rid, sent, received := 1000, 0, 0
	for received < messages {
		rid++
		payload := ""
		if sent < messages {
			payload = fmt.Sprintf("<m n='%d'/>", sent)
			sent++
		}
		got := ask(body(fmt.Sprintf("rid='%d' sid='%s'", rid, sid), payload))
		if got == "" || strings.Contains(got, "terminate") {
			w.t.Errorf("client %d: %s for %d", i, got, rid)
			return
		}
		for {
			_, after, ok := strings.Cut(got, " n='")
			if !ok {
				break
			}
			n, tail, _ := strings.Cut(after, "'")
			if n != fmt.Sprint(received) {
				w.t.Errorf("client %d received %s, want %d", i, n, received)
				return
			}
			received++
			got = tail
		}
	}
}

func FuzzRecord(f *testing.F) {
	b, err := session.Parse([]byte(body("rid='1' to='example.org'", "")), 1000)
	if err != nil {
		f.Fatal(err)
	}
	s, _ := session.New(b, "sid", true, 1, time.UnixMilli(1), session.DefaultOptions())
	f.Add((&record{address: "192.0.2.1", event: 7, session: s}).append())
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := readRecord(in, session.DefaultOptions(), time.UnixMilli(1))
		if err != nil {
			return
		}
		if _, err := readRecord(r.append(), session.DefaultOptions(), time.UnixMilli(1)); err != nil {
			t.Fatal(err)
		}
	})
}
