package core_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// copying returns the handler that copies every message that is no error, for
// sessions with the mark "stays".
func copying(stage extension.Stage) extension.StageHandler {
	return extension.StageHandler{Stage: stage, Match: extension.Match{Kinds: []stanza.Kind{stanza.Message}, Mark: "stays"},
		Handle: func(_ context.Context, _ *extension.Host, e *extension.Envelope) (v extension.Verdict, err error) {
			if e.Stanza.Type != stanza.TypeError {
				h := stanza.Header{Kind: stanza.Message, Type: e.Stanza.Type, From: e.Account}
				v.Copy = &extension.Copy{Mark: "stays", Stanza: stanza.New(h, stanza.El(nsTest, "copy").WithText(e.Stanza.ID))}
			}
			return v, nil
		}}
}

// copyingOthers is copying that is called if there is somebody for a copy.
func copyingOthers(stage extension.Stage) extension.StageHandler {
	h := copying(stage)
	h.Match.Copies = true
	return h
}

func copyTo(full, id string) string {
	bare, _, _ := strings.Cut(full, "/")
	return "<message from='" + bare + "' to='" + full + "' type='chat'><copy xmlns='" + nsTest + "'>" + id + "</copy></message>"
}

// Copies change nothing of what becomes of the message, and nobody gets both.
// presences are of juliet's sessions a and b; all combinations of those, of marks,
// of addresses and of types are tried.
func TestCopiesOfDeliver(t *testing.T) {
	presences := []string{"", "<presence><priority>-1</priority></presence>", "<presence/>", "<presence><priority>5</priority></presence>"}
	full := []string{"juliet@example.test/a", "juliet@example.test/b"}
	const to, types = "juliet@example.test juliet@example.test/a juliet@example.test/gone", "normal chat groupchat headline"
	for i := range len(presences) * len(presences) {
		w := newWorld(t, with(marking(copyingOthers(extension.Deliver))))
		romeo := w.login("romeo@example.test/x", "")
		juliet := []*client{w.login(full[0], presences[i%len(presences)]), w.login(full[1], presences[i/len(presences)])}
		for _, c := range juliet {
			c.take()
		}
		send := func(to, typ string) (got [2]string, bounced bool) {
			romeo.send("<message to='" + to + "' type='" + typ + "' id='1'/>")
			for k, c := range juliet {
				got[k] = c.take()
			}
			return got, romeo.take() != ""
		}
		for marks := range 4 {
			for _, to := range strings.Fields(to) {
				for _, typ := range strings.Fields(types) {
					for k := range juliet {
						juliet[k].send(off("stays"))
					}
					want, bounced := send(to, typ)
					for k := range juliet {
						if marks>>k&1 == 1 {
							juliet[k].send(on("stays"))
							if want[k] == "" {
								want[k] = strings.Replace(copyTo(full[k], "1"), "'chat'", "'"+typ+"'", 1)
							}
						}
					}
					if got, b := send(to, typ); got != want || b != bounced {
						t.Fatalf("%s, %s to %s, marks %b: got %q (bounced: %v), want %q (%v)", presences[i%4]+presences[i/4], typ, to, marks, got, b, want, bounced)
					}
				}
			}
		}
	}
}

// A handler that makes copies is not called where nobody would get one: by the
// only session of an account, and its presence, all addresses and types.
func TestCopiesForNobody(t *testing.T) {
	calls := 0
	counting := func(stage extension.Stage) extension.StageHandler {
		h := copyingOthers(stage)
		make := h.Handle
		h.Handle = func(ctx context.Context, host *extension.Host, e *extension.Envelope) (extension.Verdict, error) {
			calls++
			return make(ctx, host, e)
		}
		return h
	}
	for _, presence := range []string{"", "<presence><priority>-1</priority></presence>", "<presence/>"} {
		w := newWorld(t, with(marking(counting(extension.Submit), counting(extension.Deliver))))
		romeo := w.login("romeo@example.test/x", "").send(on("stays"))
		juliet := w.login("juliet@example.test/a", presence).send(on("stays"))
		juliet.take()
		for _, to := range []string{"juliet@example.test", "juliet@example.test/a", "juliet@example.test/gone", "nobody@example.test"} {
			for _, typ := range []string{"normal", "chat", "headline"} {
				calls = 0
				romeo.send("<message to='" + to + "' type='" + typ + "' id='1'/>").take()
				copied := strings.Contains(juliet.take(), "<copy")
				if calls != map[bool]int{true: 1}[copied] {
					t.Errorf("%s, %s to %s: copied %v, %d calls", presence, typ, to, copied, calls)
				}
			}
		}
		calls = 0
		romeo.send("<message type='chat' id='1'/>") // to himself, who is not available
		if romeo.take(); calls != 0 {
			t.Errorf("to oneself: %d calls", calls)
		}
	}
}

