package local

import (
	"context"
	"crypto/sha512"
	"fmt"

	"github.com/hexmpp/hexmpp/ports/auth"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// decoySecret names the stored secret that all decoys come from.
const decoySecret = "auth/local/decoys"

// decoy returns the keys of a user that has none. They look like real ones,
// are the same each time and on each node, and nobody can make a proof for
// them: it would need the preimage of a hash that was drawn, not computed.
func (s *Source) decoy(ctx context.Context, user jid.JID, h auth.Hash) (auth.Keys, error) {
	_, size, err := hashOf(h)
	if err != nil {
		return auth.Keys{}, err
	}
	secret, err := s.decoySecret(ctx)
	if err != nil {
		return auth.Keys{}, err
	}
	// Neither hash names nor JIDs have a zero byte, so it separates.
	draw := func(what string, n int) []byte {
		return mac(sha512.New, secret, what, "\x00", string(h), "\x00", user.String())[:n]
	}
	return auth.Keys{
		Salt:       draw("salt", saltSize),
		Iterations: s.options.Iterations,
		StoredKey:  draw("stored key", size),
		ServerKey:  draw("server key", size),
	}, nil
}

// decoySecret reads the secret at its first use. A failure is tried again at
// the next.
func (s *Source) decoySecret(ctx context.Context) ([]byte, error) {
	s.mu.Lock()
	secret := s.secret
	s.mu.Unlock()
	if secret != nil {
		return secret, nil
	}
	secret, err := s.secrets.Secret(ctx, decoySecret) // the same for all who ask at once
	if err != nil {
		return nil, fmt.Errorf("read the secret of decoys: %w", err)
	}
	s.mu.Lock()
	s.secret = secret
	s.mu.Unlock()
	return secret, nil
}
