package core_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// older is a SavedSessions that knows one stanza less of each client than was handled.
type older struct{ storage.SavedSessions }

func (older) Discard() error { return nil } // for the next one

func (o older) Load() (*storage.Saved, error) {
	saved, err := o.SavedSessions.Load()
	if saved != nil {
		for i := range saved.Sessions {
			saved.Sessions[i].Handled--
		}
		for i := range saved.Ended {
			saved.Ended[i].Handled--
		}
	}
	return saved, err
}

// The later count is true: a record on disk says that the stanza is safe, also where
// the session was saved, or ended, before it was known to be.
func TestLaterCountOfTheSpool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRestarted(t, nil)
		romeo, other := r.im("romeo@example.test/x"), r.im("romeo@example.test/y")
		id, ended := romeo.manage(), other.manage()
		romeo.send(say(1) + say(2))
		other.send(say(3) + say(4) + say(5) + "</stream:stream>")
		other.reap()
		r.spool.sync(r.spool.last) // nobody waits for the one that has ended
		r.stop(romeo)
		saved := r.saved
		for _, c := range []struct {
			name              string
			spooled           [2]uint32 // of the session, and of the one that has ended
			resumed, answered int
		}{
			{"the spool has more", [2]uint32{2, 3}, 2, 3},
			{"the spool has less", [2]uint32{0, 1}, 1, 2},
			{"the spool has nothing", [2]uint32{}, 1, 2},
		} {
			r.saved = older{saved}
			r.reload()
			if c.spooled != [2]uint32{} {
				user := jid.MustParse("romeo@example.test")
				r.spool.senders = []storage.SpoolSession{{ID: id, User: user, Handled: c.spooled[0]}, {ID: ended, User: user, Handled: c.spooled[1]}}
			}
			r.world = newWorld(t, r.ports)
			r.resume("romeo@example.test", id, 0).wantPart(fmt.Sprintf("<resumed xmlns='urn:xmpp:sm:3' h='%d' ", c.resumed))
			r.resume("romeo@example.test", ended, 0).wantPart(fmt.Sprintf("<failed xmlns='urn:xmpp:sm:3' h='%d'>", c.answered))
		}
	})
}

// Spool and file of sessions disagree: the spool was not told in time that a client
// has a message, or has lost a record, whose number is another one's then.
func TestSpoolThatDisagrees(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRestarted(t, nil)
		romeo := r.login("romeo@example.test/x", "")
		romeo.manage()
		a, b := r.online("juliet@example.test/a"), r.online("juliet@example.test/b")
		aid, bid := a.manage(), b.manage()
		romeo.send(strings.Replace(say(1), "juliet@example.test/a", "juliet@example.test", 1) + strings.Replace(say(2), "juliet@example.test/a", "juliet@example.test", 1))
		first := r.spool.held[1]
		a.take()
		a.send(ack(1))
		r.stop(romeo, a, b)
		r.spool.held[1] = first // it was not told
		delete(r.spool.held, 2) // it is damaged
		r.spool.last = 1
		r.start()
		r.spool.wantHeld(t, 0)
		juliet := r.online("juliet@example.test/c")
		romeo = r.login("romeo@example.test/y", "")
		romeo.manage()
		juliet.manage()
		romeo.send("<message to='juliet@example.test/c' type='chat' id='3'><body>3</body></message>") // it has the number of the lost one
		r.spool.wantHeld(t, 1)
		a = r.resume("juliet@example.test", aid, 1)
		a.wantPart("<body>2</body>")
		a.send(ack(2))
		r.spool.wantHeld(t, 1)
		r.resume("juliet@example.test", bid, 2)
		r.spool.wantHeld(t, 1)
	})
}
