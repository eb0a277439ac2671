package core_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/core/offline"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// remoteStage is an extension with one handler elsewhere.
func remoteStage(name string, x extension.Remote, h extension.StageHandler) extension.Registration {
	if h.Stage == 0 {
		h.Stage = extension.Deliver
	}
	h.Match.Kinds, h.Match.Types = []stanza.Kind{stanza.Message}, []string{stanza.Chat} // what handlers send is normal
	return extension.Registration{Name: name, Remote: x, Permissions: []extension.Permission{extension.SeeStanzas}, Stages: []extension.StageHandler{h}}
}

const toJuliet = "<message id='1' type='chat' to='juliet@example.test/x'><body>%s</body></message>"

func TestRemoteDecides(t *testing.T) {
	for _, row := range []struct {
		name         string
		o            extension.Outcome
		juliet       string // a part
		romeo        string
		open, closed bool // with which policy; both if neither
	}{
		{name: "pass", juliet: "<body>hi</body>"},
		{name: "drop", o: extension.Outcome{Verdict: extension.Verdict{Action: extension.Drop}}},
		{name: "refuse", o: extension.Outcome{Verdict: extension.Verdict{Action: extension.Refuse, Error: stanza.Err(stanza.PolicyViolation, "")}}, romeo: "<policy-violation"},
		{name: "patch", o: extension.Outcome{Verdict: extension.Verdict{Action: extension.Patch, Append: []*stanza.Element{stanza.El("urn:x", "seen")}}}, juliet: "<body>hi</body><seen xmlns='urn:x'/>"},
		{name: "effects", o: extension.Outcome{Effects: func(h *extension.Host) error {
			h.Store.Put(jid.JID{}, "k", nil)
			return remoteSendsFrom("example.test", jid.MustParse("romeo@example.test/x"), "sent")(h)
		}}, juliet: "<body>hi</body>", romeo: "id='sent'"},
		{name: "the handler refuses", o: extension.Outcome{Err: stanza.Err(stanza.Forbidden, "")}, romeo: "<forbidden", closed: true},
		{name: "the handler fails", o: extension.Outcome{Err: errors.New("secret")}, romeo: "<internal-server-error", closed: true},
		{name: "the handler fails, open", o: extension.Outcome{Err: errors.New("secret")}, juliet: "<body>hi</body>", open: true},
		{name: "a hold", o: extension.Outcome{Verdict: extension.Verdict{Action: extension.Hold}}, romeo: "<internal-server-error", closed: true},
		{name: "a copy of carbons", o: extension.Outcome{Verdict: extension.Verdict{Copy: &extension.Copy{Stanza: stanza.New(stanza.Header{Kind: stanza.Message, From: jid.MustParse("romeo@example.test")})}}}, romeo: "<internal-server-error", closed: true},
		{name: "permission", o: extension.Outcome{Effects: func(h *extension.Host) error {
			return h.Sessions.End(jid.MustParse("juliet@example.test"), "conflict", "")
		}}, juliet: "<body>hi</body>", open: true},
	} {
		for _, policy := range []extension.Policy{extension.Closed, extension.Open} {
			if row.open && policy == extension.Closed || row.closed && policy == extension.Open {
				continue
			}
			x := &elsewhere{}
			x.answer = func(e *extension.RemoteEvent) *extension.Outcome {
				if e.Kind != extension.Staged || e.Envelope.Account.String() != "juliet@example.test" || e.Key != "decide/juliet@example.test" || e.Observed ||
					e.AtOnce != (policy == extension.Open) || e.Deadline != 250*time.Millisecond {
					t.Errorf("%+v", e)
				}
				return &row.o
			}
			w := newWorld(t, with(remoteStage("far", x, extension.StageHandler{Class: extension.Decide, Policy: policy})))
			juliet, romeo := w.login("juliet@example.test/x", "<presence/>"), w.login("romeo@example.test/x", "")
			juliet.take()
			romeo.send(fmt.Sprintf(toJuliet, "hi"))
			x.all.Wait()
			if got := juliet.take(); !strings.Contains(got, row.juliet) || row.juliet == "" && got != "" {
				t.Errorf("%s, %v: juliet got %s", row.name, policy, got)
			}
			if got := romeo.take(); !strings.Contains(got, row.romeo) || row.romeo == "" && got != "" || strings.Contains(got, "secret") {
				t.Errorf("%s, %v: romeo got %s", row.name, policy, got)
			}
			if len(x.seen) != 1 {
				t.Errorf("%s: asked %d times", row.name, len(x.seen))
			}
		}
	}
}

