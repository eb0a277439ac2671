package extensiontest

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strings"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// clientAddr is where Client and Stream come from: an address for examples.
var clientAddr = netip.MustParseAddr("192.0.2.1")

// Client is the origin of what the session with this full JID sends, over an
// encrypted stream.
func Client(session string) extension.Origin {
	j := jid.MustParse(session)
	return extension.Origin{Session: j, Domain: j.Domain(), Addr: clientAddr, Secure: true}
}

// Stream is the origin of what comes before login on an encrypted stream to domain.
func Stream(domain string) extension.Origin {
	return extension.Origin{Domain: domain, Addr: clientAddr, Secure: true}
}

// Far is the origin of what no local client sent.
func Far() extension.Origin { return extension.Origin{} }

// IQ hands in an iq get or set and returns its answer. It is nil where the
// kernel would end the stream: before login, if no handler wants the request.
// What a session sends gets its full JID as from.
func (h *Harness) IQ(o extension.Origin, s *stanza.Stanza) *stanza.Stanza {
	h.t.Helper()
	if s.Kind != stanza.IQ || s.Type != stanza.Get && s.Type != stanza.Set {
		h.t.Fatalf("extensiontest: IQ wants an iq of type get or set, not %v; Answer takes results", s)
	}
	s = stamp(o, s)
	if s.ID == "" || len(s.Children()) != 1 {
		return h.answered(s.ErrorReply(stanza.Err(stanza.BadRequest, "")))
	}
	child := s.Children()[0]
	list, to := h.addressee(o, s)
	for i := range list {
		q := &list[i]
		if q.Space == child.Space && q.Local == child.Local && (q.Type == "" || q.Type == s.Type) && (to == 0 || q.To&to != 0) {
			return h.ask(q, extension.IQ{Stanza: s, Child: child, Origin: o})
		}
	}
	if to == extension.ToStream {
		return nil
	}
	return h.answered(s.ErrorReply(stanza.Err(stanza.ServiceUnavailable, "")))
}

// stamp gives s the from that the kernel would.
func stamp(o extension.Origin, s *stanza.Stanza) *stanza.Stanza {
	if o.Session.IsZero() {
		return s
	}
	head := s.Header
	head.From = o.Session
	return s.With(head)
}

// addressee returns the handlers to look through, and which of the values of
// To must be among theirs: 0 for those of a component.
func (h *Harness) addressee(o extension.Origin, s *stanza.Stanza) ([]extension.IQHandler, extension.To) {
	to := s.To
	before := o.Session.IsZero() && o.Domain != ""
	for _, c := range h.componentDomains() {
		if !before && to == jid.MustParse(c.domain) {
			return c.spec.IQ, 0
		}
	}
	switch {
	case before && (to.IsZero() || to.String() == o.Domain):
		return h.reg.IQ, extension.ToStream
	case before:
		return nil, extension.ToStream
	case to.IsZero(), to == s.From.Bare():
		return h.reg.IQ, extension.ToOwnAccount
	case !h.hosted(to.Domain()) || !to.IsBare():
		return nil, extension.ToServer
	case to.Local() == "":
		return h.reg.IQ, extension.ToServer
	}
	return h.reg.IQ, extension.ToAccount
}

func (h *Harness) ask(q *extension.IQHandler, iq extension.IQ) (answer *stanza.Stanza) {
	var result *stanza.Element
	h.run("iq "+iq.Type+" "+q.Space, q.Inline, func(ctx context.Context, host *extension.Host) (err error) {
		result, err = q.Handle(ctx, host, iq)
		return err
	}, func(err error) {
		if err != nil {
			answer = h.answered(iq.ErrorReply(stanza.AsError(err)))
			return
		}
		answer = h.answered(stanza.New(iq.Reply(stanza.Result), result))
	})
	return answer
}

func (h *Harness) answered(s *stanza.Stanza) *stanza.Stanza {
	h.record(Effect{Kind: Answered, Stanza: s})
	return s
}

// Outcome is what the handlers of a stage made of a stanza.
type Outcome struct {
	Stanza *stanza.Stanza // what goes on; nil if it ended here
	Error  *stanza.Error  // the sender gets it; nil if the stanza was not refused
	Copy   *extension.Copy
	Held   bool // the session keeps it back, under Key
	Key    string
	// ArchiveID is what later handlers of Submit are told.
	ArchiveID string
}

// Stage shows a stanza to the handlers of a stage, in the order of the
// registration, and applies what they asked for. In Submit the account is the
// sender's.
func (h *Harness) Stage(stage extension.Stage, e extension.Envelope) (out Outcome) {
	e.Stanza = stamp(e.Origin, e.Stanza)
	if stage == extension.Submit {
		e.Account = e.Stanza.From.Bare()
	}
	for i := range h.reg.Stages {
		s := &h.reg.Stages[i]
		if s.Stage != stage || !matches(&s.Match, e.Stanza) || !h.concerned(s, &e) {
			continue
		}
		var v extension.Verdict
		var failed error
		shown := e
		about := e.Account
		if stage == extension.Write {
			about = jid.JID{} // no Residents there
		}
		h.runAs(&tx{h: h, what: "stage handler", inline: true, about: about}, func(ctx context.Context, host *extension.Host) (err error) {
			v, err = s.Handle(ctx, host, &shown)
			return err
		}, func(err error) { failed = err })
		switch {
		case s.Class == extension.Observe, failed != nil && s.Policy == extension.Open:
			continue
		case failed != nil:
			return Outcome{Error: stanza.AsError(failed)}
		}
		switch v.Action {
		case extension.Drop, extension.Handled:
			return Outcome{}
		case extension.Refuse:
			if v.Error == nil {
				return Outcome{Error: stanza.Err(stanza.NotAcceptable, "")}
			}
			return Outcome{Error: v.Error}
		}
		e.Stanza = changed(e.Stanza, &v)
		if v.ArchiveID != "" {
			if stage != extension.Submit {
				h.t.Errorf("extensiontest: an ArchiveID in the stage %v", stage)
			}
			e.ArchiveID, out.ArchiveID = v.ArchiveID, v.ArchiveID
		}
		if v.Action == extension.Hold {
			if stage != extension.Write {
				h.t.Errorf("extensiontest: a stanza on Hold in the stage %v", stage)
			}
			out.Held, out.Key = true, v.Key
		}
		if v.Copy != nil {
			if fault := h.checkCopy(stage, &e, v.Copy); fault != "" || out.Copy != nil {
				h.t.Errorf("extensiontest: in the stage %v: %s, or a second copy", stage, cmp.Or(fault, "a copy"))
			}
			out.Copy = v.Copy
		}
	}
	out.Stanza = e.Stanza
	return out
}

