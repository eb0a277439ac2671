// Package certs keeps the certificates of the hosted domains: it finds them in
// a folder, answers which one a TLS client gets, makes a self-signed one for a
// domain that has none, and notices when files change, so that a renewal needs
// no restart.
//
// It implements server name indication (RFC 6066 3) with the name matching of
// RFC 6125 6.4: dNSName only, a wildcard stands for exactly one whole label,
// internationalized names as A-labels.
//
// It leaves out: getting certificates (ACME), OCSP stapling, validation of
// other servers' certificates, CommonName and SRVName.
package certs

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/net/idna"
)

// Options says where certificates are and for whom.
type Options struct {
	// Dir is the folder with the administrator's certificates: NAME.crt or
	// NAME.pem (certificate first, then its chain) beside NAME.key, or, as
	// certbot lays them out, NAME/fullchain.pem beside NAME/privkey.pem. The
	// names of files don't matter, those inside the certificates count. Empty
	// means that there is none.
	Dir string
	// Domains are the hosted ones, as U-labels or A-labels. A client that sends
	// no name, or one that nobody has, gets the first one's. At least one.
	Domains []string
	// SelfSignedDir is where self-signed certificates are kept, as DOMAIN.crt
	// and DOMAIN.key; it is made if need be. Empty means that they are made
	// anew at each start.
	SelfSignedDir string
	// Poll is how often Start's watcher looks for changed files. Default 1m.
	Poll time.Duration
}

// Info describes a certificate in use.
type Info struct {
	Names      []string // dNSNames, as A-labels
	NotAfter   time.Time
	SelfSigned bool   // made by this package
	File       string // of the certificate; "" if it is kept in memory only
}

// Store answers which certificate to use. All methods may be called from any
// goroutine.
type Store struct {
	opts    Options
	domains []string // as A-labels
	log     *zap.Logger
	now     func() time.Time

	current atomic.Pointer[index]

	mu     sync.Mutex          // guards all below; one load at a time
	pairs  map[string]*pair    // in use, by certificate file
	own    map[string]*pair    // self-signed, by domain
	told   map[string]struct{} // warnings that were given
	seen   string              // fingerprint of the folder at the last load
	stop   chan struct{}
	ending sync.WaitGroup
}

// index finds certificates by name. It is never changed.
type index struct {
	exact    map[string]*tls.Certificate
	wildcard map[string]*tls.Certificate // by what follows "*."
	fallback *tls.Certificate
	infos    []Info
}

// New loads all certificates and makes what is missing. A broken pair in Dir
// is an error here; Reload keeps what it has. log may be nil.
func New(o Options, log *zap.Logger) (*Store, error) {
	if len(o.Domains) == 0 {
		return nil, errors.New("certs: no domain configured")
	}
	if o.Poll == 0 {
		o.Poll = time.Minute
	}
	if o.Poll < 0 {
		return nil, errors.New("certs: Poll must not be negative")
	}
	if log == nil {
		log = zap.NewNop()
	}
	s := &Store{
		opts: o, log: log, now: time.Now,
		pairs: map[string]*pair{}, own: map[string]*pair{}, told: map[string]struct{}{},
	}
	for _, d := range o.Domains {
		a, err := ascii(d)
		if err != nil {
			return nil, fmt.Errorf("certs: domain %q: %w", d, err)
		}
		s.domains = append(s.domains, a)
	}
	if err := s.Reload(); err != nil {
		return nil, err
	}
	return s, nil
}

// ascii gives a domain's A-label form in lower case, without trailing dot.
func ascii(domain string) (string, error) {
	a, err := idna.Lookup.ToASCII(strings.TrimSuffix(domain, "."))
	if err != nil {
		return "", fmt.Errorf("no DNS name: %w", err)
	}
	if a == "" || a[0] == '.' || strings.ContainsAny(a, "/\\\x00") {
		return "", errors.New("no DNS name")
	}
	return strings.ToLower(a), nil
}

// GetCertificate chooses by the name in the ClientHello; the first domain's
// certificate is for everybody else. It fits tls.Config.GetCertificate, and
// gives the same pointer until the certificate changes.
func (s *Store) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	x := s.current.Load()
	if c := x.find(strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))); c != nil {
		return c, nil
	}
	return x.fallback, nil
}

// Certificate returns the one for a domain that the server answers for, be it hosted or not: that of the
// administrator, else one that is self-signed and made if need be. The pointer is the same until the
// certificate changes. Callers ask for no more domains than they have.
func (s *Store) Certificate(domain string) (*tls.Certificate, error) {
	name, err := ascii(domain)
	if err != nil {
		return nil, fmt.Errorf("certs: domain %q: %w", domain, err)
	}
	if c := s.current.Load().find(name); c != nil {
		return c, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.selfSigned(name)
	if err != nil {
		return nil, fmt.Errorf("certs: %w", err)
	}
	if !slices.Contains(s.domains, name) { // those are told of by apply
		s.warnOnce("self "+name, "no certificate for a domain of a plugin: the self-signed one in use proves nothing to other servers",
			zap.String("domain", name), zap.String("fix", s.fix(name)+", or one for several names"))
	}
	return p.cert, nil
}

// find returns nil if no certificate has the name (an A-label in lower case).
func (x *index) find(name string) *tls.Certificate {
	if c := x.exact[name]; c != nil {
		return c
	}
	// RFC 6125 6.4.3: the wildcard is the whole left-most label.
	if label, rest, ok := strings.Cut(name, "."); ok && label != "" {
		return x.wildcard[rest]
	}
	return nil
}

// Loaded describes the certificates in use, those of Dir first.
func (s *Store) Loaded() []Info {
	return append([]Info(nil), s.current.Load().infos...)
}
