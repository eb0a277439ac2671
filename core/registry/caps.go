package registry

import (
	"crypto"
	"fmt"

	"github.com/hexmpp/hexmpp/core/caps"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// software is the node of our capabilities: where to read of what we are
// (XEP-0115 4).
const software = "https://github.com/hexmpp/hexmpp"

// newCaps returns what the server's <c/> says (XEP-0115 6.3): the hash of the very
// answer that disco#info gets. An answer that no client could verify is an error:
// two registrations tell the same thing of the server.
func newCaps(server info) (caps.C, error) {
	answer, err := caps.Parse(server.payload)
	if err != nil {
		return caps.C{}, fmt.Errorf("registry: what the server tells of itself can't be verified: %w", err)
	}
	return caps.C{Hash: "sha-1", Node: software, Ver: answer.Ver(crypto.SHA1)}, nil
}

// capsFeature is <c/> in the stream features. It is offered after login, as the
// other servers do: before that it would tell everybody what runs here.
func (r *Registry) capsFeature() extension.StreamFeature {
	return extension.StreamFeature{Element: func(string) *stanza.Element { return r.caps.Element() }}
}
