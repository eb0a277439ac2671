package private_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/hexmpp/hexmpp/adapters/extension/private"
	"github.com/hexmpp/hexmpp/api/plugin/plugintest"
	"github.com/hexmpp/hexmpp/ports/extension/extensiontest"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// el is an element in a namespace of its own.
func el(n int, text string) string { return fmt.Sprintf(`<e xmlns='urn:%d'>%s</e>`, n, text) }

func counted(h *extensiontest.Harness) string {
	e, _ := h.Entry(hamlet.Session.Bare(), "count")
	return string(e.Value)
}

func TestMaxElements(t *testing.T) { plugintest.InHarness(t, testMaxElements) }

func testMaxElements(t *testing.T, as plugintest.Way) {
	h := harness(t, as, private.Options{MaxElements: 3})
	play(t, h, []step{
		{hamlet, set(el(1, "a")), done},
		{hamlet, set(`<e xmlns='urn:2'>b</e><f xmlns='urn:2'>b</f>`), done},
		{hamlet, set(el(3, "c")), full},
		{hamlet, get(el(3, "")), is(el(3, ""))},
		{hamlet, set(el(1, "again")), done}, // what is there may change
		{hamlet, get(el(1, "")), is(el(1, "again"))},
		{hamlet, set(el(1, "")), done}, // what goes makes room
		{hamlet, set(el(3, "c")), done},
		{hamlet, set(el(4, "d")), full},
		{hamlet, set(`<e xmlns='urn:2'/><g xmlns='urn:2'>b</g>`), done}, // one goes, one comes
		{hamlet, get(`<g xmlns='urn:2'/>`), is(`<g xmlns='urn:2'>b</g>`)},
		{hamlet, set(`<a xmlns='urn:5'/><b xmlns='urn:5'/><c xmlns='urn:5'/><d xmlns='urn:5'/>`), full}, // too many at once
	})
	if n := counted(h); n != "3" {
		t.Errorf("counted %s", n)
	}
}

// An administrator who lowers the bound takes nothing away.
func TestMaxElementsLowered(t *testing.T) { plugintest.InHarness(t, testMaxElementsLowered) }

func testMaxElementsLowered(t *testing.T, as plugintest.Way) {
	h := harness(t, as, private.Options{MaxElements: 1})
	h.Put(hamlet.Session.Bare(), "count", []byte("3"))
	h.Put(hamlet.Session.Bare(), "xml e urn:1", []byte(el(1, "a")))
	play(t, h, []step{
		{hamlet, get(el(1, "")), is(el(1, "a"))},
		{hamlet, set(el(1, "b")), done},
		{hamlet, set(el(2, "c")), full},
		{hamlet, set(el(1, "")), done},
		{hamlet, set(el(2, "c")), full},
	})
	if n := counted(h); n != "2" {
		t.Errorf("counted %s", n)
	}
}

func TestMaxBytes(t *testing.T) { plugintest.InHarness(t, testMaxBytes) }

func testMaxBytes(t *testing.T, as plugintest.Way) {
	const limit = 1000
	sized := func(n int) string { return el(1, strings.Repeat("x", n-len("<e xmlns='urn:1'></e>"))) }
	long := "urn:" + strings.Repeat("n", limit/4)
	tests := []struct {
		name, content string
		ok            bool
	}{
		{"as much as allowed", sized(limit), true},
		{"one byte more", sized(limit + 1), false},
		{"elements of one name count together", sized(limit/2) + sized(limit/2), true},
		{"elements of one name count together, one byte more", sized(limit/2) + sized(limit/2+1), false},
		{"others do not", sized(limit) + `<f xmlns='urn:1'>` + strings.Repeat("y", limit/2) + `</f>`, true},
		{"escapes count as they are written", el(1, `<![CDATA[`+strings.Repeat("<", limit/4)+`]]>`), false},
		{"elements of a long namespace count each", `<e xmlns='urn:1' xmlns:q='` + long + `'>` + strings.Repeat("<q:f/>", 5) + `</e>`, false},
		{"attributes of a long namespace count each", `<e xmlns='urn:1' xmlns:q='` + long + `'>` + strings.Repeat("<f q:a=''/>", 5) + `</e>`, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := harness(t, as, private.Options{MaxBytes: limit})
			first := step{hamlet, get(el(1, "")), ""}
			if !tt.ok {
				first.want = is(el(1, "old")) // what was there stays
				play(t, h, []step{{hamlet, set(el(1, "old")), done}, {hamlet, set(tt.content), policyViolation}, first})
				return
			}
			own, _, _ := strings.Cut(tt.content, `<f xmlns`)
			first.want = is(own)
			play(t, h, []step{{hamlet, set(tt.content), done}, first})
		})
	}
}

// An element that uses many namespaces at many levels comes back whole.
func TestManyNamespaces(t *testing.T) { plugintest.InHarness(t, testManyNamespaces) }

func testManyNamespaces(t *testing.T, as plugintest.Way) {
	var b strings.Builder // 30 namespaces of attributes, used at each of 30 levels
	b.WriteString(`<e xmlns='urn:1'`)
	for i := range 30 {
		fmt.Fprintf(&b, ` xmlns:p%d='u%d'`, i, i)
	}
	b.WriteString(">")
	for range 30 {
		b.WriteString("<x")
		for i := range 30 {
			fmt.Fprintf(&b, ` p%d:a=''`, i)
		}
		b.WriteString(">")
	}
	b.WriteString(strings.Repeat("</x>", 30) + "</e>")
	h := harness(t, as, private.Options{})
	play(t, h, []step{{hamlet, set(b.String()), done}, {hamlet, get(el(1, "")), is(b.String())}})
}

