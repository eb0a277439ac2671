package extensiontest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/ports/auth"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/extension/extensiontest"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

const ns = "urn:example:demo"

var romeo = extensiontest.Client("romeo@example.org/orchard")

type handle = func(context.Context, *extension.Host, extension.IQ) (*stanza.Element, error)

// demo is a registration with one iq handler.
func demo(f handle) extension.Registration {
	return extension.Registration{
		Name:        "demo",
		Permissions: []extension.Permission{extension.ManageAccounts, extension.SendAsAccount, extension.SeeStanzas},
		IQ:          []extension.IQHandler{{Space: ns, Local: "do", To: extension.ToServer, Handle: f}},
	}
}

// do calls the handler of demo once.
func do(t *testing.T, h *extensiontest.Harness) *stanza.Stanza {
	t.Helper()
	return h.IQ(romeo, extensiontest.Parse(t, `<iq type='set' id='1' to='example.org'><do xmlns='urn:example:demo'/></iq>`))
}

const (
	done     = `<iq type='result' id='1' from='example.org' to='romeo@example.org/orchard'/>`
	internal = `<iq type='error' id='1' from='example.org' to='romeo@example.org/orchard'><error type='cancel'>
		<internal-server-error xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>`
)

func message(from, to string) *stanza.Stanza {
	return stanza.New(stanza.Header{Kind: stanza.Message, From: jid.MustParse(from), To: jid.MustParse(to)})
}

// A handler is a transaction: all of it or nothing.
func TestTransaction(t *testing.T) {
	failing := errors.New("no")
	for name, tt := range map[string]struct {
		end  func() error
		want string
	}{
		"nil applies all":        {func() error { return nil }, done},
		"an error applies none":  {func() error { return failing }, internal},
		"a panic applies none":   {func() error { panic("oh") }, internal},
		"a refusal applies none": {func() error { return stanza.Err(stanza.InternalServerError, "") }, internal},
	} {
		t.Run(name, func(t *testing.T) {
			reg := demo(func(ctx context.Context, h *extension.Host, _ extension.IQ) (*stanza.Element, error) {
				h.Store.Put(jid.JID{}, "key", []byte("new"))
				if e, ok, err := h.Store.Get(ctx, jid.JID{}, "key"); err != nil || !ok || string(e.Value) != "new" {
					t.Errorf("own write: %v %v %v", e, ok, err)
				}
				err := errors.Join(h.Stanzas.Send(message("example.org", "a@b.example")), h.Timers.Set("t", time.Minute, nil))
				if err != nil {
					t.Error(err)
				}
				return nil, tt.end()
			})
			reg.Timer = func(context.Context, *extension.Host, extension.Timer) error { return nil }
			h := extensiontest.New(t, reg, extensiontest.Options{})
			extensiontest.Expect(t, do(t, h), tt.want)
			applied := tt.want == done
			if _, ok := h.Entry(jid.JID{}, "key"); ok != applied {
				t.Errorf("written: %v", ok)
			}
			if fx := h.Effects(); len(fx) != map[bool]int{true: 2, false: 1}[applied] || fx[0].Kind != extensiontest.Answered {
				t.Errorf("effects %v", fx)
			}
			if len(h.Timers()) == 1 != applied {
				t.Errorf("timers %v", h.Timers())
			}
			logged := strings.Contains(name, "an error") || strings.Contains(name, "panic")
			if errs := h.Errors(); len(errs) == 1 != logged {
				t.Errorf("errors %v", errs)
			}
		})
	}
}

