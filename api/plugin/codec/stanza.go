package codec

import (
	"errors"
	"unicode/utf8"

	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/xmlstream"
)

// Stanza makes the message of a stanza; nil of nil. The error is about text that no
// message can hold: a stanza that a stream brought has none.
func Stanza(s *stanza.Stanza) (*pluginv1.Stanza, error) {
	if s == nil {
		return nil, nil
	}
	m := new(pluginv1.Stanza)
	fillStanza(m, s)
	return m, checkStanza(m)
}

// needStanza is Stanza of what has to be there.
func needStanza(s *stanza.Stanza) (*pluginv1.Stanza, error) {
	if s == nil {
		return nil, errMissing
	}
	return Stanza(s)
}

func fillStanza(m *pluginv1.Stanza, s *stanza.Stanza) {
	m.Kind, m.Type, m.Id, m.Lang = pluginv1.Kind(s.Kind), s.Type, s.ID, s.Lang
	m.To, m.From = s.To.String(), s.From.String()
	m.Content, m.Attrs = bytesOf(s.Content()), s.Attrs()
}

func checkStanza(m *pluginv1.Stanza) error {
	switch {
	case m.Kind < pluginv1.Kind_KIND_MESSAGE || m.Kind > pluginv1.Kind_KIND_IQ:
		return wrong("kind", "%d is no stanza", m.Kind)
	case !utf8.ValidString(m.Type):
		return &Error{"type", errText}
	case !utf8.ValidString(m.Id):
		return &Error{"id", errText}
	case !utf8.ValidString(m.Lang):
		return &Error{"lang", errText}
	case !utf8.ValidString(m.Attrs):
		return &Error{"attrs", errText}
	}
	return nil
}

// Limits bound what is read from a plugin.
type Limits struct {
	// XML is for stanzas and elements. A plugin may answer with more than a client may
	// send: zero fields mean the defaults of clients.
	XML xmlstream.Limits
}

// Stanza reads a stanza that a plugin sent, as what a client sends is read. nil is
// an error.
func (l *Limits) Stanza(m *pluginv1.Stanza) (*stanza.Stanza, error) {
	if m == nil {
		return nil, errMissing
	}
	if m.Kind < pluginv1.Kind_KIND_MESSAGE || m.Kind > pluginv1.Kind_KIND_IQ {
		return nil, wrong("kind", "%d is no stanza", m.Kind)
	}
	// Addresses are parsed apart: their errors name them.
	h := stanza.Header{Kind: stanza.Kind(m.Kind), Type: m.Type, ID: m.Id, Lang: m.Lang}
	var err error
	if h.To, err = address("to", m.To); err != nil {
		return nil, err
	}
	if h.From, err = address("from", m.From); err != nil {
		return nil, err
	}
	s, err := xmlstream.ParseStanza(written(&h, m.Attrs, m.Content), xmpp.NSClient, l.XML)
	if err != nil {
		return nil, in("content", err)
	}
	// What attrs smuggled in besides counts for nothing: two of one name are refused.
	h.Type, h.ID, h.Lang = s.Type, s.ID, s.Lang
	return s.With(h), nil
}

// optional is Stanza that lets nil be nil.
func (l *Limits) optional(field string, m *pluginv1.Stanza) (*stanza.Stanza, error) {
	if m == nil {
		return nil, nil
	}
	s, err := l.Stanza(m)
	return s, in(field, err)
}

// written returns a stanza as bytes for the scanner.
func written(h *stanza.Header, attrs string, content []byte) []byte {
	name := h.Kind.String()
	b := make([]byte, 0, 2*len(name)+len(h.Type)+len(h.ID)+len(h.Lang)+len(attrs)+len(content)+64)
	b = append(b, '<')
	b = append(b, name...)
	for _, a := range [...]struct{ start, value string }{{" type='", h.Type}, {" id='", h.ID}, {" xml:lang='", h.Lang}} {
		if a.value != "" {
			b = append(b, a.start...)
			b = stanza.AppendAttr(b, a.value)
			b = append(b, '\'')
		}
	}
	b = append(b, attrs...)
	b = append(b, '>')
	b = append(b, content...)
	b = append(b, "</"...)
	b = append(b, name...)
	return append(b, '>')
}

