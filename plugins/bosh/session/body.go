package session

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/xmlstream"
)

// Namespaces.
const (
	NS      = "http://jabber.org/protocol/httpbind"
	NSXBOSH = "urn:xmpp:xbosh" // XEP-0206
)

// MaxRID is the largest request ID (14.1).
const MaxRID = 1<<53 - 1

// Bounds of attributes, in bytes.
const (
	maxValue   = 3071 // an address has that many at most (RFC 7622 3.1)
	maxContent = 128
	maxKey     = 40 // hexadecimal digits of SHA-1
)

// ErrBadRequest is what is wrong with a body: the condition bad-request (17.2).
var ErrBadRequest = errors.New("bosh: bad request")

// Body is what a client sent: <body/> with its payloads (6).
type Body struct {
	RID uint64
	SID string // "": a session is asked for

	// Of a request for a session (7.1).
	To, From, Lang string
	Version        string // of XMPP (XEP-0206 3)
	Content        string // media type of all answers; "": text/xml
	Ver            Version
	Wait, Hold     int // seconds, requests; -1 without one

	Ack           uint64 // 0 without one; in a request for a session 1: there will be some (9)
	Key, NewKey   string // in lower case (15)
	Pause         int    // seconds; 0 without one (10)
	Terminate     bool   // 13
	Restart       bool   // XEP-0206 5
	Elements      [][]byte
	elementsBytes int
}

// Version is a version of BOSH; the zero one is that of a client that names none.
type Version struct{ Major, Minor int }

// ours is the version that is implemented.
var ours = Version{1, 11}

func (v Version) min(o Version) Version {
	if o.Major < v.Major || o.Major == v.Major && o.Minor < v.Minor {
		return o
	}
	return v
}

// Parse reads the body of a request. Each of Elements is a document of its own, with all namespaces that it
// needs; what came in the namespace of <body/> is in jabber:client then (XEP-0206 2). maxBytes bounds
// the body. An error wraps ErrBadRequest. b is not kept.
func Parse(b []byte, maxBytes int) (*Body, error) {
	if len(b) > maxBytes {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrBadRequest, maxBytes)
	}
	t, err := xmlstream.ParseFrame(withoutDeclaration(b), xmpp.NSClient, "", xmlstream.Limits{StanzaBytes: maxBytes})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	if t.Kind != xmlstream.Element || t.Element.Space != NS || t.Element.Local != "body" {
		return nil, fmt.Errorf("%w: <body/> of %s expected", ErrBadRequest, NS)
	}
	p := parser{body: &Body{Wait: -1, Hold: -1}}
	for _, a := range t.Element.Attrs {
		p.attribute(a)
	}
	if p.body.RID == 0 {
		p.fail("rid", "missing")
	}
	p.elements(t.Element)
	if p.err != nil {
		return nil, p.err
	}
	return p.body, nil
}

// withoutDeclaration is b without an XML declaration in front (XML 1.0 2.8), which is no processing
// instruction. What it says of the encoding does not matter: all but UTF-8 is refused where it differs.
func withoutDeclaration(b []byte) []byte {
	b = bytes.TrimLeft(bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")), " \t\r\n")
	if rest, ok := bytes.CutPrefix(b, []byte("<?xml")); ok && len(rest) > 0 && strings.IndexByte(" \t\r\n", rest[0]) >= 0 {
		if at := bytes.Index(rest, []byte("?>")); at >= 0 && at < maxContent {
			return rest[at+2:]
		}
	}
	return b
}

// parser collects what a body says; err is the first error.
type parser struct {
	body *Body
	err  error
}

func (p *parser) fail(attribute, what string) {
	if p.err == nil {
		p.err = fmt.Errorf("%w: %s: %s", ErrBadRequest, attribute, what)
	}
}

func (p *parser) attribute(a stanza.Attr) {
	b := p.body
	if len(a.Value) > maxValue {
		p.fail(a.Local, "too long")
		return
	}
	switch {
	case a.Space == NSXBOSH && a.Local == "version":
		b.Version = a.Value
	case a.Space == NSXBOSH && a.Local == "restart":
		b.Restart = p.boolean(a)
	case a.Space == xmpp.NSXML && a.Local == "lang":
		b.Lang = a.Value
	case a.Space == "":
		p.own(a)
	}
}

// own reads an attribute without a namespace; those that are not known are ignored.
func (p *parser) own(a stanza.Attr) {
	b := p.body
	switch a.Local {
	case "rid":
		b.RID = p.number(a, MaxRID)
	case "sid":
		if b.SID = a.Value; a.Value == "" {
			p.fail("sid", "empty")
		}
	case "to":
		b.To = a.Value
	case "from":
		b.From = a.Value
	case "content":
		b.Content = p.contentType(a)
	case "ver":
		b.Ver = p.version(a)
	case "wait":
		b.Wait = int(p.number(a, 1<<31-1))
	case "hold":
		b.Hold = int(p.number(a, 1<<31-1))
	case "pause":
		b.Pause = int(p.number(a, 1<<31-1))
	case "ack":
		b.Ack = p.number(a, MaxRID)
	case "key":
		b.Key = p.hash(a)
	case "newkey":
		b.NewKey = p.hash(a)
	case "type":
		b.Terminate = a.Value == "terminate"
	}
}

func (p *parser) number(a stanza.Attr, most uint64) uint64 {
	n, err := strconv.ParseUint(strings.Trim(a.Value, " \t\r\n"), 10, 64)
	if err != nil || n > most {
		p.fail(a.Local, "no number, or too large")
		return 0
	}
	return n
}

func (p *parser) boolean(a stanza.Attr) bool {
	switch a.Value {
	case "true", "1":
		return true
	case "false", "0":
	default:
		p.fail(a.Local, "no boolean")
	}
	return false
}

func (p *parser) version(a stanza.Attr) Version {
	major, minor, ok := strings.Cut(a.Value, ".")
	x, err := strconv.ParseUint(major, 10, 16)
	y, err2 := strconv.ParseUint(minor, 10, 16)
	if !ok || err != nil || err2 != nil {
		p.fail(a.Local, "no version")
		return Version{}
	}
	return Version{int(x), int(y)}
}

// contentType becomes a header of HTTP: visible ASCII and spaces only.
func (p *parser) contentType(a stanza.Attr) string {
	for _, c := range []byte(a.Value) {
		if c < ' ' || c > '~' {
			p.fail(a.Local, "no media type")
			return ""
		}
	}
	if len(a.Value) > maxContent {
		p.fail(a.Local, "too long")
		return ""
	}
	return a.Value
}

// hash reads a key: case does not matter (15.3).
func (p *parser) hash(a stanza.Attr) string {
	v := strings.ToLower(a.Value)
	if len(v) != maxKey || strings.Trim(v, "0123456789abcdef") != "" {
		p.fail(a.Local, "no hash")
		return ""
	}
	return v
}

// elements makes a document of each payload.
func (p *parser) elements(body *stanza.Element) {
	for _, n := range body.Nodes {
		if n.Element == nil {
			if strings.Trim(n.Text, " \t\r\n") != "" {
				p.fail("body", "text")
			}
			continue
		}
		toClient(n.Element)
		doc := n.Element.Append(nil, stanza.NoSpace)
		p.body.Elements = append(p.body.Elements, doc)
		p.body.elementsBytes += len(doc)
	}
}

// toClient puts what is in the namespace of <body/> into jabber:client (XEP-0206 2).
func toClient(e *stanza.Element) {
	if e.Space == NS {
		e.Space = xmpp.NSClient
	}
	for _, child := range e.Elements() {
		toClient(child)
	}
}
