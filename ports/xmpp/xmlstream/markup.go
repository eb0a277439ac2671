package xmlstream

import (
	"bytes"

	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
)

// bang goes on after "<!": only a CDATA section may follow, and only in an element.
func (s *scanner) bang(b []byte, i int) (int, *stream.Error) {
	const cdata = "[CDATA["
	c := b[i]
	switch at := i - s.mark; {
	case at == 0 && c != '[':
		if c == '-' || class[c]&nameStart != 0 {
			return i, fail(stream.RestrictedXML, "comment or document type declaration")
		}
		return i, fail(stream.NotWellFormed, "unknown markup after '<!'")
	case c != cdata[at]:
		return i, fail(stream.NotWellFormed, "unknown markup after '<!['")
	case len(s.stack) == 0 && s.place == atStart:
		return i, fail(stream.NotWellFormed, "CDATA section before the stream header")
	case len(s.stack) == 0:
		return i, fail(stream.BadFormat, "CDATA section between stanzas")
	case at == len(cdata)-1:
		s.state, s.mark = inCDATA, i+1
	}
	return i + 1, nil
}

// xmlDecl looks at a byte after "<?". What is not an XML declaration is a
// processing instruction.
func (s *scanner) xmlDecl(b []byte, i int) (done bool, err *stream.Error) {
	const target = "xml"
	c := b[i]
	switch at := i - s.mark; {
	case at < len(target) && c != target[at], at == len(target) && class[c]&space == 0:
		return false, fail(stream.RestrictedXML, "processing instruction")
	case c == '>' && b[i-1] == '?':
		s.item = aDeclaration
		return true, nil
	}
	return false, nil
}

// matchEndName goes on comparing the name of an end tag with the one that it
// must have.
func (s *scanner) matchEndName(b []byte, i int) (next int, same bool) {
	at := i - s.mark
	if len(s.stack) == 0 { // the end of the stream
		n := min(len(s.scope.root)-at, len(b)-i)
		same = string(b[i:i+n]) == s.scope.root[at:at+n]
		if at+n == len(s.scope.root) {
			s.state = afterEndName
		}
		return i + n, same
	}
	name := s.stack[len(s.stack)-1].name.of(b)
	n := min(len(name)-at, len(b)-i)
	if at+n == len(name) {
		s.state = afterEndName
	}
	return i + n, bytes.Equal(b[i:i+n], name[at:at+n])
}