// Names that are too long for a key are stored under a hash of them.
func TestLongNames(t *testing.T) { plugintest.InHarness(t, testLongNames) }

func testLongNames(t *testing.T, as plugintest.Way) {
	h := harness(t, as, private.Options{})
	fits := strings.Repeat("u", storage.MaxKey-len("xml e "))
	named := func(local, space, text string) string {
		return `<` + local + ` xmlns='` + space + `'>` + text + `</` + local + `>`
	}
	cases := [][2]string{{"e", fits}, {"e", fits + "u"}, {"e", fits + "v"}, {"eu", fits}, {strings.Repeat("e", 2000), "u"}}
	for i, c := range cases {
		play(t, h, []step{{hamlet, set(named(c[0], c[1], fmt.Sprint(i))), done}})
	}
	for i, c := range cases {
		play(t, h, []step{{hamlet, get(named(c[0], c[1], "")), is(named(c[0], c[1], fmt.Sprint(i)))}})
	}
	if _, ok := h.Entry(hamlet.Session.Bare(), "xml e "+fits); !ok || counted(h) != fmt.Sprint(len(cases)) {
		t.Errorf("a key that just fits is there: %v; counted %s", ok, counted(h))
	}
}

// Two sessions set at the same time: the one that lost runs again.
func TestRaces(t *testing.T) { plugintest.InHarness(t, testRaces) }

func testRaces(t *testing.T, as plugintest.Way) {
	h := harness(t, as, private.Options{MaxElements: 2})
	play(t, h, []step{{hamlet, set(el(1, "a")), done}})
	other := func(content string) func() {
		return func() { play(t, h, []step{{hamlet, set(content), done}}) }
	}
	t.Run("the last place", func(t *testing.T) {
		h.BeforeCommit(other(el(2, "other")))
		play(t, h, []step{{hamlet, set(el(3, "own")), full}})
	})
	t.Run("a replacement of what goes", func(t *testing.T) {
		h.BeforeCommit(other(el(2, "")))
		play(t, h, []step{{hamlet, set(el(2, "own")), done}, {hamlet, get(el(2, "")), is(el(2, "own"))}})
	})
	t.Run("the same goes twice", func(t *testing.T) {
		h.BeforeCommit(other(el(2, "")))
		play(t, h, []step{{hamlet, set(el(2, "")), done}})
	})
	if n := counted(h); n != "1" {
		t.Errorf("counted %s", n)
	}
}

// However sets mix, what is counted is what is there.
func TestConcurrentCount(t *testing.T) { plugintest.InHarness(t, testConcurrentCount) }

func testConcurrentCount(t *testing.T, as plugintest.Way) {
	h := harness(t, as, private.Options{MaxElements: 4})
	var sessions sync.WaitGroup
	for s := range 4 {
		sessions.Go(func() {
			for i := range 50 {
				n, text := (s*7+i)%6, ""
				if (s+i)%3 != 0 {
					text = "text"
				}
				h.IQ(hamlet, extensiontest.Parse(t, set(el(n, text))))
			}
		})
	}
	sessions.Wait()
	there := 0
	for n := range 6 {
		if _, ok := h.Entry(hamlet.Session.Bare(), fmt.Sprintf("xml e urn:%d", n)); ok {
			there++
		}
	}
	if c := counted(h); c != fmt.Sprint(there) || there > 4 {
		t.Errorf("counted %s, there are %d", c, there)
	}
}

// What is stored belongs to the account: it goes with it.
func TestRemoval(t *testing.T) { plugintest.InHarness(t, testRemoval) }

func testRemoval(t *testing.T, as plugintest.Way) {
	h := harness(t, as, private.Options{})
	play(t, h, []step{{hamlet, set(exodus), done}})
	if err := h.Accounts.Remove(t.Context(), hamlet.Session.Bare()); err != nil {
		t.Fatal(err)
	}
	play(t, h, []step{
		{hamlet, get(blank), is(blank)},
		{hamlet, set(exodus), refusal(head, "cancel", "item-not-found")},
	})
}

// What can't be read is an internal error, and is logged.
func TestStoreFails(t *testing.T) { plugintest.InHarness(t, testStoreFails) }

func testStoreFails(t *testing.T, as plugintest.Way) {
	h := harness(t, as, private.Options{})
	owner, down := hamlet.Session.Bare(), errors.New("disk is on fire")
	check := func(s string, cause error) {
		t.Helper()
		play(t, h, []step{{hamlet, s, refusal(head, "cancel", "internal-server-error")}})
		if errs := h.Errors(); len(errs) != 1 || cause != nil && !strings.Contains(errs[0].Error(), cause.Error()) {
			t.Errorf("errors %v, want %v", errs, cause)
		}
	}
	h.FailStore(down)
	check(get(blank), down)
	check(set(exodus), down)
	h.FailStore(nil)
	h.Put(owner, "xml exodus exodus:prefs", []byte("<exodus"))
	check(get(blank), stanza.ErrSyntax)
	h.Put(owner, "count", []byte("many"))
	check(set(exodus), nil)
}
