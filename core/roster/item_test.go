package roster

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// What is set is what is read, whatever else the item holds.
func TestItemText(t *testing.T) {
	text := rapid.StringMatching(`[a-zA-Zéß<>'" ]{0,8}`)
	rapid.Check(t, func(t *rapid.T) {
		var i Item
		var name, request string
		var groups []string
		for range rapid.IntRange(1, 6).Draw(t, "changes") {
			if rapid.Bool().Draw(t, "request") {
				request = text.Draw(t, "xml")
				i.SetRequest(request)
			} else {
				name = text.Draw(t, "name")
				groups = rapid.SliceOfNDistinct(rapid.StringMatching(`[a-zé ]{1,5}`), 0, 4, rapid.ID).Draw(t, "groups")
				i.Describe(name, groups)
			}
			if i.Name() != name || i.Request() != request || !slices.Equal(i.Groups(), groups) {
				t.Fatalf("%q %q %q, want %q %q %q", i.Name(), i.Request(), i.Groups(), name, request, groups)
			}
		}
		other := Item{}
		other.SetRequest(request)
		other.Describe(name, groups)
		if !same(&i, &other) {
			t.Fatal("the order of changes shows")
		}
	})
}
