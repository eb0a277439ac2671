// Package announce sends announcements to the users of a domain, and keeps a message of
// the day: sections 4.23 to 4.26 of XEP-0133, as a component of each hosted domain.
// Administrators use it from their client in two ways: by ad-hoc commands (commands.go), or
// by a plain message to an address of the component (messages.go), the text of which is
// passed on.
//
// An announcement is a job in the extension's Store until it has gone to everybody
// (queue.go): a handler sends it to some hundred accounts, notes in the same transaction
// how far it came, and has a timer call it for the next ones. So a process that dies in
// between neither leaves out nor tells anybody twice.
//
// Left out is the welcome message (4.27, 4.28): nobody tells extensions of new accounts yet.
package announce

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/extension/adhoc"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// Options are those of the configuration, as JSON.
type Options struct {
	// Admins are the accounts that may send announcements: bare JIDs. Without any
	// nobody may.
	Admins []string `json:"admins"`
	// MaxBytes bounds an announcement with its subject: 10 KiB if zero, at most 64 KiB.
	MaxBytes int `json:"max-bytes"`
	// MaxAnnouncements bounds how many are under way: 10 if zero, at most 100.
	MaxAnnouncements int `json:"max-announcements"`
	// MessageOfTheDay: there may be one.
	MessageOfTheDay bool `json:"message-of-the-day"`
}

// Schema says as a JSON schema (2020-12) which options there are.
const Schema = `{
	"$schema": "https://json-schema.org/draft/2020-12/schema",
	"type": "object",
	"additionalProperties": false,
	"properties": {
		"admins": {"type": "array", "items": {"type": "string"}, "description": "Accounts (bare JIDs) that may send announcements."},
		"max-bytes": {"type": "integer", "minimum": 1, "maximum": 65536, "default": 10240, "description": "The longest announcement."},
		"max-announcements": {"type": "integer", "minimum": 1, "maximum": 100, "default": 10, "description": "How many may be under way."},
		"message-of-the-day": {"type": "boolean", "default": false, "description": "Whether there may be one."}
	}
}`

const (
	defaultBytes, mostBytes                 = 10 << 10, 64 << 10
	defaultAnnouncements, mostAnnouncements = 10, 100
)

// Plugin is the service. Configure comes before its handlers run; they change nothing
// of it.
type Plugin struct {
	options  Options
	idle     bool // it is configured to have no message of the day
	admins   map[jid.JID]bool
	commands adhoc.Commands
}

// New returns a service that nobody may use, until it is configured.
func New() *Plugin {
	p := &Plugin{options: Options{MaxBytes: defaultBytes, MaxAnnouncements: defaultAnnouncements}}
	p.commands = adhoc.Commands{Disco: disco, May: p.admin, List: p.list()}
	return p
}

// Configure takes Options as a JSON object, before anything runs. An error says what is
// wrong with them.
func (p *Plugin) Configure(options []byte) error {
	var o Options
	d := json.NewDecoder(bytes.NewReader(options))
	d.DisallowUnknownFields()
	if err := d.Decode(&o); err != nil {
		return fmt.Errorf("announce: options: %w", err)
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = defaultBytes
	}
	if o.MaxAnnouncements == 0 {
		o.MaxAnnouncements = defaultAnnouncements
	}
	switch {
	case o.MaxBytes < 0 || o.MaxBytes > mostBytes:
		return fmt.Errorf("announce: max-bytes: %d; allowed are 1 to %d", o.MaxBytes, mostBytes)
	case o.MaxAnnouncements < 0 || o.MaxAnnouncements > mostAnnouncements:
		return fmt.Errorf("announce: max-announcements: %d; allowed are 1 to %d", o.MaxAnnouncements, mostAnnouncements)
	}
	admins := map[jid.JID]bool{}
	for _, a := range o.Admins {
		j, err := jid.Parse(a)
		if err != nil || j.Local() == "" || !j.IsBare() {
			return fmt.Errorf("announce: admins: %q is no account", a)
		}
		admins[j] = true
	}
	p.options, p.admins, p.idle = o, admins, !o.MessageOfTheDay
	p.commands.List = p.list()
	return nil
}

// disco is what the component says of itself.
var disco = extension.Disco{
	Identities: []extension.Identity{{Category: "component", Type: "generic", Name: "Announcements"}},
	Features:   []string{adhoc.NS},
}

// Registration returns what the service claims. It does not depend on options, but that
// nobody tells it of logins when it has no message of the day.
func (p *Plugin) Registration() extension.Registration {
	reg := extension.Registration{
		Name: "announce",
		Implements: []extension.XEP{
			{Number: 50, Version: "1.3.0", Note: "commands with one form at most"},
			{Number: 133, Version: "1.3.0", Note: "4.23 to 4.26: announcements and the message of the day"},
		},
		Permissions: []extension.Permission{extension.ListAccounts, extension.SeePresence},
		Components: []extension.Component{{
			Domain: "announce.$domain",
			Disco:  disco,
			IQ:     p.commands.Handlers(),
			Handle: p.handle,
			Key:    extension.Pair,
		}},
		Notices: []extension.Event{extension.BecameAvailable},
		Notice:  p.notice,
		Timer:   p.timer,
		Start:   func(_ context.Context, h *extension.Host) error { return wake(h) }, // for what an earlier process left
	}
	if p.idle {
		reg.Notices, reg.Notice = nil, nil
	}
	return reg
}

// admin says whether an account may use the service.
func (p *Plugin) admin(account jid.JID) bool { return p.admins[account] }

// audience returns the hosted domains whose users hear what is sent to a domain of the
// service: the one that it is below of, or else all.
func audience(h *extension.Host, service string) []string {
	best := ""
	for _, d := range h.Domains {
		if strings.HasSuffix(service, "."+d) && len(d) > len(best) {
			best = d
		}
	}
	if best == "" {
		return h.Domains
	}
	return []string{best}
}

// errText says why a text can't be announced; nil if it can.
func (p *Plugin) errText(t *text) error {
	switch {
	case strings.TrimSpace(t.Body) == "":
		return errors.New("there is no text")
	case len(t.Body)+len(t.Subject) > p.options.MaxBytes:
		return fmt.Errorf("at most %d bytes can be announced", p.options.MaxBytes)
	}
	return nil
}
