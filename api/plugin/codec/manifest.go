package codec

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"time"

	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Bounds of a manifest.
const (
	maxClaims = 10_000 // elements of a list
	maxText   = 4096   // bytes of a string
)

// targets are the values of extension.To by the contract's.
var targets = map[pluginv1.IqTarget]extension.To{
	pluginv1.IqTarget_IQ_TARGET_SERVER:      extension.ToServer,
	pluginv1.IqTarget_IQ_TARGET_OWN_ACCOUNT: extension.ToOwnAccount,
	pluginv1.IqTarget_IQ_TARGET_ACCOUNT:     extension.ToAccount,
	pluginv1.IqTarget_IQ_TARGET_STREAM:      extension.ToStream,
}

// notices are the events of sessions by the contract's kinds.
var notices = map[pluginv1.NoticeKind]extension.Event{
	pluginv1.NoticeKind_NOTICE_KIND_BECAME_UNAVAILABLE: extension.BecameUnavailable,
	pluginv1.NoticeKind_NOTICE_KIND_BECAME_AVAILABLE:   extension.BecameAvailable,
}

// orderingKeys are the keys of components by the contract's.
var orderingKeys = map[pluginv1.OrderingKey]extension.OrderingKey{
	pluginv1.OrderingKey_ORDERING_KEY_TO_BARE:     extension.ToBare,
	pluginv1.OrderingKey_ORDERING_KEY_PAIR:        extension.Pair,
	pluginv1.OrderingKey_ORDERING_KEY_DOMAIN_PAIR: extension.DomainPair,
}

func noticeKind(e extension.Event) pluginv1.NoticeKind {
	for kind := range pluginv1.NoticeKind(len(pluginv1.NoticeKind_name)) {
		if event, ok := notices[kind]; ok && event == e {
			return kind
		}
	}
	return pluginv1.NoticeKind_NOTICE_KIND_UNSPECIFIED
}

// Manifest makes a manifest of what a registration claims. What a Registration does not
// say (version, options, credit, ...) is the caller's to add.
func Manifest(r *extension.Registration) (*pluginv1.Manifest, error) {
	m := &pluginv1.Manifest{
		Name: r.Name, Server: disco(&r.Server), Account: disco(&r.Account),
		Residents: slices.Clone(r.Residents), ResidentRoster: r.ResidentRoster, FarDomains: r.Far != nil,
	}
	for _, x := range r.Implements {
		m.Xeps = append(m.Xeps, &pluginv1.Xep{Number: small(x.Number), Version: x.Version, Note: x.Note})
	}
	for _, p := range r.Permissions {
		m.Permissions = append(m.Permissions, string(p))
	}
	if slices.Contains(r.Permissions, extension.ReadCertificates) {
		m.Certificates = []string{"*"}
	}
	for i := range r.IQ {
		m.Iq = append(m.Iq, iqHandler(&r.IQ[i]))
	}
	for i := range r.Stages {
		m.Stages = append(m.Stages, stageHandler(&r.Stages[i]))
	}
	for _, f := range r.StreamFeatures {
		m.StreamFeatures = append(m.StreamFeatures, &pluginv1.StreamFeature{Before: f.Before})
	}
	for _, e := range r.Elements {
		m.Elements = append(m.Elements, &pluginv1.ElementHandler{Name: &pluginv1.Name{Space: e.Space, Local: e.Local}})
	}
	for i := range r.Components {
		c := &r.Components[i]
		p := &pluginv1.Component{Domain: c.Domain, Disco: disco(&c.Disco), Items: c.Items != nil, Stanzas: c.Handle != nil}
		for key := range pluginv1.OrderingKey(len(pluginv1.OrderingKey_name)) {
			if k, ok := orderingKeys[key]; ok && k == c.Key {
				p.Key = key
			}
		}
		for k := range c.IQ {
			p.Iq = append(p.Iq, iqHandler(&c.IQ[k]))
		}
		m.Components = append(m.Components, p)
	}
	for _, k := range r.Marks {
		m.Marks = append(m.Marks, &pluginv1.Mark{Name: k.Name, Connection: k.Connection})
	}
	for _, l := range r.Listeners {
		m.Listeners = append(m.Listeners, &pluginv1.Listener{Name: l.Name, Network: l.Network, Address: l.Address})
	}
	m.Calls = manifestCalls(r.Calls)
	for _, route := range r.HTTP {
		m.HttpRoutes = append(m.HttpRoutes, &pluginv1.HttpRoute{Path: route.Path, Repeatable: route.Repeatable})
	}
	for i, e := range r.Notices {
		kind := noticeKind(e)
		if kind == 0 {
			return nil, at("notices", i, fmt.Errorf("event %d is not in the contract", e))
		}
		m.Notices = append(m.Notices, kind)
	}
	return m, CheckManifest(m)
}

