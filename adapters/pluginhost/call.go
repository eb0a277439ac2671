package pluginhost

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/admin"
	"github.com/hexmpp/hexmpp/ports/extension"
)

// callPiece is how large a message with a piece of an answer may be.
const callPiece = extension.MaxCallText + 64<<10

var errCallLost = errors.New("the process went away in the middle of the call, and what it has done is not known")

// clockLead is for how long a process may have thought that the time was over when it was not.
const clockLead = 100 * time.Millisecond

// callable has the calls of a registration made to the process that acts.
func (p *plugin) callable(calls []extension.Call) {
	for i := range calls {
		name := calls[i].Name
		calls[i].Do = func(ctx context.Context, args []string, out io.Writer) error { return p.ask(ctx, name, args, out) }
	}
}

// ask asks the process that acts.
func (p *plugin) ask(ctx context.Context, call string, args []string, out io.Writer) error {
	in, err := p.askable()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx) // ends the call if out takes no more
	defer cancel()
	stream, err := in.client.Call(ctx, &pluginv1.CallRequest{Call: call, Arguments: args}, grpc.MaxCallRecvMsgSize(callPiece))
	if err != nil {
		return askFailed(ctx, err)
	}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return askFailed(ctx, err)
		}
		if _, err := out.Write(m.GetText()); err != nil {
			return err
		}
	}
}

// askable returns the process that acts.
func (p *plugin) askable() (*instance, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.told.state; p.acting == nil || s != admin.PluginReady && s != admin.PluginDegraded {
		text := fmt.Sprintf("no process of it is ready now: it is %s", s)
		if p.told.detail != "" {
			text += ": " + p.told.detail
		}
		return nil, errors.New(text)
	}
	return p.acting, nil
}

// askFailed is the error of a call in words for an administrator.
func askFailed(ctx context.Context, err error) error {
	s := status.Convert(err)
	text := strings.TrimSpace(s.Message())
	switch s.Code() {
	case codes.Canceled, codes.DeadlineExceeded:
		// The process has a clock, too, which may be a moment ahead.
		wait := time.NewTimer(clockLead)
		defer wait.Stop()
		select {
		case <-ctx.Done():
			return ctx.Err() // of which the kernel knows more
		case <-wait.C:
		}
		if s.Code() == codes.Canceled {
			return errCallLost
		}
	case codes.Unavailable:
		return errCallLost
	case codes.Unimplemented:
		return errors.New("the process does not serve Call of the contract, though its manifest has calls")
	case codes.ResourceExhausted, codes.Internal: // of gRPC itself, such as a message that is too large
		return fmt.Errorf("%s (%s)", text, s.Code())
	}
	if text == "" {
		text = s.Code().String()
	}
	return errors.New(text)
}
