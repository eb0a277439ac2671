package certs

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// issue writes a certificate for names. mtimes only move forward, so that each
// call is seen as a change.
func issue(t *testing.T, certFile, keyFile string, key crypto.Signer, notAfter time.Time, names ...string) {
	t.Helper()
	if key == nil {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		key = k
	}
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62))
	tmpl := &x509.Certificate{SerialNumber: serial, DNSNames: names, NotBefore: time.Now().Add(-time.Hour), NotAfter: notAfter}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	write(t, keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
}

var clock = time.Now().Add(-time.Hour)

func write(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	clock = clock.Add(time.Second)
	if err := os.Chtimes(name, clock, clock); err != nil {
		t.Fatal(err)
	}
}

func in(d time.Duration) time.Time { return time.Now().Add(d) }

const year = 365 * 24 * time.Hour

func newStore(t *testing.T, o Options) (*Store, *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zap.DebugLevel)
	s, err := New(o, zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	return s, logs
}

func get(t *testing.T, s *Store, name string) *tls.Certificate {
	t.Helper()
	c, err := s.GetCertificate(&tls.ClientHelloInfo{ServerName: name})
	if err != nil || c == nil {
		t.Fatalf("GetCertificate(%q): %v, %v", name, c, err)
	}
	return c
}

func TestChoiceByName(t *testing.T) {
	dir := t.TempDir()
	issue(t, filepath.Join(dir, "a.crt"), filepath.Join(dir, "a.key"), nil, in(year), "example.test", "Conference.Example.TEST")
	issue(t, filepath.Join(dir, "b.pem"), filepath.Join(dir, "b.key"), nil, in(year), "*.wild.test", "xn--mnchen-3ya.test")
	issue(t, filepath.Join(dir, "live", "fullchain.pem"), filepath.Join(dir, "live", "privkey.pem"), nil, in(year), "certbot.test")
	write(t, filepath.Join(dir, "ca.pem"), []byte("no key beside it: not ours"))
	s, _ := newStore(t, Options{Dir: dir, Domains: []string{"example.test", "münchen.test", "certbot.test"}})
	for _, tc := range []struct{ ask, want string }{
		{"example.test", "a.crt"},
		{"EXAMPLE.test", "a.crt"},
		{"example.test.", "a.crt"},
		{"conference.example.test", "a.crt"},
		{"other.example.test", "a.crt"}, // nobody's: the first domain's
		{"", "a.crt"},
		{"unknown.test", "a.crt"},
		{"x.wild.test", "b.pem"},
		{"wild.test", "a.crt"},     // RFC 6125 6.4.3: a wildcard isn't the parent
		{"x.y.wild.test", "a.crt"}, // and is one label
		{".wild.test", "a.crt"},
		{"xn--mnchen-3ya.test", "b.pem"},
		{"certbot.test", "fullchain.pem"},
	} {
		c := get(t, s, tc.ask)
		i := slices.IndexFunc(s.Loaded(), func(i Info) bool { return slices.Equal(i.Names, c.Leaf.DNSNames) })
		if i < 0 || filepath.Base(s.Loaded()[i].File) != tc.want {
			t.Errorf("%q: got %q, want %s", tc.ask, c.Leaf.DNSNames, tc.want)
		}
	}
	if n := len(s.Loaded()); n != 3 {
		t.Errorf("%d loaded, want 3: none is self-signed by us", n)
	}
}

