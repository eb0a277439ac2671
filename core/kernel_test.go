package core_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	registry "github.com/hexmpp/hexmpp/adapters/cluster/memory"
	store "github.com/hexmpp/hexmpp/adapters/storage/memory"
	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/core/offline"
	"github.com/hexmpp/hexmpp/ports/auth"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// open lets everybody in whose password is "pw", and keeps no accounts.
type open struct{ auth.Accounts }

func (open) SCRAM(context.Context, jid.JID, auth.Hash) (auth.Keys, error) {
	return auth.Keys{}, fmt.Errorf("no SCRAM in this test")
}

func (open) VerifyPassword(_ context.Context, _ jid.JID, password string) error {
	if password != "pw" {
		return auth.ErrDenied
	}
	return nil
}

// removable can remove accounts.
type removable struct{ auth.Accounts }

func (removable) Remove(context.Context, jid.JID) error { return nil }

// world is a kernel with clients that live in memory: all of it runs on the
// test's goroutine.
type world struct {
	t *testing.T
	k *core.Kernel
}

func newWorld(t *testing.T, change func(*core.Options, *core.Ports)) *world {
	t.Helper()
	o := core.Options{Domains: []string{"example.test", "example.net"}, TLSRequired: true, Offline: offline.Options{Messages: -1}}
	var p core.Ports
	newPorts(&p)
	if change != nil {
		change(&o, &p)
	}
	k, err := core.New(o, p)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := k.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	return &world{t: t, k: k}
}

func newPorts(p *core.Ports) {
	*p = core.Ports{
		Credentials: open{}, Verifier: open{}, Accounts: open{},
		Store: &rosters{Store: store.New(), m: map[jid.JID]storage.Roster{}}, Sessions: registry.New(), Log: zap.NewNop(),
	}
}

// gate is a store that says when it commits, and can fail.
type gate struct {
	storage.Store
	before func()
	fail   error
}

func (g *gate) Commit(ctx context.Context, w storage.Writes) error {
	if g.before != nil {
		g.before()
	}
	if g.fail != nil {
		return g.fail
	}
	return g.Store.Commit(ctx, w)
}

// rosters is a store that keeps rosters of accounts that need not exist.
type rosters struct {
	storage.Store
	m     map[jid.JID]storage.Roster
	fail  error
	asked int // for subscriptions
}

func (r *rosters) Roster(_ context.Context, owner jid.JID) (storage.Roster, error) {
	return r.m[owner], r.fail
}

func (r *rosters) Subscription(_ context.Context, owner, contact jid.JID) (storage.Subscription, error) {
	r.asked++
	for _, i := range r.m[owner].Items {
		if i.Contact == contact {
			return i.Subscription, r.fail
		}
	}
	return storage.SubNone, r.fail
}

func (r *rosters) ChangeRoster(_ context.Context, owner jid.JID, base uint64, put []storage.RosterItem, remove []jid.JID) error {
	was := r.m[owner]
	if r.fail != nil || was.Version != base {
		return errors.Join(storage.ErrConflict, r.fail)
	}
	items := slices.DeleteFunc(slices.Clone(was.Items), func(i storage.RosterItem) bool {
		return slices.Contains(remove, i.Contact) || slices.ContainsFunc(put, func(p storage.RosterItem) bool { return p.Contact == i.Contact })
	})
	items = append(items, put...)
	slices.SortFunc(items, func(a, b storage.RosterItem) int { return strings.Compare(a.Contact.String(), b.Contact.String()) })
	r.m[owner] = storage.Roster{Version: base + 1, Items: items}
	return nil
}

func hostOps(space, key, value string) []storage.Op {
	return []storage.Op{{Space: space, Key: key, Value: []byte(value)}}
}

func with(regs ...extension.Registration) func(*core.Options, *core.Ports) {
	return func(_ *core.Options, p *core.Ports) {
		p.Extensions = regs
		p.Order = extension.Order{}
		for stage := extension.Submit; stage <= extension.Write; stage++ {
			for _, r := range regs {
				if slices.ContainsFunc(r.Stages, func(h extension.StageHandler) bool { return h.Stage == stage }) {
					p.Order[stage] = append(p.Order[stage], r.Name)
				}
			}
		}
	}
}

// held is how adapters of tests hold a connection.
type held struct {
	holds   bool // the kernel has asked for it
	mu      sync.Mutex
	resumed chan struct{}
}

func (h *held) Hold()   { h.holds = true }
func (h *held) Resume() { h.signal() <- struct{}{} } // one at a time: never waits

func (h *held) signal() chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.resumed == nil {
		h.resumed = make(chan struct{}, 1)
	}
	return h.resumed
}

