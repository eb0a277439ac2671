package host

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// members is a router that notes which copies each member got, "id from". What is
// resident of those that missing says is to be loaded first.
type members struct {
	router
	mu      sync.Mutex
	got     map[jid.JID][]string
	missing func(jid.JID) bool
	onward  func(c *Copy) *stanza.Stanza
}

func (r *members) Copy(_ *transport.Batch, c *Copy) Fate {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.Resident == nil && r.missing != nil && r.missing(c.To) {
		return Fate{Waits: true}
	}
	if r.onward != nil {
		if st := r.onward(c); st != nil {
			return Fate{Onward: st}
		}
	}
	st := c.Addressed()
	if r.got == nil {
		r.got = map[jid.JID][]string{}
	}
	r.got[c.To] = append(r.got[c.To], st.ID+" "+st.From.String())
	return Fate{}
}

func (r *members) CopyWaiting(_ context.Context, b *transport.Batch, c *Copy) Fate {
	return r.Copy(b, c)
}

func (r *members) take() map[jid.JID][]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	got := r.got
	r.got = nil
	return got
}

const roomDomain = "rooms.example.test"

// roomHosts has an extension with a component.
func roomHosts(l Limits) (*Hosts, *members, *Guest) {
	h, _ := newHosts(2)
	h.Limits = map[string]Limits{"rooms": l}
	r := &members{}
	h.Start(r)
	return h, r, h.NewGuest(&extension.Registration{Name: "rooms"}, nil, []string{roomDomain})
}

var inRoom = jid.MustParse("room@" + roomDomain + "/nick")

func spoken(id string) *stanza.Stanza {
	return stanza.New(stanza.Header{Kind: stanza.Message, Type: stanza.GroupChat, ID: id, From: inRoom}, stanza.El("", "body").WithText("hello"))
}

func member(n int) jid.JID { return jid.MustParse(fmt.Sprintf("m%d@example.test/r", n)) }

// modelGroup is a group as a plain map.
type modelGroup map[jid.JID]extension.Member

func (m modelGroup) sorted() []jid.JID {
	return slices.SortedFunc(maps.Keys(m), func(a, b jid.JID) int { return strings.Compare(a.String(), b.String()) })
}

