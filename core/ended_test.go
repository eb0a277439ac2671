package core_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	registry "github.com/hexmpp/hexmpp/adapters/cluster/memory"
	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/core/throttle"
	"github.com/hexmpp/hexmpp/ports/auth"
	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
)

// hooked is a registry that calls after behind the next Update.
type hooked struct {
	cluster.Registry
	after func(cluster.Entry)
}

func (h *hooked) Update(e cluster.Entry) bool {
	ok := h.Registry.Update(e)
	if f := h.after; f != nil {
		h.after = nil
		f(e)
	}
	return ok
}

// A session that is ended by somebody else while its presence is being told:
// nobody is left with a ghost.
func TestEndAmidPresence(t *testing.T) {
	h := &hooked{Registry: registry.New()}
	w := newWorld(t, func(_ *core.Options, p *core.Ports) { p.Sessions = h })
	other, x := w.login("romeo@example.test/other", "<presence/>"), w.login("romeo@example.test/x", "")
	other.take()
	h.after = func(e cluster.Entry) {
		var b transport.Batch
		e.Receiver.End(&b, stream.Err(stream.Conflict, ""))
		b.Flush()
	}
	x.send("<presence/>")
	other.want("<presence from='romeo@example.test/x' to='romeo@example.test'/><presence from='romeo@example.test/x' to='romeo@example.test' type='unavailable'/>")
}

// What an ended session's client sent behind goes nowhere, also if it was fed
// already.
func TestEndedSessionRoutesNothing(t *testing.T) {
	var w *world
	var fresh *client
	reg := extension.Registration{Name: "test", Permissions: []extension.Permission{extension.SeeStanzas}, Stages: []extension.StageHandler{{
		Stage: extension.Submit, Class: extension.Observe, Match: extension.Match{Kinds: []stanza.Kind{stanza.Message}},
		Handle: func(context.Context, *extension.Host, *extension.Envelope) (extension.Verdict, error) {
			if fresh == nil {
				fresh = w.login("romeo@example.test/x", "")
			}
			return extension.Verdict{}, nil
		},
	}}}
	w = newWorld(t, with(reg))
	juliet, romeo := w.login("juliet@example.test/j", "<presence/>"), w.login("romeo@example.test/x", "")
	romeo.send("<message to='juliet@example.test/j' id='1'/><message to='juliet@example.test/j' id='2'/><iq type='get' id='3' to='juliet@example.test/j'><q xmlns='urn:y'/></iq>")
	juliet.want("<message from='romeo@example.test/x' to='juliet@example.test/j' id='1'/>")
	fresh.want("")
}

// RFC 6120 6.4.4: an abort is answered also while an answer is held back.
func TestAbortWhileHeld(t *testing.T) {
	w := newWorld(t, func(o *core.Options, _ *core.Ports) { o.Throttle = throttle.Options{Free: 1, First: 5 * time.Second} })
	c := w.connect().open("example.test")
	for range 2 {
		c.send(plain("romeo", "bad"))
	}
	c.take()
	c.send(plain("romeo", "bad")).want("") // held
	c.send("<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>").want("<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><aborted/></failure>")
	if c.closing {
		t.Error("the stream has ended")
	}
}

// slowly is a verifier that does something before its answer.
type slowly struct {
	open
	meanwhile func()
}

func (s slowly) VerifyPassword(context.Context, jid.JID, string) error { s.meanwhile(); return nil }

var _ auth.Verifier = slowly{}

// An account that is removed while its password is being checked does not get
// a session.
func TestAccountRemovedDuringLogin(t *testing.T) {
	var w *world
	w = newWorld(t, func(_ *core.Options, p *core.Ports) {
		p.Accounts = removable{}
		p.Verifier = slowly{meanwhile: func() {
			if err := w.k.RemoveUser(context.Background(), jid.MustParse("romeo@example.test")); err != nil {
				t.Error(err)
			}
		}}
	})
	c := w.connect().open("example.test").send(plain("romeo", "pw")).open("example.test")
	c.take()
	c.send("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
	c.wantPart("<not-authorized ")
	if !c.closing {
		t.Error("the removed account has a session")
	}
}

// An idle session keeps nothing of the last stanza that it sent.
func TestIdleSessionHoldsNoStanza(t *testing.T) {
	w := newWorld(t, nil)
	const sessions, size = 40, 200_000
	var all []*client
	for i := range sessions {
		all = append(all, w.login(fmt.Sprintf("romeo@example.test/%d", i), ""))
	}
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for _, c := range all {
		c.send("<message type='error' to='nobody@example.test'><body>" + strings.Repeat("x", size) + "</body></message>")
	}
	if after := heap(); after > before+sessions*size/4 {
		t.Errorf("%d KiB more than before", (after-before)>>10)
	}
	runtime.KeepAlive(all)
}