// TestCertificate: domains that are not hosted have one, too.
func TestCertificate(t *testing.T) {
	dir, own := t.TempDir(), t.TempDir()
	issue(t, filepath.Join(dir, "a.crt"), filepath.Join(dir, "a.key"), nil, in(year), "example.test", "rooms.example.test")
	s, logs := newStore(t, Options{Dir: dir, Domains: []string{"example.test"}, SelfSignedDir: own})
	hosted := get(t, s, "example.test")
	for _, d := range []string{"example.test", "Example.test", "rooms.example.test"} {
		if c, err := s.Certificate(d); err != nil || c != hosted {
			t.Errorf("%s: %v, %v", d, c, err)
		}
	}
	c, err := s.Certificate("münchen.example.test")
	if err != nil || c.Leaf.VerifyHostname("xn--mnchen-3ya.example.test") != nil {
		t.Fatal(err)
	}
	if again, err := s.Certificate("münchen.example.test"); err != nil || again != c {
		t.Error("another one at the second call", err)
	}
	if told := logs.FilterMessageSnippet("no certificate for a domain of a plugin"); told.Len() != 1 || told.All()[0].ContextMap()["domain"] != "xn--mnchen-3ya.example.test" {
		t.Errorf("warnings: %v", told.All())
	}
	if c := get(t, s, "münchen.example.test"); c != hosted {
		t.Error("clients are shown it, who have no business there")
	}
	other, _ := newStore(t, Options{Dir: dir, Domains: []string{"example.test"}, SelfSignedDir: own})
	if again, err := other.Certificate("münchen.example.test"); err != nil || !bytes.Equal(again.Certificate[0], c.Certificate[0]) {
		t.Error("a server that starts again has another one", err)
	}
	// Who gets a certificate leaves the self-signed one.
	issue(t, filepath.Join(dir, "m.crt"), filepath.Join(dir, "m.key"), nil, in(year), "*.example.test")
	s.look()
	if c, err := s.Certificate("münchen.example.test"); err != nil || !slices.Equal(c.Leaf.DNSNames, []string{"*.example.test"}) {
		t.Errorf("the new one is not in use: %v", err)
	}
	for _, bad := range []string{"", "a/b", "\x00", "..", "a b"} {
		if c, err := s.Certificate(bad); err == nil {
			t.Errorf("%q has a certificate: %v", bad, c.Leaf.DNSNames)
		}
	}
}

func TestLongerLastingWins(t *testing.T) {
	dir := t.TempDir()
	issue(t, filepath.Join(dir, "a.crt"), filepath.Join(dir, "a.key"), nil, in(year), "example.test")
	issue(t, filepath.Join(dir, "b.crt"), filepath.Join(dir, "b.key"), nil, in(2*year), "example.test")
	s, _ := newStore(t, Options{Dir: dir, Domains: []string{"example.test"}})
	if c := get(t, s, "example.test"); c.Leaf.NotAfter.Before(in(year + time.Hour)) {
		t.Error("the certificate that ends first was chosen")
	}
}

// TestExpiredLeavesItsNames: files of a domain that a wildcard has by now do no harm.
func TestExpiredLeavesItsNames(t *testing.T) {
	dir := t.TempDir()
	issue(t, filepath.Join(dir, "a.crt"), filepath.Join(dir, "a.key"), nil, in(time.Hour), "rooms.example.test", "other.test")
	issue(t, filepath.Join(dir, "b.crt"), filepath.Join(dir, "b.key"), nil, in(year), "example.test", "*.example.test")
	s, _ := newStore(t, Options{Dir: dir, Domains: []string{"example.test"}})
	names := func(domain string) []string { return get(t, s, domain).Leaf.DNSNames }
	old, wildcard := names("other.test"), names("example.test")
	if got := names("rooms.example.test"); !slices.Equal(got, old) {
		t.Errorf("got %q; the domain has a certificate of its own", got)
	}
	s.now = func() time.Time { return in(2 * time.Hour) }
	s.look()
	if got := names("rooms.example.test"); !slices.Equal(got, wildcard) {
		t.Errorf("got %q, which has expired", got)
	}
	if got := names("other.test"); !slices.Equal(got, old) {
		t.Errorf("got %q; an expired one tells more than one of another domain", got)
	}
}

// TestAddress: an IP address may be a domain, too.
func TestAddress(t *testing.T) {
	o := Options{Domains: []string{"192.0.2.1"}, SelfSignedDir: t.TempDir()}
	s, _ := newStore(t, o)
	c, err := s.Certificate("192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Leaf.VerifyHostname("192.0.2.1"); err != nil {
		t.Error(err)
	}
	again, _ := newStore(t, o)
	if other, err := again.Certificate("192.0.2.1"); err != nil || !bytes.Equal(other.Certificate[0], c.Certificate[0]) {
		t.Error("made again at the second start", err)
	}
}

