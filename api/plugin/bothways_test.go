package plugin_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/hexmpp/hexmpp/api/plugin/plugintest"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/extension/extensiontest"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// script is what a handler does, one call after the other; each says what it saw.
type script []func(ctx context.Context, h *extension.Host) string

// played runs scripts, each in a handler of its own, and returns what they saw and what is kept.
func played(t *testing.T, through bool, scripts []script) (seen []string) {
	i := 0
	reg := extension.Registration{Name: "script", Components: []extension.Component{{Domain: "script.$domain", Handle: func(ctx context.Context, h *extension.Host, _ *extension.Envelope) error {
		for _, call := range scripts[i] {
			seen = append(seen, call(ctx, h))
		}
		return nil
	}}}}
	if through {
		reg = plugintest.Through(reg)
	}
	h := extensiontest.New(t, reg, extensiontest.Options{})
	for ; i < len(scripts); i++ {
		h.Component(extension.Envelope{Stanza: stanza.New(stanza.Header{Kind: stanza.Message, From: jid.MustParse("romeo@example.org/x"), To: jid.MustParse("script.example.org")})})
	}
	for _, e := range h.Entries(jid.JID{}, "") {
		seen = append(seen, fmt.Sprintf("%s: %s", e.Key, e.Value))
	}
	for n := range 7 {
		seen = append(seen, kept(h.Rows(jid.MustParse(fmt.Sprintf("k%d@script.example.org", n)))))
	}
	return append(seen, fmt.Sprint(h.Memory(), h.Members("g0"), h.Members("g1"), h.Effects(), h.Errors()))
}

// Whatever handlers do to store, archives, memory and groups, they see the same inside the server and
// in a process, and the same comes of it.
func TestTheSameBothWays(t *testing.T) {
	key := rapid.Custom(func(t *rapid.T) string { return fmt.Sprintf("k%d", rapid.IntRange(0, 6).Draw(t, "key")) })
	call := rapid.Custom(func(t *rapid.T) func(context.Context, *extension.Host) string {
		k, after, limit := key.Draw(t, "key"), key.Draw(t, "after"), rapid.IntRange(0, 5).Draw(t, "limit")
		group := rapid.SampledFrom([]string{"g0", "g1"}).Draw(t, "group")
		who := jid.MustParse(k + "@example.org/r")
		var nobody jid.JID
		room := jid.MustParse(k[:1] + after[1:] + "@script.example.org")
		switch rapid.IntRange(0, 15).Draw(t, "call") {
		case 0:
			return func(_ context.Context, h *extension.Host) string { h.Store.Put(nobody, k, []byte(after)); return "" }
		case 1:
			return func(_ context.Context, h *extension.Host) string { h.Store.Delete(nobody, k); return "" }
		case 2:
			return func(ctx context.Context, h *extension.Host) string {
				e, ok, err := h.Store.Get(ctx, nobody, k)
				h.Store.Swap(nobody, k, append([]byte("s"), e.Value...), e.Revision)
				return fmt.Sprint(string(e.Value), ok, err)
			}
		case 3:
			return func(ctx context.Context, h *extension.Host) string {
				list, err := h.Store.Scan(ctx, nobody, "k", after, limit)
				return fmt.Sprint(keys(list), err)
			}
		case 4:
			return func(_ context.Context, h *extension.Host) string { return fmt.Sprint(h.Memory.Put(k, []byte(after))) }
		case 5:
			return func(_ context.Context, h *extension.Host) string { h.Memory.Delete(k); return "" }
		case 6:
			return func(ctx context.Context, h *extension.Host) string {
				e, ok, err := h.Memory.Get(ctx, k)
				list, err2 := h.Memory.Scan(ctx, "", after, limit)
				return fmt.Sprint(string(e.Value), ok, err, keys(list), err2)
			}
		case 7:
			return func(_ context.Context, h *extension.Host) string {
				return fmt.Sprint(h.Groups.Join(group, extension.Member{JID: who, Classes: []string{after}}))
			}
		case 8:
			return func(_ context.Context, h *extension.Host) string { h.Groups.Leave(group, who); return "" }
		case 9:
			if limit > 1 {
				return func(context.Context, *extension.Host) string { return "" }
			}
			return func(_ context.Context, h *extension.Host) string { h.Groups.Remove(group); return "" }
		case 12:
			return func(_ context.Context, h *extension.Host) string {
				h.Archive.Append(storage.Row{Owner: room, ID: h.Archive.NewID(), Stamp: h.Now(), With: who,
					XML: stanza.New(stanza.Header{Kind: stanza.Message, ID: k}).XML("jabber:client")})
				return ""
			}
		case 13:
			return func(_ context.Context, h *extension.Host) string { h.Archive.Remove(room); return "" }
		case 15: // what is there says something else
			return func(ctx context.Context, h *extension.Host) string {
				rows, _, err := h.Archive.Rows(ctx, room, storage.Filter{}, storage.Page{Limit: limit})
				for i := range rows {
					h.Archive.Replace(room, rows[i].ID, stanza.New(stanza.Header{Kind: stanza.Message, ID: "new " + k}).XML("jabber:client"))
				}
				return fmt.Sprint(len(rows), err)
			}
		case 14:
			return func(ctx context.Context, h *extension.Host) string {
				rows, more, err := h.Archive.Rows(ctx, room, storage.Filter{}, storage.Page{Limit: limit, Backwards: limit > 2})
				n, all, err2 := h.Archive.Count(ctx, room, storage.Filter{With: who}, limit)
				return fmt.Sprint(kept(rows), more, err, n, all, err2)
			}
		case 10:
			return func(ctx context.Context, h *extension.Host) string {
				n, err := h.Groups.Size(ctx, group)
				list, err2 := h.Groups.Members(ctx, group, jid.MustParse(after+"@example.org/r"), limit)
				return fmt.Sprint(n, err, list, err2)
			}
		}
		return func(_ context.Context, h *extension.Host) string {
			return fmt.Sprint(h.Groups.Send(group, extension.Cast{Stanza: stanza.New(stanza.Header{Kind: stanza.Message, ID: k, From: jid.MustParse("script.example.org")})}))
		}
	})
	rapid.Check(t, func(rt *rapid.T) {
		var scripts []script
		for range rapid.IntRange(1, 4).Draw(rt, "handlers") {
			scripts = append(scripts, rapid.SliceOfN(call, 1, 10).Draw(rt, "calls"))
		}
		inside, through := played(t, false, scripts), played(t, true, scripts)
		if !slices.Equal(inside, through) {
			rt.Fatalf("inside:\n%q\nas a process:\n%q", inside, through)
		}
	})
}

// kept says what rows are, but for their IDs: a process is given some in advance.
func kept(rows []storage.Row) (out string) {
	for _, r := range rows {
		out += fmt.Sprintf("%s %s %t %s %s %s; ", r.Space, r.Owner, r.Own, r.Stamp, r.With, r.XML)
	}
	return out
}

func keys(list []extension.Entry) (out []string) {
	for _, e := range list {
		out = append(out, e.Key+"="+string(e.Value))
	}
	return out
}
