package registry

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/hexmpp/hexmpp/core/caps"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Namespaces of service discovery (XEP-0030).
const (
	NSInfo  = "http://jabber.org/protocol/disco#info"
	NSItems = "http://jabber.org/protocol/disco#items"
)

// info is an answer to disco#info, made at start.
type info struct{ payload *stanza.Element }

func identity(category, typ, name string) []extension.Identity {
	return []extension.Identity{{Category: category, Type: typ, Name: name}}
}

// newInfo puts together what registrations add to an entity: each identity and
// feature once, in a stable order (XEP-0115 hashes them).
func newInfo(ids []extension.Identity, regs []extension.Registration, part func(*extension.Registration) extension.Disco) info {
	features := []string{NSInfo, NSItems}
	var forms []*stanza.Element
	for i := range regs {
		d := part(&regs[i])
		ids = append(ids, d.Identities...)
		features = append(features, d.Features...)
		forms = append(forms, d.Forms...)
	}
	slices.Sort(features)
	slices.SortFunc(ids, func(a, b extension.Identity) int {
		return cmp.Or(strings.Compare(a.Category, b.Category), strings.Compare(a.Type, b.Type), strings.Compare(a.Name, b.Name))
	})
	q := stanza.El(NSInfo, "query")
	for _, id := range slices.Compact(ids) {
		e := stanza.El(NSInfo, "identity", stanza.At("category", id.Category), stanza.At("type", id.Type))
		if id.Name != "" {
			e.Attrs = append(e.Attrs, stanza.At("name", id.Name))
		}
		q.Add(e)
	}
	for _, f := range slices.Compact(features) {
		q.Add(stanza.El(NSInfo, "feature", stanza.At("var", f)))
	}
	return info{q.Add(forms...)}
}

// disco is service discovery as a registration: of hosted domains, of accounts,
// and of components, whose answers the router asks for by Component.Disco.
func (r *Registry) disco() extension.Registration {
	const own = extension.ToServer | extension.ToOwnAccount
	return extension.Registration{
		Name:           "disco",
		Implements:     []extension.XEP{{Number: 30, Version: "2.5.0"}, {Number: 115, Version: "1.6.0"}},
		Permissions:    []extension.Permission{extension.ReadRosters},
		Server:         extension.Disco{Features: []string{caps.NS}},
		StreamFeatures: []extension.StreamFeature{r.capsFeature()},
		IQ: []extension.IQHandler{
			{Space: NSInfo, Local: "query", Type: stanza.Get, To: own, Inline: true, Handle: r.ownInfo},
			{Space: NSInfo, Local: "query", Type: stanza.Get, To: extension.ToAccount, Handle: r.contactInfo},
			{Space: NSItems, Local: "query", Type: stanza.Get, To: own, Inline: true, Handle: r.ownItems},
			{Space: NSItems, Local: "query", Type: stanza.Get, To: extension.ToAccount, Handle: r.contactItems},
		},
	}
}

// ownInfo answers disco#info of a hosted domain, and of the own account.
func (r *Registry) ownInfo(_ context.Context, _ *extension.Host, q extension.IQ) (*stanza.Element, error) {
	switch node := q.Attr("node"); {
	case toServer(q) && node == r.caps.Query():
		return r.server.under(node), nil // XEP-0115 6.2
	case node != "":
		return nil, errNoNode
	case toServer(q):
		return r.server.payload, nil
	}
	return r.account.payload, nil
}

// ownItems answers disco#items of a hosted domain, and of the own account.
func (r *Registry) ownItems(_ context.Context, h *extension.Host, q extension.IQ) (*stanza.Element, error) {
	switch {
	case q.Attr("node") != "":
		return nil, errNoNode
	case toServer(q):
		return r.serverItems(q.To.Domain()), nil
	case q.To.IsZero():
		return resources(h, q.From.Bare()), nil
	}
	return resources(h, q.To), nil
}

// toServer says whether a hosted domain is asked, not an account.
func toServer(q extension.IQ) bool { return !q.To.IsZero() && q.To.Local() == "" }

// under returns the answer for a node, which it mirrors (XEP-0030 3.2).
func (i info) under(node string) *stanza.Element {
	q := *i.payload
	q.Attrs = []stanza.Attr{stanza.At("node", node)}
	return &q
}

// errNoNode refuses a node that nobody has (XEP-0030 7).
var errNoNode = stanza.Err(stanza.ItemNotFound, "no such node")

// serverItems lists the components of a hosted domain.
func (r *Registry) serverItems(hosted string) *stanza.Element {
	var domains []string
	for d, c := range r.components {
		if c.hosted == hosted || c.hosted == "" {
			domains = append(domains, d)
		}
	}
	slices.Sort(domains)
	q := stanza.El(NSItems, "query")
	for _, d := range domains {
		q.Add(stanza.El(NSItems, "item", stanza.At("jid", d)))
	}
	return q
}

// Disco returns the handler of service discovery of a component, false if the
// payload is another. A component may claim the namespaces itself instead.
func (c *Component) Disco(child stanza.Child, typ string) (Claim, bool) {
	if typ != stanza.Get || child.Local != "query" || child.Space != NSInfo && child.Space != NSItems {
		return Claim{}, false
	}
	h := &extension.IQHandler{Handle: func(ctx context.Context, h *extension.Host, q extension.IQ) (*stanza.Element, error) {
		if q.Attr("node") != "" {
			return nil, errNoNode
		}
		if child.Space == NSInfo {
			return c.info.payload, nil
		}
		return c.items(ctx, h, q)
	}}
	h.Inline = child.Space == NSInfo || c.Spec.Items == nil
	return Claim{Guest: c.Guest, Handler: h, Index: -1, Component: c.Index}, true
}

// AsksItems says whether a request is one for items that a handler elsewhere knows.
func (c *Component) AsksItems(q extension.IQ) bool {
	return c.Guest.Elsewhere() && c.Spec.Items != nil && q.Type == stanza.Get && q.Child.Local == "query" && q.Child.Space == NSItems && q.Attr("node") == ""
}

func (c *Component) items(ctx context.Context, h *extension.Host, q extension.IQ) (*stanza.Element, error) {
	if c.Spec.Items == nil {
		return Items(nil), nil
	}
	items, err := c.Spec.Items(ctx, h, q)
	if err != nil {
		return nil, err
	}
	return Items(items), nil
}

// Items makes the payload of an answer to disco#items.
func Items(items []extension.Item) *stanza.Element {
	out := stanza.El(NSItems, "query")
	for _, it := range items {
		e := stanza.El(NSItems, "item", stanza.At("jid", it.JID.String()))
		if it.Node != "" {
			e.Attrs = append(e.Attrs, stanza.At("node", it.Node))
		}
		if it.Name != "" {
			e.Attrs = append(e.Attrs, stanza.At("name", it.Name))
		}
		out.Add(e)
	}
	return out
}
