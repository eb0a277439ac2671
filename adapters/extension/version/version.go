// Package version tells which software the server runs (XEP-0092): section 2,
// for requests to a hosted domain. Requests to clients are routed by the kernel
// like any iq.
package version

import (
	"context"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// NS is the namespace of the query, and the feature that stands for it (section 4).
const NS = "jabber:iq:version"

// Options say what is told. Everybody may ask, strangers on other servers too.
type Options struct {
	Name    string // of the software; "hexmpp" if empty
	Version string // of the software
	// HideVersion tells an empty version: the element itself is required.
	HideVersion bool
	// OS is the operating system; "" tells none, which section 5 wants to be
	// possible and is the default here.
	OS string
}

// New returns the extension.
func New(o Options) extension.Registration {
	if o.Name == "" {
		o.Name = "hexmpp"
	}
	if o.HideVersion {
		o.Version = ""
	}
	return extension.Registration{
		Name:       "version",
		Implements: []extension.XEP{{Number: 92, Version: "1.1"}},
		Server:     extension.Disco{Features: []string{NS}},
		IQ: []extension.IQHandler{{
			Space: NS, Local: "query", Type: stanza.Get,
			To:     extension.ToServer,
			Inline: true,
			Handle: o.answer,
		}},
	}
}

// answer returns the query with what is told.
func (o Options) answer(context.Context, *extension.Host, extension.IQ) (*stanza.Element, error) {
	q := stanza.El(NS, "query").Add(
		stanza.El(NS, "name").WithText(o.Name),
		stanza.El(NS, "version").WithText(o.Version),
	)
	if o.OS != "" {
		q.Add(stanza.El(NS, "os").WithText(o.OS))
	}
	return q, nil
}
