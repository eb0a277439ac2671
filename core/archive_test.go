package core_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hexmpp/hexmpp/adapters/extension/blocking"
	"github.com/hexmpp/hexmpp/adapters/extension/carbons"
	"github.com/hexmpp/hexmpp/adapters/extension/mam"
	"github.com/hexmpp/hexmpp/api/plugin/plugintest"
	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/core/offline"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// archiveGates is a store of which each commit waits until it may, and of which offline
// messages wait for a gate of their own.
type archiveGates struct {
	storage.Store
	open chan error // what the next commit with rows does: nil, it is done

	mu      sync.Mutex
	commits [][]storage.Row
}

func (g *archiveGates) Commit(ctx context.Context, w storage.Writes) error {
	if len(w.Rows) == 0 {
		return g.Store.Commit(ctx, w)
	}
	g.mu.Lock()
	g.commits = append(g.commits, w.Rows)
	g.mu.Unlock()
	if err := <-g.open; err != nil {
		return err
	}
	return g.Store.Commit(ctx, w)
}

// took returns how many rows each commit had since the last call.
func (g *archiveGates) took() (list []int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, rows := range g.commits {
		list = append(list, len(rows))
	}
	g.commits = nil
	return list
}

func archiveWorld(t *testing.T, change func(*core.Options, *core.Ports), regs ...extension.Registration) (*world, *archiveGates) {
	g := &archiveGates{open: make(chan error)}
	w := newWorld(t, func(o *core.Options, p *core.Ports) {
		g.Store = accountsIn(t, "romeo@example.test", "juliet@example.test", "nurse@example.test")
		p.Store = g
		with(append(regs, mam.New(mam.Options{}), carbons.New())...)(o, p)
		if change != nil {
			change(o, p)
		}
	})
	return w, g
}

// sends has a client send something in its turn, on a goroutine of its own.
func sends(c *client, xml string) (done chan struct{}) {
	done = make(chan struct{})
	go func() { defer close(done); c.send(xml) }()
	return done
}

var anyID = regexp.MustCompile(`<stanza-id xmlns='urn:xmpp:sid:0' by='([^']*)' id='[^']*'/>`)

// wantArchived is want, with IDs of archives as their owners in brackets.
func (c *client) wantArchived(xml string) {
	c.w.t.Helper()
	if got := anyID.ReplaceAllString(ids.ReplaceAllString(c.take(), ""), "[$1]"); got != xml {
		c.w.t.Errorf("got:\n%.2000s\nwant:\n%.2000s", got, xml)
	}
}

// Nothing is delivered before the archives have it: neither the message, nor a carbon
// copy to either account; and the sender's stanzas behind it wait, too. The copies of
// both accounts are one commit.
func TestNothingIsDeliveredBeforeItIsArchived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := archiveWorld(t, nil)
		enable := "<iq type='set' id='c'><enable xmlns='urn:xmpp:carbons:2'/></iq>"
		romeo, juliet := w.login("romeo@example.test/x", ""), w.online("juliet@example.test/a")
		phone, tablet := w.login("romeo@example.test/phone", ""), w.login("juliet@example.test/tablet", "")
		for _, c := range []*client{phone, tablet} {
			c.send(enable).take()
		}
		done := sends(romeo, say(1)+"<iq type='get' id='p' to='example.test'><nobody xmlns='urn:n'/></iq>")
		synctest.Wait()
		for _, c := range []*client{romeo, juliet, phone, tablet} {
			c.want("")
		}
		if got := g.took(); len(got) != 1 || got[0] != 2 {
			t.Errorf("commits of %v rows, want one of two", got)
		}
		g.open <- nil
		<-done
		archived := strings.Replace(msg(1), "</message>", "[juliet@example.test]</message>", 1)
		juliet.wantArchived(archived)
		romeo.wantPart("type='error'") // the answer to the iq
		const forwarded = "<forwarded xmlns='urn:xmpp:forward:0'>%s</forwarded>"
		for c, id := range map[*client]string{phone: "[romeo@example.test]", tablet: "[juliet@example.test]"} {
			got := anyID.ReplaceAllString(c.take(), "[$1]")
			want := fmt.Sprintf(forwarded, strings.Replace(strings.Replace(msg(1), "<message", "<message xmlns='jabber:client'", 1), "</message>", id+"</message>", 1))
			if !strings.Contains(got, want) {
				t.Errorf("got\n%s\nwant a part\n%s", got, want)
			}
		}
	})
}

