package chaos

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness"
	"github.com/hexmpp/hexmpp/test/harness/pgtest"
)

// act is what juliet does on the connection that is cut; before returns it when
// she is about to begin.
type act struct {
	name   string
	tls    bool
	step   int // of the bytes that are tried, times HEXMPP_CHAOS_STEP
	before func(s *stage) (*wire, error)
}

var acts = []act{
	{"login", false, 1, (*stage).login},
	{"resumption", false, 1, (*stage).resumption},
	{"exchange", false, 1, (*stage).exchange},
	{"login with STARTTLS and SCRAM", true, 5, (*stage).login},
	{"resumption with STARTTLS and SCRAM", true, 5, (*stage).resumption},
}

// cut says where a connection ends.
type cut struct {
	act *act
	dir direction
	at  int
	how ending
}

func (c cut) String() string {
	return fmt.Sprintf("%s, cut behind byte %d of the %v (%v)", c.act.name, c.at, c.dir, c.how)
}

// stage is two people who talk. Romeo's connection is never cut.
type stage struct {
	addr          string
	romeo, juliet *party
	secure        *tls.Config
	silent        []*wire // that the server takes for alive
}

func newStage(t *testing.T, s *harness.Server, i int) *stage {
	t.Helper()
	p := func(user, peer string) *party {
		user, peer = fmt.Sprint(user, i), fmt.Sprint(peer, i)
		if err := register(s.C2S, user); err != nil {
			t.Fatal(err)
		}
		return &party{client: client{addr: s.C2S, user: user, resource: "r"}, peer: peer}
	}
	return &stage{addr: s.C2S, romeo: p("romeo", "juliet"), juliet: p("juliet", "romeo"), secure: s.CA.TLS(domain)}
}

// says has somebody say some more messages, which the other is to get.
func says(who, to *party, n int) {
	who.last += n
	to.want += n
}

// login: two messages are stored for her.
func (s *stage) login() (*wire, error) {
	s.romeo.full, s.juliet.full = false, false // the way to a full JID is shorter while she is not available
	s.romeo.last += 2
	if err := s.romeo.talk(); err != nil {
		return nil, err
	}
	s.juliet.want += 2
	says(s.romeo, s.juliet, 2)
	says(s.juliet, s.romeo, 2)
	return dialWire(s.addr)
}

// resumption: two messages were on their way when her connection broke, two came
// since.
func (s *stage) resumption() (*wire, error) {
	w, err := s.online()
	if err != nil {
		return nil, err
	}
	s.romeo.last += 2
	if err := s.romeo.talk(); err != nil {
		return nil, err
	}
	s.lose(w, ending(s.juliet.sent)%endings)
	s.romeo.last += 2
	if err := s.romeo.talk(); err != nil {
		return nil, err
	}
	s.juliet.want += 4
	says(s.juliet, s.romeo, 2)
	return dialWire(s.addr)
}

// exchange: she is online, and both are about to talk.
func (s *stage) exchange() (*wire, error) {
	w, err := s.online()
	says(s.romeo, s.juliet, 8)
	says(s.juliet, s.romeo, 8)
	return w, err
}

// online brings juliet online, and has her get a message.
func (s *stage) online() (*wire, error) {
	s.romeo.full, s.juliet.full = true, true
	w, err := dialWire(s.addr)
	if err != nil {
		return nil, err
	}
	if err := s.juliet.begin(w); err != nil {
		return nil, err
	}
	if err := s.juliet.talk(); err != nil { // she is available
		return nil, err
	}
	says(s.romeo, s.juliet, 1)
	return w, errors.Join(s.romeo.talk(), s.juliet.talk())
}

// lose breaks a connection now.
func (s *stage) lose(w *wire, how ending) {
	w.arm(fromClient, 0, how)
	w.pass(fromClient, 0)
	s.keep(w)
}

func (s *stage) keep(w *wire) {
	if w.how == silence {
		s.silent = append(s.silent, w)
	} else {
		w.Conn.Close()
	}
}

// play runs an act, and what comes after it until everything that was said has
// come. Passed is how many bytes went through the connection that was to be cut.
func (s *stage) play(c cut) (passed [2]int, err error) {
	s.juliet.secure = nil
	if c.act.tls {
		s.juliet.secure = s.secure
	}
	w, err := c.act.before(s)
	if err != nil {
		return passed, fmt.Errorf("before: %w", err)
	}
	romeo := make(chan error, 1)
	go func() { romeo <- s.romeo.talk() }()
	w.arm(c.dir, c.at, c.how)
	err = s.meet(w)
	passed = w.gone
	if cutOff := w.cut; cutOff && (err == nil || !errors.Is(err, errFault)) {
		s.keep(w)
		if w, err = dialWire(s.addr); err == nil {
			err = s.meet(w)
		}
	}
	if err != nil { // romeo may wait for what does not come
		s.romeo.conn.Close()
		return passed, errors.Join(err, <-romeo)
	}
	if err := <-romeo; err != nil {
		return passed, fmt.Errorf("romeo: %w", err)
	}
	w.at = -1 // each run is a little different: this one may have been shorter
	err = s.juliet.quit()
	for _, w := range s.silent {
		w.Conn.Close()
	}
	s.silent = nil
	return passed, err
}

