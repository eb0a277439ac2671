package client

import (
	"bytes"
	"errors"
	"io"
)

// maxItem bounds an element that a Scanner reads.
const maxItem = 16 << 20

// errItem: the server's output makes no sense.
var errItem = errors.New("client: the server's output is no stream of elements, or has one that is too long")

// Scanner cuts a stream into its header, the elements in it, and its end. It trusts
// the server to be well-formed: what is inside of an element is not looked at.
type Scanner struct {
	r     io.Reader
	buf   []byte
	start int // of what has not been returned
	pos   int // up to which it was looked at
	end   int
	depth int // of open elements at pos
	wrong bool
}

// NewScanner returns a Scanner of a new stream.
func NewScanner(r io.Reader) *Scanner { return &Scanner{r: r} }

// Next returns the next piece: "<stream:stream ...>", a whole element, or
// "</stream:stream>". It is valid until the next call.
func (s *Scanner) Next() ([]byte, error) {
	for {
		if item := s.scan(); item != nil {
			return item, nil
		}
		if s.wrong || s.end-s.start > maxItem {
			return nil, errItem
		}
		if err := s.fill(); err != nil {
			return nil, err
		}
	}
}

// scan returns a piece, nil if there is none yet.
func (s *Scanner) scan() []byte {
	for {
		i := bytes.IndexByte(s.buf[s.pos:s.end], '<')
		if i < 0 {
			s.pos = s.end
			s.skip()
			return nil
		}
		s.pos += i
		s.skip()
		n := tagLength(s.buf[s.pos:s.end])
		if n == 0 {
			return nil
		}
		tag := s.buf[s.pos : s.pos+n]
		s.pos += n
		switch {
		case tag[1] == '?' || tag[1] == '!':
			continue
		case tag[1] == '/':
			s.depth--
			if s.wrong = s.depth < 0; s.wrong {
				return nil
			}
			if s.depth == 0 {
				return s.take()
			}
		case tag[n-2] != '/':
			if s.depth++; s.depth == 1 {
				return s.take()
			}
		}
		if s.depth == 1 {
			return s.take()
		}
	}
}

// skip forgets what stands between elements.
func (s *Scanner) skip() {
	if s.depth <= 1 {
		s.start = s.pos
	}
}

func (s *Scanner) take() []byte {
	item := s.buf[s.start:s.pos]
	s.start = s.pos
	return item
}

// tagLength returns the length of the tag at the beginning of p, 0 if its end is not
// there yet. A '>' in an attribute does not end it.
func tagLength(p []byte) int {
	quote := byte(0)
	for i := 1; i < len(p); i++ {
		switch c := p[i]; {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '\'' || c == '"':
			quote = c
		case c == '>':
			if i == 1 {
				return 0 // "<>" is no tag: the stream ends here
			}
			return i + 1
		}
	}
	return 0
}

// fill reads more. A Scanner that waits between elements keeps a small buffer.
func (s *Scanner) fill() error {
	if s.start > 0 {
		copy(s.buf, s.buf[s.start:s.end])
		s.pos, s.end, s.start = s.pos-s.start, s.end-s.start, 0
	}
	if s.end == len(s.buf) {
		s.buf = append(s.buf, make([]byte, max(1<<10, len(s.buf)))...)
	}
	n, err := s.r.Read(s.buf[s.end:])
	s.end += n
	if n > 0 {
		return nil
	}
	return err
}

// Name returns the name of an element as it is written, prefix included.
func Name(item []byte) string {
	if i := bytes.IndexAny(item, " \t\r\n/>"); i > 0 {
		return string(item[1:i])
	}
	return ""
}

// Attr returns an attribute of an element's start tag, "" if it has none.
func Attr(item []byte, name string) string {
	tag := item[:max(tagLength(item), 0)]
	for {
		i := bytes.Index(tag, []byte(name))
		if i < 1 {
			return ""
		}
		before := tag[i-1]
		tag = tag[i+len(name):]
		if len(tag) > 2 && tag[0] == '=' && (before == ' ' || before == '\t' || before == '\n') {
			if j := bytes.IndexByte(tag[2:], tag[1]); j >= 0 {
				return string(tag[2 : 2+j])
			}
		}
	}
}

// Content returns what the first element of a name in an item has in it.
func Content(item []byte, name string) (text string, ok bool) {
	for rest := item; ; {
		i := bytes.Index(rest, []byte("<"+name))
		if i < 0 {
			return "", false
		}
		rest = rest[i:]
		if Name(rest) != name {
			rest = rest[1:]
			continue
		}
		n := tagLength(rest)
		if n == 0 {
			return "", false
		}
		if rest[n-2] == '/' {
			return "", true
		}
		if j := bytes.Index(rest, []byte("</"+name)); j >= n {
			return string(rest[n:j]), true
		}
		return "", false
	}
}
