package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

var errFailed = errors.New("failed")

// Handlers that put, delete and read, and fail or not, see and leave what a plain map
// would have.
func TestMemory(t *testing.T) {
	h, _ := newHosts(1)
	defer stop(t, h)
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		g := h.NewGuest(&extension.Registration{Name: fmt.Sprint("test", n)}, nil, nil)
		committed := map[string]string{}
		revisions := map[string]uint64{}
		key := rapid.Custom(func(t *rapid.T) string { return rapid.StringMatching("[ab]{1,3}").Draw(t, "key") })
		rt.Repeat(map[string]func(*rapid.T){
			"handler": func(rt *rapid.T) {
				fails := rapid.Bool().Draw(rt, "fails")
				writes := rapid.Bool().Draw(rt, "writes, too")
				seen := maps.Clone(committed)
				own := map[string]bool{}
				err := run(t, g, func(ctx context.Context, host *extension.Host) error {
					for range rapid.IntRange(0, 6).Draw(rt, "calls") {
						k := key.Draw(rt, "key")
						switch rapid.IntRange(0, 3).Draw(rt, "call") {
						case 0:
							v := rapid.StringN(0, 5, 20).Draw(rt, "value")
							if err := host.Memory.Put(k, []byte(v)); err != nil {
								return err
							}
							seen[k], own[k] = v, true
						case 1:
							host.Memory.Delete(k)
							delete(seen, k)
							own[k] = true
						case 2:
							e, ok, err := host.Memory.Get(ctx, k)
							want, there := seen[k]
							if err != nil || ok != there || string(e.Value) != want {
								rt.Fatalf("%s is %q, %v, %v; want %q, %v", k, e.Value, ok, err, want, there)
							}
							if ok && !own[k] && e.Revision != revisions[k] || own[k] && e.Revision != 0 {
								rt.Fatalf("%s has the revision %d, want %d unless it is the handler's own", k, e.Revision, revisions[k])
							}
						case 3:
							compareScan(rt, ctx, host, seen, key)
						}
					}
					if writes {
						host.Store.Put(jid.JID{}, "key", []byte("value"))
					}
					if fails {
						return errFailed
					}
					return nil
				})
				if fails != (err != nil) {
					rt.Fatal(err)
				}
				before := g.MemoryRevision()
				if fails {
					seen, own = committed, nil
				}
				committed = seen
				for k := range own {
					revisions[k] = before
				}
				all := int64(0)
				for k, v := range committed {
					all += int64(len(k) + len(v) + memoryEntryCost)
				}
				if g.memory.bytes != all || g.memory.entries.n != len(committed) {
					rt.Fatalf("%d entries take %d bytes, want %d and %d", g.memory.entries.n, g.memory.bytes, len(committed), all)
				}
			},
		})
	})
}

func compareScan(t *rapid.T, ctx context.Context, host *extension.Host, seen map[string]string, key *rapid.Generator[string]) {
	prefix := rapid.SampledFrom([]string{"", "a", "b", "ab", "c"}).Draw(t, "prefix")
	after := rapid.OneOf(rapid.Just(""), key).Draw(t, "after")
	limit := rapid.IntRange(-1, 5).Draw(t, "limit")
	got, err := host.Memory.Scan(ctx, prefix, after, limit)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, k := range slices.Sorted(maps.Keys(seen)) {
		if strings.HasPrefix(k, prefix) && k > after && len(want) < limit {
			want = append(want, k)
		}
	}
	var keys []string
	for _, e := range got {
		if keys = append(keys, e.Key); string(e.Value) != seen[e.Key] {
			t.Fatalf("%s is %q, want %q", e.Key, e.Value, seen[e.Key])
		}
	}
	if !slices.Equal(keys, want) {
		t.Fatalf("from %q behind %q at most %d: %q, want %q", prefix, after, limit, keys, want)
	}
}