// Handlers here and elsewhere see the stanza in their order, and what those ask for
// that run again is done once.
func TestRemoteDecidesInOrder(t *testing.T) {
	var seen []string
	local := func(name string) extension.Registration {
		return extension.Registration{Name: name, Permissions: []extension.Permission{extension.SeeStanzas}, Stages: []extension.StageHandler{{
			Stage: extension.Deliver, Class: extension.Decide, Match: extension.Match{Types: []string{stanza.Chat}},
			Handle: func(_ context.Context, h *extension.Host, e *extension.Envelope) (extension.Verdict, error) {
				return extension.Verdict{Action: extension.Patch, Append: []*stanza.Element{stanza.El("urn:x", name)}},
					remoteSendsFrom("example.test", jid.MustParse("romeo@example.test/x"), name)(h)
			},
		}}}
	}
	x := &elsewhere{answer: func(e *extension.RemoteEvent) *extension.Outcome {
		for _, c := range e.Envelope.Stanza.Children() {
			seen = append(seen, c.Local)
		}
		return &extension.Outcome{Verdict: extension.Verdict{Action: extension.Patch, Append: []*stanza.Element{stanza.El("urn:x", "far")}}}
	}}
	w := newWorld(t, with(local("first"), remoteStage("far", x, extension.StageHandler{Class: extension.Decide}), local("last")))
	juliet, romeo := w.login("juliet@example.test/x", "<presence/>"), w.login("romeo@example.test/x", "")
	juliet.take()
	romeo.send(fmt.Sprintf(toJuliet, "1"))
	juliet.wantPart("<body>1</body><first xmlns='urn:x'/><far xmlns='urn:x'/><last xmlns='urn:x'/>")
	romeo.want("<message from='example.test' to='romeo@example.test/x' id='first'/><message from='example.test' to='romeo@example.test/x' id='last'/>")
	if got := strings.Join(seen, " "); got != "body first" {
		t.Error(got)
	}
}

// A passage that has to run again asks again, and says that what was asked for is void.
func TestRemoteDecidesAgain(t *testing.T) {
	x := &elsewhere{}
	watch := &elsewhere{}
	defer watch.close()
	var store storage.Store
	x.answer = func(e *extension.RemoteEvent) *extension.Outcome {
		r := x.kernel.Reader()
		entry, _, err := r.Store.Get(context.Background(), jid.JID{}, "n")
		if err != nil {
			t.Error(err)
		}
		if len(x.seen) == 1 { // somebody else comes in between
			if err := store.Commit(context.Background(), storage.Writes{Ops: hostOps("far", "n", "other")}); err != nil {
				t.Error(err)
			}
		}
		return &extension.Outcome{Effects: func(h *extension.Host) error {
			h.Store.Swap(jid.JID{}, "n", append(entry.Value, '!'), entry.Revision)
			return nil
		}}
	}
	w := newWorld(t, func(o *core.Options, p *core.Ports) {
		store = p.Store
		with(
			remoteStage("watch", watch, extension.StageHandler{Class: extension.Observe}),
			remoteStage("far", x, extension.StageHandler{Class: extension.Decide}))(o, p)
	})
	juliet, romeo := w.login("juliet@example.test/x", "<presence/>"), w.login("romeo@example.test/x", "")
	juliet.take()
	romeo.send(fmt.Sprintf(toJuliet, "1"))
	juliet.wantPart("<body>1</body>")
	if len(x.seen) != 2 || strings.Join(x.resets, " ") != "decide/juliet@example.test" {
		t.Error(len(x.seen), x.resets)
	}
	if entry, _, _ := x.kernel.Reader().Store.Get(t.Context(), jid.JID{}, "n"); string(entry.Value) != "other!" {
		t.Error(string(entry.Value))
	}
	if len(watch.seen) != 1 {
		t.Error("told", len(watch.seen), "times")
	}
}

