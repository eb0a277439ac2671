package codec

import (
	"errors"
	"fmt"
	"math"
	"time"

	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// An event is one piece of memory with all that is in nearly each one.
type (
	eventOf struct {
		pluginv1.Event
		origin pluginv1.Origin
		stanza pluginv1.Stanza
	}
	stanzaEvent struct {
		eventOf
		what pluginv1.Event_Stanza
		of   pluginv1.StanzaEvent
	}
	iqEvent struct {
		eventOf
		what pluginv1.Event_Iq
		of   pluginv1.IqEvent
	}
	stageEvent struct {
		eventOf
		what pluginv1.Event_Stage
		of   pluginv1.StageEvent
	}
)

// Event makes the message of an event. ID, attempt and epoch are the sender's to add (but for the
// ID of ToFar), and a Deadline that is usual.
func Event(e *extension.RemoteEvent) (*pluginv1.Event, error) {
	m, err := event(e)
	if err != nil {
		return nil, in("event", err)
	}
	m.Key = e.Key
	m.ReceivedUs = micros(e.At)
	m.DeadlineMs = uint32(min(millis(e.Deadline), math.MaxUint32))
	return m, in("event", text("key", e.Key))
}

func event(e *extension.RemoteEvent) (*pluginv1.Event, error) {
	handler := uint32(e.Handler)
	switch e.Kind {
	case extension.ToComponent:
		m := new(stanzaEvent)
		m.Event.What, m.what.Stanza = &m.what, &m.of
		m.of.Component = handler
		var err error
		m.of.Stanza, err = m.fill(e.Envelope.Stanza, &e.Envelope.Origin)
		return &m.Event, in("stanza", err)
	case extension.Asked:
		m := new(iqEvent)
		m.Event.What, m.what.Iq = &m.what, &m.of
		m.of.Handler = handler
		if e.Component >= 0 {
			component := uint32(e.Component)
			m.of.Component = &component
		}
		var err error
		m.of.Stanza, err = m.fill(e.IQ.Stanza, &e.IQ.Origin)
		return &m.Event, in("iq", err)
	case extension.Staged:
		m := new(stageEvent)
		m.Event.What, m.what.Stage = &m.what, &m.of
		v := &e.Envelope
		m.of.Handler, m.of.Account, m.of.Session, m.of.ArchiveId = handler, v.Account.String(), v.Session.String(), v.ArchiveID
		for _, r := range e.Residents {
			m.of.Residents = append(m.of.Residents, Entry(r))
		}
		var err error
		m.of.Stanza, err = m.fill(v.Stanza, &v.Origin)
		return &m.Event, in("stage", err)
	case extension.ItemsAsked:
		m := new(eventOf)
		s, err := m.fill(e.IQ.Stanza, &e.IQ.Origin)
		m.What = &pluginv1.Event_Items{Items: &pluginv1.ItemsEvent{Component: handler, Stanza: s}}
		return &m.Event, in("items", err)
	case extension.ElementSent:
		return &pluginv1.Event{What: &pluginv1.Event_Element{Element: &pluginv1.ElementEvent{
			Handler: handler, Session: e.Session.String(), Xml: Element(e.Element),
		}}}, nil
	case extension.Replied:
		answer, err := Stanza(e.Reply.Answer)
		return &pluginv1.Event{What: &pluginv1.Event_Reply{Reply: &pluginv1.ReplyEvent{Answer: answer, State: e.Reply.State}}}, in("reply.answer", err)
	case extension.Fired:
		return &pluginv1.Event{What: &pluginv1.Event_Timer{Timer: &pluginv1.TimerEvent{Key: e.Timer.Key, State: e.Timer.State}}}, in("timer", text("key", e.Timer.Key))
	case extension.Noticed:
		n := &e.Notice
		kind := noticeKind(n.Event)
		if kind == 0 {
			return nil, wrong("notice.kind", "event %d is not in the contract", n.Event)
		}
		s, err := Stanza(n.Presence)
		return &pluginv1.Event{What: &pluginv1.Event_Notice{Notice: &pluginv1.NoticeEvent{
			Kind: kind, Session: n.Session.String(), AtUs: micros(n.At), Presence: s,
		}}}, in("notice.presence", err)
	case extension.ToFar:
		m := new(eventOf)
		s, err := m.fill(e.Far.Stanza, &extension.Origin{})
		far := &pluginv1.FarEvent{Stanza: s}
		for _, to := range e.Far.Recipients {
			far.Recipients = append(far.Recipients, to.String())
		}
		m.What = &pluginv1.Event_Far{Far: far}
		m.Id, m.Attempt = e.Far.ID, uint32(e.Far.Attempt)
		return &m.Event, in("far", err)
	}
	return nil, wrong("what", "%d is no kind of event", e.Kind)
}

func (m *eventOf) fill(s *stanza.Stanza, o *extension.Origin) (*pluginv1.Stanza, error) {
	if s == nil {
		return nil, &Error{"stanza", errMissing}
	}
	fillStanza(&m.stanza, s)
	if *o != (extension.Origin{}) {
		m.origin.Session, m.origin.Fence, m.origin.Domain, m.origin.Secure = o.Session.String(), o.Fence, o.Domain, o.Secure
		m.origin.Address = o.Addr.AsSlice()
		m.Event.Origin = &m.origin
	}
	return &m.stanza, in("stanza", checkStanza(&m.stanza))
}

// RemoteEvent reads an event that the kernel sent. reg is what the plugin claimed: a
// handler that it has not is an error. Owner is not set.
func RemoteEvent(m *pluginv1.Event, reg *extension.Registration) (*extension.RemoteEvent, error) {
	e := &extension.RemoteEvent{Component: -1, Key: m.GetKey(), At: moment(m.GetReceivedUs())}
	e.Deadline = time.Duration(m.GetDeadlineMs()) * time.Millisecond
	return e, in("event", readEvent(e, m, reg))
}

// ErrUnknown is wrapped where an event is of a kind that was added to the contract later.
var ErrUnknown = errors.New("an event of an unknown kind")

func readEvent(e *extension.RemoteEvent, m *pluginv1.Event, reg *extension.Registration) (err error) {
	o, err := origin(m.GetOrigin())
	if err != nil {
		return in("origin", err)
	}
	switch w := m.GetWhat().(type) {
	case *pluginv1.Event_Stanza:
		e.Kind, e.Envelope.Origin = extension.ToComponent, o
		if e.Handler, err = index("stanza.component", w.Stanza.GetComponent(), len(reg.Components)); err != nil {
			return err
		}
		e.Envelope.Stanza, err = TrustedStanza(w.Stanza.GetStanza())
		return in("stanza.stanza", err)
	case *pluginv1.Event_Iq:
		e.Kind = extension.Asked
		handlers := reg.IQ
		if w.Iq != nil && w.Iq.Component != nil {
			if e.Component, err = index("iq.component", *w.Iq.Component, len(reg.Components)); err != nil {
				return err
			}
			handlers = reg.Components[e.Component].IQ
		}
		if e.Handler, err = index("iq.handler", w.Iq.GetHandler(), len(handlers)); err != nil {
			return err
		}
		e.IQ, err = request(w.Iq.GetStanza(), o)
		return in("iq.stanza", err)
	case *pluginv1.Event_Items:
		e.Kind = extension.ItemsAsked
		if e.Handler, err = index("items.component", w.Items.GetComponent(), len(reg.Components)); err != nil {
			return err
		}
		e.IQ, err = request(w.Items.GetStanza(), o)
		return in("items.stanza", err)
	case *pluginv1.Event_Stage:
		e.Kind, e.Envelope.Origin = extension.Staged, o
		return in("stage", readStaged(e, w.Stage, reg))
	case *pluginv1.Event_Element:
		e.Kind = extension.ElementSent
		if e.Handler, err = index("element.handler", w.Element.GetHandler(), len(reg.Elements)); err != nil {
			return err
		}
		if e.Session, err = somebody("element.session", w.Element.GetSession()); err != nil {
			return err
		}
		e.Element, err = TrustedElement(w.Element.GetXml())
		return in("element.xml", err)
	case *pluginv1.Event_Reply:
		e.Kind, e.Reply.State = extension.Replied, w.Reply.GetState()
		if w.Reply.GetAnswer() != nil {
			e.Reply.Answer, err = TrustedStanza(w.Reply.Answer)
		}
		return in("reply.answer", err)
	case *pluginv1.Event_Timer:
		e.Kind, e.Timer = extension.Fired, extension.Timer{Key: w.Timer.GetKey(), State: w.Timer.GetState()}
		return nil
	case *pluginv1.Event_Notice:
		e.Kind = extension.Noticed
		return in("notice", readNotice(&e.Notice, w.Notice))
	case *pluginv1.Event_Far:
		e.Kind = extension.ToFar
		if reg.Far == nil {
			return wrong("far", "the manifest does not claim far domains")
		}
		e.Far, err = readFar(m, w.Far)
		return in("far", err)
	}
	return &Error{"what", ErrUnknown}
}

func readFar(m *pluginv1.Event, f *pluginv1.FarEvent) (*extension.FarEvent, error) {
	e := &extension.FarEvent{ID: m.GetId(), Attempt: int(m.GetAttempt()), Domain: m.GetKey(), Received: moment(m.GetReceivedUs())}
	var err error
	if e.Stanza, err = TrustedStanza(f.GetStanza()); err != nil {
		return e, in("stanza", err)
	}
	if to := e.Stanza.To; to.IsZero() == (len(f.GetRecipients()) == 0) || !to.IsZero() && to.Domain() != e.Domain {
		return e, wrong("stanza.to", "%q, and there are %d recipients of %q", to, len(f.GetRecipients()), e.Domain)
	}
	for i, text := range f.GetRecipients() {
		to, err := somebody("recipients", text)
		if err != nil {
			return e, err
		}
		if to.Domain() != e.Domain {
			return e, at("recipients", i, fmt.Errorf("%q is not of %q", to, e.Domain))
		}
		e.Recipients = append(e.Recipients, to)
	}
	return e, nil
}

func index(field string, i uint32, n int) (int, error) {
	if uint64(i) >= uint64(n) {
		return 0, wrong(field, "%d, the manifest has %d", i, n)
	}
	return int(i), nil
}

func origin(m *pluginv1.Origin) (o extension.Origin, err error) {
	if m == nil {
		return o, nil
	}
	o = extension.Origin{Fence: m.Fence, Domain: m.Domain, Secure: m.Secure}
	if o.Session, err = address("session", m.Session); err != nil {
		return o, err
	}
	o.Addr, err = ip("address", m.Address)
	return o, err
}

// request reads a request: it has one child, as RFC 6120 8.2.3 wants it.
func request(m *pluginv1.Stanza, o extension.Origin) (q extension.IQ, err error) {
	q.Origin = o
	if q.Stanza, err = TrustedStanza(m); err != nil {
		return q, err
	}
	list := q.Children()
	if q.Kind != stanza.IQ || len(list) != 1 {
		return q, wrong("content", "a request has one child, this %s has %d", q.Kind, len(list))
	}
	q.Child = list[0]
	return q, nil
}

func readStaged(e *extension.RemoteEvent, m *pluginv1.StageEvent, reg *extension.Registration) (err error) {
	if e.Handler, err = index("handler", m.GetHandler(), len(reg.Stages)); err != nil {
		return err
	}
	v := &e.Envelope
	v.ArchiveID = m.GetArchiveId()
	if v.Account, err = address("account", m.GetAccount()); err != nil {
		return err
	}
	if v.Session, err = address("session", m.GetSession()); err != nil {
		return err
	}
	for _, r := range m.GetResidents() {
		e.Residents = append(e.Residents, ReadEntry(r))
	}
	v.Stanza, err = TrustedStanza(m.GetStanza())
	return in("stanza", err)
}

func readNotice(n *extension.Notice, m *pluginv1.NoticeEvent) (err error) {
	var known bool
	if n.Event, known = notices[m.GetKind()]; !known {
		return in("kind", ErrUnknown)
	}
	n.At = moment(m.GetAtUs())
	if n.Session, err = somebody("session", m.GetSession()); err != nil {
		return err
	}
	if m.GetPresence() != nil {
		n.Presence, err = TrustedStanza(m.Presence)
	}
	return in("presence", err)
}

// Entry makes the message of an entry.
func Entry(e extension.Entry) *pluginv1.Entry {
	return &pluginv1.Entry{Key: e.Key, Value: e.Value, Revision: e.Revision}
}

// ReadEntry reads an entry that the kernel sent.
func ReadEntry(m *pluginv1.Entry) extension.Entry {
	return extension.Entry{Key: m.GetKey(), Value: m.GetValue(), Revision: m.GetRevision()}
}
