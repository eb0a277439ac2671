package core_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hexmpp/hexmpp/adapters/sessionfile"
	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// hung is a server with rooms elsewhere that have ceased to answer. Each process has
// another x.
type hung struct {
	*restarted
	x    *elsewhere
	dir  string // of both files
	gone bool   // the next process has no rooms
	full error  // of what extensions have
}

type fullShelf struct {
	storage.SavedExtensions
	h *hung
}

func (s fullShelf) Save(x *storage.SavedState) error {
	if s.h.full != nil {
		return s.h.full
	}
	return s.SavedExtensions.Save(x)
}

func newHung(t *testing.T) *hung {
	h := &hung{dir: t.TempDir()}
	h.restarted = newRestarted(t, func(o *core.Options, p *core.Ports) {
		p.Saved, p.SavedExtensions = sessionfile.New(h.dir), fullShelf{sessionfile.NewExtensions(h.dir), h}
		if h.x = (&elsewhere{}); !h.gone {
			with(rooms(h.x))(o, p)
		}
	})
	return h
}

// asked has romeo asked by the rooms, who answers; and send to the room, to juliet, and to the room
// again. nurse has no stream management.
func (h *hung) asked(t *testing.T) (romeo, juliet, nurse *client, id string) {
	romeo, juliet, nurse = h.im("romeo@example.test/x"), h.im("juliet@example.test/a"), h.im("nurse@example.test/n")
	id = romeo.manage()
	juliet.manage()
	romeo.send(fmt.Sprintf(toRoom, 0))
	ask := stanza.New(stanza.Header{Kind: stanza.IQ, Type: stanza.Get, From: jid.MustParse("rooms.example.test"), To: jid.MustParse("romeo@example.test/x")}, stanza.El("urn:y", "q"))
	if err := apply(h.x.next(t), &extension.Outcome{Effects: func(h *extension.Host) error { return h.Stanzas.Request(ask, time.Minute, []byte("state")) }}); err != nil {
		t.Fatal(err)
	}
	question := regexp.MustCompile(` id='([^']+)'`).FindStringSubmatch(romeo.take())
	romeo.send("<iq type='result' to='rooms.example.test' id='" + question[1] + "'/>")
	romeo.send(fmt.Sprintf(toRoom, 3) + say(4) + fmt.Sprintf(toRoom, 5) + "<iq id='6' to='room@rooms.example.test' type='get'><q xmlns='urn:x'/></iq>")
	nurse.send(fmt.Sprintf(toRoom, 7))
	juliet.hears("4")
	return romeo, juliet, nurse, id
}

// romeoSent is how many stanzas romeo has sent then.
const romeoSent = 6

func resumedWith(id string, h int) string {
	return fmt.Sprintf("<resumed xmlns='urn:xmpp:sm:3' h='%d' previd='%s'/>", h, id)
}

// What a component elsewhere has not handled when the server stops, the next process gives it once
// more: in order, with the time of receipt and the session that sent it. The sender is told
// of it when it is handled, and sends nothing again.
func TestEventsOutliveAPlannedRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHung(t)
		began := time.Now()
		romeo, juliet, nurse, id := h.asked(t)
		old := h.x
		h.stop(romeo, juliet, nurse)
		if took := time.Since(began); took < 5*time.Second || took > 6*time.Second {
			t.Errorf("events had %v", took)
		}
		if err := apply(old.next(t), &extension.Outcome{}); err == nil {
			t.Error("an outcome was taken when all was saved")
		}
		time.Sleep(time.Minute)
		h.start()
		for _, want := range []struct {
			kind        extension.EventKind
			id, session string
		}{
			{kind: extension.Replied},
			{kind: extension.ToComponent, id: "3", session: "romeo@example.test/x"},
			{kind: extension.ToComponent, id: "5", session: "romeo@example.test/x"},
			{kind: extension.ToComponent, id: "6", session: "romeo@example.test/x"},
			{kind: extension.ToComponent, id: "7", session: "nurse@example.test/n"},
		} {
			e := h.x.next(t)
			if e.Kind != want.kind {
				t.Fatalf("%v, want %v %s", e.Kind, want.kind, want.id)
			}
			if e.Kind == extension.Replied {
				if string(e.Reply.State) != "state" || e.Reply.Answer.From.String() != "romeo@example.test/x" {
					t.Errorf("%+v", e.Reply)
				}
				continue
			}
			o := e.Envelope.Origin
			if e.Stanza().ID != want.id || o.Session.String() != want.session || o.Domain != "example.test" || (o.Fence == 0) != (want.session == "nurse@example.test/n") {
				t.Errorf("%s, %+v", e.Stanza(), o)
			}
			if e.Stanza().Kind == stanza.Message && e.At.Sub(began) > time.Second {
				t.Errorf("%s came at %v", want.id, e.At)
			}
			if err := apply(e, &extension.Outcome{Effects: remoteSends("romeo@example.test/x " + want.id)}); err != nil {
				t.Error(err)
			}
		}
		h.x.none(t)
		h.resume("romeo@example.test", id, 1).want(resumedWith(id, romeoSent) + roomAnswers(3) + roomAnswers(5) + roomAnswers(6) + roomAnswers(7))
	})
}