// Handlers that join, leave, send and look, and fail or not, do and see what plain maps
// would: also when copies have to wait.
func TestGroups(t *testing.T) {
	h, r, _ := roomHosts(Limits{})
	defer stop(t, h)
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		g := h.NewGuest(&extension.Registration{Name: fmt.Sprint("rooms", n)}, nil, []string{roomDomain})
		groups := map[string]modelGroup{"a": {}, "b": {}}
		who := rapid.Custom(func(rt *rapid.T) jid.JID { return member(rapid.IntRange(0, 5).Draw(rt, "member")) })
		sent := 0
		rt.Repeat(map[string]func(*rapid.T){
			"handler": func(rt *rapid.T) {
				slow := rapid.Map(rapid.SliceOfN(who, 0, 2), func(list []jid.JID) func(jid.JID) bool {
					return func(j jid.JID) bool { return slices.Contains(list, j) }
				}).Draw(rt, "whose residents are to be loaded")
				r.mu.Lock()
				r.missing = slow
				r.mu.Unlock()
				fails := rapid.Bool().Draw(rt, "fails")
				now := map[string]modelGroup{"a": maps.Clone(groups["a"]), "b": maps.Clone(groups["b"])}
				want := map[jid.JID][]string{}
				err := run(t, g, func(ctx context.Context, host *extension.Host) error {
					for range rapid.IntRange(0, 8).Draw(rt, "calls") {
						name := rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "group")
						group := now[name]
						switch rapid.SampledFrom([]string{"join", "join", "leave", "remove", "send", "send", "members", "size"}).Draw(rt, "call") {
						case "join":
							m := extension.Member{JID: who.Draw(rt, "who"), Classes: rapid.SliceOfN(rapid.SampledFrom([]string{"x", "y"}), 0, 2).Draw(rt, "classes")}
							if rapid.Bool().Draw(rt, "own from") {
								m.From = jid.MustParse(m.JID.Local() + "@" + roomDomain)
							}
							if err := host.Groups.Join(name, m); err != nil {
								rt.Fatal(err)
							}
							group[m.JID] = m
						case "leave":
							j := who.Draw(rt, "who")
							host.Groups.Leave(name, j)
							delete(group, j)
						case "remove":
							host.Groups.Remove(name)
							clear(group)
						case "send":
							sent++
							c := extension.Cast{Stanza: spoken(fmt.Sprint(sent)), Except: rapid.SliceOfN(who, 0, 12).Draw(rt, "except"),
								Only: rapid.SampledFrom([]string{"", "", "x"}).Draw(rt, "only")}
							if rapid.Bool().Draw(rt, "variant") {
								c.Variants = []extension.Variant{{Class: "y", Stanza: spoken(fmt.Sprint(sent, "y"))}}
							}
							if err := host.Groups.Send(name, c); err != nil {
								rt.Fatal(err)
							}
							for j, m := range group {
								id, from := fmt.Sprint(sent), inRoom
								if c.Variants != nil && slices.Contains(m.Classes, "y") {
									id += "y"
								}
								if !m.From.IsZero() {
									from = m.From
								}
								if !slices.Contains(c.Except, j) && (c.Only == "" || slices.Contains(m.Classes, c.Only)) {
									want[j] = append(want[j], id+" "+from.String())
								}
							}
						case "members":
							after := rapid.OneOf(rapid.Just(jid.JID{}), who).Draw(rt, "after")
							limit := rapid.IntRange(-1, 7).Draw(rt, "limit")
							list, err := host.Groups.Members(ctx, name, after, limit)
							if err != nil {
								rt.Fatal(err)
							}
							var expected, found []string
							for _, j := range group.sorted() {
								if j.String() > after.String() && len(expected) < limit {
									expected = append(expected, fmt.Sprint(group[j]))
								}
							}
							for _, m := range list {
								found = append(found, fmt.Sprint(m))
							}
							if !slices.Equal(found, expected) {
								rt.Fatalf("members behind %q: %q, want %q", after, found, expected)
							}
						case "size":
							if size, err := host.Groups.Size(ctx, name); err != nil || size != len(group) {
								rt.Fatalf("%d members, %v; want %d", size, err, len(group))
							}
						}
					}
					if fails {
						return errFailed
					}
					return nil
				})
				if fails != (err != nil) {
					rt.Fatal(err)
				}
				if fails {
					now, want = groups, nil
				}
				groups = now
				got := r.take()
				for _, j := range slices.Concat(slices.Collect(maps.Keys(got)), slices.Collect(maps.Keys(want))) {
					if !slices.Equal(got[j], want[j]) {
						rt.Fatalf("%s got %q, want %q", j, got[j], want[j])
					}
				}
			},
			"": func(rt *rapid.T) {
				all, filled := 0, 0
				for _, group := range groups {
					if all += len(group); len(group) > 0 {
						filled++
					}
				}
				gs := &g.groups
				gs.mu.Lock()
				defer gs.mu.Unlock()
				if gs.members != all || gs.filled != filled || len(gs.named) != filled {
					rt.Fatalf("%d members in %d of %d groups, want %d in %d", gs.members, gs.filled, len(gs.named), all, filled)
				}
			},
		})
	})
}

