package verify

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// at is the time of the tests.
var at = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

func now() time.Time { return at }

// issuer is an authority of tests.
type issuer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

var serial int64

// issue makes a certificate by a template, in which what is missing is filled in; by nil itself signs it.
func issue(t testing.TB, by *issuer, template *x509.Certificate) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial++
	template.SerialNumber = big.NewInt(serial)
	if template.NotBefore.IsZero() {
		template.NotBefore = at.Add(-24 * time.Hour)
	}
	if template.NotAfter.IsZero() {
		template.NotAfter = at.Add(24 * time.Hour)
	}
	parent, signer := template, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &issuer{cert, key}
}

func authority(t testing.TB, by *issuer, name string, more ...func(*x509.Certificate)) *issuer {
	c := &x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	for _, m := range more {
		m(c)
	}
	return issue(t, by, c)
}

// otherName is an entry of a subjectAltName, with a string of a kind.
type otherName struct {
	id   asn1.ObjectIdentifier
	tag  int
	text string
}

func xmppAddr(text string) otherName { return otherName{oidXMPPAddr, asn1.TagUTF8String, text} }
func srvID(text string) otherName    { return otherName{oidDNSSRV, asn1.TagIA5String, text} }

// altNames is the value of a subjectAltName.
func altNames(t testing.TB, list ...otherName) []byte {
	t.Helper()
	der := func(v any) []byte {
		b, err := asn1.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var all []byte
	for _, n := range list {
		value := der(asn1.RawValue{Tag: n.tag, Bytes: []byte(n.text)})
		value = der(asn1.RawValue{Class: asn1.ClassContextSpecific, IsCompound: true, Bytes: value})
		all = append(all, der(asn1.RawValue{Class: asn1.ClassContextSpecific, IsCompound: true, Bytes: append(der(n.id), value...)})...)
	}
	return der(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: all})
}

// others is a template with other names alone.
func others(t testing.TB, critical bool, list ...otherName) *x509.Certificate {
	return &x509.Certificate{ExtraExtensions: []pkix.Extension{{Id: oidSubjectAltName, Critical: critical, Value: altNames(t, list...)}}}
}

func names(list ...string) *x509.Certificate { return &x509.Certificate{DNSNames: list} }

func usage(list ...x509.ExtKeyUsage) *x509.Certificate {
	return &x509.Certificate{DNSNames: []string{"far.example"}, ExtKeyUsage: list}
}

