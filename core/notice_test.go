package core_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
)

// watching is an extension that notes who became unavailable, and how, or what it
// watches for.
type watching struct {
	events []extension.Event

	mu   sync.Mutex
	seen []string
	at   []time.Time
	stop bool
}

func (w *watching) registration() extension.Registration {
	if w.events == nil {
		w.events = []extension.Event{extension.BecameUnavailable}
	}
	return extension.Registration{
		Name: "watching", Permissions: []extension.Permission{extension.SeePresence},
		Notices: w.events,
		Notice: func(_ context.Context, _ *extension.Host, n extension.Notice) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.seen = append(w.seen, n.Session.String()+" "+string(n.Presence.Append(nil, jid.JID{}, "")))
			w.at = append(w.at, n.At)
			if w.stop {
				w.seen = append(w.seen, "behind the end")
			}
			return nil
		},
		Stop: func(context.Context) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.stop = true
			return nil
		},
	}
}

// take returns what was told since the last time.
func (w *watching) take() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := strings.Join(w.seen, "\n")
	w.seen, w.at = nil, nil
	return all
}

// RFC 6121 4.5: a session that was available is so no more: told once, whatever
// ends it, and only of such.
func TestBecameUnavailable(t *testing.T) {
	const (
		ended = "romeo@example.test/x <presence from='romeo@example.test/x' type='unavailable'/>"
		bye   = "romeo@example.test/x <presence from='romeo@example.test/x' type='unavailable'><status>bye</status></presence>"
		leave = "<presence type='unavailable'><status>bye</status></presence>"
	)
	for _, row := range []struct {
		rule string
		does func(w *world, c *client)
		want string
	}{
		{"unavailable presence", func(_ *world, c *client) { c.send("<presence/>" + leave) }, bye},
		{"and then the end", func(_ *world, c *client) { c.send("<presence/>" + leave + "</stream:stream>") }, bye},
		{"unavailable presence twice", func(_ *world, c *client) { c.send("<presence/>" + leave + leave) }, bye},
		{"the end of the stream", func(_ *world, c *client) { c.send("<presence/></stream:stream>") }, ended},
		{"a connection that breaks", func(_ *world, c *client) { c.send("<presence/>"); c.cut() }, ended},
		{"a stream error", func(_ *world, c *client) { c.send("<presence/><presence from='juliet@example.test'/>") }, ended},
		{"available again, and then the end", func(_ *world, c *client) { c.send("<presence/>" + leave + "<presence/></stream:stream>") }, bye + "\n" + ended},
		{"an update is none", func(_ *world, c *client) { c.send("<presence/><presence><show>away</show></presence>") }, ""},
		{"directed presence is none", func(_ *world, c *client) {
			c.send("<presence/><presence to='juliet@example.test'/><presence to='juliet@example.test' type='unavailable'/>")
		}, ""},
		{"never available", func(_ *world, c *client) { c.send(leave + "</stream:stream>") }, ""},
		{"never available, but for directed presence", func(_ *world, c *client) { c.send("<presence to='juliet@example.test'/></stream:stream>") }, ""},
		{"replaced", func(w *world, c *client) { c.send("<presence/>"); w.login("romeo@example.test/x", "") }, ended},
		{"of two sessions each", func(w *world, c *client) {
			c.send("<presence/>")
			w.login("romeo@example.test/y", "<presence/>").send("</stream:stream>")
			c.send("</stream:stream>")
		}, strings.ReplaceAll(ended, "/x", "/y") + "\n" + ended},
		{"a session that waits for another connection is available", func(_ *world, c *client) { c.send("<presence/>"); c.manage(); c.cut() }, ""},
		{"until its time is up", func(_ *world, c *client) {
			c.send("<presence/>")
			c.manage()
			c.cut()
			time.Sleep(11 * time.Minute)
		}, ended},
		{"the account is removed", func(w *world, c *client) {
			c.send("<presence/>")
			if err := w.k.RemoveUser(context.Background(), jid.MustParse("romeo@example.test")); err != nil {
				w.t.Error(err)
			}
		}, ended},
	} {
		synctest.Test(t, func(t *testing.T) {
			var seen watching
			w := newWorld(t, func(o *core.Options, p *core.Ports) {
				p.Accounts = removable{}
				with(seen.registration())(o, p)
			})
			c := w.login("romeo@example.test/x", "")
			row.does(w, c)
			synctest.Wait()
			if got := seen.take(); got != row.want {
				t.Errorf("%s: told\n%s\nwant\n%s", row.rule, got, row.want)
			}
		})
	}
}

// The end of a session amid its own unavailable presence, and amid its first one.
func TestBecameUnavailableOnceAmidAnEnd(t *testing.T) {
	for xml, want := range map[string]int{"<presence type='unavailable'/>": 1, "<presence><show>away</show></presence>": 1} {
		for _, available := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				var seen watching
				h := &hooked{}
				w := newWorld(t, func(o *core.Options, p *core.Ports) {
					h.Registry, p.Sessions = p.Sessions, h
					with(seen.registration())(o, p)
				})
				c := w.login("romeo@example.test/x", "")
				if available {
					c.send("<presence/>")
				}
				h.after = func(e cluster.Entry) {
					var b transport.Batch
					e.Receiver.End(&b, stream.Err(stream.Conflict, ""))
					b.Flush()
				}
				c.send(xml)
				h.after = nil
				c.drop()
				synctest.Wait()
				expect := want
				if !available && strings.Contains(xml, "unavailable") {
					expect = 0
				}
				if got := seen.take(); strings.Count(got, "romeo@example.test/x <") != expect {
					t.Errorf("%s, available %v: %q", xml, available, got)
				}
			})
		}
	}
}

