package core

import (
	"context"

	"github.com/hexmpp/hexmpp/core/c2s"
	"github.com/hexmpp/hexmpp/ports/transport"
)

// Drain waits until no message of a client is under way.
func (k *Kernel) Drain(ctx context.Context) error { return k.hosts.Underway().Drain(ctx) }

// Settle waits until no message of a stream's session is, and whoever got one is flushed.
func (k *Kernel) Settle(s transport.Stream) {
	if sess := s.(*c2s.Stream).Session(); sess != nil {
		if c := sess.LineIdle(); c != nil {
			<-c
		}
		k.hosts.Underway().Wait()
	}
}