func TestVerify(t *testing.T) {
	root := authority(t, nil, "the root")
	middle := authority(t, root, "the middle")
	foreign := authority(t, nil, "another root")
	old := authority(t, root, "the old one", func(c *x509.Certificate) { c.NotAfter = at.Add(-time.Hour) })
	narrow := authority(t, root, "the narrow one", func(c *x509.Certificate) {
		c.PermittedDNSDomainsCritical, c.PermittedDNSDomains, c.ExcludedDNSDomains = true, []string{"far.example"}, []string{"not.far.example"}
	})
	emails := authority(t, root, "one for mail", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection} })

	type row struct {
		name     string
		by       *issuer
		template *x509.Certificate
		via      []*issuer // what is presented with it
		domain   string    // "": far.example
		want     string    // in the error; "": none
	}
	rows := []row{
		{name: "RFC 6125 6.4.1: DNS-ID", by: root, template: names("else.example", "far.example")},
		{name: "DNS-ID, in capitals", by: root, template: names("FAR.Example")},
		{name: "wrong name", by: root, template: names("else.example", "x.far.example"), want: "is for else.example, x.far.example, not for far.example"},
		{name: "many names", by: root, template: names("a", "b", "c", "d", "e", "f", "g"), want: "a, b, c, d, e and 2 more"},
		{name: "no name", by: root, template: names(), want: "no name"},
		{name: "RFC 9525 2: the common name is not looked at", by: root, template: &x509.Certificate{Subject: pkix.Name{CommonName: "far.example"}}, want: "no name"},
		{name: "RFC 6125 6.4.3: wildcard", by: root, template: names("*.example")},
		{name: "wildcard of the same length", by: root, template: names("*.far.example"), want: "not for"},
		{name: "wildcard for one label alone", by: root, template: names("*.example"), domain: "a.far.example", want: "not for"},
		{name: "wildcard in a label", by: root, template: names("f*.example"), want: "not for"},
		{name: "wildcard that is no left-most label", by: root, template: names("far.*"), want: "not for"},
		{name: "wildcard alone", by: root, template: names("*"), domain: "far", want: "not for"},

		{name: "RFC 6120 13.7.1.4: xmppAddr", by: root, template: others(t, false, xmppAddr("far.example"))},
		{name: "xmppAddr, critical", by: root, template: others(t, true, xmppAddr("far.example"))},
		{name: "xmppAddr in capitals", by: root, template: others(t, false, xmppAddr("Far.EXAMPLE"))},
		{name: "xmppAddr of an account", by: root, template: others(t, false, xmppAddr("juliet@far.example")), want: "xmpp:juliet@far.example"},
		{name: "xmppAddr with a resource", by: root, template: others(t, false, xmppAddr("far.example/x")), want: "not for"},
		{name: "xmppAddr has no wildcard", by: root, template: others(t, false, xmppAddr("*.example")), want: "not for"},
		{name: "xmppAddr of another kind of string", by: root, template: others(t, false, otherName{oidXMPPAddr, asn1.TagIA5String, "far.example"}), want: "can't be read"},
		{name: "RFC 4985: SRV-ID", by: root, template: others(t, true, srvID("_xmpp-server.far.example"))},
		{name: "SRV-ID in capitals", by: root, template: others(t, true, srvID("_XMPP-Server.Far.example"))},
		{name: "SRV-ID with a wildcard", by: root, template: others(t, true, srvID("_xmpp-server.*.example"))},
		{name: "SRV-ID of clients", by: root, template: others(t, true, srvID("_xmpp-client.far.example")), want: "_xmpp-client.far.example, not for"},
		{name: "SRV-ID without a domain", by: root, template: others(t, true, srvID("_xmpp-server.")), want: "not for"},
		{name: "SRV-ID for another domain", by: root, template: others(t, true, srvID("_xmpp-server.else.example")), want: "not for"},
		{name: "an other name of no known kind", by: root, template: others(t, false, otherName{asn1.ObjectIdentifier{1, 2, 3}, asn1.TagUTF8String, "far.example"}), want: "no name"},

		{name: "RFC 6125 6.4.2: A-label", by: root, template: names("xn--bcher-kva.example"), domain: "bücher.example"},
		{name: "A-label below a wildcard", by: root, template: names("*.example"), domain: "bücher.example"},
		{name: "wildcard below an A-label", by: root, template: names("*.xn--bcher-kva.example"), domain: "chat.bücher.example"},
		{name: "SRV-ID with an A-label", by: root, template: others(t, false, srvID("_xmpp-server.xn--bcher-kva.example")), domain: "bücher.example"},
		{name: "xmppAddr with a U-label", by: root, template: others(t, false, xmppAddr("bücher.example")), domain: "bücher.example"},
		{name: "xmppAddr with an A-label", by: root, template: others(t, false, xmppAddr("xn--bcher-kva.example")), domain: "bücher.example"},

		{name: "an address", by: root, template: &x509.Certificate{IPAddresses: []net.IP{net.ParseIP("192.0.2.1")}}, domain: "192.0.2.1"},
		{name: "an address of IPv6", by: root, template: &x509.Certificate{IPAddresses: []net.IP{net.ParseIP("2001:db8::1")}}, domain: "[2001:db8::1]"},
		{name: "another address", by: root, template: &x509.Certificate{IPAddresses: []net.IP{net.ParseIP("192.0.2.2")}}, domain: "192.0.2.1", want: "is for 192.0.2.2"},
		{name: "an address as a DNS name", by: root, template: names("192.0.2.1"), domain: "192.0.2.1", want: "not for"},
		{name: "a name for an address", by: root, template: &x509.Certificate{IPAddresses: []net.IP{net.ParseIP("192.0.2.2")}}, want: "not for far.example"},

		{name: "expired", by: root, template: &x509.Certificate{DNSNames: []string{"far.example"}, NotAfter: at.Add(-time.Minute)}, want: "expired on 2026-06-01 11:59 UTC"},
		{name: "not yet valid", by: root, template: &x509.Certificate{DNSNames: []string{"far.example"}, NotBefore: at.Add(time.Minute)}, want: "not valid before 2026-06-01 12:01 UTC; here it is 2026-06-01 12:00 UTC"},
		{name: "wrong authority", by: foreign, template: names("far.example"), want: "signed by CN=another root"},
		{name: "wrong authority, presented too", by: foreign, via: []*issuer{foreign}, template: names("far.example"), want: "it presented 2 certificates"},
		{name: "signed by itself", template: &x509.Certificate{Subject: pkix.Name{CommonName: "x"}, DNSNames: []string{"far.example"}}, want: "signed by itself"},
		{name: "an intermediate", by: middle, via: []*issuer{middle}, template: names("far.example")},
		{name: "an intermediate among others", by: middle, via: []*issuer{foreign, old, middle, root}, template: names("far.example")},
		{name: "an intermediate that is missing", by: middle, template: names("far.example"), want: "signed by CN=the middle"},
		{name: "an intermediate that expired", by: old, via: []*issuer{old}, template: names("far.example"), want: "authority CN=the old one expired on 2026-06-01 11:00"},
		{name: "a server that plays an authority", by: root, template: &x509.Certificate{DNSNames: []string{"far.example"}, IsCA: true, BasicConstraintsValid: true}, want: "CA:TRUE"},

		{name: "serverAuth alone", by: root, template: usage(x509.ExtKeyUsageServerAuth)},
		{name: "clientAuth alone", by: root, template: usage(x509.ExtKeyUsageClientAuth)},
		{name: "both", by: root, template: usage(x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth)},
		{name: "any", by: root, template: usage(x509.ExtKeyUsageAny)},
		{name: "codeSigning alone", by: root, template: usage(x509.ExtKeyUsageCodeSigning), want: "neither serverAuth nor clientAuth"},
		{name: "by an authority for mail", by: emails, via: []*issuer{emails}, template: usage(x509.ExtKeyUsageServerAuth), want: "neither serverAuth nor clientAuth"},

		{name: "RFC 5280 4.2.1.10: a DNS-ID that is permitted", by: narrow, via: []*issuer{narrow}, template: names("far.example")},
		{name: "a DNS-ID that is not", by: narrow, via: []*issuer{narrow}, template: names("else.example"), domain: "else.example", want: "not valid"},
		{name: "an SRV-ID that is permitted", by: narrow, via: []*issuer{narrow}, template: others(t, true, srvID("_xmpp-server.a.far.example")), domain: "a.far.example"},
		{name: "an SRV-ID that is not", by: narrow, via: []*issuer{narrow}, template: others(t, true, srvID("_xmpp-server.else.example")), domain: "else.example", want: "name constraints"},
		{name: "an xmppAddr that is not", by: narrow, via: []*issuer{narrow}, template: others(t, true, xmppAddr("ofar.example")), domain: "ofar.example", want: "name constraints"},
		{name: "an xmppAddr that is excluded", by: narrow, via: []*issuer{narrow}, template: others(t, true, xmppAddr("not.far.example")), domain: "not.far.example", want: "name constraints"},
		{name: "an xmppAddr that is an address", by: narrow, via: []*issuer{narrow}, template: others(t, true, xmppAddr("192.0.2.1")), domain: "192.0.2.1", want: "name constraints"},

		{name: "what is no domain", by: root, template: names("far.example"), domain: "a b", want: "no domain"},
	}
	pool := x509.NewCertPool()
	pool.AddCert(root.cert)
	v, err := New(Options{Roots: pool, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			chain := []*x509.Certificate{issue(t, r.by, r.template).cert}
			for _, i := range r.via {
				chain = append(chain, i.cert)
			}
			domain := r.domain
			if domain == "" {
				domain = "far.example"
			}
			check(t, v, chain, domain, r.want)
		})
	}
}

