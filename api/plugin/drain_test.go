package plugin

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/extension"
)

// TestDrain: what a plugin drains it drains without the server, once, until it is told to end.
func TestDrain(t *testing.T) {
	drains := make(chan context.Context)
	p := Of(struct{}{}, func(struct{}) (extension.Registration, error) { return extension.Registration{Name: "x"}, nil })
	p.Drain = func(ctx context.Context) error {
		drains <- ctx
		<-ctx.Done()
		return context.Cause(ctx)
	}
	s, err := newServer(p, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if d, err := s.Describe(t.Context(), nil); err != nil || !d.Manifest.Drains {
		t.Fatalf("%v, %v", d, err)
	}
	if _, err := s.Drain(t.Context(), nil); status.Code(err) != codes.FailedPrecondition {
		t.Error(err)
	}
	if a, err := s.Configure(t.Context(), &pluginv1.ConfigureRequest{Shards: 1}); err != nil || len(a.Problems) > 0 {
		t.Fatalf("%v, %v", a, err)
	}
	x, err := s.configured()
	if err != nil {
		t.Fatal(err)
	}
	waits := make(chan error)
	go func() { waits <- (Do(x.ctx, "k", func(h *extension.Host) error { return h.Memory.Put("a", nil) })) }()
	over := make(chan error)
	go func() { _, err := s.Drain(t.Context(), nil); over <- err }()
	ctx := <-drains
	if err := <-waits; !errors.Is(err, ErrRelieved) {
		t.Error(err)
	}
	if err := Do(ctx, "k", func(h *extension.Host) error { return h.Memory.Put("a", nil) }); !errors.Is(err, ErrRelieved) {
		t.Error(err)
	}
	if err := Do(ctx, "k", func(h *extension.Host) error { _, _, err := h.Memory.Get(ctx, "a"); return err }); !errors.Is(err, ErrRelieved) {
		t.Error(err)
	}
	if _, err := s.Drain(t.Context(), nil); status.Code(err) != codes.FailedPrecondition {
		t.Error(err)
	}
	if _, err := s.Shutdown(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if err := <-over; status.Code(err) != codes.Aborted {
		t.Error(err)
	}
}
