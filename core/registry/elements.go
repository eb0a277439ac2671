package registry

import (
	"fmt"
	"slices"
	"time"

	"github.com/hexmpp/hexmpp/core/host"
	"github.com/hexmpp/hexmpp/ports/extension"
)

// Element is a handler of elements that clients send beside stanzas, and whose
// it is.
type Element struct {
	Guest   *host.Guest
	Handler *extension.ElementHandler
	Index   int // in the list of its registration
}

// Element returns who handles an element, false if nobody does.
func (r *Registry) Element(space, local string) (Element, bool) {
	e, ok := r.elements[extension.Name{Space: space, Local: local}]
	return e, ok
}

func (r *Registry) addElements(g *host.Guest) error {
	for i := range g.Reg.Elements {
		h := &g.Reg.Elements[i]
		name := extension.Name{Space: h.Space, Local: h.Local}
		if h.Handle == nil && !g.Elsewhere() || h.Space == "" || h.Local == "" {
			return fmt.Errorf("registry: %s: an element handler needs a name and a function: <%s xmlns='%s'/>", g.Reg.Name, h.Local, h.Space)
		}
		if other, there := r.elements[name]; there {
			return fmt.Errorf("registry: %s and %s both claim the element <%s xmlns='%s'/>", other.Guest.Reg.Name, g.Reg.Name, h.Local, h.Space)
		}
		r.elements[name] = Element{g, h, i}
	}
	return nil
}

// checkStages checks stage handlers and notices, which see what others send.
func checkStages(reg *extension.Registration) error {
	for _, h := range reg.Stages {
		switch {
		case h.Stage < extension.Submit || h.Stage > extension.Write:
			return fmt.Errorf("registry: %s: there is no stage %v for a handler", reg.Name, h.Stage)
		case h.Handle == nil && reg.Remote == nil:
			return fmt.Errorf("registry: %s: a handler of the stage %v needs a function", reg.Name, h.Stage)
		case h.Match.Resident != "" && h.Stage == extension.Write:
			return fmt.Errorf("registry: %s: a handler of the stage Write asks for %q: a session's output can't wait for Residents", reg.Name, h.Match.Resident)
		case h.Match.Resident != "" && !slices.Contains(reg.Residents, h.Match.Resident):
			return fmt.Errorf("registry: %s: a handler of the stage %v asks for %q, which is not among its Residents", reg.Name, h.Stage, h.Match.Resident)
		case h.Match.Mark != "" && !slices.ContainsFunc(reg.Marks, func(m extension.Mark) bool { return m.Name == h.Match.Mark }):
			return fmt.Errorf("registry: %s: a handler of the stage %v asks for %q, which is not among its Marks", reg.Name, h.Stage, h.Match.Mark)
		case h.Fanout && h.Stage != extension.Deliver:
			return fmt.Errorf("registry: %s: a handler of the stage %v wants copies of groups: that is for Deliver", reg.Name, h.Stage)
		case h.Match.Copies && (h.Match.Mark == "" || h.Stage > extension.Deliver):
			return fmt.Errorf("registry: %s: a handler of the stage %v makes copies: that is for sessions with a mark, in Submit and Deliver", reg.Name, h.Stage)
		}
	}
	if reg.ResidentRoster != "" && !slices.Contains(reg.Residents, reg.ResidentRoster) {
		return fmt.Errorf("registry: %s: %q is not among its Residents", reg.Name, reg.ResidentRoster)
	}
	if len(reg.Stages) > 0 && !slices.Contains(reg.Permissions, extension.SeeStanzas) {
		return fmt.Errorf("registry: %s sees stanzas but does not ask for the permission %q", reg.Name, extension.SeeStanzas)
	}
	if len(reg.Notices) > 0 && (reg.Notice == nil && reg.Remote == nil || !slices.Contains(reg.Permissions, extension.SeePresence)) {
		return fmt.Errorf("registry: %s asks for notices but has no Notice handler, or does not ask for the permission %q", reg.Name, extension.SeePresence)
	}
	return nil
}

// maxDeadline is how long a stanza may wait for a verdict.
const maxDeadline = 5 * time.Second

// checkRemote checks what a registration that runs elsewhere may ask for.
func checkRemote(reg *extension.Registration) error {
	if err := extension.CheckCalls(reg.Calls); err != nil {
		return fmt.Errorf("registry: %s: %w", reg.Name, err)
	}
	for i := range reg.StreamFeatures {
		if reg.StreamFeatures[i].Element == nil {
			return fmt.Errorf("registry: %s: a stream feature needs a function", reg.Name)
		}
	}
	if reg.Remote == nil {
		return nil
	}
	for _, h := range reg.Stages {
		switch {
		case h.Stage == extension.Write:
			return fmt.Errorf("registry: %s: a handler of the stage %v can't run in a process of its own: a session's output does not wait for one", reg.Name, h.Stage)
		case h.Deadline < 0 || h.Deadline > maxDeadline:
			return fmt.Errorf("registry: %s: a handler of the stage %v has a deadline of %v: at most %v are possible", reg.Name, h.Stage, h.Deadline, maxDeadline)
		}
	}
	return nil
}
