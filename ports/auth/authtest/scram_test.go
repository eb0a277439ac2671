package authtest

import (
	"encoding/base64"
	"testing"

	"github.com/hexmpp/hexmpp/ports/auth"
)

// The examples of the RFCs: the suite's own computation has to be right first.
func TestVectors(t *testing.T) {
	for _, v := range []struct {
		name                             string
		hash                             auth.Hash
		clientNonce, serverNonce, salt   string
		proof, signature, clientFinalNeg string
	}{
		{"RFC 5802 section 5", auth.SHA1, "fyko+d2lbbFgONRv9qkxdawL", "3rfcNHYJY1ZVvWVs7j", "QSXCR+Q6sek8bf92",
			"v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=", "rmF9pqV8S7suAoZWja4dJRkFsKQ=",
			"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j"},
		{"RFC 7677 section 3", auth.SHA256, "rOprNGfwEbeRWgbNEkqO", "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", "W22ZaJ0SNY7soEsUEjb6gQ==",
			"dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
			"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"},
	} {
		t.Run(v.name, func(t *testing.T) {
			salt, err := base64.StdEncoding.DecodeString(v.salt)
			if err != nil {
				t.Fatal(err)
			}
			s := scramFor(v.hash)
			e := exchangeOf("user", v.clientNonce, v.serverNonce, salt, 4096)
			if e.clientFinalWithoutProof != v.clientFinalNeg {
				t.Errorf("client-final-message-without-proof is %q", e.clientFinalWithoutProof)
			}
			proof, signature := s.proof(e, "pencil", salt, 4096)
			if got := base64.StdEncoding.EncodeToString(proof); got != v.proof {
				t.Errorf("proof: got %s, want %s", got, v.proof)
			}
			if got := base64.StdEncoding.EncodeToString(signature); got != v.signature {
				t.Errorf("server signature: got %s, want %s", got, v.signature)
			}
			stored, server := s.keys("pencil", salt, 4096)
			k := auth.Keys{Salt: salt, Iterations: 4096, StoredKey: stored, ServerKey: server}
			if got, err := s.verify(e, k, proof); err != nil || string(got) != string(signature) {
				t.Errorf("the server's side: got %x, %v", got, err)
			}
			proof[0] ^= 1
			if _, err := s.verify(e, k, proof); err == nil {
				t.Error("a wrong proof verifies")
			}
		})
	}
}
