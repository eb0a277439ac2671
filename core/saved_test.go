package core_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hexmpp/hexmpp/adapters/sessionfile"
	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/ports/storage"
)

// newRoomsRestarted is newRestarted with rooms that outlive a planned restart.
func newRoomsRestarted(t *testing.T) (r *restarted, x *halls, dir string) {
	t.Helper()
	x, dir = &halls{}, t.TempDir()
	saved := sessionfile.NewExtensions(dir)
	r = newRestarted(t, func(o *core.Options, p *core.Ports) {
		p.SavedExtensions = saved
		with(x.registration())(o, p)
	})
	return r, x, dir
}

// Rooms are what they were behind a planned restart: occupants that resume have missed
// nothing, those whose sessions ended have left, and what is timed comes in its time.
func TestRoomsOutliveAPlannedRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, x, dir := newRoomsRestarted(t)
		romeo := r.enters("romeo@example.test/x", "room@rooms.example.test/romeo")
		juliet := r.enters("juliet@example.test/a", "room@rooms.example.test/juliet")
		nurse := r.enters("nurse@example.test/n", "room@rooms.example.test/nurse") // without stream management
		rid, jid := romeo.manage(), juliet.manage()
		romeo.take()
		juliet.send("<message id='timed' to='room@rooms.example.test'><later xmlns='urn:x'>1h</later></message>" + sayInRoom("groupchat", "1"))
		nurse.want(fromRoom("groupchat", "juliet", "nurse@example.test/n", "1"))
		r.stop(romeo, juliet, nurse)
		if _, err := os.Stat(filepath.Join(dir, "extensions")); err != nil {
			t.Error(err)
		}
		r.start()
		if _, err := os.Stat(filepath.Join(dir, "extensions")); !os.IsNotExist(err) {
			t.Error("what was saved is still there:", err)
		}
		juliet = r.resume("juliet@example.test", jid, 0)
		juliet.take()
		juliet.send(sayInRoom("groupchat", "2"))
		synctest.Wait()
		romeo = r.resume("romeo@example.test", rid, 0)
		gone := "<presence from='room@rooms.example.test/nurse' to='romeo@example.test/x' type='unavailable'/>"
		out := romeo.take()
		at := -1
		for _, part := range []string{fromRoom("groupchat", "juliet", "romeo@example.test/x", "1"), gone, fromRoom("groupchat", "juliet", "romeo@example.test/x", "2")} {
			next := strings.Index(out, part)
			if next <= at || strings.Count(out, part) != 1 {
				t.Errorf("%s is missing, twice or out of order in\n%s", part, out)
			}
			at = next
		}
		x.wantErrors(t)
		juliet.take()
		romeo.take()
		time.Sleep(59 * time.Minute)
		synctest.Wait()
		romeo.want("")
		time.Sleep(time.Minute)
		synctest.Wait()
		romeo.want("<message from='room@rooms.example.test/juliet' to='romeo@example.test/x' id='timed' type='groupchat'/>")
		if g := r.k.Gauges(); len(g.Extensions) != 1 || g.Extensions[0].Name != "rooms" || g.Extensions[0].Groups != 1 || g.Extensions[0].Members != 2 || g.Extensions[0].MemoryBytes == 0 {
			t.Errorf("%+v", g.Extensions)
		}
		// It is killed: the next one has nothing of it.
		r.start()
		if g := r.k.Gauges(); len(g.Extensions) != 0 {
			t.Errorf("%+v", g.Extensions)
		}
	})
}

// A file that is damaged costs what is in it, and no start.
func TestDamagedRooms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _, dir := newRoomsRestarted(t)
		romeo := r.enters("romeo@example.test/x", "room@rooms.example.test/romeo")
		romeo.manage()
		r.stop(romeo)
		if err := os.WriteFile(filepath.Join(dir, "extensions"), []byte("damaged"), 0o600); err != nil {
			t.Fatal(err)
		}
		r.start()
		if g := r.k.Gauges(); len(g.Extensions) != 0 || !strings.Contains(r.log.String(), "extensions.unreadable-") {
			t.Errorf("%+v\n%s", g.Extensions, r.log.String())
		}
	})
}

// What is of an extension that is not there any more is dropped, with a line in the log.
func TestRoomsOfAnExtensionThatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		saved := sessionfile.NewExtensions(t.TempDir())
		if err := saved.Save(&storage.SavedState{Extensions: []storage.SavedExtension{{Name: "gone", Revision: 1}}}); err != nil {
			t.Fatal(err)
		}
		r := newRestarted(t, func(_ *core.Options, p *core.Ports) { p.SavedExtensions = saved })
		if !strings.Contains(r.log.String(), `it is not there any more`) {
			t.Error(r.log.String())
		}
		if s, err := saved.Load(); s != nil || err != nil {
			t.Error(s, err)
		}
	})
}
