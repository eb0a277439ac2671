package extensiontest

import (
	"math/rand/v2"
	"strings"

	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// garbage makes elements and stanzas that are well-formed and mean nothing.
// The same seed makes the same ones.
type garbage struct {
	*rand.Rand
	spaces, locals []string
}

// Names and values that payloads of many extensions share, so that garbage
// gets past their first look.
var (
	commonSpaces = []string{"", "jabber:x:data", "jabber:x:oob", "http://jabber.org/protocol/rsm", "urn:xmpp:garbage", stanza.NoSpace, xmpp.NSClient, xmpp.NSStanzas}
	commonLocals = []string{"x", "field", "value", "item", "items", "set", "query", "username", "password", "remove", "old_password",
		"reason", "body", "status", "name", "registered", "instructions", "key", "data", "error", "message", "iq"}
	commonAttrs = []string{"type", "var", "jid", "node", "name", "id", "to", "from", "key", "max"}
	values      = []string{"", " ", "\n", "submit", "form", "cancel", "result", "FORM_TYPE", "get", "0", "-1", "18446744073709551616", "true",
		"romeo@example.org", "romeo@example.org/orchard", "@", "/", "a@b@c", "%s%n", "../../etc/passwd", "' OR 1=1 --",
		"\u202Eabc", "\u00DFu\u0308", "\U0001F600", "\u0600\u200D", "x\u0000y", "]]>", "<&>'\"", strings.Repeat("long ", 2000)}
)

func newGarbage(seed uint64, spaces, locals []string) *garbage {
	return &garbage{rand.New(rand.NewPCG(seed, 77)), append(spaces, commonSpaces...), append(locals, commonLocals...)}
}

func (g *garbage) pick(list []string) string { return list[g.IntN(len(list))] }

// value is text: something from the list, or any runes.
func (g *garbage) value() string {
	if g.IntN(4) > 0 {
		return g.pick(values)
	}
	var b strings.Builder
	for range g.IntN(20) {
		b.WriteRune(rune(g.IntN(0x3000)))
	}
	return b.String()
}

// fill gives e attributes, text and children, down to a depth.
func (g *garbage) fill(e *stanza.Element, depth int) *stanza.Element {
	for _, i := range g.Perm(len(commonAttrs))[:g.IntN(4)] {
		e.Attrs = append(e.Attrs, stanza.At(commonAttrs[i], g.value()))
	}
	if depth == 0 {
		return e.WithText(g.value())
	}
	for range g.IntN(5) {
		switch g.IntN(6) {
		case 0:
			e.WithText(g.value())
		case 1, 2:
			e.Add(g.form())
		case 3: // a child in the namespace of its parent gets furthest
			e.Add(g.fill(stanza.El(e.Space, g.pick(g.locals)), depth-1))
		default:
			e.Add(g.fill(stanza.El(g.pick(g.spaces), g.pick(g.locals)), depth-1))
		}
	}
	return e
}

// form is something like a data form (XEP-0004): most handlers that read one
// look no further if it is not submitted.
func (g *garbage) form() *stanza.Element {
	const ns = "jabber:x:data"
	x := stanza.El(ns, "x", stanza.At("type", "submit"))
	if g.IntN(4) == 0 {
		x.Attrs[0].Value = g.value()
	}
	for range g.IntN(5) {
		name, value := g.pick(g.locals), g.value()
		if g.IntN(4) == 0 {
			name, value = "FORM_TYPE", g.pick(g.spaces)
		}
		f := stanza.El(ns, "field", stanza.At("var", name))
		for range g.IntN(3) {
			f.Add(stanza.El(ns, "value").WithText(value))
		}
		x.Add(f)
	}
	return x
}

func (g *garbage) payload(space, local string) *stanza.Element {
	return g.fill(stanza.El(space, local), g.IntN(6))
}

// content is what a message or presence may hold.
func (g *garbage) content() []*stanza.Element {
	list := make([]*stanza.Element, g.IntN(4))
	for i := range list {
		list[i] = g.payload(g.pick(g.spaces), g.pick(g.locals))
	}
	return list
}
