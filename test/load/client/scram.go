package client

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"strings"
	"sync"
)

// Scram is the client's side of one exchange by RFC 5802, without channel
// binding. What is costly for a client, the salted password, is kept for all
// exchanges of the process.
type Scram struct {
	hash           func() hash.Hash
	password       string
	bare, nonce    string
	serverProof    []byte
	mechanism      string
	saltedPassword []byte
}

// mechanisms that a Scram knows, the best first.
var mechanisms = []struct {
	name string
	hash func() hash.Hash
}{{"SCRAM-SHA-256", sha256.New}, {"SCRAM-SHA-1", sha1.New}}

// NewScram returns an exchange; an error if it does not know the mechanism.
func NewScram(mechanism, user, password string) (*Scram, error) {
	for _, m := range mechanisms {
		if m.name == mechanism {
			nonce := rand.Text()
			name := strings.NewReplacer("=", "=3D", ",", "=2C").Replace(user)
			return &Scram{hash: m.hash, mechanism: mechanism, password: password, nonce: nonce, bare: "n=" + name + ",r=" + nonce}, nil
		}
	}
	return nil, fmt.Errorf("client: mechanism %q", mechanism)
}

// First is the client-first-message.
func (s *Scram) First() string { return "n,," + s.bare }

// Final answers the server-first-message.
func (s *Scram) Final(serverFirst string) (string, error) {
	f := fields(serverFirst)
	salt, err := base64.StdEncoding.DecodeString(f["s"])
	n, err2 := strconv.Atoi(f["i"])
	if err = errors.Join(err, err2); err != nil || len(salt) == 0 || n < 1 || n > 1_000_000 || !strings.HasPrefix(f["r"], s.nonce) {
		return "", fmt.Errorf("client: server-first-message %q: %w", serverFirst, errors.Join(err, errors.New("not an answer to the first message")))
	}
	if s.saltedPassword, err = s.salted(salt, n); err != nil {
		return "", err
	}
	without := "c=biws,r=" + f["r"]
	auth := s.bare + "," + serverFirst + "," + without
	key := s.mac(s.saltedPassword, "Client Key")
	stored := s.hash()
	stored.Write(key)
	for i, b := range s.mac(stored.Sum(nil), auth) {
		key[i] ^= b
	}
	s.serverProof = s.mac(s.mac(s.saltedPassword, "Server Key"), auth)
	return without + ",p=" + base64.StdEncoding.EncodeToString(key), nil
}

// Verify checks the server-final-message.
func (s *Scram) Verify(serverFinal string) error {
	if got, err := base64.StdEncoding.DecodeString(fields(serverFinal)["v"]); err != nil || !hmac.Equal(got, s.serverProof) {
		return fmt.Errorf("client: the server's signature in %q is wrong", serverFinal)
	}
	return nil
}

func (s *Scram) mac(key []byte, text string) []byte {
	m := hmac.New(s.hash, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

// known are salted passwords, by all that they depend on.
var known sync.Map

func (s *Scram) salted(salt []byte, n int) ([]byte, error) {
	id := fmt.Sprintf("%s %q %x %d", s.mechanism, s.password, salt, n)
	if k, ok := known.Load(id); ok {
		return k.([]byte), nil
	}
	k, err := pbkdf2.Key(s.hash, s.password, salt, n, s.hash().Size())
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	known.Store(id, k)
	return k, nil
}

// fields reads "r=...,s=...".
func fields(message string) map[string]string {
	m := map[string]string{}
	for part := range strings.SplitSeq(message, ",") {
		name, value, _ := strings.Cut(part, "=")
		m[name] = value
	}
	return m
}
