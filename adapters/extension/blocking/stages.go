package blocking

import (
	"context"
	"slices"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// stages are called for accounts that have a list only.
func stages() []extension.StageHandler {
	decide := func(stage extension.Stage, other func(*stanza.Stanza) jid.JID, verdict func(*extension.Host, *stanza.Stanza) extension.Verdict) extension.StageHandler {
		return extension.StageHandler{Stage: stage, Class: extension.Decide, Match: extension.Match{Resident: key},
			Fanout: stage == extension.Deliver,
			Handle: func(ctx context.Context, h *extension.Host, e *extension.Envelope) (extension.Verdict, error) {
				l, _, err := load(ctx, h, e.Account)
				if err != nil || !l.blocks(e.Account, other(e.Stanza)) {
					return extension.Verdict{}, err
				}
				return verdict(h, e.Stanza), nil
			}}
	}
	to := func(s *stanza.Stanza) jid.JID { return s.To }
	from := func(s *stanza.Stanza) jid.JID { return s.From }
	return []extension.StageHandler{
		decide(extension.Submit, to, outbound),
		decide(extension.Deliver, from, inbound),
		decide(extension.Recall, from, drop), // what has waited since before the block
	}
}

func drop(*extension.Host, *stanza.Stanza) extension.Verdict {
	return extension.Verdict{Action: extension.Drop}
}

// outbound is what becomes of a stanza to a blocked address (example 9). The kernel
// tells nobody where there is nobody to tell: of presence that is broadcast, and of
// answers.
func outbound(*extension.Host, *stanza.Stanza) extension.Verdict {
	return extension.Verdict{Action: extension.Refuse, Error: &stanza.Error{
		Type: stanza.Cancel, Condition: stanza.NotAcceptable, App: stanza.El(NSErrors, "blocked"),
	}}
}

// inbound is what becomes of a stanza of a blocked address (3.3): the user appears
// offline, so the answer is the one of an account without a session.
func inbound(h *extension.Host, s *stanza.Stanza) extension.Verdict {
	unavailable := extension.Verdict{Action: extension.Refuse, Error: stanza.Err(stanza.ServiceUnavailable, "")}
	switch {
	case s.Kind == stanza.Presence:
		return drop(h, s)
	case s.Kind == stanza.Message && s.Type == stanza.Headline && s.To.IsBare(): // RFC 6121 8.5.2.2.1
		return drop(h, s)
	case s.Kind == stanza.Message && s.Type == stanza.GroupChat && !local(h, s.From):
		// Rooms take errors as the end of an occupant (XEP-0045 18.1.2; this condition,
		// too, many of them): who blocks another would be thrown out by its next word.
		return drop(h, s)
	}
	return unavailable // to errors and results the kernel answers nothing
}

// local says whether an address is an account's of this server, which is no room.
func local(h *extension.Host, j jid.JID) bool {
	return j.Local() != "" && slices.Contains(h.Domains, j.Domain())
}
