package core_test

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	store "github.com/hexmpp/hexmpp/adapters/storage/memory"
	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/core/offline"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

var romeo, juliet = jid.MustParse("romeo@example.test"), jid.MustParse("juliet@example.test")

// mailbox is a store whose calls for offline messages can be held up, and fail.
type mailbox struct {
	storage.Store

	mu                sync.Mutex
	add, read, delete func() error // asked before the call, nil for none
	added             func() error // asked behind it
	addAll, addedAll  func() error // the same for what is left, besides
	reads, deletes    int
	batches           int
}

func (m *mailbox) ask(f *func() error, count *int) error {
	m.mu.Lock()
	*count++
	g := *f
	m.mu.Unlock()
	if g == nil {
		return nil
	}
	return g()
}

// set changes one of the functions.
func (m *mailbox) set(f *func() error, to func() error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	*f = to
}

func (m *mailbox) AddOffline(ctx context.Context, owner jid.JID, x storage.OfflineMessage, quota int) (uint64, error) {
	var n int
	if err := m.ask(&m.add, &n); err != nil {
		return 0, err
	}
	id, err := m.Store.AddOffline(ctx, owner, x, quota)
	if e := m.ask(&m.added, &n); e != nil {
		return 0, e
	}
	return id, err
}

func (m *mailbox) AddOfflineEach(ctx context.Context, all []storage.OfflineAdd, quota int) ([]error, error) {
	return addEach(ctx, m, all, quota)
}

// addEach is storage.Offline.AddOfflineEach by AddOffline.
func addEach(ctx context.Context, s storage.Offline, all []storage.OfflineAdd, quota int) ([]error, error) {
	results := make([]error, len(all))
	for i, m := range all {
		_, results[i] = s.AddOffline(ctx, m.Owner, m.Message, quota)
	}
	return results, nil
}

func (m *mailbox) AddOfflineAll(ctx context.Context, owner jid.JID, all []storage.OfflineMessage) error {
	m.mu.Lock()
	m.batches++
	m.mu.Unlock()
	var n int
	for _, f := range []*func() error{&m.add, &m.addAll} {
		if err := m.ask(f, &n); err != nil {
			return err
		}
	}
	err := m.Store.AddOfflineAll(ctx, owner, all)
	for _, f := range []*func() error{&m.added, &m.addedAll} {
		if e := m.ask(f, &n); e != nil {
			return e
		}
	}
	return err
}

func (m *mailbox) OfflineMessages(ctx context.Context, owner jid.JID, after uint64, limit int) ([]storage.OfflineMessage, error) {
	page, err := m.Store.OfflineMessages(ctx, owner, after, limit)
	if e := m.ask(&m.read, &m.reads); e != nil { // what was read may be old by now
		return nil, e
	}
	return page, err
}

func (m *mailbox) DeleteOffline(ctx context.Context, owner jid.JID, ids []uint64) error {
	if err := m.ask(&m.delete, &m.deletes); err != nil {
		return err
	}
	return m.Store.DeleteOffline(ctx, owner, ids)
}

// gateway holds up calls until it is opened.
type gateway chan struct{}

func (g gateway) pass() error { <-g; return nil }

// offlineWorld has accounts romeo and juliet, and stores messages. It runs in a
// bubble of synctest.
func offlineWorld(t *testing.T, change func(*core.Options, *core.Ports)) (*world, *mailbox) {
	m := &mailbox{Store: store.New()}
	for _, user := range []jid.JID{romeo, juliet} {
		if err := m.CreateAccount(t.Context(), storage.Account{User: user}); err != nil {
			t.Fatal(err)
		}
	}
	return newWorld(t, func(o *core.Options, p *core.Ports) {
		o.Offline = offline.Options{}
		o.Limits.UnauthenticatedTime = 24 * time.Hour
		p.Store = m
		if change != nil {
			change(o, p)
		}
	}), m
}

