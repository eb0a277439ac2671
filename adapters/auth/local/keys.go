package local

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"

	"github.com/hexmpp/hexmpp/ports/auth"
	"github.com/hexmpp/hexmpp/ports/storage"
)

// saltSize is the size of every salt in bytes, real or decoy.
const saltSize = 16

// hashOf returns the constructor and the size in bytes of a hash.
func hashOf(h auth.Hash) (func() hash.Hash, int, error) {
	switch h {
	case auth.SHA1:
		return sha1.New, sha1.Size, nil
	case auth.SHA256:
		return sha256.New, sha256.Size, nil
	case auth.SHA512:
		return sha512.New, sha512.Size, nil
	}
	return nil, 0, fmt.Errorf("no hash of SCRAM: %q", h)
}

// derive computes the keys of a prepared password (RFC 5802 section 3).
func derive(h auth.Hash, password string, salt []byte, iterations int) (auth.Keys, error) {
	hasher, size, err := hashOf(h)
	if err != nil {
		return auth.Keys{}, err
	}
	// Hi is PBKDF2 with HMAC (RFC 5802 section 2.2).
	salted, err := pbkdf2.Key(hasher, password, salt, iterations, size)
	if err != nil {
		return auth.Keys{}, err
	}
	clientKey := mac(hasher, salted, "Client Key")
	stored := hasher()
	stored.Write(clientKey)
	return auth.Keys{
		Salt:       salt,
		Iterations: iterations,
		StoredKey:  stored.Sum(nil),
		ServerKey:  mac(hasher, salted, "Server Key"),
	}, nil
}

func mac(hasher func() hash.Hash, key []byte, parts ...string) []byte {
	m := hmac.New(hasher, key)
	for _, p := range parts {
		m.Write([]byte(p))
	}
	return m.Sum(nil)
}

// deriveAll makes the key sets that an account gets for a prepared password:
// one for each hash that is offered, so that what is offered to a user doesn't
// depend on the account.
func deriveAll(password string, iterations int) ([]storage.Key, error) {
	all := make([]storage.Key, 0, len(auth.Hashes))
	for _, h := range auth.Hashes {
		salt := make([]byte, saltSize)
		rand.Read(salt) // never fails: crypto/rand ends the process instead
		k, err := derive(h, password, salt, iterations)
		if err != nil {
			return nil, fmt.Errorf("derive keys for %s: %w", h, err)
		}
		all = append(all, storage.Key{Hash: string(h), Salt: k.Salt, Iterations: k.Iterations, StoredKey: k.StoredKey, ServerKey: k.ServerKey})
	}
	return all, nil
}

// keysFor returns the stored keys for h, false if there are none.
func keysFor(a storage.Account, h auth.Hash) (auth.Keys, bool) {
	for _, k := range a.Keys {
		if k.Hash == string(h) {
			return auth.Keys{Salt: k.Salt, Iterations: k.Iterations, StoredKey: k.StoredKey, ServerKey: k.ServerKey}, true
		}
	}
	return auth.Keys{}, false
}
