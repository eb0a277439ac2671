package sql

import (
	"context"

	"github.com/hexmpp/hexmpp/ports/storage"
)

// Health says why the database can't be read or written at present; nil if it can,
// as far as is known. It reads; and if the last transaction failed it writes one of
// its own, so that the answer is right also while nobody else writes.
func (s *Store) Health(ctx context.Context) error {
	if err := s.read(ctx); err != nil {
		return s.dialect.wrap("health", err)
	}
	if err := s.readers.PingContext(ctx); err != nil {
		return s.dialect.wrap("health", err)
	}
	last := s.writer.failing.Load()
	if last == nil {
		return nil
	}
	err := s.write(ctx, "health", func(t *tx) error {
		return t.apply(&storage.Op{Space: healthSpace, Key: "written", Value: []byte{}})
	})
	if err != nil && ctx.Err() != nil { // it says nothing of the cause
		return s.dialect.wrap("health", *last)
	}
	return err
}

// healthSpace is what Health writes to; no extension has this name.
const healthSpace = "hexmpp/health"
