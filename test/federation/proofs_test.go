package federation

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/test/harness/netlab"
)

// leaf returns the certificate of a server.
func (s *server) leaf() *x509.Certificate {
	s.t.Helper()
	b, err := os.ReadFile(filepath.Join(s.dir, "certs", s.domain+".crt"))
	if err != nil {
		s.t.Fatal(err)
	}
	block, _ := pem.Decode(b)
	if block == nil {
		s.t.Fatal("no PEM in ", s.domain, ".crt")
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// otherUse is a certificate that is not for servers.
func otherUse(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning} }

// A certificate that expired, or is for other uses, is enough where its key is pinned, or the DNS (RFC 7673) or a web server
// (RFC 7711) says that it is the domain's. Nothing else would do: a valid one is required.
func TestProofs(t *testing.T) {
	try := func(t *testing.T, options string, certificate func(*x509.Certificate), prepare func(l *netlab.Lab) (tell func(far *server))) {
		l := netlab.New(t)
		tell := prepare(l)
		far := starts(t, l,
			&server{kind: "prosody", domain: "prosody.example", policy: policy{certificate: certificate}},
			&server{kind: "hexmpp", domain: "other.example", policy: policy{required: true, certificate: certificate}})
		var pins []string
		for _, s := range far {
			tell(s)
			pins = append(pins, fmt.Sprintf("%s: %x", s.domain, sha256.Sum256(s.leaf().RawSubjectPublicKeyInfo)))
		}
		if options == "pins" {
			options = "pins: {" + strings.Join(pins, ", ") + "}"
		}
		near := starts(t, l, &server{kind: "hexmpp", domain: "hexmpp.example", policy: policy{required: true, options: options}})[0]
		for _, s := range far {
			t.Run(s.domain, func(t *testing.T) { talk(near.client(t, "romeo"), s.client(t, "juliet"), "words") })
		}
	}
	t.Run("pins", func(t *testing.T) {
		try(t, "pins", expired, func(*netlab.Lab) func(*server) { return func(*server) {} })
	})
	t.Run("DANE", func(t *testing.T) {
		try(t, "dane: true", expired, func(l *netlab.Lab) func(*server) {
			l.Names.Sign(true)
			return func(s *server) {
				l.Names.Add(fmt.Sprintf("_5269._tcp.xmpp.%s. 60 IN TLSA 3 1 1 %x", s.domain, sha256.Sum256(s.leaf().RawSubjectPublicKeyInfo)))
			}
		})
	})
	t.Run("POSH", func(t *testing.T) {
		try(t, "posh: true", otherUse, func(l *netlab.Lab) func(*server) { return serveWeb(t, l).tell })
	})
}

// The DNS outranks authorities: a certificate that is not the one of its records is worth nothing.
func TestOtherTLSARecord(t *testing.T) {
	l := netlab.New(t)
	s := starts(t, l,
		&server{kind: "hexmpp", domain: "hexmpp.example", policy: policy{required: true, options: "dane: true"}},
		&server{kind: "prosody", domain: "prosody.example"},
		&server{kind: "prosody", domain: "plain.example"})
	l.Names.Add(fmt.Sprintf("_5269._tcp.xmpp.prosody.example. 60 IN TLSA 3 1 1 %x", sha256.Sum256([]byte("another one"))))
	romeo := s[0].client(t, "romeo")
	talk(romeo, s[2].client(t, "juliet"), "unsigned")
	l.Names.Sign(true)
	romeo.say(s[1].client(t, "juliet").JID, "words")
	romeo.refused("message", "words", "policy-violation")
}

// web is a web server for domains.
type web struct {
	dir string
	l   *netlab.Lab
	t   testing.TB

	mu           sync.Mutex // guards what follows
	certificates map[string]*tls.Certificate
	documents    map[string]string // of POSH
}

// serveWeb runs one until the test ends.
func serveWeb(t testing.TB, l *netlab.Lab) *web {
	t.Helper()
	w := &web{dir: t.TempDir(), l: l, t: t, certificates: map[string]*tls.Certificate{}, documents: map[string]string{}}
	ln, err := net.Listen("tcp", "10.66.0.1:443")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: w, TLSConfig: &tls.Config{GetCertificate: w.certificate}, ReadHeaderTimeout: 10 * time.Second}
	var all sync.WaitGroup
	all.Go(func() { _ = srv.ServeTLS(ln, "", "") }) // until Close
	t.Cleanup(func() {
		srv.Close()
		all.Wait()
	})
	return w
}

// tell has it say what the certificate of a domain's XMPP server is.
func (w *web) tell(s *server) {
	w.t.Helper()
	if _, err := w.l.CA.Issue(w.dir, s.domain); err != nil {
		w.t.Fatal(err)
	}
	cert, err := tls.LoadX509KeyPair(filepath.Join(w.dir, s.domain+".crt"), filepath.Join(w.dir, s.domain+".key"))
	if err != nil {
		w.t.Fatal(err)
	}
	sum := sha256.Sum256(s.leaf().Raw)
	w.mu.Lock()
	w.certificates[s.domain] = &cert
	w.documents[s.domain] = fmt.Sprintf(`{"fingerprints": [{"sha-256": "%s"}], "expires": 60}`, base64.StdEncoding.EncodeToString(sum[:]))
	w.mu.Unlock()
	w.l.Names.Add(s.domain + ". 60 IN A 10.66.0.1")
}

func (w *web) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.certificates[hello.ServerName], nil
}

// ServeHTTP implements http.Handler.
func (w *web) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if r.URL.Path != "/.well-known/posh/xmpp-server.json" {
		rw.WriteHeader(http.StatusNotFound)
		return
	}
	fmt.Fprint(rw, w.documents[r.Host])
}
