package codec

import (
	"errors"
	"time"

	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Effects collects what a handler asks for, as messages. Its methods are those of the
// parts of extension.Host that are effects. The zero value is empty. One goroutine at a
// time may use it.
type Effects struct {
	list []*pluginv1.Effect
	err  error // of a call that returns none
}

// List returns what was collected, in the order of the calls, and the first error of a
// call that could not return it.
func (x *Effects) List() ([]*pluginv1.Effect, error) { return x.list, x.err }

func (x *Effects) add(e *pluginv1.Effect) { x.list = append(x.list, e) }

func (x *Effects) fail(err error) {
	if x.err == nil {
		x.err = err
	}
}

// sendEffect is in one piece of memory.
type sendEffect struct {
	pluginv1.Effect
	what   pluginv1.Effect_Send
	of     pluginv1.Send
	stanza pluginv1.Stanza
}

// Send is extension.Stanzas.Send.
func (x *Effects) Send(s *stanza.Stanza) error {
	if s == nil {
		return &Error{"send.stanza", errMissing}
	}
	m := new(sendEffect)
	m.Effect.What, m.what.Send, m.of.Stanza = &m.what, &m.of, &m.stanza
	fillStanza(&m.stanza, s)
	if err := checkStanza(&m.stanza); err != nil {
		return in("send.stanza", err)
	}
	x.add(&m.Effect)
	return nil
}

// Precede is extension.Stanzas.Precede.
func (x *Effects) Precede(s *stanza.Stanza) error {
	m, err := needStanza(s)
	if err == nil {
		x.add(&pluginv1.Effect{What: &pluginv1.Effect_Precede{Precede: &pluginv1.Send{Stanza: m}}})
	}
	return in("precede.stanza", err)
}

// SendAs is extension.Stanzas.SendAs.
func (x *Effects) SendAs(account jid.JID, s *stanza.Stanza) error {
	if account.IsZero() {
		return &Error{"send_as.account", errMissing}
	}
	m, err := needStanza(s)
	if err == nil {
		x.add(&pluginv1.Effect{What: &pluginv1.Effect_SendAs{SendAs: &pluginv1.SendAs{Account: account.String(), Stanza: m}}})
	}
	return in("send_as.stanza", err)
}

// Request is extension.Stanzas.Request.
func (x *Effects) Request(s *stanza.Stanza, timeout time.Duration, state []byte) error {
	return x.RequestFor("", s, timeout, state)
}

// RequestFor is extension.Stanzas.RequestFor.
func (x *Effects) RequestFor(order string, s *stanza.Stanza, timeout time.Duration, state []byte) error {
	if err := text("request.key", order); err != nil {
		return err
	}
	m, err := needStanza(s)
	if err == nil {
		x.add(&pluginv1.Effect{What: &pluginv1.Effect_Request{Request: &pluginv1.SendRequest{Stanza: m, TimeoutMs: millis(timeout), State: state, Key: order}}})
	}
	return in("request.stanza", err)
}

// Write is a write of extension.Store. An Op that deletes may have a condition.
func (x *Effects) Write(op storage.Op) {
	if err := text("write.key", op.Key); err != nil {
		x.fail(err)
		return
	}
	m := &pluginv1.Write{Owner: op.Owner.String(), Key: op.Key, Value: op.Value, Delete: op.Delete}
	if op.If {
		m.IfRevision = &op.Revision
	}
	x.add(&pluginv1.Effect{What: &pluginv1.Effect_Write{Write: m}})
}

// Put is extension.Store.Put.
func (x *Effects) Put(owner jid.JID, key string, value []byte) {
	x.Write(storage.Op{Owner: owner, Key: key, Value: value})
}

// Delete is extension.Store.Delete.
func (x *Effects) Delete(owner jid.JID, key string) {
	x.Write(storage.Op{Owner: owner, Key: key, Delete: true})
}

// Swap is extension.Store.Swap.
func (x *Effects) Swap(owner jid.JID, key string, value []byte, revision uint64) {
	x.Write(storage.Op{Owner: owner, Key: key, Value: value, If: true, Revision: revision})
}

// Append is extension.Archive.Append.
func (x *Effects) Append(row storage.Row) {
	if row.Owner.IsZero() || row.With.IsZero() {
		x.fail(wrong("append", "a row has an owner, and is with somebody"))
		return
	}
	x.add(&pluginv1.Effect{What: &pluginv1.Effect_Append{Append: Row(&row)}})
}

// ArchiveRemove is extension.Archive.Remove.
func (x *Effects) ArchiveRemove(owner jid.JID) {
	if owner.IsZero() {
		x.fail(&Error{"archive_remove", errMissing})
		return
	}
	x.add(&pluginv1.Effect{What: &pluginv1.Effect_ArchiveRemove{ArchiveRemove: owner.String()}})
}

// Replace is extension.Archive.Replace.
func (x *Effects) Replace(owner jid.JID, id uint64, xml string) {
	if owner.IsZero() {
		x.fail(&Error{"archive_edit.owner", errMissing})
		return
	}
	x.add(&pluginv1.Effect{What: &pluginv1.Effect_ArchiveEdit{ArchiveEdit: &pluginv1.ArchiveEdit{Owner: owner.String(), Id: id, Xml: bytesOf(xml)}}})
}

// Set is extension.Timers.Set.
func (x *Effects) Set(key string, d time.Duration, state []byte) error {
	return x.SetFor("", key, d, state)
}

// SetFor is extension.Timers.SetFor.
func (x *Effects) SetFor(order, key string, d time.Duration, state []byte) error {
	if err := texts("set_timer", []string{order, key}); err != nil {
		return err
	}
	x.add(&pluginv1.Effect{What: &pluginv1.Effect_SetTimer{SetTimer: &pluginv1.SetTimer{Key: key, AfterMs: millis(d), State: state, OrderingKey: order}}})
	return nil
}

// Cancel is extension.Timers.Cancel.
func (x *Effects) Cancel(key string) {
	if text("", key) != nil {
		return // none has this key
	}
	x.add(&pluginv1.Effect{What: &pluginv1.Effect_CancelTimer{CancelTimer: key}})
}

// End is extension.Sessions.End.
func (x *Effects) End(account jid.JID, condition, txt string) error {
	if err := text("end_sessions.condition", condition); err != nil || account.IsZero() {
		return err // nobody has sessions
	}
	x.add(&pluginv1.Effect{What: &pluginv1.Effect_EndSessions{EndSessions: &pluginv1.EndSessions{
		Account: account.String(), Condition: condition, Text: valid(txt),
	}}})
	return nil
}

// Mark is extension.Sessions.Mark.
func (x *Effects) Mark(session jid.JID, name string, on bool) error {
	if err := text("mark.mark", name); err != nil || session.IsZero() {
		return err // there is no such session
	}
	x.add(&pluginv1.Effect{What: &pluginv1.Effect_Mark{Mark: &pluginv1.MarkSession{Session: session.String(), Mark: name, On: on}}})
	return nil
}

// Release is extension.Sessions.Release.
func (x *Effects) Release(session jid.JID) {
	if session.IsZero() {
		return
	}
	x.add(&pluginv1.Effect{What: &pluginv1.Effect_Release{Release: session.String()}})
}

// Withdraw is extension.Sessions.Withdraw.
func (x *Effects) Withdraw(account jid.JID, patterns, except []jid.JID) error {
	if account.IsZero() {
		return nil
	}
	x.add(&pluginv1.Effect{What: &pluginv1.Effect_Withdraw{Withdraw: &pluginv1.TellPresence{
		Account: account.String(), Patterns: addressTexts(patterns), Except: addressTexts(except),
	}}})
	return nil
}

// Announce is extension.Sessions.Announce.
func (x *Effects) Announce(account jid.JID, patterns []jid.JID) error {
	if account.IsZero() {
		return nil
	}
	x.add(&pluginv1.Effect{What: &pluginv1.Effect_Announce{Announce: &pluginv1.TellPresence{
		Account: account.String(), Patterns: addressTexts(patterns),
	}}})
	return nil
}

// effect is what replays one.
type effect func(h *extension.Host) error

// Effects reads effects that a plugin sent. What it returns asks a Host for them, in
// their order; it is nil if there are none.
func (l *Limits) Effects(list []*pluginv1.Effect) (func(h *extension.Host) error, error) {
	if len(list) == 0 {
		return nil, nil
	}
	replay := make([]effect, len(list))
	for i, m := range list {
		f, err := l.effect(m)
		if err != nil {
			return nil, at("effects", i, err)
		}
		replay[i] = f
	}
	return func(h *extension.Host) error {
		for i, f := range replay {
			if err := f(h); err != nil {
				return at("effects", i, err)
			}
		}
		return nil
	}, nil
}

// errEffect is of an effect that was added to the contract later.
var errEffect = errors.New("an effect of an unknown kind")

func (l *Limits) effect(m *pluginv1.Effect) (effect, error) {
	switch w := m.GetWhat().(type) {
	case *pluginv1.Effect_Send:
		s, err := l.Stanza(w.Send.GetStanza())
		return func(h *extension.Host) error { return h.Stanzas.Send(s) }, in("send.stanza", err)
	case *pluginv1.Effect_Precede:
		s, err := l.Stanza(w.Precede.GetStanza())
		return func(h *extension.Host) error { return h.Stanzas.Precede(s) }, in("precede.stanza", err)
	case *pluginv1.Effect_SendAs:
		f, err := l.sendAs(w.SendAs)
		return f, in("send_as", err)
	case *pluginv1.Effect_Request:
		f, err := l.sendRequest(w.Request)
		return f, in("request", err)
	case *pluginv1.Effect_Write:
		f, err := write(w.Write)
		return f, in("write", err)
	case *pluginv1.Effect_Append:
		row, err := readRow(w.Append, rowXML)
		return func(h *extension.Host) error { h.Archive.Append(row); return nil }, in("append", err)
	case *pluginv1.Effect_ArchiveRemove:
		owner, err := somebody("archive_remove", w.ArchiveRemove)
		return func(h *extension.Host) error { h.Archive.Remove(owner); return nil }, err
	case *pluginv1.Effect_ArchiveEdit:
		owner, err := somebody("owner", w.ArchiveEdit.GetOwner())
		if err != nil {
			return nil, in("archive_edit", err)
		}
		xml, err := rowXML(w.ArchiveEdit.GetXml())
		id := w.ArchiveEdit.GetId()
		return func(h *extension.Host) error { h.Archive.Replace(owner, id, xml); return nil }, in("archive_edit.xml", err)
	case *pluginv1.Effect_SetTimer:
		f, err := setTimer(w.SetTimer)
		return f, in("set_timer", err)
	case *pluginv1.Effect_CancelTimer:
		return func(h *extension.Host) error { h.Timers.Cancel(w.CancelTimer); return nil }, nil
	case *pluginv1.Effect_EndSessions:
		account, err := somebody("account", w.EndSessions.GetAccount())
		condition, txt := w.EndSessions.GetCondition(), w.EndSessions.GetText()
		return func(h *extension.Host) error { return h.Sessions.End(account, condition, txt) }, in("end_sessions", err)
	case *pluginv1.Effect_Mark:
		session, err := somebody("session", w.Mark.GetSession())
		name, on := w.Mark.GetMark(), w.Mark.GetOn()
		return func(h *extension.Host) error { return h.Sessions.Mark(session, name, on) }, in("mark", err)
	case *pluginv1.Effect_Release:
		session, err := somebody("release", w.Release)
		return func(h *extension.Host) error { h.Sessions.Release(session); return nil }, err
	case *pluginv1.Effect_Withdraw:
		t, err := tell(w.Withdraw)
		return func(h *extension.Host) error { return h.Sessions.Withdraw(t.account, t.patterns, t.except) }, in("withdraw", err)
	case *pluginv1.Effect_Announce:
		t, err := tell(w.Announce)
		if err == nil && t.except != nil {
			err = wrong("except", "there is none for announce")
		}
		return func(h *extension.Host) error { return h.Sessions.Announce(t.account, t.patterns) }, in("announce", err)
	case *pluginv1.Effect_Memory:
		key, value := w.Memory.GetKey(), w.Memory.GetValue()
		if w.Memory.GetDelete() {
			return func(h *extension.Host) error { h.Memory.Delete(key); return nil }, nil
		}
		return func(h *extension.Host) error { return h.Memory.Put(key, value) }, nil
	case *pluginv1.Effect_Join:
		group := w.Join.GetGroup()
		m, err := readMember(w.Join.GetMember())
		return func(h *extension.Host) error { return h.Groups.Join(group, m) }, in("join.member", err)
	case *pluginv1.Effect_Leave:
		group := w.Leave.GetGroup()
		member, err := somebody("leave.jid", w.Leave.GetJid())
		return func(h *extension.Host) error { h.Groups.Leave(group, member); return nil }, err
	case *pluginv1.Effect_GroupRemove:
		return func(h *extension.Host) error { h.Groups.Remove(w.GroupRemove); return nil }, nil
	case *pluginv1.Effect_GroupSend:
		group := w.GroupSend.GetGroup()
		c, err := l.cast(w.GroupSend)
		return func(h *extension.Host) error { return h.Groups.Send(group, c) }, in("group_send", err)
	case *pluginv1.Effect_Stream:
		return nil, in("stream", ErrNotYet)
	}
	return nil, errEffect
}

func (l *Limits) sendAs(m *pluginv1.SendAs) (effect, error) {
	account, err := somebody("account", m.GetAccount())
	if err != nil {
		return nil, err
	}
	s, err := l.Stanza(m.GetStanza())
	return func(h *extension.Host) error { return h.Stanzas.SendAs(account, s) }, in("stanza", err)
}

func (l *Limits) sendRequest(m *pluginv1.SendRequest) (effect, error) {
	s, err := l.Stanza(m.GetStanza())
	if err != nil {
		return nil, in("stanza", err)
	}
	timeout, err := duration("timeout_ms", m.GetTimeoutMs())
	state := m.GetState()
	if order := m.GetKey(); order != "" {
		return func(h *extension.Host) error { return h.Stanzas.RequestFor(order, s, timeout, state) }, err
	}
	return func(h *extension.Host) error { return h.Stanzas.Request(s, timeout, state) }, err
}

func write(m *pluginv1.Write) (effect, error) {
	owner, err := address("owner", m.GetOwner())
	if err != nil {
		return nil, err
	}
	key, value := m.GetKey(), m.GetValue()
	if value == nil {
		value = []byte{}
	}
	swap, remove, revision := m != nil && m.IfRevision != nil, m.GetDelete(), m.GetIfRevision()
	return func(h *extension.Host) error {
		switch {
		case swap && remove: // see extension.Store.Swap
			h.Store.Swap(owner, key, nil, revision)
			h.Store.Delete(owner, key)
		case swap:
			h.Store.Swap(owner, key, value, revision)
		case remove:
			h.Store.Delete(owner, key)
		default:
			h.Store.Put(owner, key, value)
		}
		return nil
	}, nil
}

func setTimer(m *pluginv1.SetTimer) (effect, error) {
	d, err := duration("after_ms", m.GetAfterMs())
	key, state := m.GetKey(), m.GetState()
	if order := m.GetOrderingKey(); order != "" {
		return func(h *extension.Host) error { return h.Timers.SetFor(order, key, d, state) }, err
	}
	return func(h *extension.Host) error { return h.Timers.Set(key, d, state) }, err
}

type telling struct {
	account          jid.JID
	patterns, except []jid.JID
}

func tell(m *pluginv1.TellPresence) (t telling, err error) {
	if t.account, err = somebody("account", m.GetAccount()); err != nil {
		return t, err
	}
	if t.patterns, err = addresses("patterns", m.GetPatterns()); err != nil {
		return t, err
	}
	t.except, err = addresses("except", m.GetExcept())
	return t, err
}

// Row makes the message of a row of an archive.
func Row(r *storage.Row) *pluginv1.ArchiveRow {
	return &pluginv1.ArchiveRow{Owner: r.Owner.String(), Id: r.ID, StampUs: micros(r.Stamp), With: r.With.String(), Xml: bytesOf(r.XML)}
}

// readRow reads a row; xml reads its stanza. Space is not set.
func readRow(m *pluginv1.ArchiveRow, xml func([]byte) (string, error)) (r storage.Row, err error) {
	r.ID, r.Stamp = m.GetId(), moment(m.GetStampUs())
	if r.Owner, err = somebody("owner", m.GetOwner()); err != nil {
		return r, err
	}
	if r.With, err = somebody("with", m.GetWith()); err != nil {
		return r, err
	}
	r.XML, err = xml(m.GetXml())
	return r, in("xml", err)
}

// Add appends what another one collected.
func (x *Effects) Add(other *Effects) {
	x.list = append(x.list, other.list...)
	if x.err == nil {
		x.err = other.err
	}
}

// Empty says that nothing was collected.
func (x *Effects) Empty() bool { return len(x.list) == 0 && x.err == nil }
