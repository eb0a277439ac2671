package sasl

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"hash"
	"strconv"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/ports/auth"
)

// client is the other side of SCRAM, written from RFC 5802 3 without any code
// of the package, so that a mistake is not made on both sides.
type client struct {
	new      func() hash.Hash
	flag     string // gs2-cbind-flag
	authzid  string
	user     string
	password string
	nonce    string
	cbData   string
	// firstExt and finalExt are extensions, with their leading comma.
	firstExt, finalExt string
	// finalNonce, if set, is sent in the last message instead of the right one.
	finalNonce string

	serverSignature string // base64
}

var hashOf = map[string]func() hash.Hash{
	"SCRAM-SHA-1": sha1.New, "SCRAM-SHA-256": sha256.New, "SCRAM-SHA-512": sha512.New,
}

func hashFor(mechanism string) func() hash.Hash {
	return hashOf[strings.TrimSuffix(mechanism, "-PLUS")]
}

var escape = strings.NewReplacer("=", "=3D", ",", "=2C")

func (c *client) header() string {
	a := ""
	if c.authzid != "" {
		a = "a=" + escape.Replace(c.authzid)
	}
	return c.flag + "," + a + ","
}

func (c *client) bare() string {
	return "n=" + escape.Replace(c.user) + ",r=" + c.nonce + c.firstExt
}

func (c *client) first() string { return c.header() + c.bare() }

func (c *client) final(t testing.TB, challenge string) string {
	t.Helper()
	parts := strings.Split(challenge, ",")
	if len(parts) != 4 || parts[0][:2] != "r=" || parts[1][:2] != "s=" || parts[2][:2] != "i=" || parts[3][:2] != "h=" {
		t.Fatalf("server-first-message %q", challenge)
	}
	nonce := parts[0][2:]
	if !strings.HasPrefix(nonce, c.nonce) || len(nonce) == len(c.nonce) {
		t.Fatalf("nonce %q does not extend %q", nonce, c.nonce)
	}
	salt, err := base64.StdEncoding.DecodeString(parts[1][2:])
	if err != nil {
		t.Fatal(err)
	}
	rounds, err := strconv.Atoi(parts[2][2:])
	if err != nil {
		t.Fatal(err)
	}
	if c.finalNonce != "" {
		nonce = c.finalNonce
	}
	input := base64.StdEncoding.EncodeToString([]byte(c.header() + c.cbData))
	without := "c=" + input + ",r=" + nonce + c.finalExt
	authMessage := c.bare() + "," + challenge + "," + without
	proof, signature := prove(c.new, c.password, salt, rounds, authMessage)
	c.serverSignature = signature
	return without + ",p=" + proof
}

// prove computes ClientProof and ServerSignature from the password.
func prove(h func() hash.Hash, password string, salt []byte, rounds int, authMessage string) (proof, signature string) {
	mac := func(key []byte, text string) []byte {
		m := hmac.New(h, key)
		m.Write([]byte(text))
		return m.Sum(nil)
	}
	salted, err := pbkdf2.Key(h, password, salt, rounds, h().Size())
	if err != nil {
		panic(err)
	}
	clientKey := mac(salted, "Client Key")
	d := h()
	d.Write(clientKey)
	out := mac(d.Sum(nil), authMessage)
	for i := range out {
		out[i] ^= clientKey[i]
	}
	return base64.StdEncoding.EncodeToString(out), base64.StdEncoding.EncodeToString(mac(mac(salted, "Server Key"), authMessage))
}

// keysFor makes what an account source stores.
func keysFor(h func() hash.Hash, password string, salt []byte, rounds int) auth.Keys {
	mac := func(key []byte, text string) []byte {
		m := hmac.New(h, key)
		m.Write([]byte(text))
		return m.Sum(nil)
	}
	salted, err := pbkdf2.Key(h, password, salt, rounds, h().Size())
	if err != nil {
		panic(err)
	}
	d := h()
	d.Write(mac(salted, "Client Key"))
	return auth.Keys{Salt: salt, Iterations: rounds, StoredKey: d.Sum(nil), ServerKey: mac(salted, "Server Key")}
}

var (
	exporter = Binding{"tls-exporter", func() ([]byte, error) { return []byte("exported\x00\xff octets of this connection"), nil }}
	endPoint = Binding{"tls-server-end-point", func() ([]byte, error) { return []byte("hash of the certificate"), nil }}
	both     = []Binding{exporter, endPoint}
	testSalt = []byte("salt of 16 bytes")
)

// begin starts an exchange on a stream that offers everything.
func begin(t testing.TB, mechanism string, bindings []Binding) *Exchange {
	t.Helper()
	x, err := New(mechanism, Params{Bindings: bindings, Offered: Offer(true, bindings)})
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func wantFailure(t testing.TB, r Result, c Condition) {
	t.Helper()
	if r.Status != Failure || r.Failure != c {
		t.Fatalf("got %v, want failure %s", r, c)
	}
	if r.Data != nil || r.User != "" || r.Authzid != "" || r.Password != "" {
		t.Fatalf("a failure carries data: %#v", r)
	}
}

func wantStatus(t testing.TB, r Result, s Status) {
	t.Helper()
	if r.Status != s {
		t.Fatalf("got %v, want status %d", r, s)
	}
}

// login runs a whole SCRAM exchange and returns its last result.
func login(t testing.TB, x *Exchange, c *client, keys auth.Keys) Result {
	t.Helper()
	r := x.Start([]byte(c.first()), true)
	if r.Status != NeedKeys {
		return r
	}
	if r.User != c.user || r.Authzid != c.authzid {
		t.Fatalf("user %q authzid %q, want %q and %q", r.User, r.Authzid, c.user, c.authzid)
	}
	r = x.Keys(keys)
	if r.Status != Challenge {
		return r
	}
	return x.Step([]byte(c.final(t, string(r.Data))))
}
