package extensiontest

import (
	"context"
	"fmt"
	"slices"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// sessions implements extension.Sessions.
type sessions struct{ t *tx }

func (x sessions) Of(account jid.JID) []extension.Session {
	x.t.open()
	x.t.h.mu.Lock()
	defer x.t.h.mu.Unlock()
	var of []extension.Session
	for _, s := range x.t.h.sessions {
		if s.JID.Bare() == account.Bare() {
			of = append(of, s)
		}
	}
	return of
}

func (x sessions) End(account jid.JID, condition, text string) error {
	h := x.t.h
	if err := h.permit(extension.ManageAccounts); err != nil {
		return err
	}
	x.t.later(func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.sessions = slices.DeleteFunc(h.sessions, func(s extension.Session) bool { return s.JID.Bare() == account.Bare() })
		h.effects = append(h.effects, Effect{Kind: Ended, Account: account.Bare(), Condition: condition, Text: text})
	})
	return nil
}

func (x sessions) Mark(session jid.JID, name string, on bool) error {
	h := x.t.h
	if !slices.ContainsFunc(h.reg.Marks, func(m extension.Mark) bool { return m.Name == name }) {
		return fmt.Errorf("extensiontest: %s has no mark %q in its registration", h.reg.Name, name)
	}
	x.t.later(func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		for i := range h.sessions {
			s := &h.sessions[i]
			if s.JID != session || slices.Contains(s.Marks, name) == on {
				continue
			}
			marks := slices.DeleteFunc(slices.Clone(s.Marks), func(m string) bool { return m == name })
			if on {
				marks = append(marks, name)
			}
			s.Marks = marks
		}
	})
	return nil
}

func (x sessions) Room(session jid.JID) int {
	x.t.open()
	h := x.t.h
	h.mu.Lock()
	defer h.mu.Unlock()
	if !slices.ContainsFunc(h.sessions, func(s extension.Session) bool { return s.JID == session }) {
		return 0
	}
	return h.room
}

func (x sessions) Release(session jid.JID) {
	x.t.later(func() { x.t.h.record(Effect{Kind: Released, Account: session}) })
}

func (x sessions) Withdraw(account jid.JID, patterns, except []jid.JID) error {
	return x.show(Effect{Kind: Withdrawn, Account: account.Bare(), Patterns: slices.Clone(patterns), Except: slices.Clone(except)})
}

func (x sessions) Announce(account jid.JID, patterns []jid.JID) error {
	return x.show(Effect{Kind: Announced, Account: account.Bare(), Patterns: slices.Clone(patterns)})
}

func (x sessions) show(e Effect) error {
	if err := x.t.h.permit(extension.TellPresence); err != nil {
		return err
	}
	x.t.later(func() { x.t.h.record(e) })
	return nil
}

// Marked says whether a session of the account (bare), or the session (full),
// has a mark.
func (h *Harness) Marked(j jid.JID, mark string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.ContainsFunc(h.sessions, func(s extension.Session) bool {
		return (s.JID == j || j.IsBare() && s.JID.Bare() == j) && slices.Contains(s.Marks, mark)
	})
}

// Resume is what the kernel does when a session is resumed: marks of its last
// connection are gone.
func (h *Harness) Resume(session jid.JID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.sessions {
		if s := &h.sessions[i]; s.JID == session {
			s.Marks = slices.DeleteFunc(slices.Clone(s.Marks), func(name string) bool {
				return slices.Contains(h.reg.Marks, extension.Mark{Name: name, Connection: true})
			})
		}
	}
}

// Element hands in an element that a session's client sends beside stanzas. It
// returns what ends the stream, nil if nothing does; known is false if no
// handler wants the element.
func (h *Harness) Element(session jid.JID, e *stanza.Element) (fault error, known bool) {
	h.t.Helper()
	for _, x := range h.reg.Elements {
		if x.Space == e.Space && x.Local == e.Local {
			h.run("element "+e.Local, true, func(ctx context.Context, host *extension.Host) error {
				return x.Handle(ctx, host, session, e)
			}, func(err error) { fault = err })
			return fault, true
		}
	}
	return nil, false
}

// Notice tells of an event, if the registration asks for it.
func (h *Harness) Notice(n extension.Notice) {
	if slices.Contains(h.reg.Notices, n.Event) {
		h.run("Notice", false, func(ctx context.Context, host *extension.Host) error { return h.reg.Notice(ctx, host, n) }, func(error) {})
	}
}