// What a handler puts is there when its answer goes out, and not before its writes are
// committed; it is not there if they fail.
func TestMemoryIsWrittenWithTheRest(t *testing.T) {
	h, _ := newHosts(1)
	defer stop(t, h)
	g := h.NewGuest(&extension.Registration{Name: "test"}, nil, nil)
	put := func(_ context.Context, host *extension.Host) error {
		host.Store.Swap(jid.JID{}, "key", []byte("value"), 0)
		return host.Memory.Put("key", []byte("value"))
	}
	has := func() (there bool) {
		_, there = g.memory.entries.get("key")
		return there
	}
	if err := h.Store.Commit(t.Context(), storage.Writes{Ops: []storage.Op{{Space: "test", Key: "key", Value: []byte("other")}}}); err != nil {
		t.Fatal(err)
	}
	if err := run(t, g, put); err == nil || has() {
		t.Errorf("a handler whose Swap fails: %v, its entry is there: %v", err, has())
	}
	if err := h.Store.Commit(t.Context(), storage.Writes{Ops: []storage.Op{{Space: "test", Key: "key", Delete: true}}}); err != nil {
		t.Fatal(err)
	}
	answered := false
	g.Later(put, func(*transport.Batch, error) transport.Wait {
		answered = has()
		return nil
	})(t.Context())
	if !answered {
		t.Error("the answer went out before the entry was there")
	}
}

func TestMemoryIsBounded(t *testing.T) {
	h, _ := newHosts(1)
	defer stop(t, h)
	h.Limits = map[string]Limits{"small": {Memory: 1000}}
	small := h.NewGuest(&extension.Registration{Name: "small"}, nil, nil)
	usual := h.NewGuest(&extension.Registration{Name: "usual"}, nil, nil)
	value := func(n int) []byte { return bytes.Repeat([]byte{'x'}, n) }
	tests := []struct {
		name string
		g    *Guest
		do   func(m extension.Memory) error
		ok   bool
	}{
		{"no key", usual, func(m extension.Memory) error { return m.Put("", nil) }, false},
		{"a long key", usual, func(m extension.Memory) error { return m.Put(string(value(1025)), nil) }, false},
		{"the longest key and value", usual, func(m extension.Memory) error { return m.Put(string(value(1024)), value(1<<20)) }, true},
		{"a long value", usual, func(m extension.Memory) error { return m.Put("a", value(1<<20+1)) }, false},
		{"much at once", usual, func(m extension.Memory) (err error) {
			for range 8 {
				err = errors.Join(err, m.Put("a", value(1<<20)))
			}
			return err
		}, false},
		{"as much as there may be", small, func(m extension.Memory) error { return m.Put("a", value(1000-1-memoryEntryCost)) }, true},
		{"more, in the place of it", small, func(m extension.Memory) error { return m.Put("a", value(1000-memoryEntryCost)) }, false},
		{"one more", small, func(m extension.Memory) error { return m.Put("b", nil) }, false},
		{"one more, behind a deletion", small, func(m extension.Memory) error {
			m.Delete("a")
			return m.Put("b", value(100))
		}, true},
		{"two that fit alone", small, func(m extension.Memory) error {
			return errors.Join(m.Put("c", value(500)), m.Put("d", value(500)))
		}, false},
	}
	for _, tt := range tests {
		before := tt.g.MemoryRevision()
		err := run(t, tt.g, func(_ context.Context, host *extension.Host) error { return tt.do(host.Memory) })
		if tt.ok != (err == nil) || err != nil && !errors.Is(err, extension.ErrBound) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if changed := tt.g.MemoryRevision() != before; changed != tt.ok {
			t.Errorf("%s: changed: %v", tt.name, changed)
		}
	}
}

// Stage handlers keep what they put when the stanza goes on.
func TestMemoryOfStageHandlers(t *testing.T) {
	h, _ := newHosts(1)
	defer stop(t, h)
	g := h.NewGuest(&extension.Registration{Name: "test"}, nil, nil)
	var fx Effects
	if err := fx.Collect(g, nil, false, func(_ context.Context, host *extension.Host) error {
		return errors.Join(host.Stanzas.Send(stanza.New(stanza.Header{Kind: stanza.Message, From: server, To: romeo})), host.Memory.Put("key", []byte("value")))
	}); err != nil || fx.Empty() {
		t.Fatal(err, fx.Empty())
	}
	if g.MemoryRevision() != 0 {
		t.Error("it is done before the stanza goes on")
	}
	sent := &first{g: g}
	h.Start(sent)
	var b transport.Batch
	if w := fx.Apply(&b); w != nil || g.MemoryRevision() != 1 || sent.revision != 1 {
		t.Error("it is not done behind it, and before anything is sent")
	}
}

// first is a router that notes the revision of a memory when something is sent.
type first struct {
	router
	g        *Guest
	revision uint64
}

func (r *first) Route(*transport.Batch, *extension.Envelope) transport.Wait {
	r.revision = r.g.MemoryRevision()
	return nil
}