// A Swap that fails runs the handler again, three times in all.
func TestSwap(t *testing.T) {
	for conflicts, want := range []string{1: done, 2: done, 3: `<iq type='error' id='1' from='example.org' to='romeo@example.org/orchard'>
		<error type='wait'><resource-constraint xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>`} {
		t.Run(fmt.Sprint(conflicts), func(t *testing.T) {
			runs := 0
			var h *extensiontest.Harness
			h = extensiontest.New(t, demo(func(ctx context.Context, host *extension.Host, _ extension.IQ) (*stanza.Element, error) {
				if runs++; runs <= conflicts {
					h.BeforeCommit(func() { h.Put(jid.JID{}, "key", []byte("other")) })
				}
				e, _, err := host.Store.Get(ctx, jid.JID{}, "key")
				host.Store.Swap(jid.JID{}, "key", append(e.Value, "+"...), e.Revision)
				return nil, err
			}), extensiontest.Options{})
			if want == "" {
				want = done
			}
			extensiontest.Expect(t, do(t, h), want)
			if most := min(conflicts+1, 3); runs != most {
				t.Errorf("%d runs", runs)
			}
			if e, _ := h.Entry(jid.JID{}, "key"); strings.HasSuffix(string(e.Value), "+") != (conflicts < 3) {
				t.Errorf("stored %q", e.Value)
			}
		})
	}
}

func TestStore(t *testing.T) {
	user := jid.MustParse("romeo@example.org")
	h := extensiontest.New(t, demo(func(ctx context.Context, h *extension.Host, _ extension.IQ) (*stanza.Element, error) {
		h.Store.Delete(user, "a1")
		h.Store.Put(user, "a4", nil)
		list, err := h.Store.Scan(ctx, user, "a", "", 2)
		if err != nil || len(list) != 2 || list[0].Key != "a2" || list[1].Key != "a3" {
			t.Errorf("page 1: %v, %v", list, err)
		}
		if list, _ = h.Store.Scan(ctx, user, "a", "a3", 2); len(list) != 1 || list[0].Key != "a4" {
			t.Errorf("page 2: %v", list)
		}
		return nil, nil
	}), extensiontest.Options{})
	h.Accounts.Add("romeo@example.org", "secret")
	for _, k := range []string{"a1", "a2", "a3", "b"} {
		h.Put(user, k, []byte(k))
	}
	extensiontest.Expect(t, do(t, h), done)
	// Accounts take their data with them, and nothing is written to one that is gone.
	if err := h.Accounts.Remove(t.Context(), user); err != nil {
		t.Fatal(err)
	}
	if _, ok := h.Entry(user, "a2"); ok {
		t.Error("an entry is left")
	}
	if got := do2(t, demoPut(user)); stanza.ParseError(got).Condition != stanza.ItemNotFound {
		t.Errorf("write to nobody: %v", got)
	}
}

func demoPut(owner jid.JID) extension.Registration {
	return demo(func(_ context.Context, h *extension.Host, _ extension.IQ) (*stanza.Element, error) {
		h.Store.Put(owner, "k", nil)
		return nil, nil
	})
}

func do2(t *testing.T, reg extension.Registration) *stanza.Stanza {
	t.Helper()
	return do(t, extensiontest.New(t, reg, extensiontest.Options{}))
}

