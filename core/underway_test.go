package core_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/hexmpp/hexmpp/adapters/extension/mam"
	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/core/offline"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

func says(from, to int) string {
	var all strings.Builder
	for i := from; i <= to; i++ {
		all.WriteString(say(i))
	}
	return all.String()
}

// gotNumbers are the bodies that came, in order.
func (c *client) gotNumbers() string { return fmt.Sprint(bodyNumbers(c.take())) }

func upTo(from, to int) string {
	var all []int
	for i := from; i <= to; i++ {
		all = append(all, i)
	}
	return fmt.Sprint(all)
}

// A stream reads on while the rows of its messages are being committed: what it sends
// meanwhile is the next commit. Nothing is delivered, and nothing acknowledged, before.
func TestStreamsReadOnDuringCommits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sp := &spool{held: map[uint64]storage.SpoolRecord{}}
		w, g := archiveWorld(t, func(o *core.Options, p *core.Ports) { o.Offline, p.Spool = offline.Options{Messages: 100}, sp })
		romeo, juliet := w.login("romeo@example.test/x", ""), w.online("juliet@example.test/a")
		romeo.manage()
		romeo.input(says(1, 1)) // on this goroutine: nothing is waited for
		synctest.Wait()
		romeo.input(says(2, 9) + askAck)
		synctest.Wait()
		romeo.want(ack(0))
		juliet.want("")
		if got := fmt.Sprint(g.took()); got != "[2]" {
			t.Errorf("commits of %s rows", got)
		}
		g.open <- nil
		synctest.Wait()
		if got := juliet.gotNumbers(); got != "[1]" {
			t.Errorf("she got %s", got)
		}
		if got := fmt.Sprint(g.took()); got != "[16]" {
			t.Errorf("commits of %s rows", got)
		}
		sp.sync(sp.last)
		romeo.want(ack(1))
		g.open <- nil
		synctest.Wait()
		if got := juliet.gotNumbers(); got != upTo(2, 9) {
			t.Errorf("she got %s", got)
		}
		romeo.want("")
		sp.sync(sp.last)
		romeo.want(ack(9))
	})
}

// A stream has 64 messages under way, or 256 KiB of them; then it is not read on until
// half of them have come to their end.
func TestAsManyAreUnderWay(t *testing.T) {
	long := strings.Repeat("x", 100<<10)
	for name, c := range map[string]struct {
		body          string
		all, most     int
		first, second int // of how many messages are the first commits
	}{
		"64 messages": {"", 100, 64, 1, 63},
		"256 KiB":     {long, 7, 3, 1, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, g := archiveWorld(t, nil)
				romeo, juliet := w.login("romeo@example.test/x", ""), w.online("juliet@example.test/a")
				var in strings.Builder
				for i := range c.all {
					fmt.Fprintf(&in, "<message to='juliet@example.test/a' id='%d' type='chat'><body>%d</body><x xmlns='urn:x'>%s</x></message>", i, i, c.body)
					if i == 0 {
						romeo.input(in.String())
						synctest.Wait() // its commit has begun
						in.Reset()
					}
				}
				done := sends(romeo, in.String())
				synctest.Wait()
				if n := w.k.Gauges().Underway; n != c.most {
					t.Errorf("%d are under way, want %d", n, c.most)
				}
				g.open <- nil
				synctest.Wait()
				if got, want := fmt.Sprint(g.took()), fmt.Sprint([]int{2 * c.first, 2 * c.second}); got != want {
					t.Errorf("commits of %s rows, want %s", got, want)
				}
				for open := true; open; {
					select {
					case g.open <- nil:
					case <-done:
						open = false
					}
				}
				synctest.Wait()
				if got := juliet.gotNumbers(); got != upTo(0, c.all-1) {
					t.Errorf("she got %s", got)
				}
			})
		})
	}
}

