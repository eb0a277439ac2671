// Package ping answers XMPP pings (XEP-0199): those to the server, from clients
// (section 4.2) and other servers (4.3), and those to the sender's own account,
// which mean the same. Pings between clients (4.4) are routed by the kernel
// like any iq. The server sends no pings of its own here (4.1).
package ping

import (
	"context"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// NS is the namespace of <ping/>, and the feature that stands for it (section 5).
const NS = "urn:xmpp:ping"

// New returns the extension. It has no options and keeps nothing.
func New() extension.Registration {
	disco := extension.Disco{Features: []string{NS}}
	return extension.Registration{
		Name:       "ping",
		Implements: []extension.XEP{{Number: 199, Version: "2.0.1"}},
		Server:     disco,
		Account:    disco,
		IQ: []extension.IQHandler{{
			Space: NS, Local: "ping", Type: stanza.Get,
			To:     extension.ToServer | extension.ToOwnAccount,
			Inline: true,
			Handle: pong,
		}},
	}
}

// pong is an empty result.
func pong(context.Context, *extension.Host, extension.IQ) (*stanza.Element, error) {
	return nil, nil
}