// One extension may decide about one stanza twice, also about one to oneself.
func TestRemoteDecidesTwice(t *testing.T) {
	x := &elsewhere{answer: func(e *extension.RemoteEvent) *extension.Outcome {
		return &extension.Outcome{Verdict: extension.Verdict{Action: extension.Patch, Append: []*stanza.Element{stanza.El("urn:x", fmt.Sprint("by", e.Handler))}}}
	}}
	reg := remoteStage("far", x, extension.StageHandler{Class: extension.Decide, Stage: extension.Submit})
	reg.Stages = append(reg.Stages, remoteStage("", x, extension.StageHandler{Class: extension.Decide}).Stages[0])
	w := newWorld(t, with(reg))
	romeo := w.login("romeo@example.test/x", "<presence/>")
	romeo.send("<message id='1' type='chat' to='romeo@example.test/x'><body>hi</body></message>")
	romeo.wantPart("<body>hi</body><by0 xmlns='urn:x'/><by1 xmlns='urn:x'/>")
}

func TestRemoteObserves(t *testing.T) {
	x := &elsewhere{}
	w := newWorld(t, with(remoteStage("far", x, extension.StageHandler{Class: extension.Observe})))
	juliet, romeo := w.login("juliet@example.test/x", "<presence/>"), w.login("romeo@example.test/x", "")
	juliet.take()
	romeo.send(fmt.Sprintf(toJuliet, "1"))
	juliet.wantPart("<body>1</body>")
	e := x.next(t)
	if e.Kind != extension.Staged || !e.Observed || e.Key != "juliet@example.test" {
		t.Errorf("%+v", e)
	}
	if err := apply(e, &extension.Outcome{
		Verdict: extension.Verdict{Action: extension.Drop},
		Effects: remoteSendsFrom("example.test", jid.MustParse("romeo@example.test/x"), "saw"),
	}); err != nil {
		t.Error(err)
	}
	romeo.want("<message from='example.test' to='romeo@example.test/x' id='saw'/>")
	x.refuses(extension.ErrFull)
	romeo.send(fmt.Sprintf(toJuliet, "2"))
	juliet.wantPart("<body>2</body>")
	romeo.want("")
	x.refuses(nil)
	romeo.send(fmt.Sprintf(toJuliet, "3"))
	juliet.wantPart("<body>3</body>")
	fail(x.next(t), extension.ErrDown)
	romeo.want("")
}