// TrustedStanza builds a stanza that the kernel sent.
func TrustedStanza(m *pluginv1.Stanza) (*stanza.Stanza, error) {
	if m == nil {
		return nil, errMissing
	}
	if m.Kind < pluginv1.Kind_KIND_MESSAGE || m.Kind > pluginv1.Kind_KIND_IQ {
		return nil, wrong("kind", "%d is no stanza", m.Kind)
	}
	h := stanza.Header{Kind: stanza.Kind(m.Kind), Type: m.Type, ID: m.Id, Lang: m.Lang}
	var err error
	if h.To, err = address("to", m.To); err != nil {
		return nil, err
	}
	if h.From, err = address("from", m.From); err != nil {
		return nil, err
	}
	return stanza.Raw(h, m.Attrs, stringOf(m.Content), nil), nil
}

// Element makes the bytes of an element, as it stands in the content of a stanza; none
// of nil.
func Element(e *stanza.Element) []byte {
	if e == nil {
		return nil
	}
	return e.Append(nil, "")
}

var errOneElement = errors.New("one element expected, and nothing else")

// Element reads an element that a plugin sent.
func (l *Limits) Element(xml []byte) (*stanza.Element, error) {
	if len(xml) == 0 {
		return nil, errMissing
	}
	h := stanza.Header{Kind: stanza.Message}
	s, err := xmlstream.ParseStanza(written(&h, "", xml), xmpp.NSClient, l.XML)
	if err != nil {
		return nil, err
	}
	list := s.Children()
	if len(list) != 1 || list[0].Start != 0 || int(list[0].End) != len(s.Content()) {
		return nil, errOneElement
	}
	return s.ParseChild(list[0])
}

func (l *Limits) elements(field string, list [][]byte) ([]*stanza.Element, error) {
	var out []*stanza.Element
	for i, xml := range list {
		e, err := l.Element(xml)
		if err != nil {
			return nil, at(field, i, err)
		}
		out = append(out, e)
	}
	return out, nil
}

// TrustedElement reads an element that the kernel sent.
func TrustedElement(xml []byte) (*stanza.Element, error) {
	if len(xml) == 0 {
		return nil, errMissing
	}
	return stanza.ParseElement(stringOf(xml), "")
}

// rowLimits let in what an archive keeps: a stanza as the server writes it, whose
// escapes are longer than what they stand for.
var rowLimits = xmlstream.Limits{StanzaBytes: storage.MaxValue, Depth: 128, Attributes: 128}

// rowXML reads the stanza of a row of an archive, and returns it as the server writes it.
func rowXML(xml []byte) (string, error) {
	s, err := xmlstream.ParseStanza(xml, xmpp.NSClient, rowLimits)
	if err != nil {
		return "", err
	}
	return s.XML(xmpp.NSClient), nil
}

// StanzaError makes the message of a stanza error. Text that no message can hold
// becomes text with replacement characters.
func StanzaError(e *stanza.Error) *pluginv1.StanzaError {
	if e == nil {
		return nil
	}
	condition := e.Condition
	if condition == "" {
		condition = stanza.UndefinedCondition
	}
	return &pluginv1.StanzaError{
		Type: valid(string(e.Type)), Condition: valid(string(condition)), By: valid(e.By),
		Text: valid(e.Text), Lang: valid(e.Lang), App: Element(e.App), Data: valid(e.Data), Echo: Element(e.Echo),
	}
}

// StanzaError reads a stanza error that a plugin sent.
func (l *Limits) StanzaError(m *pluginv1.StanzaError) (*stanza.Error, error) {
	if m == nil {
		return nil, errMissing
	}
	e := &stanza.Error{
		Type: stanza.ErrorType(m.Type), Condition: stanza.Condition(m.Condition), By: m.By, Text: m.Text, Lang: m.Lang, Data: m.Data,
	}
	if e.Condition == "" {
		return nil, &Error{"condition", errMissing}
	}
	if len(m.App) > 0 {
		var err error
		if e.App, err = l.Element(m.App); err != nil {
			return nil, in("app", err)
		}
	}
	if len(m.Echo) > 0 {
		var err error
		if e.Echo, err = l.Element(m.Echo); err != nil {
			return nil, in("echo", err)
		}
	}
	return e, nil
}