// A session is resumed behind what a component elsewhere has of it, as ever.
func TestResumedBehindSavedEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHung(t)
		romeo, juliet, nurse, id := h.asked(t)
		h.stop(romeo, juliet, nurse)
		h.start()
		done := make(chan struct{})
		go func() {
			defer close(done)
			romeo = h.resume("romeo@example.test", id, 1)
		}()
		for _, n := range []int{3, 5} {
			synctest.Wait()
			select {
			case <-done:
				t.Fatal("it did not wait")
			default:
			}
			e := h.x.next(t)
			for e.Kind != extension.ToComponent {
				e = h.x.next(t)
			}
			if err := apply(e, &extension.Outcome{Effects: roomSays(n)}); err != nil {
				t.Error(err)
			}
		}
		<-done
		romeo.want(resumedWith(id, romeoSent) + roomAnswers(3) + roomAnswers(5))
	})
}

// If one of the two files is not there it is as after a kill: nothing is handled that the sender
// sends again, and nothing is lost that it does not.
func TestEventsWithoutTheOtherFile(t *testing.T) {
	damage := func(name string) func(t *testing.T, h *hung) {
		return func(t *testing.T, h *hung) {
			if err := os.WriteFile(filepath.Join(h.dir, name), []byte("damaged"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		before, between func(t *testing.T, h *hung)
		resumed         bool
	}{
		"killed between them": {between: func(t *testing.T, h *hung) {
			if err := os.Remove(filepath.Join(h.dir, "sessions")); err != nil {
				t.Fatal(err)
			}
		}},
		"sessions can't be read": {between: damage("sessions")},
		"events can't be read":   {between: damage("extensions"), resumed: true},
		"events can't be saved":  {before: func(_ *testing.T, h *hung) { h.full = errors.New("no space left on device") }, resumed: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHung(t)
				romeo, juliet, nurse, id := h.asked(t)
				if c.before != nil {
					c.before(t, h)
				}
				h.stop(romeo, juliet, nurse)
				if c.between != nil {
					c.between(t, h)
				}
				h.start()
				h.x.none(t)
				// Two stanzas of romeo's are in front of the first that the rooms had.
				want := resumedWith(id, 2)
				if !c.resumed {
					want = "<failed "
				}
				h.resume("romeo@example.test", id, 1).wantPart(want)
			})
		})
	}
}

// Where the component is gone its senders are told.
func TestSavedEventsOfAnExtensionThatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHung(t)
		romeo, juliet, nurse, id := h.asked(t)
		h.stop(romeo, juliet, nurse)
		h.gone = true
		h.start()
		out := h.resume("romeo@example.test", id, 1).take()
		last := -1
		for _, part := range []string{resumedWith(id, romeoSent), " id='3' type='error'>", " id='5' type='error'>", " id='6' type='error'>"} {
			if at := strings.Index(out, part); at <= last {
				t.Errorf("no %s, or out of order, in %s", part, out)
			} else {
				last = at
			}
		}
	})
}