// Whatever is no message waits until all messages before it have come to their end;
// acknowledgements do not.
func TestOthersWaitForWhatIsUnderWay(t *testing.T) {
	const forJuliet = "<presence to='juliet@example.test/a'/>"
	for name, c := range map[string]struct {
		in       string
		at, then string // parts of what romeo is sent, at once and behind the commit
		juliet   string // part of what she is sent behind the message
	}{
		"presence":          {in: forJuliet, juliet: "<presence from='romeo@example.test/x' to='juliet@example.test/a'/>"},
		"iq":                {in: "<iq type='get' id='q' to='juliet@example.test/a'><q xmlns='urn:q'/></iq>", juliet: "<q xmlns='urn:q'/>"},
		"iq to the server":  {in: "<iq type='get' id='q'><q xmlns='urn:q'/></iq>", then: "<service-unavailable "},
		"the end":           {in: "</stream:stream>", then: "</stream:stream>"},
		"enable":            {in: "<enable xmlns='urn:xmpp:sm:3'/>", then: "<enabled "},
		"r without enable":  {in: askAck, at: "<failed "},
		"what nobody knows": {in: "<x xmlns='urn:x'/>", then: "<unsupported-stanza-type "},
		"a message behind":  {in: forJuliet + say(2), juliet: "to='juliet@example.test/a'/><message "},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, g := archiveWorld(t, nil)
				romeo, juliet := w.login("romeo@example.test/x", ""), w.online("juliet@example.test/a")
				done := sends(romeo, say(1)+c.in)
				synctest.Wait()
				if got := romeo.take(); (c.at == "") != (got == "") || !strings.Contains(got, c.at) {
					t.Errorf("at once romeo is sent %s", got)
				}
				juliet.want("")
				for open := true; open; {
					select {
					case g.open <- nil:
					case <-done:
						open = false
					}
				}
				synctest.Wait()
				if got := romeo.take(); !strings.Contains(got, c.then) {
					t.Errorf("then romeo is sent %s", got)
				}
				got := juliet.take()
				if m := strings.Index(got, "<body>1</body>"); m < 0 || !strings.Contains(got, c.juliet) || c.juliet != "" && strings.Index(got, c.juliet) < m {
					t.Errorf("juliet is sent %s", got)
				}
			})
		})
	}
}

// What can't be committed comes back; what is behind it goes on, in order, to whoever it
// is for.
func TestCommitsOfSomeFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := archiveWorld(t, func(o *core.Options, _ *core.Ports) { o.Offline = offline.Options{Messages: 100} })
		romeo, juliet := w.login("romeo@example.test/x", ""), w.online("juliet@example.test/a")
		nurse := jid.MustParse("nurse@example.test")
		known := sends(romeo, "<message to='nurse@example.test' type='chat' id='none'><body>none</body></message>"+say(64))
		g.open <- nil
		g.open <- nil
		<-known
		juliet.take()
		var in strings.Builder
		for i := range 64 {
			to := []string{"juliet@example.test/a", "nurse@example.test"}[i%2]
			fmt.Fprintf(&in, "<message to='%s' id='%d' type='chat'><body>%d</body></message>", to, i, i)
			if i == 0 {
				romeo.input(in.String())
				synctest.Wait() // its commit has begun
				in.Reset()
			}
		}
		romeo.input(in.String())
		synctest.Wait()
		g.open <- nil                         // the first message
		g.open <- fmt.Errorf("one is no row") // 63: each is tried by itself
		var came, stored, failed []int
		for i := range 64 {
			fails := i > 0 && i%5 == 0
			switch {
			case i == 0:
			case fails:
				g.open <- fmt.Errorf("%w: disk full", storage.ErrUnavailable)
			default:
				g.open <- nil
			}
			switch {
			case fails:
				failed = append(failed, i)
			case i%2 == 0:
				came = append(came, i)
			default:
				stored = append(stored, i)
			}
		}
		synctest.Wait()
		if got := juliet.gotNumbers(); got != fmt.Sprint(came) {
			t.Errorf("she got %s, want %v", got, came)
		}
		var back []int
		for _, m := range strings.SplitAfter(romeo.take(), "</message>") {
			if id := messageIDs.FindStringSubmatch(m); id != nil {
				back = append(back, bodyNumbers("<body>"+id[1]+"</body>")...)
			}
		}
		if fmt.Sprint(back) != fmt.Sprint(failed) {
			t.Errorf("%v came back, want %v", back, failed)
		}
		list, err := g.OfflineMessages(t.Context(), nurse, 0, 100)
		var kept []int
		for _, m := range list {
			kept = append(kept, bodyNumbers(string(m.XML))...)
		}
		if err != nil || fmt.Sprint(kept) != fmt.Sprint(stored) {
			t.Errorf("stored are %v, want %v; %v", kept, stored, err)
		}
	})
}

