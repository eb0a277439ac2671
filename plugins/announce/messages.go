package announce

import (
	"context"
	"crypto/rand"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Addresses of the service to which messages are sent: resources of its domain.
const (
	atOnline = "online"      // to users who are online
	atAll    = "all"         // to all users
	atMOTD   = "motd"        // sets the message of the day
	atUpdate = "motd/update" // changes its text
	atDelete = "motd/delete" // takes it away, whatever the text
)

// handle takes what comes to the service besides commands. Messages without a text, such
// as those that say that somebody is typing, are ignored, and so is what tells that an
// announcement came back.
func (p *Plugin) handle(ctx context.Context, h *extension.Host, e *extension.Envelope) error {
	s := e.Stanza
	switch {
	case s.Type == stanza.TypeError, s.Kind == stanza.Presence && !s.ManagesSubscription():
		return nil
	case s.Kind != stanza.Message:
		return stanza.Err(stanza.ServiceUnavailable, "")
	}
	body := s.Find("", "body")
	if body == nil {
		return nil
	}
	if !p.admin(s.From.Bare()) {
		return stanza.Err(stanza.Forbidden, "")
	}
	t := text{From: s.To.Domain(), Lang: s.Lang, Body: body.Text()}
	if subject := s.Find("", "subject"); subject != nil {
		t.Subject = subject.Text()
	}
	if err := p.errText(&t); err != nil {
		return stanza.Err(stanza.NotAcceptable, err.Error())
	}
	domains, where := audience(h, t.From), s.To.Resource()
	if s.To.Local() != "" {
		where = ""
	}
	switch motd := p.options.MessageOfTheDay; {
	case where == atOnline:
		return p.enqueue(ctx, h, &job{To: toOnline, ID: rand.Text(), Domains: domains, text: t})
	case where == atAll:
		return p.enqueue(ctx, h, &job{To: toAll, ID: rand.Text(), Domains: domains, text: t})
	case where == atMOTD && motd:
		return p.setMOTD(ctx, h, domains, t)
	case where == atUpdate && motd:
		return editMOTD(ctx, h, domains, t)
	case where == atDelete && motd:
		_, err := deleteMOTD(ctx, h, domains)
		return err
	}
	return stanza.Err(stanza.ItemNotFound, "Send it to "+t.From+"/"+atOnline+" or "+t.From+"/"+atAll+".")
}