// check verifies a chain. want is in the error.
func check(t *testing.T, v *Verifier, chain []*x509.Certificate, domain, want string) {
	t.Helper()
	proof, err := v.Verify(context.Background(), chain, domain)
	switch {
	case (err == nil) != (proof != ""):
		t.Errorf("proof %q, and %v", proof, err)
	case want == "" && err != nil:
		t.Error(err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("%v; want %q", err, want)
	case err != nil && (len(err.Error()) > 700 || strings.ContainsAny(err.Error(), "\r\n")):
		t.Errorf("not a line: %q", err)
	}
}

func TestBounds(t *testing.T) {
	root := authority(t, nil, "root")
	pool := x509.NewCertPool()
	pool.AddCert(root.cert)
	v, err := New(Options{Roots: pool, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	leaf := issue(t, root, names("far.example")).cert
	check(t, v, nil, "far.example", "no certificate")
	chain := []*x509.Certificate{leaf}
	for range 10 {
		chain = append(chain, root.cert)
	}
	check(t, v, chain, "far.example", "11 certificates")
	check(t, v, chain[:10], "far.example", "")
	var many []string
	for i := range 2001 {
		many = append(many, fmt.Sprintf("%d.example", i))
	}
	check(t, v, []*x509.Certificate{issue(t, root, names(append(many, "far.example")...)).cert}, "far.example", "more than 2000 names")
	large := issue(t, root, others(t, false, xmppAddr(strings.Repeat("x", 110<<10)))).cert
	check(t, v, []*x509.Certificate{large}, "far.example", "bytes")
	// What a peer says does not break lines, or make long ones.
	check(t, v, []*x509.Certificate{issue(t, root, others(t, false, xmppAddr("a\r\nb"+strings.Repeat("ü", 4000)))).cert}, "far.example", "xmpp:a??b")
	check(t, v, []*x509.Certificate{issue(t, authority(t, nil, "a\nb"+strings.Repeat("x", 4000)), names("far.example")).cert}, "far.example", "signed by")
}

func TestPins(t *testing.T) {
	one := issue(t, nil, names("whatever.example")).cert
	two := issue(t, nil, names("far.example")).cert
	sum := func(c *x509.Certificate) []byte { s := sha256.Sum256(c.RawSubjectPublicKeyInfo); return s[:] }
	pairs := strings.TrimSuffix(strings.ReplaceAll(fmt.Sprintf("% X", sum(one)), " ", ":"), ":")
	for _, spelt := range []string{fmt.Sprintf("%x", sum(one)), pairs, base64.StdEncoding.EncodeToString(sum(one))} {
		v, err := New(Options{Roots: x509.NewCertPool(), Now: now, Pins: map[string]string{"Far.example": strings.Repeat("00", 32) + " " + spelt}})
		if err != nil {
			t.Fatal(err)
		}
		check(t, v, []*x509.Certificate{one}, "far.example", "")
		check(t, v, []*x509.Certificate{two}, "far.example", fmt.Sprintf("%x", sum(two)))
		check(t, v, []*x509.Certificate{two, one}, "far.example", "pinned")
		check(t, v, []*x509.Certificate{one}, "whatever.example", "signed by itself")
	}
	// A pin outranks an authority.
	root := authority(t, nil, "root")
	pool := x509.NewCertPool()
	pool.AddCert(root.cert)
	v, err := New(Options{Roots: pool, Now: now, Pins: map[string]string{"far.example": fmt.Sprintf("%x", sum(one))}})
	if err != nil {
		t.Fatal(err)
	}
	check(t, v, []*x509.Certificate{issue(t, root, names("far.example")).cert}, "far.example", "pinned")
	for _, bad := range []map[string]string{{"far.example": "abc"}, {"far.example": " "}, {"a@b": fmt.Sprintf("%x", sum(one))}, {"": "x"}} {
		if _, err := New(Options{Pins: bad}); err == nil || !strings.Contains(err.Error(), "pins") {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

func TestCAFiles(t *testing.T) {
	root, other := authority(t, nil, "root"), authority(t, nil, "other")
	write := func(name, kind string, ders ...[]byte) string {
		path := filepath.Join(t.TempDir(), name)
		var b bytes.Buffer
		for _, der := range ders {
			if err := pem.Encode(&b, &pem.Block{Type: kind, Bytes: der}); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	given := x509.NewCertPool()
	v, err := New(Options{Roots: given, Now: now, CAFiles: []string{write("both", "CERTIFICATE", other.cert.Raw, root.cert.Raw)}})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []*issuer{root, other} {
		check(t, v, []*x509.Certificate{issue(t, a, names("far.example")).cert}, "far.example", "")
	}
	if !given.Equal(x509.NewCertPool()) {
		t.Error("the caller's pool was changed")
	}
	huge := filepath.Join(t.TempDir(), "huge")
	if err := os.WriteFile(huge, make([]byte, maxFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		write("empty", "CERTIFICATE"):               "no certificate",
		write("key", "PRIVATE KEY", []byte("x")):    "PRIVATE KEY",
		write("broken", "CERTIFICATE", []byte("x")): "x509",
		filepath.Join(t.TempDir(), "missing"):       "no such file",
		huge:                                        "more than",
		t.TempDir():                                 "directory",
	} {
		if _, err := New(Options{CAFiles: []string{path}}); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "ca-files") {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := New(Options{}); err != nil {
		t.Errorf("the authorities of the system: %v", err)
	}
}

// What a peer presents is read without a panic, and what is read are strings of the right kind.
func FuzzOtherNames(f *testing.F) {
	f.Add(altNames(f, xmppAddr("far.example"), srvID("_xmpp-server.far.example")))
	f.Add(altNames(f, otherName{asn1.ObjectIdentifier{1, 2, 3}, asn1.TagUTF8String, "x"}))
	f.Add(altNames(f, otherName{oidXMPPAddr, asn1.TagIA5String, "x"}))
	f.Add(issue(f, nil, names("a", "b")).cert.Extensions[0].Value)
	f.Add([]byte{0x30, 0x80, 0xa0, 0x80, 0, 0, 0, 0})
	f.Add([]byte{0x30, 0x84, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, der []byte) {
		n, err := parseOtherNames(der)
		if err != nil && len(n.srv)+len(n.xmpp) > 0 {
			t.Error("names and an error")
		}
		size := 0
		for _, s := range append(n.srv, n.xmpp...) {
			size += len(s)
		}
		if size > len(der) {
			t.Errorf("%d bytes of names of %d", size, len(der))
		}
		d, err := reference("far.example")
		if err != nil {
			t.Fatal(err)
		}
		p := &presented{n, &x509.Certificate{}}
		p.is(d)
		if text := p.String(); len(text) > 2000 || strings.ContainsAny(text, "\r\n\x00") {
			t.Errorf("%q", text)
		}
	})
}

// What is compared with a name in a certificate never makes it one for two domains, but by a wildcard.
func FuzzMatches(f *testing.F) {
	f.Add("*.example", "far.example")
	f.Add("far.example", "far.example")
	f.Add("*.", "far.")
	f.Add("*", "far")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		d, err := reference(name)
		if err != nil || d.ascii == "" || !matches(pattern, d.ascii) {
			return
		}
		if strings.ToLower(pattern) != d.ascii && (!strings.HasPrefix(pattern, "*.") || strings.Count(pattern, ".") != strings.Count(d.ascii, ".")) {
			t.Errorf("%q matches %q", pattern, name)
		}
	})
}
