package announce

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// text is what is announced.
type text struct {
	From    string `json:"from"` // domain of the service
	Lang    string `json:"lang,omitempty"`
	Subject string `json:"subject,omitempty"`
	Body    string `json:"body,omitempty"`
}

// Whom a job is for.
const (
	toOnline = "online" // accounts with a session that takes messages: a headline, which nobody stores
	toAll    = "all"    // every account: a message, which is stored for who is not there
	toTell   = "motd"   // accounts that are available, and have not had the message of the day yet
)

// job is an announcement that is under way.
type job struct {
	To      string   `json:"to"`
	ID      string   `json:"id"` // of the messages; of toTell: of the message of the day
	Domains []string `json:"domains"`
	After   string   `json:"after"` // localpart of the last account of Domains[0] that has been dealt with
	text
}

const (
	jobs   = "job/" // prefix of their keys, which are in the order in which they were asked for
	jobKey = jobs + "%019d"
	batch  = 200              // accounts that one handler deals with
	again  = 30 * time.Second // when a handler is called again that failed

	work  = "work"  // timer: the next batch
	watch = "watch" // timer: sees to it that work goes on
)

// enqueue makes a job of an announcement.
func (p *Plugin) enqueue(ctx context.Context, h *extension.Host, j *job) error {
	waiting, err := h.Store.Scan(ctx, jid.JID{}, jobs, "", p.options.MaxAnnouncements)
	if err != nil {
		return fmt.Errorf("announce: jobs: %w", err)
	}
	if len(waiting) >= p.options.MaxAnnouncements {
		return stanza.Err(stanza.ResourceConstraint, "Too many announcements are under way.")
	}
	n := h.Now().UnixNano()
	if len(waiting) > 0 { // behind it, whatever the clock says
		var last int64
		if _, err := fmt.Sscanf(waiting[len(waiting)-1].Key, jobKey, &last); err == nil {
			n = max(n, last+1)
		}
	}
	if err := swap(h, extension.Entry{Key: fmt.Sprintf(jobKey, n)}, j); err != nil {
		return err
	}
	return wake(h)
}

// wake has the next batch sent.
func wake(h *extension.Host) error {
	return errors.Join(h.Timers.Set(work, 0, nil), h.Timers.Set(watch, again, nil))
}

// swap stores v in place of what was read.
func swap(h *extension.Host, was extension.Entry, v any) error {
	value, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("announce: %w", err)
	}
	h.Store.Swap(jid.JID{}, was.Key, value, was.Revision)
	return nil
}

// timer sends the next batch, or, where that failed, has it tried again.
func (p *Plugin) timer(ctx context.Context, h *extension.Host, t extension.Timer) error {
	switch t.Key {
	case work:
		return p.work(ctx, h)
	case watch:
		waiting, err := h.Store.Scan(ctx, jid.JID{}, jobs, "", 1)
		if err != nil {
			h.Log.Error("announcements can't be read; another try follows", "error", err)
			return h.Timers.Set(watch, again, nil)
		}
		if len(waiting) > 0 {
			return wake(h)
		}
	}
	return nil
}

// work deals with the next accounts of the oldest job.
func (p *Plugin) work(ctx context.Context, h *extension.Host) error {
	waiting, err := h.Store.Scan(ctx, jid.JID{}, jobs, "", 1)
	if err != nil || len(waiting) == 0 {
		return err
	}
	e := waiting[0]
	var j job
	if err := json.Unmarshal(e.Value, &j); err != nil {
		h.Log.Error("an announcement that can't be read is left out", "key", e.Key, "error", err)
		j.Domains = nil
	}
	if len(j.Domains) > 0 {
		if err := p.next(ctx, h, &j); err != nil {
			return err
		}
	}
	if err := swap(h, e, &j); err != nil {
		return err
	}
	if len(j.Domains) == 0 {
		h.Store.Delete(jid.JID{}, e.Key) // if it is still what was read
	}
	return wake(h)
}

// next deals with the next accounts, and notes how far the job is.
func (p *Plugin) next(ctx context.Context, h *extension.Host, j *job) error {
	domain := j.Domains[0]
	accounts, err := h.Accounts.List(ctx, domain, j.After, batch)
	if err != nil {
		return fmt.Errorf("announce: accounts of %s: %w", domain, err)
	}
	deal := func(account jid.JID) error { return j.send(h, account) }
	if j.To == toTell {
		m, _, there, err := load(ctx, h, domain)
		if err != nil {
			return err
		}
		if !there || m.ID != j.ID { // another one has taken its place
			accounts = nil
		}
		deal = func(account jid.JID) error { return m.tell(ctx, h, account) }
	}
	for _, a := range accounts {
		if a.Disabled || j.To != toAll && !online(h, a.User, j.To == toOnline) {
			continue
		}
		if err := deal(a.User); err != nil {
			return err
		}
	}
	if len(accounts) < batch {
		j.Domains, j.After = j.Domains[1:], ""
		return nil
	}
	j.After = accounts[len(accounts)-1].User.Local()
	return nil
}

// online says whether an account has an available session; takes: one that takes
// messages to the bare JID.
func online(h *extension.Host, account jid.JID, takes bool) bool {
	for _, s := range h.Sessions.Of(account) {
		if s.Available && (!takes || s.Priority >= 0) {
			return true
		}
	}
	return false
}

// send sends the announcement to an account.
func (j *job) send(h *extension.Host, account jid.JID) error {
	typ := stanza.Headline
	if j.To == toAll {
		typ = stanza.Normal
	}
	return j.text.send(h, typ, j.ID, account)
}

func (t *text) send(h *extension.Host, typ, id string, account jid.JID) error {
	from, err := jid.Parse(t.From)
	if err != nil {
		return fmt.Errorf("announce: %q: %w", t.From, err)
	}
	head := stanza.Header{Kind: stanza.Message, Type: typ, ID: id, From: from, To: account, Lang: t.Lang}
	var subject *stanza.Element
	if t.Subject != "" {
		subject = stanza.El("", "subject").WithText(t.Subject)
	}
	return h.Stanzas.Send(stanza.New(head, subject, stanza.El("", "body").WithText(t.Body)))
}