// waiting returns what is stored for an account, as bodies.
func (m *mailbox) waiting(t *testing.T, owner jid.JID) (bodies []string) {
	t.Helper()
	all, err := m.Store.OfflineMessages(t.Context(), owner, 0, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range all {
		bodies = append(bodies, bodiesOf(string(x.XML))...)
	}
	return bodies
}

var bodyText = regexp.MustCompile(`<body>([^<]*)</body>`)

func bodiesOf(xml string) (bodies []string) {
	for _, m := range bodyText.FindAllStringSubmatch(xml, -1) {
		bodies = append(bodies, m[1])
	}
	return bodies
}

// tell is a chat message from romeo to juliet's bare JID.
func tell(bodies ...string) string {
	var all strings.Builder
	for _, b := range bodies {
		fmt.Fprintf(&all, "<message to='juliet@example.test' type='chat'><body>%s</body></message>", b)
	}
	return all.String()
}

// hears checks the bodies that a client has got by now, in order.
func (c *client) hears(bodies ...string) (xml string) {
	c.w.t.Helper()
	synctest.Wait()
	xml = c.take()
	if got := bodiesOf(xml); !slices.Equal(got, bodies) {
		c.w.t.Errorf("got %q, want %q", got, bodies)
	}
	return xml
}

// arrives is a client that has sent presence, and was sent what it was sent.
func (w *world) arrives(full string) *client {
	w.t.Helper()
	return w.login(full, "").send("<presence/>")
}

func keeps(t *testing.T, m *mailbox, bodies ...string) {
	t.Helper()
	synctest.Wait()
	if got := m.waiting(t, juliet); !slices.Equal(got, bodies) {
		t.Errorf("stored are %q, want %q", got, bodies)
	}
}

func count(from, to int) (bodies []string) {
	for i := from; i <= to; i++ {
		bodies = append(bodies, fmt.Sprint(i))
	}
	return bodies
}

// What is stored of what nobody takes (XEP-0160 3, XEP-0334, RFC 6121 8.5.1,
// 8.5.2.2.1, 8.5.3.2.1): K it is kept, E its sender gets service-unavailable, S
// neither. An account that is not there looks the same.
func TestWhatIsStored(t *testing.T) {
	const (
		body  = "<body>hi</body>"
		state = "<composing xmlns='http://jabber.org/protocol/chatstates'/>"
		hint  = "<%s xmlns='urn:xmpp:hints'/>"
	)
	store, noStore, noPermanent := fmt.Sprintf(hint, "store"), fmt.Sprintf(hint, "no-store"), fmt.Sprintf(hint, "no-permanent-store")
	for _, row := range []struct {
		rule, typ, content string
		bare, full         string
	}{
		{"XEP-0160 3 chat", "chat", body, "K", "K"},
		{"XEP-0160 3 normal", "normal", body, "K", "E"},
		{"XEP-0160 3 no type", "", body, "K", "E"},
		{"RFC 6121 5.2.2 an unknown type", "nonsense", body, "K", "E"},
		{"XEP-0160 3 groupchat", "groupchat", body, "E", "E"},
		{"XEP-0160 3 headline", "headline", body, "S", "S"},
		{"XEP-0160 3 error", "error", body, "S", "S"},
		{"nothing in it", "chat", "", "K", "K"},
		{"a subject", "normal", "<subject>x</subject>", "K", "E"},
		{"some payload", "chat", "<x xmlns='urn:x'/>", "K", "K"},
		{"XEP-0160 3 chat state alone", "chat", state, "S", "S"},
		{"XEP-0085 5.5 chat state with a thread", "chat", "<thread>t</thread>" + state, "S", "S"},
		{"a chat state with hints and an ID", "chat", state + noStore + "<origin-id xmlns='urn:xmpp:sid:0' id='1'/>", "S", "S"},
		{"chat state with a body", "chat", body + state, "K", "K"},
		{"a thread alone", "chat", "<thread>t</thread>", "K", "K"},
		{"XEP-0334 4.2 no-store", "chat", body + noStore, "E", "E"},
		{"XEP-0334 4.1 no-permanent-store", "chat", body + noPermanent, "K", "K"},
		{"XEP-0334 4.4 store", "chat", state + store, "K", "K"},
		{"XEP-0334 store and no-store", "chat", body + store + noStore, "E", "E"},
		{"XEP-0334 5 hints in an error", "error", body + store, "S", "S"},
		{"XEP-0334 4.4 store, groupchat", "groupchat", body + store, "E", "E"},
		{"XEP-0334 4.4 store, headline", "headline", body + store, "S", "S"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, m := offlineWorld(t, nil)
				r := w.login("romeo@example.test/x", "")
				for to, want := range map[string]string{"juliet@example.test": row.bare, "juliet@example.test/gone": row.full} {
					typ := ""
					if row.typ != "" {
						typ = " type='" + row.typ + "'"
					}
					answer := func(to string) string {
						r.send("<message id='1' to='" + to + "'" + typ + ">" + row.content + "</message>")
						return strings.ReplaceAll(r.take(), to, "TO")
					}
					there, nowhere := answer(to), answer(strings.Replace(to, "juliet", "nobody", 1))
					if there != nowhere {
						t.Errorf("to %s: %s\nto nobody: %s", to, there, nowhere)
					}
					got := "S"
					all, err := m.Store.OfflineMessages(t.Context(), juliet, 0, 10)
					if err != nil {
						t.Fatal(err)
					}
					ids := make([]uint64, len(all))
					for i, x := range all {
						got, ids[i] = "K", x.ID
						if s := "<message xmlns='jabber:client' from='romeo@example.test/x' to='" + to + "' id='1'" + typ; !strings.HasPrefix(string(x.XML), s) || !strings.Contains(string(x.XML), row.content) {
							t.Errorf("stored is %s", x.XML)
						}
					}
					switch {
					case strings.Contains(there, "<service-unavailable"):
						got += "E"
					case there != "":
						t.Errorf("romeo got %s", there)
					}
					if got = strings.Replace(got, "SE", "E", 1); got != want {
						t.Errorf("to %s: %s, want %s", to, got, want)
					}
					if err := m.Store.DeleteOffline(t.Context(), juliet, ids); err != nil {
						t.Error(err)
					}
				}
			})
		})
	}
}

