package core_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
)

const nsTest = "urn:example:marks"

// marking returns an extension with two marks: "stays", and "goes", which is the
// connection's. Sessions put one on by <on>NAME</on>, take it away by <off/>, and
// release what is held back by <release/>.
func marking(stages ...extension.StageHandler) extension.Registration {
	element := func(name string, handle func(h *extension.Host, session jid.JID, e *stanza.Element) error) extension.ElementHandler {
		return extension.ElementHandler{Space: nsTest, Local: name, Handle: func(_ context.Context, h *extension.Host, session jid.JID, e *stanza.Element) error {
			return handle(h, session, e)
		}}
	}
	for i := range stages {
		stages[i].Class = extension.Decide
	}
	return extension.Registration{
		Name:        "marking",
		Permissions: []extension.Permission{extension.SeeStanzas},
		Marks:       []extension.Mark{{Name: "stays"}, {Name: "goes", Connection: true}},
		Elements: []extension.ElementHandler{
			element("on", func(h *extension.Host, s jid.JID, e *stanza.Element) error { return h.Sessions.Mark(s, e.Text(), true) }),
			element("off", func(h *extension.Host, s jid.JID, e *stanza.Element) error {
				return h.Sessions.Mark(s, e.Text(), false)
			}),
			element("release", func(h *extension.Host, s jid.JID, _ *stanza.Element) error { h.Sessions.Release(s); return nil }),
		},
		Stages: stages,
	}
}

func on(mark string) string  { return "<on xmlns='" + nsTest + "'>" + mark + "</on>" }
func off(mark string) string { return "<off xmlns='" + nsTest + "'>" + mark + "</off>" }

const release = "<release xmlns='" + nsTest + "'/>"

// told returns the handler that has each message tell what the account's and the
// session's marks are, by the verdict of the stage: it is called if they match.
func told(stage extension.Stage, mark, text string) extension.StageHandler {
	return extension.StageHandler{Stage: stage, Match: extension.Match{Kinds: []stanza.Kind{stanza.Message}, Mark: mark},
		Handle: func(context.Context, *extension.Host, *extension.Envelope) (extension.Verdict, error) {
			return extension.Verdict{Action: extension.Patch, Append: []*stanza.Element{stanza.El(nsTest, text)}}, nil
		}}
}

// Handlers see stanzas of accounts with the mark, in Write of the session with it.
// Marks outlive a resumption unless they are the connection's, and no session.
func TestMarks(t *testing.T) {
	w := newWorld(t, with(marking(told(extension.Submit, "stays", "submit"), told(extension.Deliver, "stays", "deliver"),
		told(extension.Write, "stays", "stays"), told(extension.Write, "goes", "goes"))))
	romeo, phone := w.login("romeo@example.test/x", ""), w.login("romeo@example.test/phone", "<presence><priority>-1</priority></presence>")
	say := func(to *client, full, seen string) {
		t.Helper()
		romeo.send("<message to='" + full + "'/>")
		if seen == "" {
			to.want("<message from='romeo@example.test/x' to='" + full + "'/>")
			return
		}
		to.want("<message from='romeo@example.test/x' to='" + full + "'>" + seen + "</message>")
	}
	x := func(name string) string { return "<" + name + " xmlns='" + nsTest + "'/>" }
	juliet := w.login("juliet@example.test/a", "")
	say(juliet, "juliet@example.test/a", "")
	juliet.send(on("stays") + on("stays") + on("goes")).want("")
	say(juliet, "juliet@example.test/a", x("deliver")+x("stays")+x("goes"))
	other := w.login("juliet@example.test/b", "")
	say(other, "juliet@example.test/b", x("deliver")) // the account has it, this session does not
	phone.send(on("stays"))
	say(other, "juliet@example.test/b", x("submit")+x("deliver"))
	phone.send(off("stays") + off("stays"))
	say(other, "juliet@example.test/b", x("deliver"))

	id := juliet.manage()
	juliet.cut()
	romeo.send("<message to='juliet@example.test/a' id='1'/>")
	juliet = w.resume("juliet@example.test", id, 0)
	juliet.want("<resumed xmlns='urn:xmpp:sm:3' h='0' previd='" + id + "'/><message from='romeo@example.test/x' to='juliet@example.test/a' id='1'>" + x("deliver") + x("stays") + x("goes") + "</message>")
	say(juliet, "juliet@example.test/a", x("deliver")+x("stays"))
	juliet.send("</stream:stream>").drop()
	say(other, "juliet@example.test/b", "")
	juliet = w.login("juliet@example.test/a", "")
	say(juliet, "juliet@example.test/a", "")

	juliet.send(on("nonsense")).want("") // a handler that fails has no effect, and the stream goes on
	say(juliet, "juliet@example.test/a", "")
}