// Copies of what an account sends go to its other sessions, whatever becomes of
// the message, and never to the one that sent it.
func TestCopiesOfSubmit(t *testing.T) {
	w := newWorld(t, with(marking(copyingOthers(extension.Submit), told(extension.Undelivered, "", "nobody"))))
	romeo, phone := w.login("romeo@example.test/x", ""), w.login("romeo@example.test/phone", "")
	for _, to := range []string{"juliet@example.test/a", "nobody@example.test", "far.test", "example.test"} {
		send := "<message to='" + to + "' type='chat' id='" + to + "'/>"
		romeo.send(send).take()
		phone.want("")
		phone.send(on("stays"))
		romeo.send(send)
		if out := romeo.take(); strings.Contains(out, "<copy") {
			t.Errorf("the sender got %s", out)
		}
		phone.want(copyTo("romeo@example.test/phone", to))
		romeo.send(on("stays") + send)
		if out := romeo.take(); strings.Contains(out, "<copy") {
			t.Errorf("the sender got %s", out)
		}
		phone.want(copyTo("romeo@example.test/phone", to))
		phone.send(send)
		phone.take()
		romeo.want(copyTo("romeo@example.test/x", to))
		romeo.send(off("stays"))
		phone.send(off("stays"))
	}
}

// A session hears that a message was sent before it hears what came of it.
func TestCopyOfSubmitComesFirst(t *testing.T) {
	failures := copying(extension.Deliver)
	failures.Match.Types = []string{stanza.TypeError}
	failures.Handle = func(_ context.Context, _ *extension.Host, e *extension.Envelope) (extension.Verdict, error) {
		h := stanza.Header{Kind: stanza.Message, Type: stanza.Chat, From: e.Account}
		return extension.Verdict{Copy: &extension.Copy{Mark: "stays", Stanza: stanza.New(h, stanza.El(nsTest, "copy").WithText("error"))}}, nil
	}
	w := newWorld(t, with(marking(copying(extension.Submit), failures)))
	romeo, phone := w.login("romeo@example.test/x", ""), w.login("romeo@example.test/phone", "")
	phone.send(on("stays"))
	romeo.send("<message to='nobody@example.test' type='chat' id='1'/>").wantPart("<service-unavailable")
	phone.want(copyTo("romeo@example.test/phone", "1") + copyTo("romeo@example.test/phone", "error"))
}

// A refused message has no copies.
func TestNoCopyOfWhatIsRefused(t *testing.T) {
	for _, action := range []extension.Action{extension.Drop, extension.Refuse, extension.Handled} {
		later := extension.StageHandler{Match: extension.Match{Types: []string{stanza.Chat}}, Handle: verdict(extension.Verdict{Action: action})}
		submit, deliver := later, later
		submit.Stage, deliver.Stage = extension.Submit, extension.Deliver
		w := newWorld(t, with(marking(copying(extension.Submit), submit, copying(extension.Deliver), deliver)))
		romeo, juliet := w.login("romeo@example.test/x", ""), w.login("juliet@example.test/a", "")
		for _, user := range []string{"romeo", "juliet"} {
			other := w.login(user+"@example.test/other", "").send(on("stays"))
			romeo.send(say(1)).take()
			other.want("")
		}
		juliet.want("")
	}
}

// One message in several sessions is lost if all of them lose it: then another
// session gets it, once. a has the message, b a copy of it or the message itself,
// c nothing: its priority is lower.
func TestLostWithItsCopies(t *testing.T) {
	for _, tt := range []struct {
		to, b string // address, presence of b
		copy  bool   // b gets a copy
	}{
		{"juliet@example.test/a", "", true},
		{"juliet@example.test/a", "<presence><priority>-3</priority></presence>", true},
		{"juliet@example.test", "", true},
		{"juliet@example.test", "<presence><priority>5</priority></presence>", false},
		{"juliet@example.test/gone", "<presence><priority>5</priority></presence>", false},
	} {
		for _, managed := range []bool{true, false} {
			for acked := range 4 { // bit 0: a has it, bit 1: b has
				for _, aFirst := range []bool{true, false} {
					w := newWorld(t, with(marking(copyingOthers(extension.Deliver))))
					romeo := w.login("romeo@example.test/x", "")
					a, b := w.login("juliet@example.test/a", "<presence><priority>5</priority></presence>"), w.login("juliet@example.test/b", tt.b)
					c := w.login("juliet@example.test/c", "<presence/>")
					if tt.copy {
						b.send(on("stays"))
					}
					clients := []*client{a, b}
					for k, juliet := range clients {
						if juliet.take(); managed {
							juliet.manage()
						} else {
							juliet.stuck = acked>>k&1 == 0
						}
					}
					c.take()
					romeo.send("<message to='" + tt.to + "' type='chat' id='1'><body>hi</body></message>")
					for k, juliet := range clients {
						out := juliet.take()
						if managed && acked>>k&1 == 1 {
							juliet.send("<a xmlns='urn:xmpp:sm:3' h='1'/>")
						}
						if (managed || acked>>k&1 == 1) && strings.Contains(out, "<copy") != (k == 1 && tt.copy) {
							t.Errorf("%+v: session %d got %s", tt, k, out)
						}
					}
					c.want("")
					if !aFirst {
						clients[0], clients[1] = b, a
					}
					for _, juliet := range clients {
						if managed {
							juliet.send("</stream:stream>")
						}
						juliet.drop()
					}
					want := 0
					if acked == 0 {
						want = 1
					}
					if got := strings.Count(c.take(), "<body>hi</body>"); got != want {
						t.Errorf("%+v, managed %v, acknowledged %b, a first %v: c got it %d times, want %d", tt, managed, acked, aFirst, got, want)
					}
					romeo.want("")
				}
			}
		}
	}
}