// What can't be archived is returned to its sender, and nobody reads it.
func TestWhatCanNotBeArchivedComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := archiveWorld(t, nil)
		romeo, juliet := w.login("romeo@example.test/x", ""), w.online("juliet@example.test/a")
		for _, to := range []string{"juliet@example.test", "juliet@example.test/a", "a@far.test"} {
			done := sends(romeo, "<message to='"+to+"' type='chat' id='1'><body>1</body></message>")
			g.open <- fmt.Errorf("%w: disk full", storage.ErrUnavailable)
			<-done
			romeo.wantPart("<internal-server-error ")
			juliet.want("")
		}
		done := sends(romeo, say(1))
		g.open <- nil // it goes on by itself
		<-done
		juliet.wantPart("<body>1</body>")
		romeo.want("")
	})
}

// A message to somebody who is offline is archived before it is stored, with its ID;
// that it had.
func TestStoredMessagesHaveTheirID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := archiveWorld(t, func(o *core.Options, _ *core.Ports) { o.Offline = offline.Options{Messages: 10} })
		romeo := w.login("romeo@example.test/x", "")
		done := sends(romeo, "<message to='juliet@example.test' type='chat' id='1'><body>1</body></message>")
		synctest.Wait()
		owner := jid.MustParse("juliet@example.test")
		stored := func() int {
			list, err := g.OfflineMessages(t.Context(), owner, 0, 10)
			if err != nil {
				t.Fatal(err)
			}
			return len(list)
		}
		if stored() != 0 {
			t.Error("it is stored before it is archived")
		}
		g.open <- nil
		<-done
		if stored() != 1 {
			t.Error("it is not stored")
		}
		juliet := w.login("juliet@example.test/a", "").send("<presence/>")
		synctest.Wait()
		rows, _, err := g.Rows(t.Context(), storage.ArchiveKey{Space: "mam", Owner: owner}, storage.Filter{}, storage.Page{Limit: 2})
		if got := anyID.FindAllStringSubmatch(juliet.take(), -1); err != nil || len(rows) != 1 || len(got) != 1 || got[0][1] != owner.String() {
			t.Errorf("%d rows, told %q, %v", len(rows), got, err)
		}
	})
}

// What many send while a commit is under way is one commit, in which the rows of each
// archive are in order.
func TestCommitsOfArchivesAreGrouped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := archiveWorld(t, nil)
		const senders = 20
		var all []*client
		var done []chan struct{}
		juliet := w.online("juliet@example.test/a")
		for i := range senders {
			all = append(all, w.login(fmt.Sprintf("romeo@example.test/%d", i), ""))
		}
		first := sends(all[0], say(0))
		synctest.Wait()
		for i, c := range all[1:] {
			done = append(done, sends(c, say(i+1)))
		}
		synctest.Wait()
		g.open <- nil
		synctest.Wait()
		if got := g.took(); len(got) != 2 || got[0] != 2 || got[1] != 2*(senders-1) {
			t.Errorf("commits of %v rows", got)
		}
		g.open <- nil
		for _, d := range append(done, first) {
			<-d
		}
		if n := strings.Count(juliet.take(), "<body>"); n != senders {
			t.Errorf("%d of %d came", n, senders)
		}
		rows, _, err := g.Rows(t.Context(), storage.ArchiveKey{Space: "mam", Owner: jid.MustParse("juliet@example.test")}, storage.Filter{}, storage.Page{Limit: 100})
		if err != nil || len(rows) != senders {
			t.Errorf("%d rows, %v", len(rows), err)
		}
	})
}

// Two that write to the same archives at once, each first to its own: IDs are made
// while handlers run, and no message is refused since another one was faster.
func TestManyWriteToTheSameArchives(t *testing.T) {
	w := newWorld(t, func(o *core.Options, p *core.Ports) {
		p.Store = accountsIn(t, "romeo@example.test", "juliet@example.test")
		with(mam.New(mam.Options{}))(o, p)
	})
	const clients, messages = 8, 200
	var all []*client
	for i := range clients {
		name := [2]string{"romeo", "juliet"}[i%2]
		all = append(all, w.login(fmt.Sprintf("%s@example.test/%d", name, i), ""))
	}
	var wait sync.WaitGroup
	for i, c := range all {
		wait.Go(func() {
			for n := range messages {
				c.send(fmt.Sprintf("<message to='%s@example.test/%d' type='chat' id='%d'><body>%d</body></message>", [2]string{"juliet", "romeo"}[i%2], i^1, n, n))
			}
		})
	}
	wait.Wait()
	for i, c := range all {
		got := c.take()
		if n := strings.Count(got, "<body>"); n != messages || strings.Contains(got, "type='error'") {
			t.Errorf("client %d: %d messages of %d, %.200s", i, n, messages, got)
		}
	}
}

