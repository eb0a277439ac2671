package authtest

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"

	"github.com/hexmpp/hexmpp/ports/auth"
)

// scram computes both ends of a SCRAM exchange (RFC 5802 section 3), written
// out from the formulas so that it shares nothing with an implementation.
type scram struct {
	new func() hash.Hash
}

func scramFor(h auth.Hash) scram {
	switch h {
	case auth.SHA1:
		return scram{sha1.New}
	case auth.SHA256:
		return scram{sha256.New}
	case auth.SHA512:
		return scram{sha512.New}
	}
	panic("authtest: hash without a test: " + string(h))
}

func (s scram) hmac(key, text []byte) []byte {
	m := hmac.New(s.new, key)
	m.Write(text)
	return m.Sum(nil)
}

func (s scram) hash(text []byte) []byte {
	h := s.new()
	h.Write(text)
	return h.Sum(nil)
}

// hi is the function Hi of RFC 5802 section 2.2.
func (s scram) hi(str, salt []byte, iterations int) []byte {
	u := s.hmac(str, binary.BigEndian.AppendUint32(bytes.Clone(salt), 1))
	sum := bytes.Clone(u)
	for range iterations - 1 {
		u = s.hmac(str, u)
		sum = xor(sum, u)
	}
	return sum
}

// keys are what a server stores for a password that needs no preparation.
func (s scram) keys(password string, salt []byte, iterations int) (stored, server []byte) {
	salted := s.hi([]byte(password), salt, iterations)
	return s.hash(s.hmac(salted, []byte("Client Key"))), s.hmac(salted, []byte("Server Key"))
}

// exchange is the text of a whole exchange, but for proof and signature.
type exchange struct {
	clientFirstBare, serverFirst, clientFinalWithoutProof string
}

func exchangeOf(user, clientNonce, serverNonce string, salt []byte, iterations int) exchange {
	return exchange{
		clientFirstBare:         "n=" + user + ",r=" + clientNonce,
		serverFirst:             fmt.Sprintf("r=%s%s,s=%s,i=%d", clientNonce, serverNonce, base64.StdEncoding.EncodeToString(salt), iterations),
		clientFinalWithoutProof: "c=biws,r=" + clientNonce + serverNonce,
	}
}

func (e exchange) authMessage() []byte {
	return []byte(e.clientFirstBare + "," + e.serverFirst + "," + e.clientFinalWithoutProof)
}

// proof is the client's proof, and signature what it expects of the server.
func (s scram) proof(e exchange, password string, salt []byte, iterations int) (proof, signature []byte) {
	salted := s.hi([]byte(password), salt, iterations)
	clientKey := s.hmac(salted, []byte("Client Key"))
	proof = xor(clientKey, s.hmac(s.hash(clientKey), e.authMessage()))
	return proof, s.hmac(s.hmac(salted, []byte("Server Key")), e.authMessage())
}

// verify is the server's side with stored keys: its signature, or an error if
// the proof doesn't verify.
func (s scram) verify(e exchange, k auth.Keys, proof []byte) (signature []byte, err error) {
	expected := s.hmac(k.StoredKey, e.authMessage())
	if len(expected) != len(proof) || !bytes.Equal(s.hash(xor(proof, expected)), k.StoredKey) {
		return nil, errors.New("the proof does not verify")
	}
	return s.hmac(k.ServerKey, e.authMessage()), nil
}

// xor needs operands of one length.
func xor(a, b []byte) []byte {
	c := make([]byte, len(a))
	for i := range a {
		c[i] = a[i] ^ b[i]
	}
	return c
}

// login runs an exchange: nil if client and server accept each other.
func login(h auth.Hash, k auth.Keys, password string) error {
	s := scramFor(h)
	e := exchangeOf("user", "clientnonce", "servernonce", k.Salt, k.Iterations)
	proof, want := s.proof(e, password, k.Salt, k.Iterations)
	signature, err := s.verify(e, k, proof)
	if err != nil {
		return err
	}
	if !bytes.Equal(signature, want) {
		return errors.New("the server's signature does not verify")
	}
	return nil
}