// over waits until the connection is held no more, and is false if it was not. It is called
// behind a Feed without a Wait.
func (h *held) over() bool {
	if !h.holds {
		return false
	}
	h.holds = false
	<-h.signal()
	return true
}

// client is an adapter and a client in one.
type client struct {
	held
	w       *world
	s       transport.Stream
	mu      sync.Mutex
	out     []byte
	closing bool
	gone    bool
	stuck   bool          // does not read: Flush drains nothing
	paused  time.Duration // that the kernel has asked for, in all
	again   bool          // it wants to go on when others had their turns
}

func (c *client) Flush() {
	c.mu.Lock() // timers of the kernel flush, too
	defer c.mu.Unlock()
	for n := -1; !c.gone && !c.stuck && n != len(c.out); {
		n = len(c.out)
		c.out = c.s.Drain(c.out, 16<<10)
	}
}
func (c *client) StartTLS(string)       {}
func (c *client) Pause(d time.Duration) { c.paused, c.again = c.paused+d, d == 0 }
func (c *client) Close()                { c.closing = true }

// connect returns a client on an encrypted connection.
func (w *world) connect() *client {
	c := &client{w: w}
	c.s = w.k.NewStream(transport.Peer{
		Addr: netip.MustParseAddrPort("192.0.2.1:1234"), TLS: &transport.TLS{Version: 0x304},
	}, c)
	w.t.Cleanup(c.drop)
	return c
}

// send feeds input as an adapter does, Waits included, and waits until nothing of it is
// under way.
func (c *client) send(xml string) *client {
	c.input(xml)
	c.w.k.Settle(c.s)
	return c
}

// input is send that waits for no more than an adapter does.
func (c *client) input(xml string) *client {
	var b transport.Batch
	p := []byte(xml)
	for {
		wait := c.s.Feed(&b, p)
		b.Flush()
		again := c.again
		c.again = false
		if c.closing {
			break
		}
		if wait != nil {
			wait(context.Background())
		} else if !c.over() && !again {
			break
		}
		c.Flush() // who ended the wait may not have flushed yet
		p = nil
	}
	c.reap()
	return c
}

// reap does what an adapter does after Close.
func (c *client) reap() {
	if c.closing && !c.gone {
		c.Flush()
		c.drop()
	}
}

// drop is the end of the connection.
func (c *client) drop() {
	c.lose(nil)
}

// lose tells the kernel that the connection is gone, once.
func (c *client) lose(err error) {
	c.mu.Lock() // timers of the kernel flush, too
	gone := c.gone
	c.gone = true
	c.mu.Unlock()
	if !gone {
		var b transport.Batch
		c.s.Closed(&b, err)
		b.Flush()
	}
}

// take returns what the client was sent since the last call.
func (c *client) take() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := string(c.out)
	c.out = nil
	return out
}

const head = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='%s' version='1.0'>"

func (c *client) open(domain string) *client { return c.send(fmt.Sprintf(head, domain)) }

func plain(user, password string) string {
	return "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>" +
		base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+password)) + "</auth>"
}

// login returns a client with a bound resource; presence "" sends none.
func (w *world) login(full, presence string) *client {
	w.t.Helper()
	j := jid.MustParse(full)
	c := w.connect().open(j.Domain()).send(plain(j.Local(), "pw")).open(j.Domain())
	c.send("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>" + j.Resource() + "</resource></bind></iq>")
	if out := c.take(); !strings.Contains(out, "<jid>"+full+"</jid>") {
		w.t.Fatalf("login of %s: %s", full, out)
	}
	if presence != "" {
		c.send(presence).take()
	}
	return c
}

var ids = regexp.MustCompile(` id='[A-Za-z0-9_-]{24}'`)

// want compares what the client was sent, stream ids left out; also requests of
// acknowledgements, where none is expected.
func (c *client) want(xml string) {
	c.w.t.Helper()
	got := ids.ReplaceAllString(c.take(), "")
	if !strings.Contains(xml, askAck) {
		got = strings.ReplaceAll(got, askAck, "")
	}
	if got != xml {
		c.w.t.Errorf("got:\n%.2000s\nwant:\n%.2000s", got, xml)
	}
}

// wantPart checks that what the client was sent contains xml.
func (c *client) wantPart(xml string) {
	c.w.t.Helper()
	if got := c.take(); !strings.Contains(got, xml) {
		c.w.t.Errorf("got:\n%.2000s\nwant a part:\n%s", got, xml)
	}
}

// anybody is a store in which every account has entries, of which nothing is kept.
type anybody struct{ storage.Store }

func (anybody) Commit(context.Context, storage.Writes) error { return nil }
