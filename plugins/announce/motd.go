package announce

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// motd is a message of the day (XEP-0133 4.24): an account of the domain gets it once,
// when it is set or else when a session of it becomes available.
type motd struct {
	ID string `json:"id"`
	text
}

// Keys of entries.
const (
	standing = "motd/" // with a domain: its message of the day
	had      = "motd"  // of an account: the ID of the last one that it has had
)

// load returns the message of the day of a domain, and its entry.
func load(ctx context.Context, h *extension.Host, domain string) (m motd, e extension.Entry, there bool, err error) {
	e, there, err = h.Store.Get(ctx, jid.JID{}, standing+domain)
	if err != nil {
		return m, e, false, fmt.Errorf("announce: message of the day: %w", err)
	}
	if !there {
		return m, extension.Entry{Key: standing + domain}, false, nil
	}
	if err := json.Unmarshal(e.Value, &m); err != nil {
		h.Log.Error("a message of the day that can't be read is left out", "domain", domain, "error", err)
		return motd{}, e, false, nil
	}
	return m, e, true, nil
}

// setMOTD sets the message of the day of domains, and has it given to who is there.
func (p *Plugin) setMOTD(ctx context.Context, h *extension.Host, domains []string, t text) error {
	m := motd{ID: rand.Text(), text: t}
	for _, d := range domains {
		_, e, _, err := load(ctx, h, d)
		if err != nil {
			return err
		}
		if err := swap(h, e, &m); err != nil {
			return err
		}
	}
	return p.enqueue(ctx, h, &job{To: toTell, ID: m.ID, Domains: domains})
}

// editMOTD changes its text, for those who have not had it yet (4.25). Where there is
// none it is set, and those get it who become available from now on.
func editMOTD(ctx context.Context, h *extension.Host, domains []string, t text) error {
	id := rand.Text()
	for _, d := range domains {
		m, e, there, err := load(ctx, h, d)
		if err != nil {
			return err
		}
		if m.text = t; !there {
			m.ID = id
		}
		if err := swap(h, e, &m); err != nil {
			return err
		}
	}
	return nil
}

// deleteMOTD takes it away (4.26), and says whether there was one.
func deleteMOTD(ctx context.Context, h *extension.Host, domains []string) (was bool, err error) {
	for _, d := range domains {
		_, _, there, err := load(ctx, h, d)
		if err != nil {
			return false, err
		}
		h.Store.Delete(jid.JID{}, standing+d)
		was = was || there
	}
	return was, nil
}

// notice gives an account that became available the message of the day.
func (p *Plugin) notice(ctx context.Context, h *extension.Host, n extension.Notice) error {
	if !p.options.MessageOfTheDay || n.Event != extension.BecameAvailable {
		return nil
	}
	m, _, there, err := load(ctx, h, n.Session.Domain())
	if err != nil || !there {
		return err
	}
	return m.tell(ctx, h, n.Session.Bare())
}

// tell gives it to an account, once: of two handlers that do the second one runs again,
// and sees that it was done. It is a message that is stored if the account has just left.
func (m *motd) tell(ctx context.Context, h *extension.Host, account jid.JID) error {
	e, _, err := h.Store.Get(ctx, account, had)
	if err != nil {
		return fmt.Errorf("announce: %w", err)
	}
	if string(e.Value) == m.ID {
		return nil
	}
	h.Store.Swap(account, had, []byte(m.ID), e.Revision)
	return m.text.send(h, stanza.Normal, m.ID, account)
}
