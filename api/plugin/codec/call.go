package codec

import (
	"context"
	"io"

	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/extension"
)

// manifestCalls writes the calls of a registration.
func manifestCalls(list []extension.Call) (out []*pluginv1.Call) {
	for _, c := range list {
		p := &pluginv1.Call{Name: c.Name, Help: c.Help}
		for _, a := range c.Args {
			p.Arguments = append(p.Arguments, &pluginv1.CallArgument{Name: a.Name, Optional: a.Optional})
		}
		out = append(out, p)
	}
	return out
}

// readCalls reads the calls of a manifest.
func readCalls(list []*pluginv1.Call) (out []extension.Call, err error) {
	for _, p := range list {
		c := extension.Call{Name: p.GetName(), Help: p.GetHelp(), Do: callElsewhere}
		for _, a := range p.GetArguments() {
			c.Args = append(c.Args, extension.CallArg{Name: a.GetName(), Optional: a.GetOptional()})
		}
		out = append(out, c)
	}
	return out, extension.CheckCalls(out)
}

func callElsewhere(context.Context, []string, io.Writer) error { return errElsewhere }
