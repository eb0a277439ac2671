package core_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/ports/auth"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// listing is an extension whose accounts may have a list of who is refused, in
// stages of their stanzas; called counts the calls of its handlers.
type listing struct {
	mu     sync.Mutex
	called int
	match  extension.Match
	stages []extension.Stage
}

func (l *listing) registration() extension.Registration {
	reg := extension.Registration{Name: "listing", Permissions: []extension.Permission{extension.SeeStanzas}, Residents: []string{"list"}}
	for _, s := range l.stages {
		reg.Stages = append(reg.Stages, extension.StageHandler{Stage: s, Class: extension.Decide, Match: l.match, Handle: l.handle})
	}
	reg.IQ = answering(false, func(_ context.Context, h *extension.Host, q extension.IQ) (*stanza.Element, error) {
		h.Store.Put(q.From.Bare(), "list", []byte(q.Payload().Text()))
		return nil, nil
	}).IQ
	return reg
}

func (l *listing) handle(ctx context.Context, h *extension.Host, e *extension.Envelope) (extension.Verdict, error) {
	l.mu.Lock()
	l.called++
	l.mu.Unlock()
	list, _, err := h.Store.Get(ctx, e.Account, "list")
	if err != nil {
		return extension.Verdict{}, err
	}
	peer := e.Stanza.From.Bare()
	if peer == e.Account {
		peer = e.Stanza.To.Bare()
	}
	if !peer.IsZero() && strings.Contains(string(list.Value), peer.String()) {
		return extension.Verdict{Action: extension.Refuse, Error: stanza.Err(stanza.PolicyViolation, "")}, nil
	}
	return extension.Verdict{}, nil
}

// calls returns how often a handler was called since the last time.
func (l *listing) calls() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, l.called = l.called, 0
	return n
}

// lists is a store that counts the reads of lists, and can fail them.
type lists struct {
	storage.Store
	mu    sync.Mutex
	reads int
	fail  error
}

func (l *lists) Get(ctx context.Context, space string, owner jid.JID, key string) (storage.Entry, error) {
	l.mu.Lock()
	l.reads++
	fail := l.fail
	l.mu.Unlock()
	if fail != nil {
		return storage.Entry{}, fail
	}
	return l.Store.Get(ctx, space, owner, key)
}

// setFail makes reads fail, or not.
func (l *lists) setFail(err error) { l.mu.Lock(); defer l.mu.Unlock(); l.fail = err }

// read returns how many reads there were since the last time.
func (l *lists) read() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, l.reads = l.reads, 0
	return n
}

// keeper is accounts that are in a store.
type keeper struct {
	auth.Accounts
	store storage.Store
}

func (k keeper) Remove(ctx context.Context, user jid.JID) error {
	return k.store.RemoveAccount(ctx, user)
}

// listWorld is a world with a listing; of its accounts those named here have
// lists of romeo.
func listWorld(t *testing.T, l *listing, listers ...string) (*world, *lists) {
	t.Helper()
	var s *lists
	w := newWorld(t, func(o *core.Options, p *core.Ports) {
		s = &lists{Store: p.Store}
		p.Store, p.Accounts = s, keeper{store: s}
		with(l.registration())(o, p)
		for _, user := range append(listers, "romeo@example.test") {
			if err := s.CreateAccount(t.Context(), storage.Account{User: jid.MustParse(user)}); err != nil {
				t.Fatal(err)
			}
		}
		for _, user := range listers {
			op := storage.Op{Space: "listing", Owner: jid.MustParse(user), Key: "list", Value: []byte("romeo@example.test")}
			if err := s.Commit(t.Context(), storage.Writes{Ops: []storage.Op{op}}); err != nil {
				t.Fatal(err)
			}
		}
	})
	return w, s
}

// What handlers of a stage read of an account is in memory: it is read once, before
// the first stanza of any kind, by whatever way.
func TestResidentsAreLoadedBeforeAStage(t *testing.T) {
	rows := []struct {
		way, xml string
		got      string // a part of what the account gets, unless it has a list
		answered bool   // romeo is told if it has
	}{
		{"a message to the account", "<message to='%s' id='1'><body/></message>", "<message ", true},
		{"a message to its session", "<message to='%s/r' id='1'><body/></message>", "<message ", true},
		{"a request to its session", "<iq type='get' to='%s/r' id='1'><q xmlns='urn:y'/></iq>", "<q ", true},
		{"an answer to its session", "<iq type='result' to='%s/r' id='1'/>", "type='result'", false},
		{"directed presence to its session", "<presence to='%s/r'/>", "<presence ", true},
		{"directed presence to the account", "<presence to='%s'/>", "<presence ", true},
		{"a subscription", "<presence to='%s' type='subscribe'/>", "type='subscribe'", false}, // romeo is not available
	}
	var listers []string
	for i := range rows {
		listers = append(listers, fmt.Sprintf("lister%d@example.test", i))
	}
	l := &listing{stages: []extension.Stage{extension.Deliver}}
	w, s := listWorld(t, l, listers...)
	romeo := w.login("romeo@example.test/x", "")
	romeo.send("<message to='romeo@example.test/x'/>") // what he is answered needs no load any more
	for i, row := range rows {
		for _, user := range []string{listers[i], fmt.Sprintf("other%d@example.test", i)} {
			c := w.login(user+"/r", "<presence/>")
			xml, listed := fmt.Sprintf(row.xml, user), user == listers[i]
			romeo.take()
			for _, reads := range []int{1, 0} {
				s.read()
				romeo.send(xml)
				if n := s.read(); n != reads {
					t.Errorf("%s, listed %v: %d reads, want %d", row.way, listed, n, reads)
				}
				got, refused := strings.Contains(c.take(), row.got), strings.Contains(romeo.take(), "policy-violation")
				if got == listed || refused != (listed && row.answered) {
					t.Errorf("%s, listed %v: got it %v, answered %v", row.way, listed, got, refused)
				}
				if strings.Contains(xml, "'subscribe'") {
					break // a second one is no new request
				}
			}
		}
	}
}