// What must not be sent, and what needs a permission.
func TestPermissions(t *testing.T) {
	user := jid.MustParse("romeo@example.org")
	calls := map[string]struct {
		f  func(*extension.Host) error
		ok bool
	}{
		"send as the server":                     {func(h *extension.Host) error { return h.Stanzas.Send(message("example.org", "a@b.example")) }, true},
		"send as the account to its own session": {func(h *extension.Host) error { return h.Stanzas.Send(message("a@example.org", "a@example.org/r")) }, true},
		"send as an account to others":           {func(h *extension.Host) error { return h.Stanzas.Send(message("a@example.org", "b@example.org")) }, false},
		"send as somebody elsewhere":             {func(h *extension.Host) error { return h.Stanzas.Send(message("far.example", "b@example.org")) }, false},
		"send as an account elsewhere":           {func(h *extension.Host) error { return h.Stanzas.Send(message("a@far.example", "a@far.example/r")) }, false},
		"send a carbon copy": {func(h *extension.Host) error {
			return h.Stanzas.Send(stanza.New(message("a@example.org", "a@example.org/r").Header, stanza.El("urn:xmpp:carbons:2", "sent")))
		}, false},
		"SendAs": {func(h *extension.Host) error { return h.Stanzas.SendAs(user, message("x.example", "b@example.org")) }, false},
		"End":    {func(h *extension.Host) error { return h.Sessions.End(user, "not-authorized", "") }, false},
		"Create": {func(h *extension.Host) error { return h.Accounts.Create(t.Context(), user, "x") }, false},
		"Subscribed": {func(h *extension.Host) error {
			_, err := h.Rosters.Subscribed(t.Context(), user, user)
			return err
		}, false},
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			var err error
			h := extensiontest.New(t, demo(func(_ context.Context, h *extension.Host, _ extension.IQ) (*stanza.Element, error) {
				err = call.f(h)
				return nil, nil
			}), extensiontest.Options{Granted: []extension.Permission{}})
			do(t, h)
			if (err == nil) != call.ok || err != nil && !errors.Is(err, extension.ErrPermission) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestTimersAndRequests(t *testing.T) {
	var got []string
	reg := demo(func(_ context.Context, h *extension.Host, _ extension.IQ) (*stanza.Element, error) {
		ask := stanza.New(stanza.Header{Kind: stanza.IQ, Type: stanza.Get, From: jid.MustParse("example.org"), To: jid.MustParse("far.example")})
		return nil, errors.Join(
			h.Timers.Set("late", 3*time.Second, nil), h.Timers.Set("soon", time.Second, []byte("s")),
			h.Timers.Set("never", time.Second, nil), h.Timers.Set("again", 0, nil),
			h.Stanzas.Request(ask, 2*time.Second, []byte("one")), h.Stanzas.Request(ask, 2*time.Second, []byte("two")))
	})
	reg.Timer = func(_ context.Context, h *extension.Host, tm extension.Timer) error {
		got = append(got, fmt.Sprintf("%s%s@%d", tm.Key, tm.State, h.Now().Second()))
		h.Timers.Cancel("never")
		return nil
	}
	reg.Reply = func(_ context.Context, h *extension.Host, r extension.Reply) error {
		got = append(got, fmt.Sprintf("%s=%v@%d", r.State, r.Answer != nil, h.Now().Second()))
		return nil
	}
	h := extensiontest.New(t, reg, extensiontest.Options{Now: time.Unix(0, 0).UTC()})
	do(t, h)
	if len(got) != 0 {
		t.Errorf("before the clock moved: %v", got)
	}
	rs := h.Requests()
	if len(rs) != 2 || rs[0].Stanza.ID == rs[1].Stanza.ID {
		t.Fatalf("requests %v", rs)
	}
	forged := stanza.New(rs[1].Stanza.Reply(stanza.Result))
	forged = forged.With(stanza.Header{Kind: stanza.IQ, Type: stanza.Result, ID: forged.ID, From: jid.MustParse("other.example"), To: forged.To})
	if h.Answer(forged) || !h.Answer(stanza.New(rs[1].Stanza.Reply(stanza.Result))) || h.Answer(stanza.New(rs[1].Stanza.Reply(stanza.Result))) {
		t.Error("an answer belongs to its request, once")
	}
	h.Advance(10 * time.Second)
	const want = "two=true@0 again@0 soons@1 one=false@2 late@3"
	if s := strings.Join(got, " "); s != want {
		t.Errorf("got  %s\nwant %s", s, want)
	}
}

func TestStages(t *testing.T) {
	verdict, failure := extension.Verdict{}, error(nil)
	reg := demo(func(context.Context, *extension.Host, extension.IQ) (*stanza.Element, error) { return nil, nil })
	reg.Stages = []extension.StageHandler{{
		Stage: extension.Submit, Class: extension.Decide, Match: extension.Match{Kinds: []stanza.Kind{stanza.Message}, Types: []string{stanza.Normal}},
		Handle: func(context.Context, *extension.Host, *extension.Envelope) (extension.Verdict, error) {
			return verdict, failure
		},
	}}
	h := extensiontest.New(t, reg, extensiontest.Options{})
	in := extensiontest.Parse(t, `<message to='a@b.example' type='strange'><body>x</body><y xmlns='urn:y'/></message>`)
	const from = `<message from='romeo@example.org/orchard' to='a@b.example' type='strange'>`
	tests := []struct {
		name    string
		v       extension.Verdict
		err     error
		want    string
		refused stanza.Condition
	}{
		{"pass", extension.Verdict{}, nil, from + `<body>x</body><y xmlns='urn:y'/></message>`, ""},
		{"drop", extension.Verdict{Action: extension.Drop}, nil, "", ""},
		{"handled", extension.Verdict{Action: extension.Handled}, nil, "", ""},
		{"refuse", extension.Verdict{Action: extension.Refuse, Error: stanza.Err(stanza.PolicyViolation, "")}, nil, "", stanza.PolicyViolation},
		{"closed", extension.Verdict{}, errors.New("down"), "", stanza.InternalServerError},
		{"patch", extension.Verdict{Action: extension.Patch, Remove: []extension.Name{{Local: "body"}}, Append: []*stanza.Element{stanza.El("urn:z", "z")}}, nil,
			from + `<y xmlns='urn:y'/><z xmlns='urn:z'/></message>`, ""},
		{"replace keeps addresses", extension.Verdict{Action: extension.Replace, Stanza: message("x.example", "y.example")}, nil,
			`<message from='romeo@example.org/orchard' to='a@b.example'/>`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			verdict, failure = tt.v, tt.err
			out := h.Stage(extension.Submit, extension.Envelope{Stanza: in, Origin: romeo})
			extensiontest.Expect(t, out.Stanza, tt.want)
			if got := out.Error; (got == nil) != (tt.refused == "") || got != nil && got.Condition != tt.refused {
				t.Errorf("error %v", got)
			}
			h.Errors()
		})
	}
	verdict, failure = extension.Verdict{Action: extension.Drop}, nil
	for _, other := range []string{`<message type='chat' to='a@b.example'/>`, `<presence/>`} {
		if out := h.Stage(extension.Submit, extension.Envelope{Stanza: extensiontest.Parse(t, other), Origin: romeo}); out.Stanza == nil {
			t.Errorf("%s does not match", other)
		}
	}
}

// Accounts keep the rules of package auth.
func TestAccounts(t *testing.T) {
	h := extensiontest.New(t, demoPut(jid.JID{}), extensiontest.Options{})
	a, user := h.Accounts, h.Accounts.Add("romeo@example.org", "se\u0301cret")
	nobody := jid.MustParse("nobody@example.org")
	for name, tt := range map[string]struct{ got, want error }{
		"a second one":             {a.Create(t.Context(), user, "x"), auth.ErrExists},
		"empty password":           {a.Create(t.Context(), nobody, ""), auth.ErrPassword},
		"password with a control":  {a.SetPassword(t.Context(), user, "a\x00"), auth.ErrPassword},
		"password of nobody":       {a.SetPassword(t.Context(), nobody, "x"), auth.ErrNotFound},
		"remove nobody":            {a.Remove(t.Context(), nobody), auth.ErrNotFound},
		"verify nobody":            {a.VerifyPassword(t.Context(), nobody, "x"), auth.ErrDenied},
		"wrong password":           {a.VerifyPassword(t.Context(), user, "secret"), auth.ErrDenied},
		"right password, prepared": {a.VerifyPassword(t.Context(), user, "s\u00E9cret"), nil},
	} {
		if !errors.Is(tt.got, tt.want) {
			t.Errorf("%s: %v", name, tt.got)
		}
	}
	if err := a.Create(t.Context(), jid.MustParse("a@far.example"), "x"); err == nil {
		t.Error("an account elsewhere")
	}
	h.Accounts.Add("juliet@example.org", "x")
	if list, err := a.List(t.Context(), "example.org", "juliet", 5); err != nil || len(list) != 1 || list[0].User != user {
		t.Errorf("list %v, %v", list, err)
	}
}

// recorder is a test whose failures are wanted.
type recorder struct {
	testing.TB
	mu     sync.Mutex
	failed []string
	ends   []func()
}

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = append(r.failed, fmt.Sprintf(format, args...))
}
func (r *recorder) Cleanup(f func()) { r.ends = append(r.ends, f) }