func disco(d *extension.Disco) *pluginv1.Disco {
	if len(d.Identities) == 0 && len(d.Features) == 0 && len(d.Forms) == 0 {
		return nil
	}
	m := &pluginv1.Disco{Features: slices.Clone(d.Features)}
	for _, i := range d.Identities {
		m.Identities = append(m.Identities, &pluginv1.Identity{Category: i.Category, Type: i.Type, Name: i.Name})
	}
	for _, f := range d.Forms {
		m.Forms = append(m.Forms, Element(f))
	}
	return m
}

func iqHandler(h *extension.IQHandler) *pluginv1.IqHandler {
	m := &pluginv1.IqHandler{Payload: &pluginv1.Name{Space: h.Space, Local: h.Local}, Type: h.Type, Ordered: h.Ordered}
	for t := range pluginv1.IqTarget(len(targets) + 1) {
		if h.To&targets[t] != 0 {
			m.Targets = append(m.Targets, t)
		}
	}
	return m
}

func stageHandler(h *extension.StageHandler) *pluginv1.StageHandler {
	m := &pluginv1.StageHandler{
		Stage: pluginv1.Stage(h.Stage), Class: pluginv1.Class(h.Class), Policy: pluginv1.Policy_POLICY_CLOSED,
		Match:      &pluginv1.Match{Types: slices.Clone(h.Match.Types), Resident: h.Match.Resident, Mark: h.Match.Mark, Copies: h.Match.Copies, Fanout: h.Fanout},
		DeadlineMs: uint32(min(millis(h.Deadline), math.MaxUint32)),
	}
	if h.Policy == extension.Open {
		m.Policy = pluginv1.Policy_POLICY_OPEN
	}
	for _, k := range h.Match.Kinds {
		m.Match.Kinds = append(m.Match.Kinds, pluginv1.Kind(k))
	}
	if c := h.Match.Child; c != nil {
		m.Match.Child = &pluginv1.Name{Space: c.Space, Local: c.Local}
	}
	return m
}

// ErrNotYet is wrapped where a manifest asks for what the contract defines and this
// server does not do yet (docs/decisions/0004).
var ErrNotYet = errors.New("it does not work yet")

// Registration makes of a manifest what the kernel registers: the claims, without the
// functions that handle anything. Those that are not nil say only that there is something,
// and return an error. StreamFeatures come with Features.
func Registration(m *pluginv1.Manifest) (*extension.Registration, error) {
	if m == nil {
		return nil, &Error{"manifest", errMissing}
	}
	if err := CheckManifest(m); err != nil {
		return nil, in("manifest", err)
	}
	r, err := registration(m)
	return r, in("manifest", err)
}

// errElsewhere is of handlers that run in another process.
var errElsewhere = errors.New("codec: this handler runs in another process")

