package overlay

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// What a handler reads is what would be stored if its writes were.
func TestPagesAreThoseOfWhatWouldBeStored(t *testing.T) {
	owner, other := jid.MustParse("a@example.org"), jid.MustParse("b@example.org")
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.Custom(func(t *rapid.T) string {
			return fmt.Sprintf("%c%02d", 'k'+rune(rapid.IntRange(0, 1).Draw(t, "letter")), rapid.IntRange(0, 20).Draw(t, "number"))
		})
		stored := map[string]string{}
		for range rapid.IntRange(0, 30).Draw(t, "stored") {
			stored[key.Draw(t, "key")] = "stored"
		}
		want := maps.Clone(stored)
		var w Writes
		for range rapid.IntRange(0, 15).Draw(t, "writes") {
			op := storage.Op{Owner: owner, Key: key.Draw(t, "key"), Value: []byte("own"), Delete: rapid.Bool().Draw(t, "delete")}
			switch {
			case rapid.IntRange(0, 4).Draw(t, "other") == 0:
				op.Owner = other
			case op.Delete:
				delete(want, op.Key)
			default:
				want[op.Key] = "own"
			}
			w.Write(op)
		}
		prefix, after, limit := rapid.SampledFrom([]string{"", "k", "l", "k1"}).Draw(t, "prefix"), rapid.SampledFrom([]string{"", "k05", "l1"}).Draw(t, "after"), rapid.IntRange(0, 12).Draw(t, "limit")
		page := func(all map[string]string, limit int) (out []extension.Entry) {
			for _, k := range slices.Sorted(maps.Keys(all)) {
				if len(out) < limit && k > after && len(k) >= len(prefix) && k[:len(prefix)] == prefix {
					out = append(out, extension.Entry{Key: k, Value: []byte(all[k])})
				}
			}
			return out
		}
		got := w.Page(owner, prefix, after, limit, page(stored, w.Ask(limit)))
		if expected := page(want, limit); len(got)+len(expected) > 0 && !reflect.DeepEqual(got, expected) {
			t.Fatalf("got %v, want %v", got, expected)
		}
		for _, op := range w {
			if last := w.Last(op.Owner, op.Key); last == nil || last.Delete != op.Delete {
				t.Fatalf("the last write of %s is %v", op.Key, last)
			}
		}
	})
}

// The last write of a key holds, on the condition of the first.
func TestConditions(t *testing.T) {
	var w Writes
	w.Write(storage.Op{Key: "k", Value: []byte("1"), If: true, Revision: 7})
	w.Write(storage.Op{Key: "k", Delete: true})
	if len(w) != 1 || !w[0].Delete || !w[0].If || w[0].Revision != 7 {
		t.Errorf("%+v", w)
	}
}
