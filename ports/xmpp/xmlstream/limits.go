package xmlstream

// Limits bound what a peer can make the reader hold. A zero field means its
// default. The stream error for whatever exceeds one is policy-violation
// (RFC 6120 4.9.3.14), raised as soon as the limit is crossed.
type Limits struct {
	// StanzaBytes bounds a top-level element, in bytes (default 262,144; RFC 6120
	// 13.12 wants 10,000 at least), and also what it would take to declare
	// namespaces anew wherever one is used that was declared further out: one long
	// name that thousands of short elements share. So a tree of the element, as
	// stanza.Element.Append writes it, has at most 12 times as many bytes, the
	// factor of 6 being that of the longest escape.
	StanzaBytes int
	Depth       int // nesting below the stream element (default 64)
	Attributes  int // attributes of one element, namespace declarations included (default 32)
}

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
)

// withDefaults fills in absent fields and keeps the others within what the
// scanner can represent.
func (l Limits) withDefaults() Limits {
	return Limits{
		StanzaBytes: orDefault(l.StanzaBytes, defaultStanzaBytes, maxStanzaBytes),
		Depth:       orDefault(l.Depth, defaultDepth, maxDepth),
		Attributes:  orDefault(l.Attributes, defaultAttributes, maxAttributes),
	}
}

func orDefault(v, preset, highest int) int {
	if v <= 0 {
		return preset
	}
	return min(v, highest)
}
