package xmlstream

import "github.com/hexmpp/hexmpp/ports/xmpp/stream"

// scanner checks one top-level item of a stream: an element, the start tag or
// end tag of the stream, or the XML declaration. It can stop after any byte
// and go on when more has come, and looks at each byte once (a character that
// was cut off twice). Its arrays are about 2 KiB: scanners are pooled.
type scanner struct {
	scope  *scope // what the stream header says
	limits Limits
	place  place // where in the stream the item stands

	declAllowed bool // the item may be the XML declaration

	state state
	back  state // where a reference returns to
	pos   int   // next byte to look at
	mark  int   // where a reference, a CDATA section or an end tag's name began
	quote byte  // that ends the attribute value
	apart bool  // white space came since the last name or value of the tag

	tag   qname       // name of the start tag at hand
	attrs []attribute // of the start tag at hand
	seen  uint64      // Bloom filter over the names of attrs

	prefixed int           // attributes of the tag at hand that have a prefix other than xml
	outer    int16         // how many declarations were in force before the tag at hand
	deflt    namespace     // the default namespace that the tag at hand declares
	decls    []declaration // namespace declarations in force, inner ones last
	stack    []openElement // elements that are open
	borrowed int           // bytes; see borrow

	item    item // what the item turned out to be
	root    root // what is known of the element itself
	outside bool // a name leans on a declaration of the stream header
	rewrite bool // the content is not canonical as it stands
}

// place says what may stand at the top level.
type place uint8

const (
	atStart place = iota // the stream header
	inside               // elements, and the end of the stream
)

// item is what a scanner has found.
type item uint8

const (
	anElement item = iota
	aHeader
	anEmptyHeader // <stream:stream/>
	anEnd
	aDeclaration // <?xml ... ?>
)

type state uint8

const (
	inText state = iota
	afterLT
	inName        // of a start tag
	inTag         // after the name or a value
	inAttrName    //
	afterAttrName // before '='
	beforeValue   // after '='
	inValue       //
	afterSlash    // of an empty-element tag
	inEndName     //
	afterEndName  //
	inReference   // after '&'
	afterBang     // after "<!"
	inCDATA       //
	inXMLDecl     // after "<?"
)

// begin prepares for an item. Its first byte is a '<'.
func (s *scanner) begin(sc *scope, l Limits, where place, declAllowed bool) {
	if where == atStart {
		l.StanzaBytes = min(l.StanzaBytes, maxHeader)
	}
	s.scope, s.limits, s.place, s.declAllowed = sc, l, where, declAllowed
	s.state, s.pos = afterLT, 1
	s.decls, s.stack, s.borrowed = s.decls[:0], s.stack[:0], 0
	s.item, s.outside, s.rewrite = anElement, false, false
	s.root.known = known{}
	s.root.extra, s.root.children = s.root.extra[:0], s.root.children[:0]
}

// bound returns how many bytes the item may have. It grows when the start tag
// is complete.
func (s *scanner) bound() int {
	switch {
	case len(s.stack) == 0:
		return min(s.limits.StanzaBytes, s.limits.startTag())
	case s.root.kind == 0:
		return s.limits.ElementBytes
	}
	return s.limits.StanzaBytes
}

// fail makes a stream error; text goes to the peer.
func fail(c stream.Condition, text string) *stream.Error { return stream.Err(c, text) }