// A stage handler of Submit that refuses what it let pass before: what it says then
// holds (its rows came too late the first time).
func TestLateRowsAreDecidedAnew(t *testing.T) {
	for name, second := range map[string]struct {
		verdict extension.Verdict
		rows    bool
		want    string
	}{
		"it passes again":    {extension.Verdict{}, true, "2 rows, 1 came, 0 marked, 0 back"},
		"it is marked now":   {extension.Verdict{Action: extension.Patch, Append: []*stanza.Element{stanza.El("urn:x", "mark")}}, true, "2 rows, 1 came, 1 marked, 0 back"},
		"it is refused":      {extension.Verdict{Action: extension.Refuse}, true, "1 rows, 0 came, 0 marked, 1 back"},
		"it is kept no more": {extension.Verdict{}, false, "1 rows, 1 came, 0 marked, 0 back"},
		"it is dropped":      {extension.Verdict{Action: extension.Drop}, true, "1 rows, 0 came, 0 marked, 0 back"},
	} {
		t.Run(name, func(t *testing.T) {
			runs := 0
			row := func(h *extension.Host, owner jid.JID, id uint64) {
				h.Archive.Append(storage.Row{Owner: owner, ID: id, Stamp: time.Now(), With: owner, XML: "<message xmlns='jabber:client'/>"})
			}
			var early uint64
			handle := func(stage extension.Stage) stageFunc {
				return func(_ context.Context, h *extension.Host, e *extension.Envelope) (v extension.Verdict, err error) {
					if e.Stanza.Kind != stanza.Message || e.Stanza.Type == stanza.TypeError {
						return v, nil
					}
					if e.Stanza.ID == "before" { // takes an ID, and a later one for the archive
						if stage == extension.Submit {
							early = h.Archive.NewID()
							row(h, e.Account, h.Archive.NewID())
						}
						return v, nil
					}
					if stage == extension.Deliver {
						row(h, e.Account, h.Archive.NewID())
						return v, nil
					}
					if runs++; runs == 1 {
						row(h, e.Account, early)
						return v, nil
					}
					if second.rows {
						row(h, e.Account, h.Archive.NewID())
					}
					return second.verdict, nil
				}
			}
			var store storage.Store
			w := newWorld(t, func(o *core.Options, p *core.Ports) {
				store = accountsIn(t, "romeo@example.test", "juliet@example.test")
				p.Store = store
				reg := staged(extension.Submit, extension.Decide, handle(extension.Submit))
				reg.Stages = append(reg.Stages, extension.StageHandler{Stage: extension.Deliver, Class: extension.Decide, Handle: handle(extension.Deliver)})
				with(reg)(o, p)
			})
			romeo, juliet := w.login("romeo@example.test/x", ""), w.login("juliet@example.test/a", "<presence/>")
			romeo.send("<message to='juliet@example.test/a' type='chat' id='before'/>").take()
			juliet.take()
			romeo.send(say(1))
			count := func(owner string) int {
				n, _, err := store.CountRows(t.Context(), storage.ArchiveKey{Space: "staged", Owner: jid.MustParse(owner)}, storage.Filter{}, 10)
				if err != nil {
					t.Fatal(err)
				}
				return n
			}
			came := juliet.take()
			got := fmt.Sprintf("%d rows, %d came, %d marked, %d back", count("romeo@example.test")-1+count("juliet@example.test"),
				strings.Count(came, "<body>"), strings.Count(came, "<mark"), strings.Count(romeo.take(), "type='error'"))
			if got != second.want || runs != 2 {
				t.Errorf("%s in %d runs, want %s in 2", got, runs, second.want)
			}
		})
	}
}

