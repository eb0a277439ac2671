package memory

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"

	"github.com/hexmpp/hexmpp/ports/storage"
)

// Secret implements storage.Secrets, as long as the process lives.
func (s *Store) Secret(ctx context.Context, name string) ([]byte, error) {
	op := "secret " + name
	if err := storage.CheckName(name); err != nil {
		return nil, fmt.Errorf("storage/memory: secret: %w", err)
	}
	if err := s.begin(ctx, op); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	secret, there := s.secrets[name]
	if !there {
		secret = make([]byte, 32)
		rand.Read(secret) // never fails: crypto/rand ends the process instead
		s.secrets[name] = secret
	}
	return bytes.Clone(secret), nil
}