// scan goes on with the item that b begins with. done is false when b ends
// inside the item: scan is called again when b has grown. When it is true, the
// item is b[:s.pos].
func (s *scanner) scan(b []byte) (done bool, err *stream.Error) {
	i := s.pos
	for i < len(b) {
		switch s.state {
		case inText:
			if i = skipText(b, i); i == len(b) {
				break
			}
			switch b[i] {
			case '<':
				i++
				s.state = afterLT
			case '&':
				i++
				s.state, s.back, s.mark = inReference, inText, i
			case '>':
				if i >= 2 && b[i-1] == ']' && b[i-2] == ']' {
					return false, fail(stream.NotWellFormed, "']]>' in character data") // XML 1.0 production 14
				}
				i++
			default:
				s.pos = i
				return false, badChar(b[i:])
			}

		case afterLT:
			switch c := b[i]; {
			case class[c]&nameStart != 0 || c >= 0x80:
				if len(s.stack) >= s.limits.Depth {
					return false, fail(stream.PolicyViolation, "elements are nested too deeply")
				}
				s.tag = qname{span: span{from: uint32(i)}}
				s.attrs, s.seen, s.prefixed = s.attrs[:0], 0, 0
				s.outer, s.deflt = int16(len(s.decls)), streamDefault
				s.apart = false
				s.state = inName
				if end := plainName(b, i); end > 0 {
					s.tag.to = uint32(end)
					i = end
					s.state = inTag
				}
			case c == '/':
				if len(s.stack) == 0 && s.place == atStart {
					return false, fail(stream.NotWellFormed, "end tag before the stream header")
				}
				i++
				s.state, s.mark = inEndName, i
			case c == '!':
				i++
				s.state, s.mark = afterBang, i
			case c == '?':
				if len(s.stack) > 0 || !s.declAllowed {
					return false, fail(stream.RestrictedXML, "processing instruction")
				}
				i++
				s.state, s.mark = inXMLDecl, i
			case c == 0 && s.place == atStart && len(s.stack) == 0:
				return false, fail(stream.UnsupportedEncoding, "not UTF-8") // UTF-16 without a byte order mark
			default:
				return false, fail(stream.NotWellFormed, "name expected after '<'")
			}

		case inName:
			var ended bool
			if i, ended, err = scanName(b, i, &s.tag); err != nil {
				return false, err
			} else if ended {
				s.tag.to = uint32(i)
				s.state = inTag
			} else {
				s.pos = i
				return false, nil
			}

		case inTag:
			switch c := b[i]; {
			case class[c]&space != 0:
				s.apart = true
				i++
			case c == '>':
				i++
				if done, err = s.startTag(b, i, false); done || err != nil {
					s.pos = i
					return done, err
				}
				s.state = inText
			case c == '/':
				i++
				s.state = afterSlash
			case !s.apart:
				return false, fail(stream.NotWellFormed, "white space expected between attributes")
			default:
				if len(s.attrs) >= s.limits.Attributes {
					return false, fail(stream.PolicyViolation, "too many attributes")
				}
				s.attrs = append(s.attrs, attribute{name: qname{span: span{from: uint32(i)}}})
				s.state = inAttrName
				if end := plainName(b, i); end > 0 && end+1 < len(b) && b[end] == '=' && (b[end+1] == '"' || b[end+1] == '\'') {
					// The usual case is done at once: a plain name, '=', a quote.
					a := &s.attrs[len(s.attrs)-1]
					a.name.to = uint32(end)
					if s.duplicate(b) {
						return false, errDuplicate()
					}
					i = end + 2
					a.value = value{span{from: uint32(i)}, true}
					s.quote = b[end+1]
					s.state = inValue
				}
			}

		case inAttrName:
			a := &s.attrs[len(s.attrs)-1]
			var ended bool
			if i, ended, err = scanName(b, i, &a.name); err != nil {
				return false, err
			} else if !ended {
				s.pos = i
				return false, nil
			}
			a.name.to = uint32(i)
			if s.duplicate(b) {
				return false, errDuplicate()
			}
			s.state = afterAttrName
			if b[i] == '=' { // the usual case, without a turn of the loop
				i++
				s.state = beforeValue
			}

		case afterAttrName:
			switch c := b[i]; {
			case c == '=':
				s.state = beforeValue
			case class[c]&space == 0:
				return false, fail(stream.NotWellFormed, "'=' expected after the name of an attribute")
			}
			i++

		case beforeValue:
			switch c := b[i]; {
			case c == '"' || c == '\'':
				s.quote = c
				s.attrs[len(s.attrs)-1].value = value{span{from: uint32(i + 1)}, true}
				s.state = inValue
			case class[c]&space == 0:
				return false, fail(stream.NotWellFormed, "attribute value without quotes")
			}
			i++

		case inValue:
			if i = skipValue(b, i, s.quote); i == len(b) {
				break
			}
			a := &s.attrs[len(s.attrs)-1]
			switch c := b[i]; {
			case c == s.quote:
				a.value.to = uint32(i)
				i++
				s.apart = false
				s.state = inTag
				if err = s.attributeEnd(b, a); err != nil {
					return false, err
				}
			case c == '&':
				a.value.plain = false
				i++
				s.state, s.back, s.mark = inReference, inValue, i
			case c == '<':
				return false, fail(stream.NotWellFormed, "'<' in an attribute value")
			case class[c]&space != 0:
				a.value.plain = false
				i++
			default:
				s.pos = i
				return false, badChar(b[i:])
			}

		case afterSlash:
			if b[i] != '>' {
				return false, fail(stream.NotWellFormed, "'>' expected after '/'")
			}
			i++
			if done, err = s.startTag(b, i, true); done || err != nil {
				s.pos = i
				return done, err
			}
			s.state = inText

		case inEndName:
			var same bool
			if i, same = s.matchEndName(b, i); !same {
				return false, fail(stream.NotWellFormed, "end tag does not match the start tag")
			}

		case afterEndName:
			c := b[i]
			i++
			if c == '>' {
				if s.endTag(i) {
					s.pos = i
					return true, nil
				}
				s.state = inText
			} else if class[c]&space == 0 {
				return false, fail(stream.NotWellFormed, "end tag does not match the start tag")
			}

		case inReference:
			switch c := b[i]; {
			case c == ';':
				if _, err = resolve(b[s.mark:i]); err != nil {
					return false, err
				}
				s.state = s.back
			case class[c]&nameChar == 0 && c != '#' && c != ':' && c < 0x80:
				return false, fail(stream.NotWellFormed, "reference without ';'")
			case i-s.mark >= maxReference && b[s.mark] == '#':
				return false, fail(stream.PolicyViolation, "character reference with too many zeros")
			}
			i++

		case afterBang:
			if i, err = s.bang(b, i); err != nil {
				return false, err
			}

		case inCDATA:
			if i = skipText(b, i); i == len(b) {
				break
			}
			switch b[i] {
			case '<', '&':
			case '>':
				if i >= s.mark+2 && b[i-1] == ']' && b[i-2] == ']' {
					s.state = inText
				}
			default:
				s.pos = i
				return false, badChar(b[i:])
			}
			i++

		case inXMLDecl:
			if done, err = s.xmlDecl(b, i); done || err != nil {
				s.pos = i + 1
				return done, err
			}
			i++
		}
	}
	s.pos = i
	return false, nil
}