// Stanzas that have to wait for a load stay what they are, and in order.
func TestOrderAcrossLoads(t *testing.T) {
	l := &listing{stages: []extension.Stage{extension.Submit, extension.Deliver}}
	w, _ := listWorld(t, l)
	romeo := w.login("romeo@example.test/x", "")
	var all []*client
	var in strings.Builder
	for i := range 5 {
		all = append(all, w.login(fmt.Sprintf("user%d@example.test/r", i), ""))
		for j := range 3 {
			fmt.Fprintf(&in, "<message to='user%d@example.test/r' id='m%d-%d'/><presence to='user%d@example.test/r' id='p%d-%d'/><iq type='get' to='user%d@example.test/r' id='i%d-%d'><q xmlns='urn:y'/></iq>",
				i, i, j, i, i, j, i, i, j)
		}
	}
	romeo.send(in.String()).want("")
	for i, c := range all {
		var want strings.Builder
		for j := range 3 {
			from := fmt.Sprintf("from='romeo@example.test/x' to='user%d@example.test/r'", i)
			fmt.Fprintf(&want, "<message %s id='m%d-%d'/><presence %s id='p%d-%d'/><iq %s id='i%d-%d' type='get'><q xmlns='urn:y'/></iq>", from, i, j, from, i, j, from, i, j)
		}
		c.want(want.String())
	}
}

// In Submit it is the sender's account that is read, also of presence that the
// kernel sends on its behalf: what is refused there is kept from that contact.
func TestResidentsOfTheSender(t *testing.T) {
	l := &listing{stages: []extension.Stage{extension.Submit}, match: extension.Match{Resident: "list"}}
	w, _ := listWorld(t, l, "juliet@example.test")
	befriend(w, "romeo@example.test", "juliet@example.test")
	befriend(w, "nurse@example.test", "juliet@example.test")
	romeo, nurse := w.im("romeo@example.test/x"), w.im("nurse@example.test/n")
	juliet := w.login("juliet@example.test/a", "")
	juliet.send("<message to='romeo@example.test' id='1'/>").wantPart("policy-violation")
	juliet.send("<presence/>").take()
	romeo.take()
	nurse.wantPart("<presence from='juliet@example.test/a' to='nurse@example.test'/>")
	romeo.send("<message to='juliet@example.test/a' id='2'/>")
	juliet.wantPart("id='2'")
	juliet.drop()
	romeo.want("") // not even the end
	nurse.wantPart("type='unavailable'")
}

// Match.Resident: whoever has no entry costs a look-up, and a write changes who
// has at once.
func TestMatchResident(t *testing.T) {
	l := &listing{stages: []extension.Stage{extension.Deliver}, match: extension.Match{Kinds: []stanza.Kind{stanza.Message}, Resident: "list"}}
	w, s := listWorld(t, l, "lister@example.test")
	romeo, lister := w.login("romeo@example.test/x", ""), w.login("lister@example.test/a", "<presence/>")
	nurse := w.login("nurse@example.test/n", "<presence/>")
	say := func(to string) { romeo.send("<message id='1' to='" + to + "'><body>hi</body></message>") }
	for range 2 {
		say("nurse@example.test")
		nurse.wantPart("hi")
		if n := l.calls(); n != 0 {
			t.Errorf("%d calls for an account without an entry", n)
		}
	}
	say("lister@example.test")
	romeo.wantPart("policy-violation")
	lister.want("")
	if n := l.calls(); n != 1 {
		t.Errorf("%d calls", n)
	}
	write := func(list string) {
		lister.send("<iq type='get' id='w' to='lister@example.test'><q xmlns='urn:x'>" + list + "</q></iq>").wantPart("type='result'")
	}
	write("nobody")
	s.read()
	say("lister@example.test")
	lister.wantPart("hi")
	write("romeo@example.test")
	say("lister@example.test")
	romeo.wantPart("policy-violation")
	if n := s.read(); n != 2 {
		t.Errorf("%d reads behind two writes", n)
	}
}