func TestSelfSigned(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "own")
	o := Options{Domains: []string{"example.test", "münchen.test"}, SelfSignedDir: dir}
	s, logs := newStore(t, o)
	c := get(t, s, "xn--mnchen-3ya.test")
	if err := c.Leaf.VerifyHostname("xn--mnchen-3ya.test"); err != nil {
		t.Error(err)
	}
	if k, ok := c.Leaf.PublicKey.(*ecdsa.PublicKey); !ok || k.Curve != elliptic.P256() {
		t.Errorf("key %T", c.Leaf.PublicKey)
	}
	if left := time.Until(c.Leaf.NotAfter); left < 9*year || left > 11*year {
		t.Errorf("valid for %v", left)
	}
	for _, f := range []string{"example.test.crt", "example.test.key", "xn--mnchen-3ya.test.key"} {
		st, err := os.Stat(filepath.Join(dir, f))
		if err != nil {
			t.Fatal(err)
		}
		if st.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", f, st.Mode())
		}
	}
	if n := logs.FilterMessageSnippet("self-signed").Len(); n != 2 {
		t.Errorf("%d warnings, want one a domain", n)
	}
	for _, i := range s.Loaded() {
		if !i.SelfSigned || i.File == "" {
			t.Errorf("info %+v", i)
		}
	}
	same := func(a, b *tls.Certificate) bool { return slices.Equal(a.Certificate[0], b.Certificate[0]) }
	again, _ := newStore(t, o)
	if !same(get(t, again, "example.test"), get(t, s, "example.test")) {
		t.Error("made again at the second start")
	}
	// Broken or expired files are replaced.
	write(t, filepath.Join(dir, "example.test.key"), []byte("broken"))
	third, _ := newStore(t, o)
	if same(get(t, third, "example.test"), get(t, s, "example.test")) {
		t.Error("kept though the key was broken")
	}
	before := get(t, third, "example.test")
	third.now = func() time.Time { return in(11 * year) }
	third.look()
	if same(get(t, third, "example.test"), before) {
		t.Error("kept though it has expired")
	}
	// Without a folder they live in memory.
	mem, _ := newStore(t, Options{Domains: []string{"example.test"}})
	p := get(t, mem, "example.test")
	if err := mem.Reload(); err != nil {
		t.Fatal(err)
	}
	if get(t, mem, "example.test") != p {
		t.Error("made again by Reload")
	}
}

func TestReload(t *testing.T) {
	dir := t.TempDir()
	crt, key := filepath.Join(dir, "a.crt"), filepath.Join(dir, "a.key")
	issue(t, crt, key, nil, in(year), "example.test")
	issue(t, filepath.Join(dir, "b.crt"), filepath.Join(dir, "b.key"), nil, in(year), "other.test")
	s, logs := newStore(t, Options{Dir: dir, Domains: []string{"example.test"}})
	a, b := get(t, s, "example.test"), get(t, s, "other.test")

	issue(t, crt, key, nil, in(year), "example.test")
	s.look()
	a2 := get(t, s, "example.test")
	if a2 == a {
		t.Error("a renewed certificate was not noticed")
	}
	if get(t, s, "other.test") != b {
		t.Error("an unchanged certificate has a new pointer")
	}

	write(t, crt, []byte("half written"))
	s.look()
	s.look()
	if get(t, s, "example.test") != a2 {
		t.Error("a broken certificate replaced a good one")
	}
	errs := logs.FilterLevelExact(zap.ErrorLevel)
	if errs.Len() != 1 || !strings.Contains(errs.All()[0].ContextMap()["error"].(string), crt) {
		t.Errorf("want one error that names the file, got %v", errs.All())
	}
	if err := s.Reload(); err == nil || !strings.Contains(err.Error(), crt) {
		t.Errorf("Reload: %v", err)
	}

	// A domain that gets a certificate leaves the self-signed one.
	issue(t, crt, key, nil, in(year), "example.test")
	if err := os.Remove(filepath.Join(dir, "b.crt")); err != nil {
		t.Fatal(err)
	}
	if err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	if get(t, s, "other.test") != get(t, s, "example.test") {
		t.Error("a removed certificate is still in use")
	}
}

