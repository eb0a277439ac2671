package plugin

import (
	"fmt"

	"github.com/hexmpp/hexmpp/api/plugin/codec"
	"github.com/hexmpp/hexmpp/ports/extension"
)

// Elsewhere returns a registration as a kernel is given that of a plugin: read from its
// manifest, with a Remote that has the handlers of reg run as they do in a process, all
// messages of the contract included. There is no process, and no Session: it is as Inside. So
// tests of a kernel with an extension show that it does the same both
// ways. Package plugintest is the door to it.
//
// Start is that of reg, as it is.
func Elsewhere(reg extension.Registration) (extension.Registration, error) {
	m, err := codec.Manifest(&reg)
	if err != nil {
		return reg, fmt.Errorf("plugin: its registration can't be told: %w", err)
	}
	if m, err = copied(m); err != nil {
		return reg, err
	}
	out, err := codec.Registration(m)
	if err != nil {
		return reg, err
	}
	for i := range out.StreamFeatures {
		out.StreamFeatures[i].Element = reg.StreamFeatures[i].Element
	}
	r := newInside(reg, true)
	out.Calls = callsThrough(reg.Calls, func() *process { return r.p })
	out.Start, out.Stop, out.Forget, out.Remote = reg.Start, r.stop, reg.Forget, r
	return *out, nil
}