// RFC 6121 4.2: a session that was not available is so now: told once, in order with
// its end.
func TestBecameAvailable(t *testing.T) {
	const (
		here  = "romeo@example.test/x <presence from='romeo@example.test/x'><show>chat</show></presence>"
		gone  = "romeo@example.test/x <presence from='romeo@example.test/x' type='unavailable'/>"
		ready = "<presence><show>chat</show></presence>"
	)
	for _, row := range []struct {
		rule string
		does func(w *world, c *client)
		want string
	}{
		{"initial presence", func(_ *world, c *client) { c.send(ready) }, here},
		{"an update is none", func(_ *world, c *client) { c.send(ready + "<presence><show>away</show></presence>") }, here},
		{"with a negative priority, too", func(_ *world, c *client) { c.send("<presence><priority>-1</priority></presence>") },
			"romeo@example.test/x <presence from='romeo@example.test/x'><priority>-1</priority></presence>"},
		{"again after unavailable presence", func(_ *world, c *client) { c.send(ready + "<presence type='unavailable'/>" + ready) }, here + "\n" + gone + "\n" + here},
		{"and the end", func(_ *world, c *client) { c.send(ready + "</stream:stream>") }, here + "\n" + gone},
		{"directed presence is none", func(_ *world, c *client) { c.send("<presence to='juliet@example.test'/>") }, ""},
		{"presence that is refused is none", func(_ *world, c *client) { c.send("<presence><priority>128</priority></presence>") }, ""},
		{"unavailable presence is none", func(_ *world, c *client) { c.send("<presence type='unavailable'/>") }, ""},
		{"a resumed session was available all the time", func(w *world, c *client) {
			c.send(ready)
			id := c.manage()
			c.cut()
			if out := w.resume("romeo@example.test", id, 0).take(); !strings.Contains(out, "<resumed") {
				w.t.Error(out)
			}
		}, here},
	} {
		synctest.Test(t, func(t *testing.T) {
			seen := watching{events: []extension.Event{extension.BecameUnavailable, extension.BecameAvailable}}
			w := newWorld(t, with(seen.registration()))
			row.does(w, w.login("romeo@example.test/x", ""))
			synctest.Wait()
			if got := seen.take(); got != row.want {
				t.Errorf("%s: told\n%s\nwant\n%s", row.rule, got, row.want)
			}
		})
	}
}

// Sessions that a shutdown ends are told of before the extension is stopped, with
// the time of their end.
func TestBecameUnavailableAtShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen watching
		w := newWorld(t, with(seen.registration()))
		var all []*client
		for _, full := range []string{"romeo@example.test/x", "juliet@example.test/a", "nurse@example.test/n"} {
			all = append(all, w.login(full, "<presence/>"))
		}
		detached := w.login("tybalt@example.test/t", "<presence/>")
		detached.manage()
		detached.cut()
		time.Sleep(time.Minute)
		now := time.Now()
		done := make(chan error)
		go func() { done <- w.k.Shutdown(context.Background()) }()
		synctest.Wait()
		for _, c := range all {
			c.reap()
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		for _, at := range seen.at {
			if !at.Equal(now) {
				t.Errorf("told of %v at %v", at, now)
			}
		}
		if got := seen.take(); strings.Count(got, "type='unavailable'") != 4 || strings.Contains(got, "behind the end") {
			t.Error(got)
		}
	})
}

// watched is a registry that calls seen behind the next Release.
type watched struct {
	cluster.Registry
	seen func()
}

func (w *watched) Release(full jid.JID, fence uint64) bool {
	ok := w.Registry.Release(full, fence)
	if f := w.seen; f != nil {
		w.seen = nil
		f()
	}
	return ok
}

// Whoever can see that a session is gone, and asks, is answered with what the notice
// wrote.
func TestBecameUnavailableBeforeItShows(t *testing.T) {
	reg := answering(false, func(ctx context.Context, h *extension.Host, q extension.IQ) (*stanza.Element, error) {
		e, _, err := h.Store.Get(ctx, q.To, "left")
		return stanza.El("urn:x", "a").WithText(string(e.Value)), err
	})
	reg.Permissions = []extension.Permission{extension.SeePresence}
	reg.Notices = []extension.Event{extension.BecameUnavailable}
	reg.Notice = func(_ context.Context, h *extension.Host, n extension.Notice) error {
		h.Store.Put(n.Session, "left", []byte(n.Session.Resource()))
		return nil
	}
	for how, end := range map[string]func(*client){
		"end of the stream":  func(c *client) { c.send("</stream:stream>") },
		"broken connection":  (*client).cut,
		"client out of step": func(c *client) { c.send("<!-- -->") },
	} {
		sessions := &watched{}
		w := newWorld(t, func(o *core.Options, p *core.Ports) {
			sessions.Registry, p.Sessions = p.Sessions, sessions
			if err := p.Store.CreateAccount(t.Context(), storage.Account{User: jid.MustParse("romeo@example.test")}); err != nil {
				t.Fatal(err)
			}
			with(reg)(o, p)
		})
		romeo, juliet := w.login("romeo@example.test/x", "<presence/>"), w.login("juliet@example.test/a", "")
		asked := false
		sessions.seen = func() {
			asked = true
			juliet.send("<iq type='get' id='1' to='romeo@example.test'><q xmlns='urn:x'/></iq>")
		}
		end(romeo)
		if out := juliet.take(); !asked || !strings.Contains(out, "<a xmlns='urn:x'>x</a>") {
			t.Errorf("%s: %s", how, out)
		}
	}
}