// A session that is resumed goes on behind what its old stream has under way, whether
// that is broken or stands; and is told a count that has all of it.
func TestResumedBehindWhatIsUnderWay(t *testing.T) {
	for _, broken := range []bool{false, true} {
		t.Run(fmt.Sprint("broken ", broken), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sp := &spool{held: map[uint64]storage.SpoolRecord{}}
				w, g := archiveWorld(t, func(o *core.Options, p *core.Ports) { o.Offline, p.Spool = offline.Options{Messages: 100}, sp })
				romeo, juliet := w.login("romeo@example.test/x", ""), w.online("juliet@example.test/a")
				id := romeo.manage()
				romeo.input(say(1))
				synctest.Wait()
				romeo.input(says(2, 3))
				old := romeo.feed("<iq type='get' id='q' to='juliet@example.test/a'><q xmlns='urn:q'/></iq>") // waits
				synctest.Wait()
				if broken {
					romeo.cut()
				}
				done := make(chan struct{})
				var again *client
				go func() {
					defer close(done)
					again = w.resume("romeo@example.test", id, 0)
					again.send(say(4))
				}()
				synctest.Wait()
				juliet.want("")
				g.open <- nil // 1
				g.open <- nil // 2 and 3
				synctest.Wait()
				sp.sync(sp.last)
				synctest.Wait()
				g.open <- nil // 4
				<-done
				<-old
				synctest.Wait()
				if out := again.take(); !strings.Contains(out, "<resumed xmlns='urn:xmpp:sm:3' h='3' previd='"+id+"'/>") {
					t.Errorf("romeo was sent %s", out)
				}
				out := juliet.take()
				if got := fmt.Sprint(bodyNumbers(out)); got != upTo(1, 4) || strings.Contains(out, "urn:q") {
					t.Errorf("she got %s, %s", got, out)
				}
			})
		})
	}
}

// So does a session that takes the place of another one with the same full JID.
func TestReplacedBehindWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := archiveWorld(t, nil)
		romeo, juliet := w.login("romeo@example.test/x", ""), w.online("juliet@example.test/a")
		romeo.input(say(1))
		synctest.Wait()
		romeo.input(says(2, 3))
		again := w.login("romeo@example.test/x", "")
		done := sends(again, "<presence to='juliet@example.test/a'/>"+say(4))
		synctest.Wait()
		juliet.want("")
		for range 3 {
			g.open <- nil
		}
		<-done
		synctest.Wait()
		out := juliet.take()
		if got := fmt.Sprint(bodyNumbers(out)); got != upTo(1, 4) || strings.Index(out, "<presence ") < strings.Index(out, "<body>3") {
			t.Errorf("she got %s", out)
		}
	})
}

// What is under way when a session ends goes on, and comes back no more.
func TestUnderWayWhenTheSessionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := archiveWorld(t, nil)
		romeo, juliet := w.login("romeo@example.test/x", ""), w.online("juliet@example.test/a")
		romeo.input(say(1))
		synctest.Wait()
		romeo.input(says(2, 5))
		romeo.cut()
		g.open <- nil
		g.open <- fmt.Errorf("%w: disk full", storage.ErrUnavailable)
		synctest.Wait()
		if got := juliet.gotNumbers(); got != "[1]" {
			t.Errorf("she got %s", got)
		}
		if n := w.k.Gauges().Underway; n != 0 {
			t.Errorf("%d are under way", n)
		}
	})
}

