package plugin

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/extension"
)

// Bounds of what is said of a call.
const (
	callPiece = 64 << 10 // bytes of text in a message
	callError = 4 << 10  // bytes of an error's text: it is a header of HTTP/2
)

// Call is of the contract.
func (s *server) Call(q *pluginv1.CallRequest, stream pluginv1.Plugin_CallServer) error {
	p, err := s.configured()
	if err != nil {
		return err
	}
	s.mu.Lock()
	active := s.active
	s.mu.Unlock()
	if !active || p.isRelieved() {
		return status.Error(codes.FailedPrecondition, "it does not act")
	}
	return p.ask(stream.Context(), q, stream.Send)
}

// ask does what an administrator asks. What is written is sent from within it. The error is a status.
func (p *process) ask(ctx context.Context, q *pluginv1.CallRequest, send func(*pluginv1.CallResponse) error) error {
	i := slices.IndexFunc(p.reg.Calls, func(c extension.Call) bool { return c.Name == q.GetCall() })
	if i < 0 {
		return status.Errorf(codes.NotFound, "there is no call %.100q", q.GetCall())
	}
	c := &p.reg.Calls[i]
	args := slices.Clone(q.GetArguments())
	if err := c.CheckArgs(args); err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	if err := p.beginCall(); err != nil {
		return err
	}
	defer p.endCall()
	ctx, cancel := p.within(ctx)
	defer cancel()
	if p.calls != nil {
		defer context.AfterFunc(p.calls, cancel)()
	}
	out := &callOut{send: send}
	err := guarded(p.log, p.reg.Name, func() error { return c.Do(ctx, args, out) })
	out.end()
	switch {
	case err == nil:
		return nil
	case p.calls != nil && p.calls.Err() != nil:
		return status.Error(codes.Unavailable, "the process is about to end")
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, cutText(err.Error(), callError))
	}
	return status.Error(codes.Aborted, cutText(err.Error(), callError))
}

// beginCall takes a place for a call; endCall gives it back.
func (p *process) beginCall() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.ending:
		return status.Error(codes.Unavailable, "the process is about to end")
	case p.calling >= extension.MaxCalls:
		return status.Errorf(codes.ResourceExhausted, "%d calls run already in the process", p.calling)
	}
	p.calling++
	p.tasks.Add(1)
	return nil
}

func (p *process) endCall() {
	p.mu.Lock()
	p.calling--
	p.mu.Unlock()
	p.tasks.Done()
}

// callOut is what a call writes to. It sends no more than tells the kernel that it was too much.
type callOut struct {
	send func(*pluginv1.CallResponse) error

	mu   sync.Mutex // held while a piece is sent
	n    int        // bytes that were sent
	over bool       // the call has returned
}

// Write implements io.Writer.
func (o *callOut) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.over {
		return 0, io.ErrClosedPipe
	}
	n := len(b)
	b = b[:min(n, extension.MaxCallText+1-o.n)]
	for len(b) > 0 {
		piece := b[:min(len(b), callPiece)]
		if err := o.send(&pluginv1.CallResponse{Text: piece}); err != nil {
			return 0, err
		}
		o.n += len(piece)
		b = b[len(piece):]
	}
	return n, nil
}

func (o *callOut) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.over = true
}

// cutText is a text of so many bytes at most, in UTF-8.
func cutText(s string, most int) string {
	if len(s) > most {
		s = s[:most] + "..."
	}
	return strings.ToValidUTF8(s, "?")
}

// callsThrough returns calls that do what those of a process do, with all messages written and read.
func callsThrough(list []extension.Call, of func() *process) []extension.Call {
	list = slices.Clone(list)
	for i := range list {
		name := list[i].Name
		list[i].Do = func(ctx context.Context, args []string, out io.Writer) error {
			q, err := copied(&pluginv1.CallRequest{Call: name, Arguments: args})
			if err != nil {
				return err
			}
			err = of().ask(ctx, q, func(m *pluginv1.CallResponse) error {
				if m, err := copied(m); err != nil {
					return err
				} else if _, err = out.Write(m.Text); err != nil {
					return err
				}
				return nil
			})
			if err != nil {
				return errors.New(status.Convert(err).Message())
			}
			return nil
		}
	}
	return list
}