// finish ends the recorded test and returns its failures.
func (r *recorder) finish() string {
	for _, f := range r.ends {
		f()
	}
	return strings.Join(r.failed, "\n")
}

// The harness finds what a server could not see.
func TestRosters(t *testing.T) {
	reg := demo(func(ctx context.Context, h *extension.Host, _ extension.IQ) (*stanza.Element, error) {
		for _, row := range []struct {
			account, contact string
			want, known      bool
		}{
			{"juliet@example.net", "romeo@example.org", true, true},
			{"juliet@example.net/balcony", "romeo@example.org/orchard", true, true},
			{"nurse@example.net", "romeo@example.org", true, false}, // is not available
			{"romeo@example.org", "juliet@example.net", false, false},
			{"romeo@example.org", "romeo@example.org/orchard", true, true},
			{"nobody@example.org", "romeo@example.org", false, false},
		} {
			if got, err := h.Rosters.Known(jid.MustParse(row.account), jid.MustParse(row.contact)); err != nil || got != row.known {
				t.Errorf("%+v: known %v, %v", row, got, err)
			}
			if got, err := h.Rosters.Subscribed(ctx, jid.MustParse(row.account), jid.MustParse(row.contact)); err != nil || got != row.want {
				t.Errorf("%+v: %v, %v", row, got, err)
			}
		}
		return nil, nil
	})
	reg.Permissions = append(reg.Permissions, extension.ReadRosters)
	h := extensiontest.New(t, reg, extensiontest.Options{})
	h.Subscribe("juliet@example.net", "romeo@example.org")
	h.Subscribe("nurse@example.net", "romeo@example.org")
	h.AddSession(extension.Session{JID: jid.MustParse("juliet@example.net/balcony"), Available: true})
	h.AddSession(extension.Session{JID: jid.MustParse("nurse@example.net/hall")})
	if got := do(t, h); got.Type != stanza.Result {
		t.Error(got)
	}
}

