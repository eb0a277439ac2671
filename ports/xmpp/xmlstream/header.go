package xmlstream

import (
	"bytes"
	"strings"

	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
)

// checkDeclaration checks an XML declaration, which b is from "<?xml" to "?>"
// (XML 1.0 productions 23 to 26 and 32, RFC 6120 11.5, 11.6 and 11.8). A
// standalone declaration is ignored.
func checkDeclaration(b []byte) *stream.Error {
	rest := b[len("<?xml") : len(b)-len("?>")]
	seen := 0
	for _, want := range [...]string{"version", "encoding", "standalone"} {
		name, val, after, ok := pseudoAttribute(rest)
		if !ok {
			break
		}
		if name != want {
			if want == "version" {
				return fail(stream.NotWellFormed, "XML declaration without a version")
			}
			continue
		}
		rest = after
		seen++
		switch {
		case want == "version" && val != "1.0":
			return fail(stream.BadFormat, "XML version other than 1.0")
		case want == "encoding" && !strings.EqualFold(val, "utf-8"):
			return fail(stream.UnsupportedEncoding, "encoding other than UTF-8")
		case want == "standalone" && val != "yes" && val != "no":
			return fail(stream.NotWellFormed, "malformed XML declaration")
		}
	}
	if seen == 0 || !allSpace(rest) {
		return fail(stream.NotWellFormed, "malformed XML declaration")
	}
	return nil
}

// pseudoAttribute reads white space, a name, '=' and a quoted value.
func pseudoAttribute(b []byte) (name, val string, rest []byte, ok bool) {
	const spaces = " \t\r\n"
	t := bytes.TrimLeft(b, spaces)
	eq := bytes.IndexByte(t, '=')
	if eq < 0 || len(t) == len(b) {
		return "", "", nil, false
	}
	name = string(bytes.TrimRight(t[:eq], spaces))
	t = bytes.TrimLeft(t[eq+1:], spaces)
	if len(t) == 0 || t[0] != '"' && t[0] != '\'' {
		return "", "", nil, false
	}
	end := bytes.IndexByte(t[1:], t[0])
	if end < 0 {
		return "", "", nil, false
	}
	return name, string(t[1 : 1+end]), t[end+2:], true
}

// header reads the stream header b, whose start tag has just been scanned, and
// makes the scope of what follows.
func (s *scanner) header(b []byte) (*stream.Header, *scope, *stream.Error) {
	sc := &scope{root: string(s.tag.of(b))}
	for i := range s.decls {
		ns := namespace(i)
		if p := string(s.decls[i].prefix.of(b)); p != "" {
			sc.prefixes = append(sc.prefixes, binding{p, string(s.name(b, ns))})
		} else {
			sc.deflt = string(s.name(b, ns))
		}
	}
	if err := s.checkRoot(b, sc); err != nil {
		return nil, nil, err
	}
	sc.content = sc.contentNamespace()
	sc.inherits = sc.deflt == sc.content

	h := &stream.Header{ContentSpace: sc.content}
	for i := range s.attrs {
		a := &s.attrs[i]
		switch string(a.name.of(b)) {
		case "to":
			h.To = a.value.string(b)
		case "from":
			h.From = a.value.string(b)
		case "id":
			h.ID = a.value.string(b)
		case "version":
			h.Version = a.value.string(b)
		case "xml:lang":
			h.Lang = a.value.string(b)
			if err := checkLang([]byte(h.Lang), maxLang); err != nil {
				return nil, nil, err
			}
		}
	}
	return h, sc.shared(), nil
}

// checkRoot checks the expanded name of the stream header's element (RFC 6120 4.8.1).
func (s *scanner) checkRoot(b []byte, sc *scope) *stream.Error {
	space := sc.deflt
	if s.tag.colon != 0 {
		space = string(s.name(b, s.lookup(b, s.tag.prefix(b))))
	}
	switch local := string(s.tag.local(b)); {
	case local == "stream" && space == xmpp.NSStream:
		return nil
	case local == "stream":
		return fail(stream.InvalidNamespace, "the stream namespace is "+xmpp.NSStream)
	}
	return fail(stream.BadFormat, "stream header expected")
}

// contentNamespace returns the content namespace (RFC 6120 4.8.2): the default
// namespace, else one of the two of XMPP that has a prefix, else jabber:client.
func (sc *scope) contentNamespace() string {
	if sc.deflt != "" && sc.deflt != xmpp.NSStream {
		return sc.deflt
	}
	for _, p := range sc.prefixes {
		if p.space == xmpp.NSClient || p.space == xmpp.NSServer {
			return p.space
		}
	}
	return xmpp.NSClient
}

// shared returns clientScope if sc says the same, so that the many streams
// with the usual header hold no scope of their own.
func (sc *scope) shared() *scope {
	if sc.root == clientScope.root && sc.deflt == clientScope.deflt && sc.content == clientScope.content &&
		len(sc.prefixes) == 1 && sc.prefixes[0] == clientScope.prefixes[0] {
		return clientScope
	}
	return sc
}