// All members get what is sent by many handlers at once in the same order, which is one
// in which each handler's own casts stand as it made them; also those whose copies
// wait for storage.
func TestCastsComeInOneOrder(t *testing.T) {
	h, r, g := roomHosts(Limits{})
	r.missing = func(j jid.JID) bool { return j == member(3) || j == member(7) }
	if err := run(t, g, func(_ context.Context, host *extension.Host) (err error) {
		for n := range 10 {
			err = errors.Join(err, host.Groups.Join("room", extension.Member{JID: member(n)}))
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	const senders, each = 20, 25
	var all sync.WaitGroup
	for n := range senders {
		all.Go(func() {
			for i := range each {
				var err error
				g.Later(func(_ context.Context, host *extension.Host) error {
					return errors.Join(host.Groups.Send("room", extension.Cast{Stanza: spoken(fmt.Sprintf("%d-%d-a", n, i))}),
						host.Groups.Send("room", extension.Cast{Stanza: spoken(fmt.Sprintf("%d-%d-b", n, i))}))
				}, told(&err))(context.Background())
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	stop(t, h)
	got := r.take()
	first := got[member(0)]
	if len(first) != 2*senders*each {
		t.Fatalf("%d copies, want %d", len(first), 2*senders*each)
	}
	for n := range 10 {
		if !slices.Equal(got[member(n)], first) {
			t.Errorf("member %d got them in another order", n)
		}
	}
	for n := range senders {
		at := -1
		for i := range each {
			for _, part := range []string{"a", "b"} {
				next := slices.Index(first, fmt.Sprintf("%d-%d-%s %s", n, i, part, inRoom))
				if next <= at {
					t.Fatalf("sender %d: %d%s came at %d, behind %d", n, i, part, next, at)
				}
				at = next
			}
		}
	}
}

// slowStore waits with each reading of an account until it is let go.
type slowStore struct {
	storage.Store
	of jid.JID
	on chan struct{}
}

func (s *slowStore) Get(ctx context.Context, space string, owner jid.JID, key string) (storage.Entry, error) {
	if owner == s.of {
		select {
		case <-s.on:
		case <-ctx.Done():
			return storage.Entry{}, ctx.Err()
		}
	}
	return s.Store.Get(ctx, space, owner, key)
}

// While one member's copy waits for storage, what is asked of the group next waits, and
// the handlers that ask; other groups do not.
func TestACastThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, r, g := roomHosts(Limits{})
		slow := &slowStore{Store: h.Store, of: member(1).Bare(), on: make(chan struct{})}
		h.residents.store = slow
		h.NewGuest(&extension.Registration{Name: "lists", Residents: []string{"list"}}, nil, nil)
		r.missing = func(j jid.JID) bool { return j == member(1) }
		do := func(fn func(extension.Groups) error) (done chan error) {
			done = make(chan error, 1)
			go func() {
				var err error
				g.Later(func(_ context.Context, host *extension.Host) error { return fn(host.Groups) }, told(&err))(t.Context())
				done <- err
			}()
			synctest.Wait()
			return done
		}
		send := func(group, id string) chan error {
			return do(func(x extension.Groups) error { return x.Send(group, extension.Cast{Stanza: spoken(id)}) })
		}
		ended := func(done chan error) bool {
			synctest.Wait()
			select {
			case err := <-done:
				if err != nil {
					t.Error(err)
				}
				return true
			default:
				return false
			}
		}
		if !ended(do(func(x extension.Groups) error {
			return errors.Join(x.Join("a", extension.Member{JID: member(0)}), x.Join("a", extension.Member{JID: member(1)}), x.Join("b", extension.Member{JID: member(0)}))
		})) {
			t.Error("joining waits")
		}
		first := send("a", "1")
		second := do(func(x extension.Groups) error {
			x.Leave("a", member(0))
			return x.Join("a", extension.Member{JID: member(2)})
		})
		third := send("a", "2")
		if ended(first) || ended(second) || ended(third) {
			t.Error("a handler does not wait for the turn of its group")
		}
		if !ended(send("b", "3")) {
			t.Error("another group waits")
		}
		want := func(list map[jid.JID]string) {
			t.Helper()
			got := r.take()
			for j, ids := range list {
				var found []string
				for _, id := range got[j] {
					found = append(found, strings.Fields(id)[0])
				}
				if strings.Join(found, " ") != ids {
					t.Errorf("%s got %q, want %q", j, found, ids)
				}
			}
			if len(got) != len(list) {
				t.Errorf("%v got something", got)
			}
		}
		want(map[jid.JID]string{member(0): "1 3"})
		close(slow.on)
		if !ended(first) || !ended(second) || !ended(third) {
			t.Error("a handler still waits")
		}
		want(map[jid.JID]string{member(1): "1 2", member(2): "2"})
		stop(t, h)
	})
}

// A handler that is called for a copy, and asks something of the same group, waits for
// nobody who waits for it.
func TestAHandlerThatIsCalledForACopy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _, g := roomHosts(Limits{})
		r := &calling{g: g, rest: 3}
		h.Start(r)
		if err := run(t, g, func(_ context.Context, host *extension.Host) error {
			return errors.Join(host.Groups.Join("room", extension.Member{JID: jid.MustParse("bot.example.test")}),
				host.Groups.Send("room", extension.Cast{Stanza: spoken("1")}))
		}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := r.ids.take(); !slices.Equal(got, []string{"1", "1+", "1++", "1+++"}) {
			t.Errorf("%q", got)
		}
		stop(t, h)
	})
}

// calling is a router that brings copies to a handler of g, which sends them on.
type calling struct {
	router
	g    *Guest
	ids  notes[string]
	rest int
}

func (r *calling) Route(_ *transport.Batch, e *extension.Envelope) transport.Wait {
	id := e.Stanza.ID
	r.ids.add(id)
	if r.rest--; r.rest < 0 {
		return nil
	}
	return r.g.Later(func(_ context.Context, host *extension.Host) error {
		return host.Groups.Send("room", extension.Cast{Stanza: spoken(id + "+")})
	}, r.g.logged("test"))
}

func TestGroupsAreBounded(t *testing.T) {
	h, _, g := roomHosts(Limits{Groups: 2, Members: 5, GroupMembers: 3})
	defer stop(t, h)
	join := func(x extension.Groups, name string, who ...int) (err error) {
		for _, n := range who {
			err = errors.Join(err, x.Join(name, extension.Member{JID: member(n)}))
		}
		return err
	}
	if err := run(t, g, func(_ context.Context, host *extension.Host) error {
		return errors.Join(join(host.Groups, "a", 1, 2, 3), join(host.Groups, "b", 1))
	}); err != nil {
		t.Fatal(err)
	}
	far := jid.MustParse("room@other.example.test")
	tests := []struct {
		name string
		do   func(x extension.Groups) error
		want error
	}{
		{"the same again", func(x extension.Groups) error { return join(x, "a", 1, 2, 3) }, nil},
		{"one more in a group", func(x extension.Groups) error { return join(x, "a", 4) }, extension.ErrBound},
		{"one more, in the place of another", func(x extension.Groups) error {
			x.Leave("a", member(1))
			return join(x, "a", 4)
		}, nil},
		{"one more in all groups", func(x extension.Groups) error { return join(x, "b", 2) }, nil},
		{"two more in all groups", func(x extension.Groups) error { return join(x, "b", 2, 3) }, extension.ErrBound},
		{"one group more", func(x extension.Groups) error { return join(x, "c", 1) }, extension.ErrBound},
		{"no name", func(x extension.Groups) error { return join(x, "", 1) }, extension.ErrBound},
		{"a long name", func(x extension.Groups) error { return join(x, strings.Repeat("x", 2049), 1) }, extension.ErrBound},
		{"nine classes", func(x extension.Groups) error {
			return x.Join("a", extension.Member{JID: member(1), Classes: strings.Fields("a b c d e f g h i")})
		}, extension.ErrBound},
		{"a class without a name", func(x extension.Groups) error {
			return x.Join("a", extension.Member{JID: member(1), Classes: []string{""}})
		}, extension.ErrBound},
		{"no address", func(x extension.Groups) error { return x.Join("a", extension.Member{}) }, errAny},
		{"a from of another", func(x extension.Groups) error { return x.Join("a", extension.Member{JID: member(1), From: far}) }, extension.ErrPermission},
		{"a from of an account", func(x extension.Groups) error {
			return x.Join("a", extension.Member{JID: member(1), From: member(1).Bare()})
		}, extension.ErrPermission},
		{"a from of the server", func(x extension.Groups) error { return x.Join("a", extension.Member{JID: member(1), From: server}) }, nil},
		{"a cast from another", func(x extension.Groups) error {
			return x.Send("a", extension.Cast{Stanza: stanza.New(stanza.Header{Kind: stanza.Message, From: far})})
		}, extension.ErrPermission},
		{"a variant from nobody", func(x extension.Groups) error {
			return x.Send("a", extension.Cast{Stanza: spoken("1"), Variants: []extension.Variant{{Class: "x", Stanza: stanza.New(stanza.Header{Kind: stanza.Message})}}})
		}, extension.ErrPermission},
		{"an iq", func(x extension.Groups) error {
			return x.Send("a", extension.Cast{Stanza: stanza.New(stanza.Header{Kind: stanza.IQ, Type: stanza.Get, ID: "1", From: inRoom}, stanza.El("urn:x", "q"))})
		}, errAny},
		{"nothing", func(x extension.Groups) error { return x.Send("a", extension.Cast{}) }, errAny},
		{"too many exceptions", func(x extension.Groups) error {
			return x.Send("a", extension.Cast{Stanza: spoken("1"), Except: make([]jid.JID, 1001)})
		}, extension.ErrBound},
		{"too many variants", func(x extension.Groups) error {
			return x.Send("a", extension.Cast{Stanza: spoken("1"), Variants: make([]extension.Variant, 9)})
		}, extension.ErrBound},
		{"too many casts", func(x extension.Groups) (err error) {
			for range maxSends + 1 {
				err = x.Send("a", extension.Cast{Stanza: spoken("1")})
			}
			return err
		}, extension.ErrBound},
	}
	for _, tt := range tests {
		err := run(t, g, func(_ context.Context, host *extension.Host) error {
			return errors.Join(tt.do(host.Groups), errFailed) // nothing is to be left of it
		})
		switch {
		case tt.want == nil && err.Error() != errFailed.Error():
			t.Errorf("%s: %v", tt.name, err)
		case tt.want == errAny && err.Error() == errFailed.Error():
			t.Errorf("%s: no error", tt.name)
		case tt.want != nil && tt.want != errAny && !errors.Is(err, tt.want):
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
	if g.groups.members != 4 || g.groups.filled != 2 {
		t.Errorf("%d members in %d groups", g.groups.members, g.groups.filled)
	}
}

var errAny = errors.New("any")

// Copies of what a component says carry no more than a component may say, and copies
// that a session loses go nowhere.
func TestCastsAreStripped(t *testing.T) {
	h, _, g := roomHosts(Limits{})
	defer stop(t, h)
	var copies notes[Copy]
	h.Start(&copying{copies: &copies})
	chat := stanza.New(stanza.Header{Kind: stanza.Message, Type: stanza.Chat, ID: "1", From: inRoom, To: member(9)},
		stanza.El("urn:xmpp:sid:0", "stanza-id", stanza.At("by", "m0@example.test"), stanza.At("id", "x")), stanza.El("", "body").WithText("hello"))
	if err := run(t, g, func(_ context.Context, host *extension.Host) error {
		return errors.Join(host.Groups.Join("a", extension.Member{JID: member(0)}), host.Groups.Send("a", extension.Cast{Stanza: chat}),
			host.Groups.Send("a", extension.Cast{Stanza: spoken("2")}))
	}); err != nil {
		t.Fatal(err)
	}
	got := copies.take()
	if len(got) != 2 {
		t.Fatal(got)
	}
	if st := got[0].Addressed(); strings.Contains(st.String(), "stanza-id") || st.To != member(0) || !strings.Contains(st.String(), "hello") {
		t.Error(st)
	}
	if f := got[0].Fork; f == nil || f.Message != nil || got[1].Fork != nil {
		t.Error("what is lost of chat is not dropped, or of groupchat there is more than the rule")
	}
}

type copying struct {
	router
	copies *notes[Copy]
}

func (r *copying) Copy(_ *transport.Batch, c *Copy) Fate {
	r.copies.add(*c)
	return Fate{}
}

// What a handler asks of groups is done behind its writes, and not if they fail.
func TestGroupsAreChangedWithTheRest(t *testing.T) {
	h, r, g := roomHosts(Limits{})
	defer stop(t, h)
	do := func(revision uint64) error {
		return run(t, g, func(_ context.Context, host *extension.Host) error {
			host.Store.Swap(jid.JID{}, "key", nil, revision)
			return errors.Join(host.Groups.Join("room", extension.Member{JID: member(0)}), host.Groups.Send("room", extension.Cast{Stanza: spoken("1")}))
		})
	}
	if err := do(7); err == nil || g.Holdings().Members != 0 || r.take() != nil {
		t.Errorf("a handler whose Swap fails: %v, %+v", err, g.Holdings())
	}
	if err := do(0); err != nil || g.Holdings().Members != 1 || len(r.take()) != 1 {
		t.Errorf("%v, %+v", err, g.Holdings())
	}
}