// What can't be read is refused (as by a handler that failed), but for answers:
// they are delivered, though no handler can see the list.
func TestStoreThatFailsResidents(t *testing.T) {
	for name, match := range map[string]extension.Match{"with a match": {Resident: "list"}, "without": {}} {
		l := &listing{stages: []extension.Stage{extension.Deliver}, match: match}
		w, s := listWorld(t, l, "lister@example.test")
		romeo, lister := w.login("romeo@example.test/x", ""), w.login("lister@example.test/a", "<presence/>")
		romeo.send("<message to='romeo@example.test/x'/>").take() // he himself is in memory
		l.calls()
		s.setFail(storage.ErrUnavailable)
		for _, xml := range []string{
			"<message id='1' to='lister@example.test'><body/></message>",
			"<iq type='get' id='1' to='lister@example.test/a'><q xmlns='urn:y'/></iq>",
			"<presence id='1' to='lister@example.test/a'/>",
		} {
			romeo.send(xml).wantPart("<internal-server-error ")
			lister.want("")
		}
		if n := l.calls(); n != 0 && match.Resident != "" {
			t.Errorf("%s: %d calls", name, n)
		}
		for _, xml := range []string{
			"<iq type='result' id='2' to='lister@example.test/a'/>",
			"<iq type='error' id='2' to='lister@example.test/a'><error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>",
			"<message type='error' id='2' to='lister@example.test/a'/>",
		} {
			romeo.send(xml).want("")
			lister.wantPart("id='2'")
		}
		s.setFail(nil) // and nothing of it stays
		romeo.send("<message id='3' to='lister@example.test'><body/></message>").wantPart("<policy-violation ")
		lister.want("")
	}
}

// An account that was removed takes its list with it; one that is made anew has
// none, and can have one.
func TestResidentsOfAnAccountMadeAnew(t *testing.T) {
	l := &listing{stages: []extension.Stage{extension.Deliver}, match: extension.Match{Kinds: []stanza.Kind{stanza.Message}}}
	w, s := listWorld(t, l, "lister@example.test")
	romeo, lister := w.login("romeo@example.test/x", ""), w.login("lister@example.test/a", "<presence/>")
	message := "<message id='1' to='lister@example.test'><body/></message>"
	romeo.send(message).wantPart("policy-violation")
	if err := w.k.RemoveUser(t.Context(), jid.MustParse("lister@example.test")); err != nil {
		t.Fatal(err)
	}
	romeo.send(message).wantPart("service-unavailable") // as of any account that is not there
	lister.take()
	lister.reap()
	if err := s.CreateAccount(t.Context(), storage.Account{User: jid.MustParse("lister@example.test")}); err != nil {
		t.Fatal(err)
	}
	again := w.login("lister@example.test/a", "<presence/>")
	romeo.send(message).want("")
	again.wantPart("<message ")
	again.send("<iq type='get' id='w'><q xmlns='urn:x'>romeo@example.test</q></iq>").wantPart("type='result'")
	romeo.send(message).wantPart("policy-violation")
}

// A Swap of a stage handler that fails has the handlers run again: with the entry
// that is stored, not with the one that was in memory.
func TestSwapOfAResident(t *testing.T) {
	for _, class := range []extension.Class{extension.Decide, extension.Observe} {
		var s storage.Store
		var seen []string
		account := jid.MustParse("juliet@example.test")
		reg := staged(extension.Deliver, class, func(ctx context.Context, h *extension.Host, e *extension.Envelope) (extension.Verdict, error) {
			old, _, err := h.Store.Get(ctx, e.Account, "n")
			if seen = append(seen, string(old.Value)); len(seen) == 1 { // another node writes
				op := storage.Op{Space: "staged", Owner: account, Key: "n", Value: []byte("other")}
				if err := s.Commit(ctx, storage.Writes{Ops: []storage.Op{op}}); err != nil {
					t.Error(err)
				}
			}
			h.Store.Swap(e.Account, "n", append([]byte("after "), old.Value...), old.Revision)
			return extension.Verdict{}, err
		})
		reg.Residents = []string{"n"}
		w := newWorld(t, func(o *core.Options, p *core.Ports) {
			s = p.Store
			if err := s.CreateAccount(t.Context(), storage.Account{User: account}); err != nil {
				t.Fatal(err)
			}
			with(reg)(o, p)
		})
		romeo, juliet := w.login("romeo@example.test/x", ""), w.login("juliet@example.test/a", "")
		romeo.send("<message id='1' to='juliet@example.test/a'/>").want("")
		juliet.wantPart("id='1'")
		if e, err := s.Get(t.Context(), "staged", account, "n"); err != nil || string(e.Value) != "after other" || len(seen) != 2 {
			t.Errorf("class %d: %q is stored, behind %q; %v", class, e.Value, seen, err)
		}
	}
}
