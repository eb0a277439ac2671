// Package csi lets clients say whether somebody uses them (XEP-0352), and holds
// back what an inactive client need not have at once: see presence.go and
// message.go. All else passes.
//
// Inactive is a mark on the session that ends with its connection: a resumed
// stream (XEP-0198) begins active (section 5.2). What is held goes out, in order,
// in front of the next stanza that passes, and when the client is active again,
// before anything else that it sent is handled (5.1). Nothing is dropped but what
// something later stands for: of a contact's presence and of chat states the last
// one counts.
//
// Nobody is told which state a client is in (section 6), and its presence has
// nothing to do with it (section 5).
package csi

import (
	"context"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// NS is the namespace of the elements, and of the stream feature (section 4).
const NS = "urn:xmpp:csi:0"

// inactive is the mark of sessions whose client is.
const inactive = "inactive"

// Options say what is held back of an inactive client (section 3.2). The zero
// value holds nothing.
type Options struct {
	Presence   bool // availability of contacts, and of occupants of rooms
	ChatStates bool // messages with nothing but chat states (XEP-0085)
	PEP        bool // events of contacts (XEP-0163)
}

// New returns the extension.
func New(o Options) extension.Registration {
	return extension.Registration{
		Name:        "csi",
		Implements:  []extension.XEP{{Number: 352, Version: "1.0.0"}},
		Permissions: []extension.Permission{extension.SeeStanzas},
		Marks:       []extension.Mark{{Name: inactive, Connection: true}},
		StreamFeatures: []extension.StreamFeature{{
			Element: func(string) *stanza.Element { return stanza.El(NS, "csi") },
		}},
		Elements: []extension.ElementHandler{
			{Space: NS, Local: "active", Handle: activate},
			{Space: NS, Local: "inactive", Handle: deactivate},
		},
		// If it fails the stanza passes.
		Stages: []extension.StageHandler{{
			Stage: extension.Write, Class: extension.Decide, Policy: extension.Open,
			Match:  extension.Match{Kinds: []stanza.Kind{stanza.Presence, stanza.Message}, Mark: inactive},
			Handle: o.write,
		}},
	}
}

// activate ends what deactivate began; twice is as good as once.
func activate(_ context.Context, h *extension.Host, session jid.JID, _ *stanza.Element) error {
	if err := h.Sessions.Mark(session, inactive, false); err != nil {
		return err
	}
	h.Sessions.Release(session)
	return nil
}

func deactivate(_ context.Context, h *extension.Host, session jid.JID, _ *stanza.Element) error {
	return h.Sessions.Mark(session, inactive, true)
}

// write holds back what can wait.
func (o Options) write(_ context.Context, _ *extension.Host, e *extension.Envelope) (extension.Verdict, error) {
	key, waits := "", false
	if e.Stanza.Kind == stanza.Presence {
		key, waits = o.presence(e)
	} else {
		key, waits = o.message(e)
	}
	if !waits {
		return extension.Verdict{}, nil
	}
	return extension.Verdict{Action: extension.Hold, Key: key}, nil
}

// separator stands between the parts of a key; no text in XML holds it.
const separator = "\x00"
