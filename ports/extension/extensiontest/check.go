package extensiontest

import (
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

var (
	extensionName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,63}$`)
	xepVersion    = regexp.MustCompile(`^[0-9]+(\.[0-9]+){0,2}$`)
)

// Check says what is wrong with a registration on its own: nil, or all faults
// joined. Conflicts between two registrations are the kernel's to find.
func Check(r extension.Registration) error {
	c := checker{}
	if !extensionName.MatchString(r.Name) {
		c.fault("name %q is not made of a-z, 0-9 and -", r.Name)
	}
	for i, x := range r.Implements {
		switch {
		case x.Number <= 0 || x.Number > 9999:
			c.fault("there is no XEP-%04d", x.Number)
		case !xepVersion.MatchString(x.Version):
			c.fault("XEP-%04d: version %q", x.Number, x.Version)
		case slices.ContainsFunc(r.Implements[:i], func(y extension.XEP) bool { return y.Number == x.Number }):
			c.fault("XEP-%04d is named twice", x.Number)
		}
	}
	for i, p := range r.Permissions {
		if !slices.Contains(extension.Permissions(), p) || slices.Contains(r.Permissions[:i], p) {
			c.fault("permission %q is unknown or named twice", p)
		}
	}
	c.disco("server", r.Server)
	c.disco("account", r.Account)
	c.handlers(r.IQ, true)
	c.stages(r)
	c.sessions(r)
	if err := extension.CheckCalls(r.Calls); err != nil {
		c.fault("%w", err)
	}
	for i, f := range r.StreamFeatures {
		if f.Element == nil {
			c.fault("stream feature %d has no Element", i)
		}
	}
	for i := range r.Components {
		c.component(r.Components[:i], &r.Components[i])
	}
	if len(c.faults) == 0 {
		return nil
	}
	return fmt.Errorf("registration %q: %w", r.Name, errors.Join(c.faults...))
}

type checker struct{ faults []error }

func (c *checker) fault(format string, args ...any) {
	c.faults = append(c.faults, fmt.Errorf(format, args...))
}

func (c *checker) disco(of string, d extension.Disco) {
	for i, f := range d.Features {
		if f == "" || slices.Contains(d.Features[:i], f) {
			c.fault("feature %q of the %s is empty or declared twice", f, of)
		}
	}
	for i, id := range d.Identities {
		if id.Category == "" || id.Type == "" || slices.Contains(d.Identities[:i], id) {
			c.fault("identity %q/%q of the %s is not complete or declared twice", id.Category, id.Type, of)
		}
	}
	for i, f := range d.Forms {
		if f == nil || f.Space != "jabber:x:data" || f.Local != "x" || f.Attr("type") != "result" {
			c.fault("form %d of the %s is no data form of type result (XEP-0128 2)", i, of)
		}
	}
}

// handlers checks iq handlers: of the server if addressed, else of a component.
func (c *checker) handlers(list []extension.IQHandler, addressed bool) {
	for i := range list {
		q := &list[i]
		if q.Local == "" || q.Handle == nil {
			c.fault("iq handler %d needs the name of a payload and a function", i)
		}
		if q.Type != "" && q.Type != stanza.Get && q.Type != stanza.Set {
			c.fault("iq handler %d is for the type %q", i, q.Type)
		}
		const all = extension.ToServer | extension.ToOwnAccount | extension.ToAccount | extension.ToStream
		if addressed && (q.To == 0 || q.To&^all != 0) {
			c.fault("iq handler %d has no addressees, or unknown ones", i)
		}
		for j := range list[:i] {
			p := &list[j]
			same := p.Space == q.Space && p.Local == q.Local && (p.Type == q.Type || p.Type == "" || q.Type == "")
			if same && (!addressed || p.To&q.To != 0) {
				c.fault("iq handlers %d and %d both claim <%s xmlns='%s'/>", j, i, q.Local, q.Space)
			}
		}
	}
}

func (c *checker) stages(r extension.Registration) {
	if len(r.Stages) > 0 && !slices.Contains(r.Permissions, extension.SeeStanzas) {
		c.fault("has stage handlers but does not ask for %q", extension.SeeStanzas)
	}
	for i, s := range r.Stages {
		switch {
		case s.Stage < extension.Submit || s.Stage > extension.Write:
			c.fault("stage handler %d: there is no stage %d", i, s.Stage)
		case s.Class != extension.Observe && s.Class != extension.Decide:
			c.fault("stage handler %d: there is no class %d", i, s.Class)
		case s.Policy != extension.Closed && s.Policy != extension.Open:
			c.fault("stage handler %d: there is no policy %d", i, s.Policy)
		case s.Handle == nil:
			c.fault("stage handler %d has no function", i)
		case s.Match.Resident != "" && s.Stage == extension.Write:
			c.fault("stage handler %d asks for %q in the stage Write, where there are no Residents", i, s.Match.Resident)
		case s.Match.Resident != "" && !slices.Contains(r.Residents, s.Match.Resident):
			c.fault("stage handler %d asks for %q, which is not among the Residents", i, s.Match.Resident)
		case s.Match.Mark != "" && !slices.ContainsFunc(r.Marks, func(m extension.Mark) bool { return m.Name == s.Match.Mark }):
			c.fault("stage handler %d asks for %q, which is not among the Marks", i, s.Match.Mark)
		case s.Fanout && s.Stage != extension.Deliver:
			c.fault("stage handler %d wants copies of groups: that is for Deliver", i)
		case s.Match.Copies && (s.Match.Mark == "" || s.Stage > extension.Deliver):
			c.fault("stage handler %d makes copies: that is for sessions with a mark, in Submit and Deliver", i)
		}
	}
}

// sessions checks what is about sessions: elements, marks, residents, notices.
func (c *checker) sessions(r extension.Registration) {
	for i, e := range r.Elements {
		twice := slices.ContainsFunc(r.Elements[:i], func(o extension.ElementHandler) bool { return o.Space == e.Space && o.Local == e.Local })
		if e.Space == "" || e.Local == "" || e.Handle == nil || twice {
			c.fault("element handler %d has no name or function, or is there twice", i)
		}
	}
	for i, m := range r.Marks {
		if m.Name == "" || slices.ContainsFunc(r.Marks[:i], func(o extension.Mark) bool { return o.Name == m.Name }) {
			c.fault("mark %q has no name, or is there twice", m.Name)
		}
	}
	for i, key := range r.Residents {
		if key == "" || slices.Contains(r.Residents[:i], key) {
			c.fault("resident %q is empty or there twice", key)
		}
	}
	if r.ResidentRoster != "" && !slices.Contains(r.Residents, r.ResidentRoster) {
		c.fault("resident roster %q is not among the Residents", r.ResidentRoster)
	}
	if len(r.Notices) > 0 && (r.Notice == nil || !slices.Contains(r.Permissions, extension.SeePresence)) {
		c.fault("asks for notices but has no Notice, or does not ask for %q", extension.SeePresence)
	}
}

func (c *checker) component(others []extension.Component, m *extension.Component) {
	if m.Domain == "" || slices.ContainsFunc(others, func(o extension.Component) bool { return o.Domain == m.Domain }) {
		c.fault("component %q has no domain, or one that is claimed twice", m.Domain)
	}
	c.disco("component "+m.Domain, m.Disco)
	c.handlers(m.IQ, false)
}
