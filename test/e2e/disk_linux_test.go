package e2e

import (
	"database/sql"
	"fmt"
	"net/http"
	"path/filepath"
	"testing"

	_ "modernc.org/sqlite" // to hold a lock as another process does

	"github.com/hexmpp/hexmpp/test/harness"
	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

// onSQLite starts a server on SQLite, also where the tests run on PostgreSQL. extra
// is more configuration.
func onSQLite(t *testing.T, extra string) *harness.Server {
	t.Helper()
	return harness.Start(t, harness.Config{Registration: "open", SQLite: true, Extra: extra})
}

// withoutArchive: messages to who is online need no database.
const withoutArchive = "extensions: {mam: {enabled: false}}\n"

// TestDiskIsFullUnderAnArchive: what can't be archived comes back, and nobody has read
// it (XEP-0313 3.5); when there is room again it goes on.
func TestDiskIsFullUnderAnArchive(t *testing.T) {
	s := onSQLite(t, "")
	juliet := online(t, s, account(t, s, "juliet"), "balcony", 0)
	romeo := &counted{Conn: online(t, s, account(t, s, "romeo"), "orchard", 0)}
	romeo.Enable()
	romeo.chat(juliet.JID, "before")
	juliet.Message("before")
	romeo.settle(t)
	free := s.FillDisk(t)
	for i := range 20 {
		id := fmt.Sprint("lost ", i)
		romeo.chat(juliet.JID, id)
		if told := romeo.errors(); len(told) != 1 || told[0].Attr("id") != id || told[0].Condition() != "internal-server-error" && told[0].Condition() != "resource-constraint" {
			t.Fatalf("%q: %d came back", id, len(told))
		}
	}
	silent(t, juliet)
	free()
	wellAgain(t, s)
	romeo.settle(t)
	romeo.chat(juliet.JID, "after")
	juliet.Message("after")
	romeo.settle(t)
	p := asks(t, juliet, everything)
	p.is(t, true, "before", "after")
}

// TestDiskIsFull fills the disk under a server that is at work, and frees it again:
// whatever can't be kept is an error to its sender, all else goes on, and everything
// works afterwards without a restart.
func TestDiskIsFull(t *testing.T) {
	s := onSQLite(t, withoutArchive)
	juliet := online(t, s, account(t, s, "juliet"), "balcony", 0)
	romeo := &counted{Conn: online(t, s, account(t, s, "romeo"), "orchard", 0)} // is promised something
	romeo.Enable()
	mercutio := &counted{Conn: online(t, s, account(t, s, "mercutio"), "street", 0)} // is not
	absent := account(t, s, "paris")
	nurse := account(t, s, "nurse")
	if status, body := get(t, s, "/health"); status != http.StatusOK {
		t.Fatalf("health before: %d %s", status, body)
	}
	romeo.chat(juliet.JID, "before")
	juliet.Message("before")
	romeo.settle(t)

	from := len(s.Log.String())
	safe := romeo.sent
	free := s.FillDisk(t)
	t.Run("RFC 6120 8.3.3.18 a message that can't be kept safe is refused, for a while", func(t *testing.T) {
		// Some are accepted, delivered and not acknowledged until the server knows.
		for n := 0; ; n++ {
			id := fmt.Sprint("early ", n)
			romeo.chat(juliet.JID, id)
			if told := romeo.errors(); len(told) > 0 {
				wantError(t, told, []string{id}, "resource-constraint", "wait")
				break
			}
			juliet.Message(id)
		}
		romeo.chat(absent+"@"+domain, "absent")
		wantError(t, romeo.errors(), []string{"absent"}, "resource-constraint", "wait")
		romeo.Sendf("<r xmlns='%s'/>", xmppc.NSSM)
		if h := romeo.told(); h > safe {
			t.Errorf("%d of %d are acknowledged, of which %d were on the disk", h, romeo.sent, safe)
		}
	})
	t.Run("RFC 6120 8.3.3.6 a message to somebody absent goes back", func(t *testing.T) {
		var ids []string
		for i := range 300 {
			ids = append(ids, fmt.Sprint("absent ", i))
			mercutio.chat(absent+"@"+domain, ids[i])
		}
		wantError(t, mercutio.errors(), ids, "internal-server-error", "cancel")
	})
	t.Run("what else must be written is refused", func(t *testing.T) {
		mercutio.IQError("set", "", "<query xmlns='"+xmppc.NSRoster+"'><item jid='"+juliet.Bare()+"'/></query>", "internal-server-error")
		mercutio.Sendf("<presence type='subscribe' id='s' to='%s'/>", juliet.Bare())
		mercutio.StanzaError("presence", "s", "internal-server-error")
		c := direct(t, s, domain)
		c.Open(domain)
		c.IQError("set", "", register("nobody", secret), "internal-server-error")
	})
	t.Run("what need not goes on", func(t *testing.T) {
		mercutio.chat(juliet.JID, "unpromised")
		juliet.Message("unpromised")
		session(t, s, nurse, "").Close()
		wantHealth(t, s, http.StatusServiceUnavailable, "storage: ", "spool: ")
		if status, _ := get(t, s, "/health/live"); status != http.StatusOK {
			t.Errorf("it says that it is dead: %d", status)
		}
		if n := metric(t, s, `hexmpp_stanzas_refused_total{reason="disk"}`); n != "2" {
			t.Errorf("%s stanzas are counted as refused", n)
		}
	})
	free()
	wellAgain(t, s)
	romeo.settle(t)
	romeo.chat(juliet.JID, "after")
	juliet.Message("after")
	romeo.settle(t)
	mercutio.chat(absent+"@"+domain, "kept")
	mercutio.IQ("set", "", "<query xmlns='"+xmppc.NSRoster+"'><item jid='a@b.test'/></query>")
	paris := session(t, s, absent, "")
	paris.Send("<presence/>")
	var kept []string
	for _, m := range messages(paris) {
		kept = append(kept, m.Body())
	}
	if len(kept) != 1 || kept[0] != "kept" {
		t.Errorf("what was kept is %q", kept)
	}
	silent(t, juliet)
	fewLines(t, s.Log.String()[from:])
}

// TestDatabaseIsLocked has another process hold SQLite's lock.
func TestDatabaseIsLocked(t *testing.T) {
	s := onSQLite(t, withoutArchive)
	romeo := &counted{Conn: online(t, s, account(t, s, "romeo"), "orchard", 0)}
	absent := account(t, s, "paris")
	locals := make([]string, 20)
	for i := range locals {
		locals[i] = account(t, s, "sender")
	}
	db, err := sql.Open("sqlite", filepath.Join(s.Dir, "data", "hexmpp.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	lock := func(statement string) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	from := len(s.Log.String())
	lock("BEGIN EXCLUSIVE")
	romeo.chat(absent+"@"+domain, "in time")
	romeo.Sendf("<iq type='get' id='read'><query xmlns='%s'/></iq>", xmppc.NSRoster)
	lock("ROLLBACK")
	romeo.Answer("read")

	lock("BEGIN EXCLUSIVE")
	session(t, s, absent, "").Close() // reads only
	// Each waits for some seconds, all of them together.
	var senders []*counted
	ids := []string{"in time"}
	for i, local := range locals {
		c := &counted{Conn: session(t, s, local, "")}
		c.chat(absent+"@"+domain, fmt.Sprint("too long ", i))
		senders, ids = append(senders, c), append(ids, fmt.Sprint("too long ", i))
	}
	wantHealth(t, s, http.StatusOK) // nobody has been refused yet
	var told []*xmppc.Element
	for _, c := range senders {
		told = append(told, c.errors()...)
	}
	wantHealth(t, s, http.StatusServiceUnavailable, "storage: ")
	lock("ROLLBACK")
	for _, e := range told {
		wantError(t, []*xmppc.Element{e}, []string{e.Attr("id")}, "internal-server-error", "cancel")
	}
	if len(told) == 0 {
		t.Error("nobody was told")
	}
	wellAgain(t, s)
	// Every message is there, or its sender was told.
	paris := session(t, s, absent, "")
	paris.Send("<presence/>")
	got := map[string]int{}
	for _, m := range messages(paris) {
		got[m.Body()]++
	}
	for _, e := range told {
		got[e.Attr("id")]++
	}
	for _, id := range ids {
		if got[id] != 1 {
			t.Errorf("%q was kept or refused %d times", id, got[id])
		}
	}
	fewLines(t, s.Log.String()[from:])
}