// XEP-0160 3: chat states that a session left, held back or unacknowledged, are
// neither stored nor returned, though they are stamped by then; nor are they where
// nothing is stored.
func TestChatStatesThatWereLeft(t *testing.T) {
	for _, messages := range []int{0, -1} {
		for _, held := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				w, m := offlineWorld(t, func(o *core.Options, p *core.Ports) {
					o.Offline.Messages = messages
					with(marking(holding()))(o, p)
				})
				r, j := w.login("romeo@example.test/x", ""), w.arrives("juliet@example.test/a")
				j.manage()
				if held {
					j.send(on("goes"))
				}
				for _, to := range []string{"juliet@example.test", "juliet@example.test/a"} {
					for _, typ := range []string{"chat", "normal"} {
						r.send("<message to='" + to + "' type='" + typ + "'><composing xmlns='http://jabber.org/protocol/chatstates'/><no-store xmlns='urn:xmpp:hints'/></message>")
						r.send("<message to='" + to + "' type='" + typ + "'><paused xmlns='http://jabber.org/protocol/chatstates'/></message>")
					}
				}
				j.cut()
				time.Sleep(11 * time.Minute)
				synctest.Wait()
				r.Flush()
				r.want("")
				all, err := m.Store.OfflineMessages(t.Context(), juliet, 0, 10)
				if err != nil || len(all) > 0 {
					t.Errorf("held %v: stored are %v, %v", held, all, err)
				}
			})
		}
	}
}

// XEP-0160 2, XEP-0203 2: once, in order, with a stamp, in front of all else.
func TestStoredMessagesAreDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, m := offlineWorld(t, nil)
		r := w.login("romeo@example.test/x", "")
		first := time.Now()
		r.send("<message to='juliet@example.test' id='1' type='chat' xml:lang='it'><body>un</body></message>")
		time.Sleep(1500 * time.Millisecond)
		r.send("<message to='juliet@example.test/gone' id='2' type='chat'><body>deux</body></message>").want("")
		keeps(t, m, "un", "deux")
		j := w.login("juliet@example.test/a", "")
		j.send("<presence/>")
		synctest.Wait()
		stamp := func(at time.Time) string {
			return "<delay xmlns='urn:xmpp:delay' from='example.test' stamp='" + at.UTC().Format("2006-01-02T15:04:05.000Z") + "'/>"
		}
		j.want("<message from='romeo@example.test/x' to='juliet@example.test' id='1' type='chat' xml:lang='it'><body>un</body>" + stamp(first) + "</message>" +
			"<message from='romeo@example.test/x' to='juliet@example.test/gone' id='2' type='chat'><body>deux</body>" + stamp(first.Add(1500*time.Millisecond)) + "</message>" +
			"<presence from='juliet@example.test/a' to='juliet@example.test'/>")
		keeps(t, m)
		w.arrives("juliet@example.test/b").hears()
		j.hears()
		r.send(tell("live"))
		j.hears("live")
		keeps(t, m)
	})
}