// meet has juliet talk over a connection.
func (s *stage) meet(w *wire) error {
	if s.juliet.conn != w { // else she is online
		if err := s.juliet.begin(w); err != nil {
			return err
		}
	}
	return s.juliet.talk()
}

// TestCut: a client whose connection breaks behind any byte of a login, of a
// resumption (XEP-0198 5), or of an exchange of messages can come back, and nothing
// is lost, doubled, or out of order; no session is left behind.
func TestCut(t *testing.T) {
	cutAll := func(t *testing.T, dsn string) {
		cutEverywhere(t, harness.Start(t, harness.Config{ClearText: true, Registration: "open", Domains: []string{domain}, Postgres: dsn}))
	}
	t.Run("SQLite", func(t *testing.T) { cutAll(t, "") })
	t.Run("PostgreSQL", func(t *testing.T) { cutAll(t, pgtest.Start(t).DSN("postgres", "")) })
}

func cutEverywhere(t *testing.T, s *harness.Server) {
	preset := 13
	if harness.Race { // which takes ten times as long
		preset = 67
	}
	step := setting(t, "HEXMPP_CHAOS_STEP", preset)
	stages := make([]*stage, 8)
	for i := range stages {
		stages[i] = newStage(t, s, i)
		w, err := dialWire(s.C2S)
		if err == nil {
			err = errors.Join(stages[i].romeo.begin(w), stages[i].romeo.talk())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	cuts := make(chan cut)
	var done sync.WaitGroup
	for _, st := range stages[1:] {
		done.Go(func() {
			for c := range cuts {
				if _, err := st.play(c); err != nil && !t.Failed() {
					t.Errorf("%v: %v", c, err)
				}
			}
		})
	}
	tried := tryAll(t, stages[0], cuts, step)
	close(cuts)
	done.Wait()
	if t.Failed() {
		return
	}
	t.Logf("%d connections were cut", tried)
	for _, st := range stages {
		if err := st.romeo.quit(); err != nil {
			t.Error(err)
		}
	}
	var left string
	if !harness.Eventually(t, patience, func() bool { left = sessionsLeft(t, s); return left == "" }) {
		t.Errorf("sessions are left behind: %s", left)
	}
	s.Kill() // what the spool has is stored now
	if err := s.Run(); err != nil {
		t.Fatal(err)
	}
	for _, st := range stages {
		for _, p := range []*party{st.romeo, st.juliet} {
			if err := p.alone(); err != nil {
				t.Errorf("%s: %v", p.user, err)
			}
		}
	}
}

// tryAll finds out with one stage how long each act is, and has it cut behind
// every step-th byte.
func tryAll(t *testing.T, first *stage, cuts chan<- cut, step int) (tried int) {
	for i := range acts {
		a := &acts[i]
		whole, err := first.play(cut{act: a, at: -1})
		if err != nil {
			t.Errorf("%s, not cut: %v", a.name, err)
			return tried
		}
		for dir, n := range whole {
			each := step * a.step
			for at := rand.IntN(each); at <= n && !t.Failed(); at += each {
				cuts <- cut{a, direction(dir), at, ending(tried) % endings}
				tried++
			}
		}
		t.Logf("%s: %d bytes of the client, %d of the server", a.name, whole[fromClient], whole[fromServer])
	}
	return tried
}

// sessionsLeft says what the server counts, "" for nothing.
func sessionsLeft(t *testing.T, s *harness.Server) string {
	t.Helper()
	http := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := http.Get("http://" + s.HTTP + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, name := range []string{"hexmpp_sessions", "hexmpp_sessions_resumable", "hexmpp_streams"} {
		if !strings.Contains(string(text), "\n"+name+" 0\n") {
			for line := range strings.Lines(string(text)) {
				if strings.HasPrefix(line, name+" ") {
					left = append(left, strings.TrimSpace(line))
				}
			}
		}
	}
	return strings.Join(left, ", ")
}

// alone checks that nothing waits for somebody who has got everything: what was
// stored would come before what is sent now.
func (p *party) alone() error {
	w, err := dialWire(p.addr)
	if err != nil {
		return err
	}
	defer w.Close()
	p.peer, p.full, p.secure = p.user, false, nil
	const other = 1 << 20
	p.sent, p.last, p.came, p.want = other, other+1, other, other+1
	return errors.Join(p.begin(w), p.talk(), p.quit())
}
