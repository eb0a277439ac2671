package announce

import (
	"context"
	"crypto/rand"
	"strings"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/extension/adhoc"
	"github.com/hexmpp/hexmpp/ports/xmpp/form"
)

// NS is the namespace of service administration: FORM_TYPE of its forms, and, with a
// fragment, the node of each command (XEP-0133 4).
const NS = "http://jabber.org/protocol/admin"

// list returns the commands that there are.
func (p *Plugin) list() []adhoc.Command {
	list := []adhoc.Command{{Node: NS + "#announce", Name: "Send Announcement to Online Users", Form: announceForm, Do: p.announce}} // 4.23
	if !p.options.MessageOfTheDay {
		return list
	}
	return append(list,
		adhoc.Command{Node: NS + "#set-motd", Name: "Set Message of the Day", Form: setForm, Do: p.set},     // 4.24
		adhoc.Command{Node: NS + "#edit-motd", Name: "Edit Message of the Day", Form: editForm, Do: p.edit}, // 4.25
		adhoc.Command{Node: NS + "#delete-motd", Name: "Delete Message of the Day", Do: remove},             // 4.26
	)
}

// ask is a form that asks for a text.
func ask(title, instructions, name, label string, values ...string) *form.Form {
	return &form.Form{Type: form.Ask, Purpose: NS, Title: title, Instructions: []string{instructions},
		Fields: []form.Field{{Var: name, Type: form.TextMulti, Label: label, Required: true, Values: values}}}
}

// written returns what was filled in.
func (p *Plugin) written(r adhoc.Request, v form.Values, name string) (text, error) {
	t := text{From: r.To.Domain(), Lang: r.Lang, Body: strings.Join(v[name], "\n")}
	if err := p.errText(&t); err != nil {
		return t, adhoc.BadPayload(err.Error())
	}
	return t, nil
}

const underWay = "The announcement is under way."

func announceForm(context.Context, *extension.Host, adhoc.Request) (*form.Form, error) {
	return ask("Making an announcement", "Fill out this form to make an announcement to all users who are online.", "announcement", "Announcement"), nil
}

func (p *Plugin) announce(ctx context.Context, h *extension.Host, r adhoc.Request, v form.Values) (string, error) {
	t, err := p.written(r, v, "announcement")
	if err != nil {
		return "", err
	}
	return underWay, p.enqueue(ctx, h, &job{To: toOnline, ID: rand.Text(), Domains: audience(h, t.From), text: t})
}

func setForm(context.Context, *extension.Host, adhoc.Request) (*form.Form, error) {
	return ask("Setting the message of the day", "Each user gets it once: now, or at the next login.", "motd", "Message of the day"), nil
}

func (p *Plugin) set(ctx context.Context, h *extension.Host, r adhoc.Request, v form.Values) (string, error) {
	t, err := p.written(r, v, "motd")
	if err != nil {
		return "", err
	}
	return underWay, p.setMOTD(ctx, h, audience(h, t.From), t)
}

// editForm has the present message in it, if there is one.
func editForm(ctx context.Context, h *extension.Host, r adhoc.Request) (*form.Form, error) {
	f := ask("Editing the message of the day", "Those who have had it don't get it again.", "motd", "Message of the day")
	for _, d := range audience(h, r.To.Domain()) {
		m, _, there, err := load(ctx, h, d)
		if err != nil {
			return nil, err
		}
		if there {
			f.Fields[0].Values = strings.Split(m.Body, "\n")
			break
		}
	}
	return f, nil
}

func (p *Plugin) edit(ctx context.Context, h *extension.Host, r adhoc.Request, v form.Values) (string, error) {
	t, err := p.written(r, v, "motd")
	if err != nil {
		return "", err
	}
	return "The message was changed.", editMOTD(ctx, h, audience(h, t.From), t)
}

func remove(ctx context.Context, h *extension.Host, r adhoc.Request, _ form.Values) (string, error) {
	was, err := deleteMOTD(ctx, h, audience(h, r.To.Domain()))
	if !was {
		return "There was none.", err
	}
	return "The message was deleted.", err
}