func TestWatch(t *testing.T) {
	dir := t.TempDir()
	s, _ := newStore(t, Options{Dir: dir, Domains: []string{"example.test"}, Poll: time.Millisecond})
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	issue(t, filepath.Join(dir, "a.crt"), filepath.Join(dir, "a.key"), nil, in(year), "example.test")
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := in(20 * time.Second); s.Loaded()[0].SelfSigned; <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal("the new certificate was not noticed")
		}
	}
	for range 2 {
		if err := s.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	}
}

func TestWarnings(t *testing.T) {
	dir := t.TempDir()
	rk, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(dir, "a.key")
	issue(t, filepath.Join(dir, "a.crt"), key, rk, in(13*24*time.Hour), "example.test")
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	s, logs := newStore(t, Options{Dir: dir, Domains: []string{"example.test"}})
	want := func(n int) {
		t.Helper()
		for _, m := range []string{"RSA", "expires", "private key"} {
			expect := 1
			if m == "expires" {
				expect = n
			}
			if got := logs.FilterMessageSnippet(m).Len(); got != expect {
				t.Errorf("%q: %d warnings, want %d", m, got, expect)
			}
		}
	}
	want(1)
	s.look()
	want(1)
	s.now = func() time.Time { return in(24 * time.Hour) }
	s.look()
	want(2) // once a day
}

// TestNames: a certificate for other names than the hosted ones is told of, at a
// start and when it is read again, once for each file that is there.
func TestNames(t *testing.T) {
	dir := t.TempDir()
	put := func(name string) {
		t.Helper()
		issue(t, filepath.Join(dir, "a.test.crt"), filepath.Join(dir, "a.test.key"), nil, in(year), name)
	}
	put("www.a.test")
	s, logs := newStore(t, Options{Dir: dir, Domains: []string{"a.test"}})
	told := func(want int) {
		t.Helper()
		if err := s.Reload(); err != nil {
			t.Fatal(err)
		}
		if n := logs.FilterMessageSnippet("is for none of the hosted domains").Len(); n != want {
			t.Errorf("%d warnings, want %d", n, want)
		}
	}
	told(1)
	put("longer.name.a.test")
	told(2)
	put("*.test")
	told(2)
}

func TestBadInput(t *testing.T) {
	dir := t.TempDir()
	crt, key := filepath.Join(dir, "a.crt"), filepath.Join(dir, "a.key")
	issue(t, crt, key, nil, in(year)) // no name
	if _, err := New(Options{Dir: dir, Domains: []string{"example.test"}}, nil); err == nil || !strings.Contains(err.Error(), crt) {
		t.Errorf("certificate without a name: %v", err)
	}
	issue(t, crt, key, nil, in(year), "example.test")
	issue(t, filepath.Join(dir, "x.crt"), key, nil, in(year), "example.test") // key of another
	if _, err := New(Options{Dir: dir, Domains: []string{"example.test"}}, nil); err == nil || !strings.Contains(err.Error(), key) {
		t.Errorf("wrong key: %v", err)
	}
	write(t, crt, make([]byte, maxFile+1))
	if _, err := New(Options{Dir: dir, Domains: []string{"example.test"}}, nil); err == nil {
		t.Error("a huge file was read")
	}
	for _, o := range []Options{
		{}, {Domains: []string{""}}, {Domains: []string{"../etc"}}, {Domains: []string{"a b"}},
		{Domains: []string{"example.test"}, Dir: filepath.Join(dir, "missing")},
		{Domains: []string{"example.test"}, Poll: -1},
	} {
		if _, err := New(o, nil); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
}