// checkCopy says what is wrong with a copy, "" if nothing is.
func (h *Harness) checkCopy(stage extension.Stage, e *extension.Envelope, c *extension.Copy) string {
	switch {
	case stage > extension.Deliver:
		return "a copy is made in Submit or Deliver"
	case c.Stanza == nil || c.Stanza.Kind != stanza.Message || e.Stanza.Kind != stanza.Message:
		return "a copy is a message, of a message"
	case c.Stanza.From != e.Account:
		return "a copy is from the account"
	case !slices.ContainsFunc(h.reg.Marks, func(m extension.Mark) bool { return m.Name == c.Mark }):
		return "a copy for a mark that is not among the Marks"
	}
	return ""
}

// concerned says whether the account or the session is one that a handler asks
// for.
func (h *Harness) concerned(s *extension.StageHandler, e *extension.Envelope) bool {
	if key := s.Match.Resident; key != "" {
		h.mu.Lock()
		_, there := h.entries[entryKey{e.Account, key}]
		h.mu.Unlock()
		if !there {
			return false
		}
	}
	switch {
	case s.Match.Mark == "":
		return true
	case s.Stage == extension.Write:
		return h.Marked(e.Session, s.Match.Mark)
	case s.Match.Copies:
		return h.copied(s, e)
	}
	return h.Marked(e.Account, s.Match.Mark)
}

// copied says whether a session with the handler's mark is neither the one that
// the stanza comes from nor the one that it is addressed to.
func (h *Harness) copied(s *extension.StageHandler, e *extension.Envelope) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.ContainsFunc(h.sessions, func(o extension.Session) bool {
		return o.JID.Bare() == e.Account && slices.Contains(o.Marks, s.Match.Mark) &&
			o.JID != e.Origin.Session && (s.Stage == extension.Submit || o.JID != e.Stanza.To)
	})
}

// changed is the stanza that goes on after a verdict.
func changed(s *stanza.Stanza, v *extension.Verdict) *stanza.Stanza {
	switch {
	case v.Action == extension.Replace && v.Stanza != nil && v.Stanza.Kind == s.Kind:
		head := v.Stanza.Header
		head.To, head.From = s.To, s.From
		return v.Stanza.With(head)
	case v.Action == extension.Patch:
		return s.Patch(func(c stanza.Child) bool {
			return slices.ContainsFunc(v.Remove, func(n extension.Name) bool {
				return n.Space == c.Space && (n.Local == "" || n.Local == c.Local)
			})
		}, v.Append...)
	}
	return s
}

func matches(m *extension.Match, s *stanza.Stanza) bool {
	typ := s.Type
	if s.Kind == stanza.Message && !slices.Contains([]string{stanza.Chat, stanza.GroupChat, stanza.Headline, stanza.TypeError}, typ) {
		typ = stanza.Normal
	}
	if len(m.Kinds) > 0 && !slices.Contains(m.Kinds, s.Kind) || len(m.Types) > 0 && !slices.Contains(m.Types, typ) {
		return false
	}
	if m.Child == nil {
		return true
	}
	_, ok := s.Child(m.Child.Space, m.Child.Local)
	return ok
}

// component is a component on one domain.
type component struct {
	domain string
	spec   *extension.Component
}

func (h *Harness) componentDomains() []component {
	var list []component
	for i := range h.reg.Components {
		spec := &h.reg.Components[i]
		if !strings.Contains(spec.Domain, "$domain") {
			list = append(list, component{spec.Domain, spec})
			continue
		}
		for _, d := range h.domains {
			list = append(list, component{strings.ReplaceAll(spec.Domain, "$domain", d), spec})
		}
	}
	return list
}

// Component hands a stanza to the component that has its domain, and returns
// the error answer if there is one. Requests to a component's domain that a
// handler answers go by IQ.
func (h *Harness) Component(e extension.Envelope) *stanza.Stanza {
	h.t.Helper()
	e.Stanza = stamp(e.Origin, e.Stanza)
	for _, c := range h.componentDomains() {
		if c.domain != e.Stanza.To.Domain() || c.spec.Handle == nil {
			continue
		}
		var answer *stanza.Stanza
		h.run("component "+c.domain, false, func(ctx context.Context, host *extension.Host) error {
			shown := e
			return c.spec.Handle(ctx, host, &shown)
		}, func(err error) {
			if answer = e.Stanza.ErrorReply(stanza.AsError(err)); err != nil && answer != nil {
				h.record(Effect{Kind: Answered, Stanza: answer})
			}
		})
		return answer
	}
	h.t.Fatalf("extensiontest: no component handles %q", e.Stanza.To)
	return nil
}
