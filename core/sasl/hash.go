package sasl

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"hash"

	"github.com/hexmpp/hexmpp/ports/auth"
)

// hashFunc is a hash function as SCRAM uses it: H() and HMAC() of RFC 5802 2.2.
type hashFunc struct {
	name auth.Hash
	new  func() hash.Hash
	size int
}

var hashes = [...]hashFunc{
	{auth.SHA512, sha512.New, sha512.Size},
	{auth.SHA256, sha256.New, sha256.Size},
	{auth.SHA1, sha1.New, sha1.Size},
}

// usable reports whether k can be keys for h: a source that gives others has
// failed, and no proof may verify with them.
func (h *hashFunc) usable(k auth.Keys) bool {
	return len(k.Salt) > 0 && k.Iterations > 0 && len(k.StoredKey) == h.size && len(k.ServerKey) == h.size
}

// hmac is HMAC(key, head + tail).
func (h *hashFunc) hmac(key, head []byte, tail string) []byte {
	m := hmac.New(h.new, key)
	m.Write(head)
	m.Write([]byte(tail))
	return m.Sum(nil)
}

// verify checks a ClientProof against StoredKey (RFC 5802 3): the proof is
// ClientKey XOR ClientSignature, and StoredKey is H(ClientKey). The time that
// it takes does not depend on the proof's value.
func (h *hashFunc) verify(proof, signature, storedKey []byte) bool {
	if len(proof) != h.size || len(signature) != h.size {
		return false
	}
	clientKey := make([]byte, h.size)
	subtle.XORBytes(clientKey, proof, signature)
	d := h.new()
	d.Write(clientKey)
	return subtle.ConstantTimeCompare(d.Sum(nil), storedKey) == 1
}