// A copy that is lost by itself is dropped: nobody is told, nobody else gets it.
func TestLostCopies(t *testing.T) {
	w := newWorld(t, with(marking(copying(extension.Submit), copying(extension.Deliver))))
	romeo, juliet := w.login("romeo@example.test/x", ""), w.login("juliet@example.test/a", "<presence/>")
	var others []*client
	for _, user := range []string{"romeo", "juliet"} {
		c := w.login(user+"@example.test/other", "")
		c.send(on("stays"))
		c.manage()
		others = append(others, c)
	}
	late := w.login("romeo@example.test/late", "<presence/>")
	juliet.take()
	romeo.send(say(1))
	juliet.want(msg(1))
	for _, c := range others {
		if out := c.take(); strings.Count(out, "<copy") != 1 {
			t.Errorf("a copy: %s", out)
		}
		c.send("</stream:stream>")
		c.drop()
	}
	juliet.want("")
	late.want("")
	romeo.want("")
}

// What nobody takes goes where it goes without copies; a session that is not
// asked for such messages gets its copy.
func TestCopyOfTheUndelivered(t *testing.T) {
	stored := 0
	w := newWorld(t, with(marking(copying(extension.Deliver), extension.StageHandler{Stage: extension.Undelivered,
		Match: extension.Match{Types: []string{stanza.Chat}},
		Handle: func(context.Context, *extension.Host, *extension.Envelope) (extension.Verdict, error) {
			stored++
			return extension.Verdict{Action: extension.Handled}, nil
		}})))
	romeo := w.login("romeo@example.test/x", "")
	tv := w.login("juliet@example.test/tv", "<presence><priority>-1</priority></presence>")
	tv.send(on("stays"))
	id := tv.manage()
	romeo.send("<message to='juliet@example.test' type='chat' id='1'/>").want("")
	tv.want(copyTo("juliet@example.test/tv", "1"))
	tv.cut()
	romeo.send("<message to='juliet@example.test' type='chat' id='2'/>").want("")
	if stored != 2 {
		t.Errorf("%d messages are stored", stored)
	}
	again := w.resume("juliet@example.test", id, 1)
	again.want("<resumed xmlns='urn:xmpp:sm:3' h='0' previd='" + id + "'/>" + copyTo("juliet@example.test/tv", "2"))
	again.send("</stream:stream>")
	again.drop() // the copy is lost, the message is stored
	if stored != 2 {
		t.Errorf("%d messages are stored when the copy is lost", stored)
	}
}

// A copy is none that a message is stored the less for (XEP-0160 2): a session that
// has one, and raises its priority, gets the message with the stamp of its time.
func TestCopyOfWhatIsStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, m := offlineWorld(t, func(o *core.Options, p *core.Ports) { with(marking(copying(extension.Deliver)))(o, p) })
		romeo := w.login("romeo@example.test/x", "")
		tv := w.login("juliet@example.test/tv", "<presence><priority>-1</priority></presence>").send(on("stays"))
		romeo.send("<message to='juliet@example.test' type='chat' id='1'><body>hi</body></message>").want("")
		tv.want(copyTo("juliet@example.test/tv", "1"))
		keeps(t, m, "hi")
		if out := tv.send("<presence/>").hears("hi"); !strings.Contains(out, " id='1' ") || !strings.Contains(out, "<delay ") {
			t.Error(out)
		}
		keeps(t, m)
	})
}

// Copies of one sender's messages stay in order, also when one has to wait for
// storage.
func TestCopiesStayInOrder(t *testing.T) {
	slow := extension.StageHandler{Stage: extension.Deliver, Handle: func(_ context.Context, h *extension.Host, e *extension.Envelope) (v extension.Verdict, err error) {
		if e.Stanza.ID == "slow" {
			h.Store.Put(jid.JID{}, "k", nil)
		}
		return v, nil
	}}
	w := newWorld(t, with(marking(copying(extension.Submit), slow, copying(extension.Deliver))))
	romeo, juliet := w.login("romeo@example.test/x", ""), w.login("juliet@example.test/a", "<presence/>")
	others := map[string]*client{}
	for _, full := range []string{"romeo@example.test/other", "juliet@example.test/other"} {
		others[full] = w.login(full, "").send(on("stays"))
	}
	juliet.take()
	romeo.send("<message to='juliet@example.test' type='chat' id='slow'/><message to='juliet@example.test' type='chat' id='fast'/>")
	for full, c := range others {
		c.want(copyTo(full, "slow") + copyTo(full, "fast"))
	}
	const from = "<message from='romeo@example.test/x' to='juliet@example.test' id='"
	juliet.want(from + "slow' type='chat'/>" + from + "fast' type='chat'/>")
}
