package xmppc

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"strings"
)

// Scram is the client's side of one exchange by RFC 5802. The functions, when
// set, change a message before it is sent: that is how a test lies.
type Scram struct {
	Mechanism      string // "SCRAM-SHA-256-PLUS"
	User, Password string
	Authzid        string
	Binding        string // for -PLUS: tls-exporter (the default) or tls-server-end-point
	Flag           string // gs2 flag in place of the fitting one: "n", "y", "p=..."

	AlterBinding func([]byte) []byte // the channel binding data
	AlterFirst   func(string) string // client-first-message
	AlterFinal   func(string) string // client-final-message

	Salt       string // what the server said, after the exchange
	Iterations int
	Protected  bool // it gave the hash of XEP-0474, and that was right

	hash        func() hash.Hash
	header      string // gs2-header
	binding     []byte
	nonce       string
	bare        string // client-first-message-bare
	auth        string // AuthMessage
	salted      []byte
	serverFinal string
}

var scramHashes = map[string]func() hash.Hash{
	"SCRAM-SHA-1": sha1.New, "SCRAM-SHA-256": sha256.New, "SCRAM-SHA-512": sha512.New,
}

func (s *Scram) start(peer *tls.ConnectionState) error {
	base, plus := strings.CutSuffix(s.Mechanism, "-PLUS")
	if s.hash = scramHashes[base]; s.hash == nil {
		return fmt.Errorf("unknown mechanism")
	}
	flag := "n"
	if plus {
		if s.Binding == "" {
			s.Binding = "tls-exporter"
		}
		flag = "p=" + s.Binding
		data, err := bindingData(peer, s.Binding)
		if err != nil {
			return err
		}
		if s.AlterBinding != nil {
			data = s.AlterBinding(data)
		}
		s.binding = data
	}
	if s.Flag != "" {
		flag = s.Flag
	}
	s.header = flag + ","
	if s.Authzid != "" {
		s.header += "a=" + saslName(s.Authzid)
	}
	s.header += ","
	s.nonce = rand.Text()
	s.bare = "n=" + saslName(s.User) + ",r=" + s.nonce
	return nil
}

func (s *Scram) clientFirst() string {
	first := s.header + s.bare
	if s.AlterFirst != nil {
		first = s.AlterFirst(first)
	}
	return first
}

// clientFinal answers the server-first-message (RFC 5802 section 3). offer is
// what the client was shown, as the text of XEP-0474 section 6.1.
func (s *Scram) clientFinal(serverFirst, offer string) (string, error) {
	fields := attributes(serverFirst)
	if got, ok := fields["h"]; ok { // XEP-0474 section 6.2
		h := s.hash()
		h.Write([]byte(offer))
		if want := base64.StdEncoding.EncodeToString(h.Sum(nil)); got != want {
			return "", fmt.Errorf("the hash of %q is %s, not as in %q", offer, want, serverFirst)
		}
		s.Protected = true
	}
	salt, err := base64.StdEncoding.DecodeString(fields["s"])
	if err != nil || len(salt) == 0 {
		return "", fmt.Errorf("salt in %q: %v", serverFirst, err)
	}
	s.Salt = fields["s"]
	if s.Iterations, err = strconv.Atoi(fields["i"]); err != nil {
		return "", fmt.Errorf("iterations in %q: %w", serverFirst, err)
	}
	if !strings.HasPrefix(fields["r"], s.nonce) || len(fields["r"]) == len(s.nonce) {
		return "", fmt.Errorf("the nonce in %q doesn't go on from %q", serverFirst, s.nonce)
	}
	if s.salted, err = pbkdf2.Key(s.hash, s.Password, salt, s.Iterations, s.hash().Size()); err != nil {
		return "", err
	}
	bound := append([]byte(s.header), s.binding...)
	bare := "c=" + base64.StdEncoding.EncodeToString(bound) + ",r=" + fields["r"]
	s.auth = s.bare + "," + serverFirst + "," + bare

	clientKey := s.mac(s.salted, "Client Key")
	h := s.hash()
	h.Write(clientKey)
	proof := s.mac(h.Sum(nil), s.auth)
	for i := range proof {
		proof[i] ^= clientKey[i]
	}
	final := bare + ",p=" + base64.StdEncoding.EncodeToString(proof)
	if s.AlterFinal != nil {
		final = s.AlterFinal(final)
	}
	return final, nil
}

// verify checks the server's signature in the data of <success/>.
func (s *Scram) verify() error {
	want := base64.StdEncoding.EncodeToString(s.mac(s.mac(s.salted, "Server Key"), s.auth))
	if got := attributes(s.serverFinal)["v"]; got != want {
		return fmt.Errorf("the server's signature is %q, not %q", got, want)
	}
	return nil
}

func (s *Scram) mac(key []byte, text string) []byte {
	m := hmac.New(s.hash, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

// bindingData is what both sides know of the TLS connection (RFC 9266, RFC 5929).
func bindingData(peer *tls.ConnectionState, kind string) ([]byte, error) {
	if peer == nil {
		return nil, errors.New("channel binding without TLS")
	}
	switch kind {
	case "tls-exporter": // an empty context, which below TLS 1.3 differs from none
		return peer.ExportKeyingMaterial("EXPORTER-Channel-Binding", []byte{}, 32)
	case "tls-server-end-point": // the certificates of the tests are signed with SHA-256
		sum := sha256.Sum256(peer.PeerCertificates[0].Raw)
		return sum[:], nil
	}
	return []byte(kind), nil
}

// attributes reads "r=...,s=...".
func attributes(message string) map[string]string {
	fields := map[string]string{}
	for part := range strings.SplitSeq(message, ",") {
		name, value, _ := strings.Cut(part, "=")
		fields[name] = value
	}
	return fields
}

func saslName(s string) string {
	return strings.NewReplacer("=", "=3D", ",", "=2C").Replace(s)
}