// What becomes of a stanza when there is no verdict.
func TestRemoteMissesVerdicts(t *testing.T) {
	for _, policy := range []extension.Policy{extension.Closed, extension.Open} {
		synctest.Test(t, func(t *testing.T) {
			x := &elsewhere{}
			var missed, skipped int
			var broke []bool
			w := newWorld(t, func(o *core.Options, p *core.Ports) {
				with(remoteStage("far", x, extension.StageHandler{Class: extension.Decide, Policy: policy, Deadline: 100 * time.Millisecond}))(o, p)
				p.Remote.Missed = func(string) { missed++ }
				p.Remote.Skipped = func(string) { skipped++ }
				p.Remote.Broke = func(_ string, open bool) { broke = append(broke, open) }
			})
			juliet, romeo := w.login("juliet@example.test/x", "<presence/>"), w.login("romeo@example.test/x", "")
			juliet.take()
			n := 0
			says := func(asked int, took time.Duration) { // romeo something, and the policy holds
				t.Helper()
				n++
				began := time.Now()
				romeo.send(fmt.Sprintf(toJuliet, fmt.Sprint(n)))
				if got := time.Since(began); got != took {
					t.Errorf("it took %v, not %v", got, took)
				}
				if policy == extension.Open {
					juliet.wantPart(fmt.Sprintf("<body>%d</body>", n))
					romeo.want("")
				} else {
					juliet.want("")
					romeo.wantPart("<internal-server-error")
				}
				x.mu.Lock()
				defer x.mu.Unlock()
				if len(x.seen) != asked {
					t.Errorf("asked %d times, not %d", len(x.seen), asked)
				}
			}
			for _, err := range []error{extension.ErrDown, extension.ErrFull} { // no process is ready, or it has too much
				x.refuses(err)
				for range 10 {
					says(0, 0)
				}
			}
			x.refuses(nil)
			if missed+skipped > 0 {
				t.Error(missed, skipped)
			}
			net := 15*time.Second + 100*time.Millisecond // the kernel's own, if Remote does not fail it
			if policy == extension.Open {
				net = 1200 * time.Millisecond
			}
			says(1, net)
			if err := apply(x.next(t), &extension.Outcome{}); err == nil {
				t.Error("a verdict that comes too late")
			}
			juliet.want("")
			fails := func(err error) {
				x.answer = func(e *extension.RemoteEvent) *extension.Outcome {
					fail(e, err)
					return nil
				}
			}
			fails(fmt.Errorf("%w: its process died", extension.ErrDown)) // the next one is asked
			for i := range 20 {
				says(2+i, 0)
			}
			if fmt.Sprint(missed, broke) != "21 []" {
				t.Error(missed, broke)
			}
			fails(fmt.Errorf("%w: the deadline is over", extension.ErrLate))
			for i := range 4 {
				says(22+i, 0)
			}
			if fmt.Sprint(missed, broke) != "25 [true]" {
				t.Error(missed, broke)
			}
			for range 10 {
				says(25, 0)
			}
			if skipped != 10 {
				t.Error(skipped)
			}
			time.Sleep(time.Second) // one is asked, to see
			says(26, 0)
			says(26, 0)
			time.Sleep(2 * time.Second)
			x.answer = func(e *extension.RemoteEvent) *extension.Outcome { return &extension.Outcome{} }
			for i := range 3 { // all is well again
				romeo.send(fmt.Sprintf(toJuliet, "well"))
				juliet.wantPart("<body>well</body>")
				if len(x.seen) != 27+i {
					t.Error(len(x.seen))
				}
			}
			if fmt.Sprint(broke) != "[true false]" {
				t.Error(broke)
			}
		})
	}
}

// XEP-0160: what is stored waits for a verdict of a handler elsewhere, in order. If there is
// none for a quarter of a minute the session goes on without the first; the next one
// gets it.
func TestStoredMessagesWaitForVerdicts(t *testing.T) {
	for _, row := range []struct {
		name   string
		fails  int // verdicts that are missing
		before []string
		then   []string // the next session
	}{
		{"a verdict", 0, []string{"1", "2", "3", "4"}, nil},
		{"none twice", 2, []string{"1", "2", "3", "4"}, nil},
		{"none", 5, []string{"2", "3", "4"}, []string{"1"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := &elsewhere{}
				fails := row.fails
				x.answer = func(e *extension.RemoteEvent) *extension.Outcome {
					time.Sleep(10 * time.Millisecond)
					if fails > 0 {
						fails--
						fail(e, extension.ErrDown)
						return nil
					}
					return &extension.Outcome{}
				}
				w := newWorld(t, func(o *core.Options, p *core.Ports) {
					o.Offline = offline.Options{Messages: 100}
					p.Store = accountsIn(t, "juliet@example.test")
					with(remoteStage("far", x, extension.StageHandler{Stage: extension.Recall, Class: extension.Decide}))(o, p)
				})
				romeo := w.login("romeo@example.test/x", "")
				romeo.send(tell("1", "2", "3"))
				juliet := w.arrives("juliet@example.test/a")
				romeo.send(tell("4"))
				time.Sleep(20 * time.Second)
				juliet.hears(row.before...)
				juliet.send("</stream:stream>")
				synctest.Wait()
				next := w.arrives("juliet@example.test/b")
				time.Sleep(time.Second)
				next.hears(row.then...)
				x.all.Wait()
			})
		})
	}
}