func registration(m *pluginv1.Manifest) (*extension.Registration, error) {
	r := &extension.Registration{
		Name: m.Name, Residents: slices.Clone(m.Residents), ResidentRoster: m.ResidentRoster,
		Reply: replyElsewhere, Timer: timerElsewhere,
	}
	for _, x := range m.Xeps {
		r.Implements = append(r.Implements, extension.XEP{Number: number(x.GetNumber(), 1<<20), Version: x.GetVersion(), Note: x.GetNote()})
	}
	known := extension.Permissions()
	for i, p := range m.Permissions {
		if !slices.Contains(known, extension.Permission(p)) {
			return nil, at("permissions", i, fmt.Errorf("there is no permission %q, but %q", p, known))
		}
		r.Permissions = append(r.Permissions, extension.Permission(p))
	}
	if m.FarDomains {
		if !slices.Contains(r.Permissions, extension.FarDomains) {
			return nil, wrong("far_domains", "to claim them takes the permission %q, which is not among those that it wants", extension.FarDomains)
		}
		r.Far = &extension.Far{Take: takeElsewhere}
	}
	if len(m.Certificates) > 0 && !slices.Contains(r.Permissions, extension.ReadCertificates) {
		return nil, wrong("certificates", "to have them takes the permission %q, which is not among those that it wants", extension.ReadCertificates)
	}
	var err error
	if r.Server, err = readDisco(m.Server); err != nil {
		return nil, in("server", err)
	}
	if r.Account, err = readDisco(m.Account); err != nil {
		return nil, in("account", err)
	}
	if r.IQ, err = readIQ(m.Iq); err != nil {
		return nil, err
	}
	for i, p := range m.Stages {
		h, err := readStage(p)
		if err != nil {
			return nil, at("stages", i, err)
		}
		r.Stages = append(r.Stages, h)
	}
	for _, f := range m.StreamFeatures {
		r.StreamFeatures = append(r.StreamFeatures, extension.StreamFeature{Before: f.GetBefore(), Element: notOffered})
	}
	for i, p := range m.Elements {
		n := p.GetName()
		if n.GetLocal() == "" {
			return nil, at("elements", i, &Error{"name.local", errMissing})
		}
		r.Elements = append(r.Elements, extension.ElementHandler{Space: n.Space, Local: n.Local, Handle: elementElsewhere})
	}
	for i, p := range m.Components {
		c, err := readComponent(p)
		if err != nil {
			return nil, at("components", i, err)
		}
		r.Components = append(r.Components, c)
	}
	for i, k := range m.Marks {
		if k.GetName() == "" {
			return nil, at("marks", i, &Error{"name", errMissing})
		}
		r.Marks = append(r.Marks, extension.Mark{Name: k.Name, Connection: k.Connection})
	}
	for i, k := range m.Notices {
		e, ok := notices[k]
		if !ok {
			return nil, at("notices", i, fmt.Errorf("%s: %w", k, ErrNotYet))
		}
		r.Notices = append(r.Notices, e)
	}
	if r.Listeners, err = readListeners(m.Listeners); err != nil {
		return nil, err
	}
	if r.Calls, err = readCalls(m.Calls); err != nil {
		return nil, in("calls", err)
	}
	if r.HTTP, err = readRoutes(m.HttpRoutes); err != nil {
		return nil, err
	}
	if len(r.HTTP) > 0 && !slices.Contains(r.Permissions, extension.ServeHTTP) {
		return nil, wrong("http_routes", "to have some takes the permission %q, which is not among those that it wants", extension.ServeHTTP)
	}
	if len(r.Notices) > 0 {
		r.Notice = noticeElsewhere
	}
	return r, notYet(m)
}

// notYet names the first thing in a manifest that no part of the server does.
func notYet(m *pluginv1.Manifest) error {
	for _, c := range []struct {
		field string
		wants bool
	}{
		{"commands", len(m.Commands) > 0},
		{"interests", len(m.Interests) > 0},
		{"opens_streams", m.OpensStreams},
	} {
		if c.wants {
			return &Error{c.field, ErrNotYet}
		}
	}
	return nil
}

// readListeners reads the listeners of a manifest.
func readListeners(list []*pluginv1.Listener) ([]extension.Listener, error) {
	var out []extension.Listener
	for i, l := range list {
		n := extension.Listener{Name: l.GetName(), Network: l.GetNetwork(), Address: l.GetAddress()}
		switch {
		case n.Name == "":
			return nil, at("listeners", i, &Error{"name", errMissing})
		case !listenerName.MatchString(n.Name):
			return nil, at("listeners", i, wrong("name", "%q: a name is of lower-case letters, digits and hyphens, 63 at most", n.Name))
		case n.Network == "udp":
			return nil, at("listeners", i, in("network", fmt.Errorf("udp: %w", ErrNotYet)))
		case n.Network != "tcp":
			return nil, at("listeners", i, wrong("network", "%q is none; there is tcp", n.Network))
		case slices.ContainsFunc(out, func(other extension.Listener) bool { return other.Name == n.Name }):
			return nil, at("listeners", i, wrong("name", "%q is there twice", n.Name))
		}
		out = append(out, n)
	}
	return out, nil
}