// Messages to somebody who is offline are stored many at a time, also those of one
// sender; one that comes when the recipient is there again waits for them.
func TestManyAreStoredAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mail := &batches{open: make(chan error)}
		sp := &spool{held: map[uint64]storage.SpoolRecord{}}
		w := spooledWorld(t, sp, func(_ *core.Options, p *core.Ports) {
			mail.Store = accountsIn(t, "romeo@example.test", "juliet@example.test")
			p.Store = mail
		})
		romeo := w.login("romeo@example.test/x", "")
		romeo.manage()
		romeo.input(tell("1"))
		synctest.Wait()
		romeo.input(tell(count(2, 9)...))
		synctest.Wait()
		juliet := w.login("juliet@example.test/a", "<presence/>")
		romeo.input(tell("10") + askAck)
		synctest.Wait()
		sp.sync(sp.last)
		romeo.want(ack(0))
		mail.open <- nil
		synctest.Wait()
		mail.open <- nil
		juliet.hears(count(1, 10)...)
		sp.sync(sp.last)
		romeo.want(ack(1) + ack(9) + ack(10))
		if fmt.Sprint(mail.sizes) != "[1 8]" {
			t.Errorf("stored at once were %v", mail.sizes)
		}
	})
}

// batches is a store that stores messages when it may.
type batches struct {
	storage.Store
	open  chan error
	sizes []int
}

func (s *batches) AddOfflineEach(ctx context.Context, all []storage.OfflineAdd, quota int) ([]error, error) {
	s.sizes = append(s.sizes, len(all))
	if err := <-s.open; err != nil {
		return nil, err
	}
	return s.Store.AddOfflineEach(ctx, all, quota)
}

// A planned stop waits for what is under way: it counts, and comes once.
func TestRestartWithMessagesUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &archiveGates{open: make(chan error)}
		r := newRestarted(t, func(o *core.Options, p *core.Ports) {
			g.Store = p.Store
			p.Store = g
			with(mam.New(mam.Options{}))(o, p)
		})
		romeo, juliet := r.im("romeo@example.test/x"), r.im("juliet@example.test/a")
		rid, jid := romeo.manage(), juliet.manage()
		romeo.input(say(1))
		synctest.Wait()
		romeo.input(says(2, 9))
		held := romeo.feed("<presence to='juliet@example.test/a'/>") // waits, and is not taken
		synctest.Wait()
		ended := make(chan error)
		go func() { ended <- r.k.Shutdown(t.Context()) }()
		synctest.Wait()
		romeo.reap()
		juliet.reap()
		synctest.Wait()
		select {
		case <-ended:
			t.Error("it did not wait")
		default:
		}
		g.open <- nil
		g.open <- nil
		synctest.Wait()
		r.spool.sync(r.spool.last)
		if err := <-ended; err != nil {
			t.Error(err)
		}
		<-held
		r.start()
		r.resume("romeo@example.test", rid, 0).want("<resumed xmlns='urn:xmpp:sm:3' h='9' previd='" + rid + "'/>")
		juliet = r.resume("juliet@example.test", jid, 0)
		if got := juliet.gotNumbers(); got != upTo(1, 9) {
			t.Errorf("she got %s", got)
		}
	})
}

// unwritten is a spool whose disk takes nothing until it has room.
type unwritten struct {
	*spool
	room chan struct{}
}

func (u unwritten) Written(context.Context, uint64) { <-u.room }

// A message that waits for the spool, before it is stored, holds up its sender's, and
// nobody else's.
func TestStoredBesideAFullSpool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var store storage.Store
		sp := &spool{held: map[uint64]storage.SpoolRecord{}}
		full := unwritten{sp, make(chan struct{})}
		w := spooledWorld(t, sp, func(_ *core.Options, p *core.Ports) {
			store = accountsIn(t, "romeo@example.test", "juliet@example.test")
			p.Store, p.Spool = store, full
		})
		romeo, nurse := w.login("romeo@example.test/x", ""), w.login("nurse@example.test/n", "")
		romeo.manage()
		romeo.input(tell("1"))
		synctest.Wait()
		nurse.send(tell("2"))
		stored := func() string {
			list, err := store.OfflineMessages(t.Context(), jid.MustParse("juliet@example.test"), 0, 10)
			if err != nil {
				t.Fatal(err)
			}
			var all []int
			for _, m := range list {
				all = append(all, bodyNumbers(string(m.XML))...)
			}
			return fmt.Sprint(all)
		}
		if got := stored(); got != "[2]" {
			t.Errorf("stored are %s", got)
		}
		close(full.room)
		synctest.Wait()
		if got := stored(); got != "[2 1]" {
			t.Errorf("then stored are %s", got)
		}
	})
}