func TestMistakesAreFound(t *testing.T) {
	var kept *extension.Host
	for name, tt := range map[string]struct {
		f    handle
		want string
	}{
		"a Host is kept": {func(_ context.Context, h *extension.Host, _ extension.IQ) (*stanza.Element, error) {
			if kept != nil {
				kept.Store.Put(jid.JID{}, "k", nil)
			}
			kept = h
			return nil, nil
		}, "used after the handler had returned"},
		"Inline reads storage": {func(ctx context.Context, h *extension.Host, _ extension.IQ) (*stanza.Element, error) {
			_, _, err := h.Store.Get(ctx, jid.JID{}, "k")
			return nil, err
		}, "Store.Get, which waits"},
		"Inline reads rosters": {func(ctx context.Context, h *extension.Host, _ extension.IQ) (*stanza.Element, error) {
			h.Rosters.Subscribed(ctx, jid.JID{}, jid.JID{})
			return nil, nil
		}, "Rosters.Subscribed, which waits"},
		"an internal error nobody expected": {func(context.Context, *extension.Host, extension.IQ) (*stanza.Element, error) {
			return nil, errors.New("oops")
		}, "oops"},
		"a panic": {func(context.Context, *extension.Host, extension.IQ) (*stanza.Element, error) {
			panic("oh dear")
		}, "oh dear"},
	} {
		t.Run(name, func(t *testing.T) {
			reg := demo(tt.f)
			reg.IQ[0].Inline = true
			r := &recorder{TB: t}
			h := extensiontest.New(r, reg, extensiontest.Options{})
			do(t, h)
			do(t, h)
			if got := r.finish(); !strings.Contains(got, tt.want) {
				t.Errorf("found %q", got)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	ok := func(context.Context, *extension.Host, extension.IQ) (*stanza.Element, error) { return nil, nil }
	pass := func(context.Context, *extension.Host, *extension.Envelope) (extension.Verdict, error) {
		return extension.Verdict{}, nil
	}
	for want, change := range map[string]func(*extension.Registration){
		"":         func(*extension.Registration) {},
		`name ""`:  func(r *extension.Registration) { r.Name = "" },
		"XEP-0000": func(r *extension.Registration) { r.Implements = []extension.XEP{{Version: "1.0"}} },
		"version":  func(r *extension.Registration) { r.Implements = []extension.XEP{{Number: 1}} },
		"named twice": func(r *extension.Registration) {
			r.Implements = []extension.XEP{{Number: 1, Version: "1"}, {Number: 1, Version: "1"}}
		},
		"permission":     func(r *extension.Registration) { r.Permissions = []extension.Permission{"all"} },
		"declared twice": func(r *extension.Registration) { r.Server.Features = []string{"a", "a"} },
		"data form":      func(r *extension.Registration) { r.Account.Forms = []*stanza.Element{stanza.El("a", "x")} },
		"a function":     func(r *extension.Registration) { r.IQ[0].Handle = nil },
		"no addressees":  func(r *extension.Registration) { r.IQ[0].To = 0 },
		"for the type":   func(r *extension.Registration) { r.IQ[0].Type = "result" },
		"both claim": func(r *extension.Registration) {
			r.IQ = append(r.IQ, extension.IQHandler{Space: ns, Local: "do", Type: "get", To: extension.ToServer | extension.ToStream, Handle: ok})
		},
		"see-stanzas": func(r *extension.Registration) {
			r.Permissions, r.Stages = nil, []extension.StageHandler{{Stage: extension.Submit, Class: extension.Observe}}
		},
		"which is not among the Residents": func(r *extension.Registration) {
			r.Stages = []extension.StageHandler{{Stage: extension.Deliver, Class: extension.Observe, Handle: pass, Match: extension.Match{Resident: "x"}}}
		},
		"there are no Residents": func(r *extension.Registration) {
			r.Residents = []string{"x"}
			r.Stages = []extension.StageHandler{{Stage: extension.Write, Class: extension.Observe, Handle: pass, Match: extension.Match{Resident: "x"}}}
		},
		"which is not among the Marks": func(r *extension.Registration) {
			r.Stages = []extension.StageHandler{{Stage: extension.Write, Class: extension.Observe, Handle: pass, Match: extension.Match{Mark: "x"}}}
		},
		"resident \"x\"":    func(r *extension.Registration) { r.Residents = []string{"x", "x"} },
		"mark \"\"":         func(r *extension.Registration) { r.Marks = []extension.Mark{{}} },
		"element handler 0": func(r *extension.Registration) { r.Elements = []extension.ElementHandler{{Local: "e"}} },
		"asks for notices":  func(r *extension.Registration) { r.Notices = []extension.Event{extension.BecameUnavailable} },
		"no stage 9":        func(r *extension.Registration) { r.Stages = []extension.StageHandler{{Stage: 9}} },
		"no Element":        func(r *extension.Registration) { r.StreamFeatures = []extension.StreamFeature{{}} },
		"no domain":         func(r *extension.Registration) { r.Components = []extension.Component{{}} },
		"iq handler 0": func(r *extension.Registration) {
			r.Components = []extension.Component{{Domain: "c", IQ: []extension.IQHandler{{}}}}
		},
	} {
		t.Run(want, func(t *testing.T) {
			reg := demo(ok)
			change(&reg)
			err := extensiontest.Check(reg)
			if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("%v", err)
			}
		})
	}
}

// A component and its requests.
func TestComponent(t *testing.T) {
	reg := demo(func(context.Context, *extension.Host, extension.IQ) (*stanza.Element, error) { return nil, nil })
	reg.Components = []extension.Component{{
		Domain: "echo.$domain",
		IQ: []extension.IQHandler{{Space: ns, Local: "do", Handle: func(context.Context, *extension.Host, extension.IQ) (*stanza.Element, error) {
			return stanza.El(ns, "did"), nil
		}}},
		Handle: func(_ context.Context, h *extension.Host, e *extension.Envelope) error {
			if e.Stanza.Kind != stanza.Message {
				return stanza.Err(stanza.ServiceUnavailable, "")
			}
			head := e.Stanza.Header
			head.To, head.From = head.From, head.To
			return h.Stanzas.Send(e.Stanza.With(head))
		},
	}}
	extensiontest.Run(t, func() extension.Registration { return reg })
	h := extensiontest.New(t, reg, extensiontest.Options{})
	extensiontest.Expect(t, h.IQ(romeo, extensiontest.Parse(t, `<iq type='get' id='1' to='echo.example.net'><do xmlns='urn:example:demo'/></iq>`)),
		`<iq type='result' id='1' from='echo.example.net' to='romeo@example.org/orchard'><did xmlns='urn:example:demo'/></iq>`)
	h.Effects()
	in := extensiontest.Parse(t, `<message to='a@echo.example.org'><body>x</body></message>`)
	extensiontest.Expect(t, h.Component(extension.Envelope{Stanza: in, Origin: romeo}), "")
	fx := h.Effects()
	if len(fx) != 1 {
		t.Fatalf("effects %v", fx)
	}
	extensiontest.Expect(t, fx[0].Stanza, `<message from='a@echo.example.org' to='romeo@example.org/orchard'><body>x</body></message>`)
	in = extensiontest.Parse(t, `<iq type='get' id='2' to='a@echo.example.org'><x xmlns='urn:x'/></iq>`)
	extensiontest.Expect(t, h.Component(extension.Envelope{Stanza: in, Origin: romeo}),
		`<iq type='error' id='2' from='a@echo.example.org' to='romeo@example.org/orchard'><error type='cancel'>
		<service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>`)
}

// A registration with a part of every kind passes the suite.
func TestRun(t *testing.T) {
	server := jid.MustParse("example.org")
	extensiontest.Run(t, func() extension.Registration {
		started := false
		reg := demo(func(ctx context.Context, h *extension.Host, q extension.IQ) (*stanza.Element, error) {
			if !started {
				return nil, errors.New("Start comes first")
			}
			account := q.Origin.Session.Bare()
			e, _, err := h.Store.Get(ctx, account, "n")
			h.Store.Swap(account, "n", append(e.Value, 'n'), e.Revision)
			return nil, errors.Join(err, h.Timers.Set(q.ID, time.Minute, nil),
				h.Stanzas.Request(stanza.New(stanza.Header{Kind: stanza.IQ, Type: stanza.Get, From: server, To: q.From}), time.Minute, nil))
		})
		reg.IQ[0].To = extension.ToOwnAccount | extension.ToAccount | extension.ToStream
		reg.IQ[0].Handle = guard(reg.IQ[0].Handle)
		reg.StreamFeatures = []extension.StreamFeature{{Element: func(domain string) *stanza.Element {
			if domain == "example.net" {
				return nil
			}
			return stanza.El(ns, "do")
		}}}
		reg.Stages = []extension.StageHandler{
			{Stage: extension.Submit, Class: extension.Observe, Handle: func(_ context.Context, h *extension.Host, e *extension.Envelope) (extension.Verdict, error) {
				h.Store.Put(jid.JID{}, "last", []byte(e.Stanza.ID))
				return extension.Verdict{Action: extension.Drop}, nil
			}},
			{Stage: extension.Deliver, Class: extension.Decide, Match: extension.Match{Child: &extension.Name{Space: ns}},
				Handle: func(context.Context, *extension.Host, *extension.Envelope) (extension.Verdict, error) {
					return extension.Verdict{Action: extension.Patch, Remove: []extension.Name{{Space: ns}}}, nil
				}},
		}
		reg.Timer = func(_ context.Context, h *extension.Host, tm extension.Timer) error { return nil }
		reg.Reply = func(_ context.Context, h *extension.Host, r extension.Reply) error {
			if r.Answer != nil && r.Answer.Type == stanza.TypeError {
				_ = stanza.ParseError(r.Answer)
			}
			return nil
		}
		reg.Start = func(ctx context.Context, h *extension.Host) error {
			_, err := h.Secrets.Secret(ctx, "key")
			started = true
			return err
		}
		reg.Stop = func(context.Context) error { return nil }
		return reg
	})
}

// guard refuses what comes from no local session.
func guard(f handle) handle {
	return func(ctx context.Context, h *extension.Host, q extension.IQ) (*stanza.Element, error) {
		if q.Origin.Session.IsZero() {
			return nil, stanza.Err(stanza.Forbidden, "")
		}
		return f(ctx, h, q)
	}
}