// What a verdict asks for in the wrong stage is a failure of its handler.
func TestVerdictsOfOtherStages(t *testing.T) {
	for rule, h := range map[string]extension.StageHandler{
		"Hold in Submit":  {Stage: extension.Submit, Handle: verdict(extension.Verdict{Action: extension.Hold})},
		"Hold in Deliver": {Stage: extension.Deliver, Handle: verdict(extension.Verdict{Action: extension.Hold, Key: "k"})},
		"Copy in Write": {Stage: extension.Write, Handle: verdict(extension.Verdict{Copy: &extension.Copy{Mark: "stays",
			Stanza: stanza.New(stanza.Header{Kind: stanza.Message, From: jid.MustParse("juliet@example.test")})}})},
	} {
		h.Policy, h.Match.Types = extension.Open, []string{stanza.Chat}
		w := newWorld(t, with(marking(h)))
		romeo, juliet := w.login("romeo@example.test/x", ""), w.login("juliet@example.test/a", "<presence/>")
		w.login("juliet@example.test/b", "").send(on("stays"))
		romeo.send(say(1)).want("")
		if got := juliet.take(); got != msg(1) {
			t.Errorf("%s: %q", rule, got)
		}
	}
}

func verdict(v extension.Verdict) stageFunc {
	return func(context.Context, *extension.Host, *extension.Envelope) (extension.Verdict, error) { return v, nil }
}

// A stream error of an element handler ends the stream.
func TestElementThatEndsTheStream(t *testing.T) {
	reg := marking()
	reg.Elements[2].Handle = func(context.Context, *extension.Host, jid.JID, *stanza.Element) error {
		return stream.Err(stream.PolicyViolation, "no")
	}
	w := newWorld(t, with(reg))
	c := w.login("romeo@example.test/x", "")
	c.send("<on xmlns='urn:example:other'/>").wantPart("<unsupported-stanza-type ")
	c = w.login("romeo@example.test/x", "")
	c.send(release + "<message to='romeo@example.test/x'/>").wantPart("<stream:error><policy-violation ")
	if !c.closing {
		t.Error("the stream goes on")
	}
}

// A resumption waits for an element that the old connection has in hand: what
// that marks ends with it.
func TestResumptionAmidAnElement(t *testing.T) {
	var meanwhile func()
	reg := marking(told(extension.Write, "goes", "goes"), told(extension.Deliver, "stays", "stays"))
	mark := reg.Elements[0].Handle
	reg.Elements[0].Handle = func(ctx context.Context, h *extension.Host, session jid.JID, e *stanza.Element) error {
		if f := meanwhile; f != nil {
			meanwhile = nil
			f()
		}
		return mark(ctx, h, session, e)
	}
	w := newWorld(t, with(reg))
	c := w.login("romeo@example.test/x", "")
	id := c.manage()
	again := w.connect().open("example.test").send(plain("romeo", "pw")).open("example.test")
	again.take()
	var b transport.Batch
	var wait transport.Wait
	meanwhile = func() {
		wait = again.s.Feed(&b, []byte("<resume xmlns='urn:xmpp:sm:3' h='0' previd='"+id+"'/>"))
	}
	c.send(on("goes") + on("stays")) // the second comes too late
	if wait == nil {
		t.Fatal("the resumption does not wait")
	}
	wait(t.Context())
	again.send("<message to='romeo@example.test/x' id='1'/>")
	again.want("<resumed xmlns='urn:xmpp:sm:3' h='0' previd='" + id + "'/><message from='romeo@example.test/x' to='romeo@example.test/x' id='1'/>")
}

// A Swap of a stage handler on an entry that is in memory: it runs again on what
// is stored by then.
func TestSwapConflictOfAResident(t *testing.T) {
	runs := 0
	var store storage.Store
	romeo := jid.MustParse("romeo@example.test")
	w := newWorld(t, func(o *core.Options, p *core.Ports) {
		store = p.Store
		reg := staged(extension.Submit, extension.Decide, func(ctx context.Context, h *extension.Host, e *extension.Envelope) (extension.Verdict, error) {
			old, ok, err := h.Store.Get(ctx, romeo, "n")
			if err != nil || !ok {
				return extension.Verdict{}, errors.Join(err, errors.New("nothing is there"))
			}
			if runs++; runs == 1 {
				if err := store.Commit(ctx, storage.Writes{Ops: []storage.Op{{Space: "staged", Owner: romeo, Key: "n", Value: []byte("other")}}}); err != nil {
					t.Error(err)
				}
			}
			h.Store.Swap(romeo, "n", fmt.Append(old.Value, "!"), old.Revision)
			return extension.Verdict{Action: extension.Patch, Append: []*stanza.Element{stanza.El(nsTest, "m").WithText(string(old.Value))}}, nil
		})
		reg.Residents, reg.Stages[0].Match.Resident = []string{"n"}, "n"
		with(reg)(o, p)
	})
	if err := store.CreateAccount(t.Context(), storage.Account{User: romeo}); err != nil {
		t.Fatal(err)
	}
	if err := store.Commit(t.Context(), storage.Writes{Ops: []storage.Op{{Space: "staged", Owner: romeo, Key: "n", Value: []byte("first")}}}); err != nil {
		t.Fatal(err)
	}
	c, juliet := w.login("romeo@example.test/x", ""), w.login("juliet@example.test/a", "<presence/>")
	c.send("<message to='juliet@example.test/a' id='1'/>").want("")
	juliet.wantPart("<m xmlns='" + nsTest + "'>other</m>")
	if e, err := store.Get(t.Context(), "staged", romeo, "n"); err != nil || string(e.Value) != "other!" || runs != 2 {
		t.Errorf("%d runs, %q, %v", runs, e.Value, err)
	}
}
