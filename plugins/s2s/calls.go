package s2s

import (
	"context"
	"io"

	"github.com/hexmpp/hexmpp/ports/extension"
)

// calls are what administrators may ask: `hexmpp s2s`.
func (s *service) calls() []extension.Call {
	return []extension.Call{
		{Name: "list", Help: "the streams that there are, and what waits", Do: func(_ context.Context, _ []string, out io.Writer) error {
			_, err := io.WriteString(out, s.engine.List())
			return err
		}},
		{
			Name: "probe", Help: "opens a stream to a domain, from one of this server's, and tells each step",
			Args: []extension.CallArg{{Name: "domain"}, {Name: "from", Optional: true}}, Do: s.probe,
		},
		{
			Name: "close", Help: "ends all streams with a domain; what waits for it goes out on the next one", Args: []extension.CallArg{{Name: "domain"}},
			Do: func(_ context.Context, args []string, out io.Writer) error {
				text, err := s.engine.CloseDomain(args[0])
				if err != nil {
					return err
				}
				_, err = io.WriteString(out, text)
				return err
			},
		},
	}
}

// probe is the call of this name. Without from it is the default domain.
func (s *service) probe(ctx context.Context, args []string, out io.Writer) error {
	local := s.process.own
	if len(args) == 2 {
		local = args[1]
	}
	return s.engine.Probe(ctx, local, args[0], out)
}