// listenerName is a name that the environment of a process (LISTEN_FDNAMES) and the configuration can have.
var listenerName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

func readDisco(m *pluginv1.Disco) (d extension.Disco, err error) {
	d.Features = slices.Clone(m.GetFeatures())
	for i, p := range m.GetIdentities() {
		if p.GetCategory() == "" || p.GetType() == "" {
			return d, at("identities", i, errors.New("category and type are needed"))
		}
		d.Identities = append(d.Identities, extension.Identity{Category: p.Category, Type: p.Type, Name: p.Name})
	}
	d.Forms, err = new(Limits).elements("forms", m.GetForms())
	return d, err
}

func readIQ(list []*pluginv1.IqHandler) ([]extension.IQHandler, error) {
	var out []extension.IQHandler
	for i, p := range list {
		h := extension.IQHandler{
			Space: p.GetPayload().GetSpace(), Local: p.GetPayload().GetLocal(), Type: p.GetType(), Ordered: p.GetOrdered(), Handle: iqElsewhere,
		}
		switch h.Type {
		case "", stanza.Get, stanza.Set:
		default:
			return nil, at("iq", i, wrong("type", "%q is neither get nor set", h.Type))
		}
		if h.Local == "" {
			return nil, at("iq", i, &Error{"payload.local", errMissing})
		}
		for k, t := range p.GetTargets() {
			to, ok := targets[t]
			if !ok {
				return nil, at("iq", i, at("targets", k, fmt.Errorf("%s is no target", t)))
			}
			h.To |= to
		}
		out = append(out, h)
	}
	return out, nil
}

func readStage(p *pluginv1.StageHandler) (h extension.StageHandler, err error) {
	if p.GetStage() < pluginv1.Stage_STAGE_SUBMIT || p.GetStage() > pluginv1.Stage_STAGE_WRITE {
		return h, wrong("stage", "%s is no stage", p.GetStage())
	}
	if p.Class < pluginv1.Class_CLASS_OBSERVE || p.Class > pluginv1.Class_CLASS_DECIDE {
		return h, wrong("class", "%s is no class", p.Class)
	}
	h = extension.StageHandler{Stage: extension.Stage(p.Stage), Class: extension.Class(p.Class), Handle: stageElsewhere}
	switch p.Policy {
	case pluginv1.Policy_POLICY_UNSPECIFIED, pluginv1.Policy_POLICY_CLOSED:
	case pluginv1.Policy_POLICY_OPEN:
		h.Policy = extension.Open
	default:
		return h, wrong("policy", "%s is no policy", p.Policy)
	}
	h.Deadline = time.Duration(p.DeadlineMs) * time.Millisecond
	m := p.Match
	if m == nil {
		return h, nil
	}
	h.Fanout = m.Fanout
	h.Match = extension.Match{Types: slices.Clone(m.Types), Resident: m.Resident, Mark: m.Mark, Copies: m.Copies}
	for i, k := range m.Kinds {
		if k < pluginv1.Kind_KIND_MESSAGE || k > pluginv1.Kind_KIND_IQ {
			return h, in("match", at("kinds", i, fmt.Errorf("%s is no stanza", k)))
		}
		h.Match.Kinds = append(h.Match.Kinds, stanza.Kind(k))
	}
	if m.Child != nil {
		h.Match.Child = &extension.Name{Space: m.Child.Space, Local: m.Child.Local}
	}
	return h, nil
}

func readComponent(p *pluginv1.Component) (c extension.Component, err error) {
	if p.GetDomain() == "" {
		return c, &Error{"domain", errMissing}
	}
	c.Domain = p.Domain
	if c.Disco, err = readDisco(p.Disco); err != nil {
		return c, in("disco", err)
	}
	if p.Key != pluginv1.OrderingKey_ORDERING_KEY_UNSPECIFIED {
		var known bool
		if c.Key, known = orderingKeys[p.Key]; !known {
			return c, wrong("key", "%s is no ordering key", p.Key)
		}
	}
	if p.Items {
		c.Items = itemsElsewhere
	}
	if p.Stanzas {
		c.Handle = stanzaElsewhere
	}
	c.IQ, err = readIQ(p.Iq)
	return c, err
}