// IDs are greater than those that are stored, whatever the clock says.
func TestIDsAreAboveWhatIsStored(t *testing.T) {
	romeo, owner := "romeo@example.test", jid.MustParse("romeo@example.test")
	var s storage.Store
	w := newWorld(t, func(o *core.Options, p *core.Ports) {
		s = accountsIn(t, romeo)
		future := uint64(time.Now().AddDate(1, 0, 0).UnixMicro()) << 11
		if err := s.Commit(t.Context(), storage.Writes{Rows: []storage.Row{{Space: "mam", Owner: owner, ID: future, Stamp: time.Now(), With: owner, XML: "<message xmlns='jabber:client'/>"}}}); err != nil {
			t.Fatal(err)
		}
		p.Store = s
		with(mam.New(mam.Options{}))(o, p)
	})
	c := w.login(romeo+"/x", "")
	c.send("<message type='chat' to='a@far.test' id='1'><body>1</body></message>").wantPart("<remote-server-not-found ")
	if n, _, err := s.CountRows(t.Context(), storage.ArchiveKey{Space: "mam", Owner: owner}, storage.Filter{}, 10); n != 2 || err != nil {
		t.Errorf("%d rows, %v", n, err)
	}
	// and by time it is found all the same
	out := c.send("<iq type='set' id='q'><query xmlns='urn:xmpp:mam:2'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>urn:xmpp:mam:2</value></field><field var='end'><value>" +
		time.Now().Add(time.Minute).UTC().Format(time.RFC3339) + "</value></field></x></query></iq>").take()
	if n := strings.Count(out, "<result "); n != 2 {
		t.Errorf("%d results: %s", n, out)
	}
}

// A start without its storage fails, and says why.
func TestStartWithoutIDs(t *testing.T) {
	o := core.Options{Domains: []string{"example.test"}}
	var p core.Ports
	newPorts(&p)
	p.Store = lastless{p.Store}
	k, err := core.New(o, p)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Start(t.Context()); !errors.Is(err, storage.ErrUnavailable) {
		t.Error(err)
	}
}

type lastless struct{ storage.Store }

func (lastless) LastRow(context.Context) (uint64, error) { return 0, storage.ErrUnavailable }

// What is blocked is in no archive; what its sender sent is in the sender's.
func TestBlockedIsNotArchived(t *testing.T) { plugintest.BothWays(t, testBlockedIsNotArchived) }

func testBlockedIsNotArchived(t *testing.T, as plugintest.Way) {
	var s storage.Store
	w := newWorld(t, func(o *core.Options, p *core.Ports) {
		s = accountsIn(t, "romeo@example.test", "juliet@example.test")
		p.Store = s
		with(as(t, blocking.New(blocking.Options{})), mam.New(mam.Options{}))(o, p)
	})
	romeo, juliet := w.login("romeo@example.test/x", ""), w.login("juliet@example.test/a", "<presence/>")
	juliet.send("<iq type='set' id='b'><block xmlns='urn:xmpp:blocking'><item jid='romeo@example.test'/></block></iq>").take()
	romeo.send(say(1)).wantPart("<service-unavailable ")
	juliet.send("<message type='chat' to='romeo@example.test/x' id='1'><body>1</body></message>").wantPart("<not-acceptable ")
	for owner, want := range map[string]int{"romeo@example.test": 1, "juliet@example.test": 0} {
		if n, _, err := s.CountRows(t.Context(), storage.ArchiveKey{Space: "mam", Owner: jid.MustParse(owner)}, storage.Filter{}, 10); n != want || err != nil {
			t.Errorf("%s: %d rows, %v", owner, n, err)
		}
	}
}

// Results that a client did not get are for nobody else.
func TestResultsAreNotLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(o *core.Options, p *core.Ports) {
			p.Store = accountsIn(t, "romeo@example.test", "juliet@example.test")
			o.Offline = offline.Options{Messages: 10}
			with(mam.New(mam.Options{}))(o, p)
		})
		romeo, juliet := w.login("romeo@example.test/x", ""), w.online("juliet@example.test/a")
		romeo.send(say(1))
		juliet.take()
		juliet.manage()
		juliet.send("<iq type='set' id='q'><query xmlns='urn:xmpp:mam:2'/></iq>").wantPart("<result xmlns='urn:xmpp:mam:2'")
		other := w.online("juliet@example.test/b")
		juliet.send("</stream:stream>")
		synctest.Wait()
		other.send("<iq type='get' id='p' to='example.test'><nobody xmlns='urn:n'/></iq>")
		synctest.Wait()
		if got := other.take(); strings.Contains(got, "<result ") {
			t.Errorf("got %s", got)
		}
	})
}