// They count as delivered when they come, not when they are stored.
func TestStoredMessagesAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var delivered atomic.Int32
		w, _ := offlineWorld(t, func(_ *core.Options, p *core.Ports) {
			p.Observe.Delivered = func(k stanza.Kind) {
				if k == stanza.Message {
					delivered.Add(1)
				}
			}
		})
		w.login("romeo@example.test/x", "").send(tell("1", "2"))
		if n := delivered.Load(); n != 0 {
			t.Errorf("%d are delivered to nobody", n)
		}
		w.arrives("juliet@example.test/a").hears("1", "2")
		if n := delivered.Load(); n != 2 {
			t.Errorf("%d are delivered", n)
		}
	})
}

// Many messages are read page by page; what comes meanwhile is behind them.
func TestManyStoredMessages(t *testing.T) {
	for _, managed := range []bool{false, true} {
		t.Run(fmt.Sprint("stream management ", managed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, m := offlineWorld(t, nil)
				r := w.login("romeo@example.test/x", "")
				r.send(tell(count(1, 205)...))
				j := w.login("juliet@example.test/a", "")
				if managed {
					j.manage()
				}
				j.setStuck(true)
				j.send("<presence/>")
				synctest.Wait()
				r.send(tell("live"))
				synctest.Wait()
				if m.reads > 1 {
					t.Errorf("%d pages were read for a client that does not read", m.reads)
				}
				j.setStuck(false)
				if !managed {
					j.hears(append(count(1, 205), "live")...)
					keeps(t, m)
					return
				}
				var all []string
				for h := 0; len(all) < 206; {
					synctest.Wait()
					out := j.take()
					all = append(all, bodiesOf(out)...)
					if len(all) > h+64+10 && len(all) < 206 {
						t.Fatalf("%d messages were sent, %d of them acknowledged", len(all), h)
					}
					if len(all) == h {
						t.Fatalf("no more come than %d; %s", h, out)
					}
					if h = len(all); !strings.Contains(out, "<r xmlns='urn:xmpp:sm:3'/>") {
						t.Fatalf("no acknowledgement is asked for: %s", out)
					}
					j.send(fmt.Sprintf("<a xmlns='urn:xmpp:sm:3' h='%d'/>", h))
				}
				if !slices.Equal(all, append(count(1, 205), "live")) {
					t.Errorf("got %q", all)
				}
				keeps(t, m)
			})
		})
	}
}

// setStuck says whether the client reads; if so it reads what it has not.
func (c *client) setStuck(stuck bool) {
	c.mu.Lock()
	c.stuck = stuck
	c.mu.Unlock()
	if !stuck {
		c.Flush()
	}
}

// RFC 6121 8.5.2.1.1: a negative priority takes none, until it is raised.
func TestNegativePriorityFetchesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, m := offlineWorld(t, nil)
		r := w.login("romeo@example.test/x", "")
		r.send(tell("1"))
		j := w.login("juliet@example.test/a", "<presence><priority>-1</priority></presence>")
		r.send(tell("2"))
		j.hears()
		keeps(t, m, "1", "2")
		j.send("<presence><priority>0</priority></presence>").hears("1", "2")
		keeps(t, m)
		reads := m.reads
		j.send("<presence><priority>5</priority></presence><presence><show>away</show></presence>").hears()
		if m.reads != reads {
			t.Error("a change of presence reads storage")
		}
	})
}

// A session that takes no more messages amid them leaves the rest to another
// one, or to the next.
func TestFetchEndsWithAvailability(t *testing.T) {
	for presence, online := range map[string]bool{"<presence type='unavailable'/>": true, "<presence><priority>-2</priority></presence>": false} {
		t.Run(presence, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, m := offlineWorld(t, nil)
				r := w.login("romeo@example.test/x", "")
				r.send(tell(count(1, 25)...))
				j := w.login("juliet@example.test/a", "")
				j.setStuck(true)
				j.send("<presence/>")
				synctest.Wait()
				var other *client
				if online {
					other = w.arrives("juliet@example.test/b")
					other.hears() // one at a time
				}
				j.send(presence)
				if other == nil {
					keeps(t, m, count(1, 25)...)
					other = w.arrives("juliet@example.test/b")
				}
				other.hears(count(1, 25)...)
				j.setStuck(false)
				j.hears()
				keeps(t, m)
			})
		})
	}
}
