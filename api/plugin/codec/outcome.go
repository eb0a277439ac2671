package codec

import (
	"errors"
	"fmt"

	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Failure makes the outcome of a handler that failed, whose event and epoch are the
// sender's to add.
func Failure(err error) *pluginv1.Outcome {
	var told *stanza.Error
	switch {
	case errors.As(err, &told):
		return &pluginv1.Outcome{Error: StanzaError(told), Failure: valid(err.Error())}
	case errors.Is(err, ErrUnknown):
		return &pluginv1.Outcome{Unknown: true, Failure: valid(err.Error())}
	}
	why := valid(err.Error())
	if why == "" { // an empty one would say that it had not failed
		why = "the handler failed"
	}
	return &pluginv1.Outcome{Failure: why}
}

// Delivered makes the outcome of an event for a far domain: what FarEvent.Done was told.
func Delivered(err error) *pluginv1.Outcome {
	if err == nil {
		return &pluginv1.Outcome{}
	}
	return Failure(err)
}

// Outcome makes the message of an outcome but for what Outcome.Effects asks for, of
// which effects is a list already. Event and epoch are the sender's to add. The error
// is of a handler whose outcome can't be told: make a Failure of it.
func Outcome(o *extension.Outcome, kind extension.EventKind, effects *Effects) (*pluginv1.Outcome, error) {
	if o.Err != nil {
		return Failure(o.Err), nil
	}
	list, err := effects.List()
	if err != nil {
		return nil, err
	}
	m := &pluginv1.Outcome{Effects: list}
	switch kind {
	case extension.Staged:
		m.Verdict, err = verdict(&o.Verdict)
	case extension.Asked:
		m.Result = Element(o.Result)
	case extension.ItemsAsked:
		for i, item := range o.Items {
			if err = texts(fmt.Sprintf("items[%d]", i), []string{item.Node, item.Name}); err != nil {
				break
			}
			if item.JID.IsZero() {
				err = at("items", i, &Error{"jid", errMissing})
				break
			}
			m.Items = append(m.Items, &pluginv1.Item{Jid: item.JID.String(), Node: item.Node, Name: item.Name})
		}
	}
	return m, in("outcome", err)
}

// actions are the contract's by those of the port.
var actions = [...]pluginv1.Action{
	extension.Pass: pluginv1.Action_ACTION_PASS, extension.Drop: pluginv1.Action_ACTION_DROP, extension.Refuse: pluginv1.Action_ACTION_REFUSE,
	extension.Replace: pluginv1.Action_ACTION_REPLACE, extension.Patch: pluginv1.Action_ACTION_PATCH,
	extension.Handled: pluginv1.Action_ACTION_HANDLED, extension.Hold: pluginv1.Action_ACTION_HOLD,
}

func verdict(v *extension.Verdict) (*pluginv1.Verdict, error) {
	if int(v.Action) >= len(actions) {
		return nil, wrong("verdict.action", "%d is none", v.Action)
	}
	m := &pluginv1.Verdict{Action: actions[v.Action], ArchiveId: v.ArchiveID, HoldKey: v.Key}
	if err := texts("verdict", []string{v.ArchiveID, v.Key}); err != nil {
		return nil, err
	}
	var err error
	switch v.Action {
	case extension.Refuse:
		if v.Error == nil {
			return nil, &Error{"verdict.error", errMissing}
		}
		m.Error = StanzaError(v.Error)
	case extension.Replace:
		if m.Stanza, err = needStanza(v.Stanza); err != nil {
			return nil, in("verdict.stanza", err)
		}
	case extension.Patch:
		for i, n := range v.Remove {
			if err := texts(fmt.Sprintf("verdict.remove[%d]", i), []string{n.Space, n.Local}); err != nil {
				return nil, err
			}
			m.Remove = append(m.Remove, &pluginv1.Name{Space: n.Space, Local: n.Local})
		}
		for _, e := range v.Append {
			if e != nil {
				m.Append = append(m.Append, Element(e))
			}
		}
	}
	if c := v.Copy; c != nil {
		m.Copy = &pluginv1.Copy{Mark: c.Mark}
		if m.Copy.Stanza, err = needStanza(c.Stanza); err != nil {
			return nil, in("verdict.copy.stanza", err)
		}
		if err := text("verdict.copy.mark", c.Mark); err != nil {
			return nil, err
		}
	}
	if m.Action == pluginv1.Action_ACTION_PASS && m.Copy == nil && m.ArchiveId == "" && m.HoldKey == "" {
		return nil, nil // it is what an absent one means
	}
	return m, nil
}

// Outcome reads an outcome that a plugin sent, of an event of this kind. What does not
// belong to the kind is ignored. An error says that the plugin broke the contract.
func (l *Limits) Outcome(m *pluginv1.Outcome, kind extension.EventKind) (*extension.Outcome, error) {
	if m == nil {
		return nil, &Error{"outcome", errMissing}
	}
	o := new(extension.Outcome)
	if err := l.outcome(o, m, kind); err != nil {
		return nil, in("outcome", err)
	}
	return o, nil
}

func (l *Limits) outcome(o *extension.Outcome, m *pluginv1.Outcome, kind extension.EventKind) (err error) {
	if m.Error != nil {
		told, err := l.StanzaError(m.Error)
		o.Err = told
		return in("error", err)
	}
	if m.Unknown {
		o.Err = fmt.Errorf("the plugin does not know this event: %s", short(m.Failure))
		return nil
	}
	if m.Failure != "" {
		o.Err = errors.New(short(m.Failure))
		return nil
	}
	switch kind {
	case extension.Staged:
		if m.Verdict != nil {
			if err := l.verdict(&o.Verdict, m.Verdict); err != nil {
				return in("verdict", err)
			}
		}
	case extension.Asked:
		if len(m.Result) > 0 {
			if o.Result, err = l.Element(m.Result); err != nil {
				return in("result", err)
			}
		}
	case extension.ItemsAsked:
		for i, p := range m.Items {
			j, err := somebody("jid", p.GetJid())
			if err != nil {
				return at("items", i, err)
			}
			o.Items = append(o.Items, extension.Item{JID: j, Node: p.GetNode(), Name: p.GetName()})
		}
	}
	if kind == extension.ToFar && len(m.Effects) > 0 {
		return &Error{"effects", errors.New("an event for a far domain has none")}
	}
	o.Effects, err = l.Effects(m.Effects)
	return err
}

// short bounds what goes into a log.
func short(s string) string {
	const most = 8 << 10
	if len(s) > most {
		return valid(s[:most]) + " [...]"
	}
	return s
}

func (l *Limits) verdict(v *extension.Verdict, m *pluginv1.Verdict) (err error) {
	v.ArchiveID, v.Key = m.ArchiveId, m.HoldKey
	if len(v.ArchiveID) > maxText {
		return wrong("archive_id", "%d bytes, the limit is %d", len(v.ArchiveID), maxText)
	}
	if len(v.Key) > maxText {
		return wrong("hold_key", "%d bytes, the limit is %d", len(v.Key), maxText)
	}
	switch m.Action {
	case pluginv1.Action_ACTION_UNSPECIFIED, pluginv1.Action_ACTION_PASS:
	case pluginv1.Action_ACTION_DROP:
		v.Action = extension.Drop
	case pluginv1.Action_ACTION_REFUSE:
		v.Action = extension.Refuse
		if v.Error, err = l.StanzaError(m.Error); err != nil {
			return in("error", err)
		}
	case pluginv1.Action_ACTION_REPLACE:
		v.Action = extension.Replace
		if v.Stanza, err = l.Stanza(m.Stanza); err != nil {
			return in("stanza", err)
		}
	case pluginv1.Action_ACTION_PATCH:
		v.Action = extension.Patch
		for i, n := range m.Remove {
			if n == nil {
				return at("remove", i, errMissing)
			}
			v.Remove = append(v.Remove, extension.Name{Space: n.Space, Local: n.Local})
		}
		if v.Append, err = l.elements("append", m.Append); err != nil {
			return err
		}
	case pluginv1.Action_ACTION_HANDLED:
		v.Action = extension.Handled
	case pluginv1.Action_ACTION_HOLD:
		v.Action = extension.Hold
	default:
		return wrong("action", "%d is none", m.Action)
	}
	if c := m.Copy; c != nil {
		s, err := l.Stanza(c.Stanza)
		if err != nil {
			return in("copy.stanza", err)
		}
		v.Copy = &extension.Copy{Mark: c.Mark, Stanza: s}
	}
	return nil
}
