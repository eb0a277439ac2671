package core_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/hexmpp/hexmpp/adapters/extension/mam"
	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/core/offline"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// gates is a store in which whatever writes a message waits until the test opens
// its gate, or has it fail.
type gates struct {
	storage.Store

	mu        sync.Mutex
	waiting   []*gated
	seen      map[int]bool // messages that came to a gate
	committed map[int]bool // messages all of whose writes so far are committed
	failed    map[int]bool
}

// gated is a write that waits.
type gated struct {
	messages []int
	open     chan error
}

var bodies = regexp.MustCompile(`<body>(\d+)</body>`)

// bodyNumbers returns the messages in some XML.
func bodyNumbers(xml string) (all []int) {
	for _, m := range bodies.FindAllStringSubmatch(xml, -1) {
		n, _ := strconv.Atoi(m[1])
		all = append(all, n)
	}
	return all
}

// pass waits for the gate of what writes these messages, and then writes.
func (g *gates) pass(xml string, write func() error) error {
	all := bodyNumbers(xml)
	if len(all) == 0 {
		return write()
	}
	w := &gated{all, make(chan error)}
	g.mu.Lock()
	g.waiting = append(g.waiting, w)
	for _, n := range all {
		g.seen[n], g.committed[n] = true, false
	}
	g.mu.Unlock()
	err := <-w.open
	if err == nil {
		err = write()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, n := range all {
		g.committed[n], g.failed[n] = err == nil, err != nil
	}
	return err
}

func (g *gates) AddOffline(ctx context.Context, owner jid.JID, m storage.OfflineMessage, quota int) (id uint64, err error) {
	err = g.pass(string(m.XML), func() error {
		id, err = g.Store.AddOffline(ctx, owner, m, quota)
		return err
	})
	return id, err
}

func (g *gates) AddOfflineEach(ctx context.Context, all []storage.OfflineAdd, quota int) (results []error, err error) {
	var xml strings.Builder
	for _, m := range all {
		xml.Write(m.Message.XML)
	}
	err = g.pass(xml.String(), func() error {
		results, err = g.Store.AddOfflineEach(ctx, all, quota)
		return err
	})
	return results, err
}

func (g *gates) AddOfflineAll(ctx context.Context, owner jid.JID, all []storage.OfflineMessage) error {
	var xml strings.Builder
	for _, m := range all {
		xml.Write(m.XML)
	}
	return g.pass(xml.String(), func() error { return g.Store.AddOfflineAll(ctx, owner, all) })
}

func (g *gates) Commit(ctx context.Context, w storage.Writes) error {
	var xml strings.Builder
	for i := range w.Ops {
		xml.Write(w.Ops[i].Value)
	}
	for i := range w.Rows {
		xml.WriteString(w.Rows[i].XML)
	}
	return g.pass(xml.String(), func() error { return g.Store.Commit(ctx, w) })
}

// release opens one of the gates, with an error or without. It is false if there
// is none.
func (g *gates) release(which func(n int) int, err error) bool {
	g.mu.Lock()
	if len(g.waiting) == 0 {
		g.mu.Unlock()
		return false
	}
	i := which(len(g.waiting))
	w := g.waiting[i]
	g.waiting = slices.Delete(g.waiting, i, i+1)
	g.mu.Unlock()
	w.open <- err
	return true
}

func first(int) int { return 0 }

// archives are extensions that write each chat message before it is delivered, to
// a Store or to an Archive. All of them are tried; those that others bring belong here.
var archives = map[string]func(t *testing.T) extension.Registration{
	"an extension of the test": func(*testing.T) extension.Registration {
		return staged(extension.Deliver, extension.Decide, func(_ context.Context, h *extension.Host, e *extension.Envelope) (extension.Verdict, error) {
			if st := e.Stanza; st.Kind == stanza.Message && st.Type == stanza.Chat {
				h.Store.Put(st.To.Bare(), st.ID, []byte("<body>"+st.ID+"</body>"))
			}
			return extension.Verdict{}, nil
		})
	},
	"mam": func(*testing.T) extension.Registration { return mam.New(mam.Options{}) },
}

// noting is a spool that remembers which message is in which record.
type noting struct {
	*spool
	records map[int]uint64
}

func (n *noting) Append(r storage.SpoolRecord) uint64 {
	id := n.spool.Append(r)
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, m := range bodyNumbers(string(r.Stanza.Append(nil, jid.JID{}, ""))) {
		n.records[m] = id
	}
	return id
}

// gateWorld is some people who write to one another through gates.
type gateWorld struct {
	t        *testing.T
	w        *world
	gates    *gates
	spool    *noting
	archived bool // each message is written by an archive

	people []*gateClient
	to     []*gateClient // whom each message is for
	from   []*gateClient
	synced uint64       // up to which record the spool is on disk
	acked  map[int]bool // its recipient acknowledged it
}

// gateClient is somebody who sends from a goroutine of its own, and gets something.
type gateClient struct {
	*client
	bare    string
	in      chan string
	ended   chan struct{}
	sent    []int        // what the server is to count, in order; 0 is presence
	told    int          // the server's count
	refused map[int]bool // messages that came back
	got     []int
	handled int // stanzas that came
}

// newGateWorld returns some people, of whom the first are online.
func newGateWorld(t *testing.T, people, online int, archive func(*testing.T) extension.Registration) *gateWorld {
	g := &gateWorld{
		t: t, spool: &noting{spool: &spool{}, records: map[int]uint64{}}, archived: archive != nil, acked: map[int]bool{},
		to: []*gateClient{nil}, from: []*gateClient{nil}, // message 0 is none
	}
	var names []string
	for i := range people {
		names = append(names, fmt.Sprintf("u%d@example.test", i))
	}
	g.w = spooledWorld(t, g.spool.spool, func(o *core.Options, p *core.Ports) {
		g.gates = &gates{Store: accountsIn(t, names...), seen: map[int]bool{}, committed: map[int]bool{}, failed: map[int]bool{}}
		p.Store, p.Spool, o.Offline = g.gates, g.spool, offline.Options{Messages: 10_000}
		if archive != nil {
			with(archive(t))(o, p)
		}
	})
	for i, bare := range names {
		g.people = append(g.people, &gateClient{bare: bare, refused: map[int]bool{}})
		if i < online {
			g.login(g.people[i])
		}
	}
	return g
}

// login brings somebody online, with stream management.
func (g *gateWorld) login(c *gateClient) {
	c.client = g.w.login(c.bare+"/r", "")
	c.manage()
	c.in, c.ended = make(chan string, 1000), make(chan struct{})
	go func() {
		defer close(c.ended)
		for xml := range c.in {
			c.input(xml)
		}
	}()
	c.in <- "<presence/>"
	c.sent = append(c.sent, 0)
	g.look()
}

// say has somebody write to somebody.
func (g *gateWorld) say(from, to *gateClient) {
	n := len(g.to)
	g.from, g.to = append(g.from, from), append(g.to, to)
	from.sent = append(from.sent, n)
	from.in <- fmt.Sprintf("<message to='%s' type='chat' id='%d'><body>%d</body></message>"+askAck, to.bare, n, n)
	g.look()
}

// ack has somebody acknowledge what came.
func (g *gateWorld) ack(c *gateClient) {
	for _, n := range c.got {
		g.acked[n] = true
	}
	c.in <- ack(c.handled)
	g.look()
}

// sync has the spool on disk up to a record.
func (g *gateWorld) sync(upTo uint64) {
	g.synced = max(g.synced, upTo)
	g.spool.sync(upTo)
	g.look()
}

// open opens a gate: see gates.release.
func (g *gateWorld) open(which func(n int) int, err error) bool {
	ok := g.gates.release(which, err)
	g.look()
	return ok
}

// output is what clients are sent, piece by piece.
var output = regexp.MustCompile(`<a xmlns='urn:xmpp:sm:3' h='(\d+)'/>|<presence [^>]*/>|<(?:message|presence|iq) .*?</(?:message|presence|iq)>`)

// look reads what everybody was sent, and checks that it could be sent by now.
func (g *gateWorld) look() {
	g.t.Helper()
	synctest.Wait()
	for _, c := range g.people {
		if c.client == nil {
			continue
		}
		for _, m := range output.FindAllStringSubmatch(c.take(), -1) {
			if m[1] != "" {
				h, _ := strconv.Atoi(m[1])
				g.counted(c, h)
				continue
			}
			c.handled++
			switch ids := messageIDs.FindStringSubmatch(m[0]); {
			case ids != nil:
				n, _ := strconv.Atoi(ids[1])
				c.refused[n] = true
				if !g.gates.failed[n] {
					g.t.Errorf("message %d came back, and nothing had failed: %s", n, m[0])
				}
			default:
				for _, n := range bodyNumbers(m[0]) {
					g.delivered(c, n)
				}
			}
		}
	}
}

var messageIDs = regexp.MustCompile(`^<message [^>]*id='(\d+)' type='error'`)

// delivered checks that a message could be delivered by now.
func (g *gateWorld) delivered(c *gateClient, n int) {
	g.t.Helper()
	c.got = append(c.got, n)
	switch {
	case g.to[n] != c:
		g.t.Errorf("message %d came to %s", n, c.bare)
	case g.gates.failed[n]:
		g.t.Errorf("message %d was delivered, though it could not be kept", n)
	case g.gates.seen[n] && !g.gates.committed[n], g.archived && !g.gates.seen[n]:
		g.t.Errorf("message %d was delivered before it was committed", n)
	}
}

// counted checks that everything that an <a/> counts is safe.
func (g *gateWorld) counted(c *gateClient, h int) {
	g.t.Helper()
	if h > len(c.sent) || h < c.told {
		g.t.Errorf("%s was told %d, after %d, of %d", c.bare, h, c.told, len(c.sent))
		return
	}
	for _, n := range c.sent[c.told:h] {
		if !g.safe(c, n) {
			g.t.Errorf("message %d was acknowledged before it was safe", n)
		}
	}
	c.told = h
}

func (g *gateWorld) safe(sender *gateClient, n int) bool {
	record, spooled := g.spool.records[n]
	return n == 0 || g.acked[n] || g.gates.committed[n] || spooled && record <= g.synced || sender.refused[n]
}

// settle opens all gates, has everybody come online and acknowledge, and checks that
// everything that did not fail has come, once and in order, and is counted.
func (g *gateWorld) settle() {
	g.t.Helper()
	for g.open(first, nil) {
	}
	for _, c := range g.people {
		if c.client == nil {
			g.login(c)
		}
		for n := -1; n != len(c.got); { // stored messages come as far as they are acknowledged
			n = len(c.got)
			g.ack(c)
		}
		c.in <- askAck
	}
	g.sync(g.spool.last)
	expected := make(map[*gateClient]map[*gateClient][]int)
	for n := 1; n < len(g.to); n++ {
		from, to := g.from[n], g.to[n]
		if g.gates.failed[n] {
			if !from.refused[n] {
				g.t.Errorf("message %d could not be kept, and its sender does not know", n)
			}
			continue
		}
		if expected[to] == nil {
			expected[to] = map[*gateClient][]int{}
		}
		expected[to][from] = append(expected[to][from], n)
	}
	for _, c := range g.people {
		if c.told != len(c.sent) {
			g.t.Errorf("%s was told %d of %d", c.bare, c.told, len(c.sent))
		}
		for _, from := range g.people {
			var got []int
			for _, n := range c.got {
				if g.from[n] == from {
					got = append(got, n)
				}
			}
			if want := expected[c][from]; !slices.Equal(got, want) {
				g.t.Errorf("%s got %v of %s, want %v", c.bare, got, from.bare, want)
			}
		}
		close(c.in)
		<-c.ended
	}
}

// each runs a test without an archive, and with each of them.
func eachArchive(t *testing.T, f func(t *testing.T, archive func(*testing.T) extension.Registration)) {
	t.Run("no archive", func(t *testing.T) { f(t, nil) })
	for name, archive := range archives {
		t.Run(name, func(t *testing.T) { f(t, archive) })
	}
}

// What an <a/> counts is in the spool, or committed; what is committed at all is
// committed before it is delivered (XEP-0198 4; docs/durability.md). The checks are
// those of gateWorld: these tests go the ways that a message may take.
func TestGates(t *testing.T) {
	gone := errors.New("database is gone")
	ways := map[string]func(g *gateWorld, romeo, juliet, nurse *gateClient){
		"to somebody who is online": func(g *gateWorld, romeo, juliet, _ *gateClient) {
			g.say(romeo, juliet)
			g.open(first, nil)
			if len(juliet.got) != 1 || romeo.told != 1 && !g.archived {
				g.t.Errorf("juliet got %v, romeo was told %d", juliet.got, romeo.told)
			}
			g.sync(1)
			if romeo.told != 2 {
				g.t.Errorf("romeo was told %d", romeo.told)
			}
		},
		"to somebody who is offline": func(g *gateWorld, romeo, _, nurse *gateClient) {
			g.say(romeo, nurse)
			g.sync(1) // on disk it is safe from a kill, but it may still be refused
			if romeo.told > 1 {
				g.t.Errorf("romeo was told %d", romeo.told)
			}
		},
		"to somebody who comes online while it is stored": func(g *gateWorld, romeo, _, nurse *gateClient) {
			g.say(romeo, nurse)
			g.login(nurse)
			if len(nurse.got) != 0 {
				g.t.Errorf("she got %v", nurse.got)
			}
			for g.open(first, nil) {
			}
			if len(nurse.got) != 1 {
				g.t.Errorf("she got %v", nurse.got)
			}
		},
		"what can't be kept is refused, the rest is not": func(g *gateWorld, romeo, juliet, nurse *gateClient) {
			g.say(romeo, nurse)
			g.say(romeo, juliet)
			g.say(romeo, nurse)
			if !g.open(first, gone) || !romeo.refused[1] {
				g.t.Error("the first was not refused")
			}
			for g.open(first, nil) {
			}
		},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			eachArchive(t, func(t *testing.T, archive func(*testing.T) extension.Registration) {
				synctest.Test(t, func(t *testing.T) {
					g := newGateWorld(t, 3, 2, archive)
					way(g, g.people[0], g.people[1], g.people[2])
					g.settle()
				})
			})
		})
	}
}

// The same with commits, syncs, failures, acknowledgements and logins at random.
func TestGatesAtRandom(t *testing.T) {
	gone := errors.New("disk full")
	for seed := range uint64(30) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			eachArchive(t, func(t *testing.T, archive func(*testing.T) extension.Registration) {
				synctest.Test(t, func(t *testing.T) {
					r := rand.New(rand.NewPCG(seed, 1))
					g := newGateWorld(t, 6, 4, archive)
					online := g.people[:4]
					for range 150 {
						switch c := online[r.IntN(len(online))]; r.IntN(10) {
						case 0, 1, 2, 3:
							g.say(c, g.people[r.IntN(len(g.people))])
						case 4, 5, 6:
							g.open(r.IntN, nil)
						case 7:
							if r.IntN(3) == 0 {
								g.open(r.IntN, gone)
							}
						case 8:
							if g.spool.last > g.synced {
								g.sync(g.synced + 1 + r.Uint64N(g.spool.last-g.synced))
							}
						case 9:
							g.ack(c)
							if r.IntN(30) == 0 && len(online) < len(g.people) {
								g.login(g.people[len(online)])
								online = g.people[:len(online)+1]
							}
						}
					}
					g.settle()
				})
			})
		})
	}
}
