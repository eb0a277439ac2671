package host

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// An ordered map is a map whose keys come in byte order, whatever is done to it.
func TestOrdered(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var o ordered[int]
		want := map[string]int{}
		most := rapid.SampledFrom([]int{10, 300, 3000}).Draw(t, "keys")
		key := rapid.Custom(func(t *rapid.T) string { return fmt.Sprintf("%04d", rapid.IntRange(0, most).Draw(t, "n")) })
		check := func(t *rapid.T) {
			keys := slices.Sorted(maps.Keys(want))
			first := key.Draw(t, "first")
			at, _ := slices.BinarySearch(keys, first)
			var got []string
			for k, v := range o.from(first) {
				if got = append(got, k); v != want[k] {
					t.Fatalf("%s is %d, want %d", k, v, want[k])
				}
			}
			if !slices.Equal(got, keys[at:]) || o.n != len(want) {
				t.Fatalf("%d keys %q, want %d, %q", o.n, got, len(want), keys[at:])
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"": check,
			"put": func(t *rapid.T) {
				for range rapid.IntRange(1, 400).Draw(t, "times") {
					k, v := key.Draw(t, "key"), rapid.Int().Draw(t, "value")
					was, there := want[k]
					if old, replaced := o.put(k, v); old != was || replaced != there {
						t.Fatalf("put replaced %d, %v; want %d, %v", old, replaced, was, there)
					}
					want[k] = v
				}
			},
			"remove": func(t *rapid.T) {
				for range rapid.IntRange(1, 400).Draw(t, "times") {
					k := key.Draw(t, "key")
					was, there := want[k]
					if old, removed := o.remove(k); old != was || removed != there {
						t.Fatalf("removed %d, %v; want %d, %v", old, removed, was, there)
					}
					delete(want, k)
				}
			},
			"get": func(t *rapid.T) {
				k := key.Draw(t, "key")
				v, there := want[k]
				if got, ok := o.get(k); got != v || ok != there {
					t.Fatalf("got %d, %v; want %d, %v", got, ok, v, there)
				}
			},
		})
	})
}
