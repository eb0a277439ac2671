package xmlstream

// Limits bound what a peer can make the reader hold. A zero field means its
// default. The stream error for whatever exceeds one is policy-violation
// (RFC 6120 4.9.3.14), raised as soon as the limit is crossed.
type Limits struct {
	// StanzaBytes bounds a top-level element, in bytes (default 262,144; RFC 6120
	// 13.12 wants 10,000 at least), and also what it would take to declare
	// namespaces anew wherever one is used that was declared further out: one long
	// name that thousands of short elements share. (Stream headers and start tags
	// have narrower bounds of their own: maxHeader, maxStartTag.) So a tree of the element, as
	// stanza.Element.Append writes it, has at most 12 times as many bytes, the
	// factor of 6 being that of the longest escape.
	StanzaBytes int
	// ElementBytes bounds a top-level element that is no stanza, in bytes (default
	// and most: StanzaBytes). Of such an element the reader makes a tree at once.
	ElementBytes int
	Depth        int // nesting below the stream element (default 64)
	Attributes   int // attributes of one element, namespace declarations included (default 32)

	canonical bool // what is read was written by Stanza.Append: see ParseCanonical
}

// canonicalLimits let in whatever Stanza.Append makes of a stanza that was let in
// with any other Limits. An escape is up to six times as long as what it stands
// for, and the start tag has what the server put there: addresses, a language,
// declarations of prefixes that had been in the stream header.
var canonicalLimits = Limits{StanzaBytes: maxStanzaBytes, ElementBytes: maxStanzaBytes, Depth: 500, Attributes: 1000, canonical: true}

const (
	defaultStanzaBytes = 256 << 10
	defaultDepth       = 64
	defaultAttributes  = 32

	// The highest values: offsets into an element are 32 bits wide, and
	// stanza.ParseElement, where rare forms go, has bounds of its own.
	maxStanzaBytes = 1 << 30
	maxDepth       = 255
	maxAttributes  = 255

	// maxDeclarations bounds the namespace declarations in force at one place,
	// for the time that it takes to look up a prefix.
	maxDeclarations = 128

	// maxNamespace bounds the name of a namespace, in bytes as sent. Those in use
	// have fewer than 100.
	maxNamespace = 1024

	// maxHeader bounds the stream header, and the XML declaration, in bytes: what
	// a header says is held as long as its stream. It has room for the longest
	// addresses that a client may name there, a bare JID and a domain (3,070 bytes).
	maxHeader = 4 << 10

	// maxStartTag bounds the start tag of a top-level element, in bytes: what it
	// says goes into answers, logs and lists. The 10,000 of RFC 6120 13.12 hold
	// also for a stanza that is nothing but a start tag.
	maxStartTag = 16 << 10

	// maxLang bounds a language tag, in bytes: that of the stream header is put on
	// each stanza. Whoever bounds them must let 35 pass (RFC 5646 4.4.1); this has
	// room for some private-use subtags on top.
	maxLang = 64
)

// withDefaults fills in absent fields and keeps the others within what the
// scanner can represent.
func (l Limits) withDefaults() Limits {
	if l.canonical {
		return l
	}
	stanza := orDefault(l.StanzaBytes, defaultStanzaBytes, maxStanzaBytes)
	return Limits{
		StanzaBytes:  stanza,
		ElementBytes: orDefault(l.ElementBytes, stanza, stanza),
		Depth:        orDefault(l.Depth, defaultDepth, maxDepth),
		Attributes:   orDefault(l.Attributes, defaultAttributes, maxAttributes),
	}
}

// startTag, declarations, namespace and lang return the bounds that are no options.
func (l *Limits) startTag() int     { return l.bound(maxStartTag, maxStanzaBytes) }
func (l *Limits) declarations() int { return l.bound(maxDeclarations, 8<<10) }
func (l *Limits) namespace() int    { return l.bound(maxNamespace, maxStanzaBytes) }
func (l *Limits) lang() int         { return l.bound(maxLang, maxStanzaBytes) }

func (l *Limits) bound(others, canonical int) int {
	if l.canonical {
		return canonical
	}
	return others
}

func orDefault(v, preset, highest int) int {
	if v <= 0 {
		return preset
	}
	return min(v, highest)
}
