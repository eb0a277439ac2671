package certs

import (
	"cmp"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
)

// pair is a certificate with its key, and where they came from.
type pair struct {
	cert       *tls.Certificate
	file, key  string
	mark       string // of both files, see fileMark
	selfSigned bool
}

// maxFile bounds what is read as a certificate or key, in bytes.
const maxFile = 1 << 20

// Reload reads the folder again, for SIGHUP or because a file has changed. All
// that can be used takes effect at once and together. For a pair that can't,
// the one that it replaces stays in use, and the error names file and reason.
func (s *Store) Reload() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen, err := s.fingerprint()
	if err != nil {
		return err
	}
	found, err := findPairs(s.opts.Dir)
	if err != nil {
		return err
	}
	s.seen = seen
	pairs := map[string]*pair{}
	var broken []error
	for _, f := range found {
		old := s.pairs[f.file]
		mark := fileMark(f.file) + fileMark(f.key)
		if old != nil && old.mark == mark {
			pairs[f.file] = old // same pointer, so TLS sessions stay valid
			continue
		}
		p, err := loadPair(f)
		if err != nil {
			broken = append(broken, err)
			if old != nil {
				pairs[f.file] = old
			}
			continue
		}
		p.mark = mark
		pairs[f.file] = p
	}
	if s.current.Load() == nil && len(broken) > 0 {
		return fmt.Errorf("certs: %w", errors.Join(broken...))
	}
	s.pairs = pairs
	if err := s.apply(); err != nil {
		broken = append(broken, err)
	}
	if len(broken) > 0 {
		return fmt.Errorf("certs: %w", errors.Join(broken...))
	}
	return nil
}

// apply makes the index from s.pairs, and self-signed certificates for the
// domains that they leave out. s.mu is held.
func (s *Store) apply() error {
	x := &index{exact: map[string]*tls.Certificate{}, wildcard: map[string]*tls.Certificate{}}
	// Where two have a name, the one that lasts longer is used, and of equal
	// ones always the same.
	all := slices.SortedFunc(maps.Values(s.pairs), func(a, b *pair) int {
		return cmp.Or(b.cert.Leaf.NotAfter.Compare(a.cert.Leaf.NotAfter), cmp.Compare(a.file, b.file))
	})
	for _, p := range all {
		x.add(p, s.now())
		if !slices.ContainsFunc(s.domains, func(d string) bool { return p.cert.Leaf.VerifyHostname(d) == nil }) {
			s.warnOnce("names "+p.file+p.mark, "a certificate is for none of the hosted domains: clients will not be shown it, but other servers may be that ask for a domain of a plugin",
				zap.String("file", p.file), zap.Strings("names", p.cert.Leaf.DNSNames), zap.Strings("domains", s.domains))
		}
	}
	var failed []error
	for _, d := range s.domains {
		if x.find(d) != nil {
			continue
		}
		p, err := s.selfSigned(d)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		x.add(p, s.now())
		s.warnOnce("self "+d, "no certificate for a domain: clients will refuse the self-signed one in use",
			zap.String("domain", d), zap.String("fix", s.fix(d)))
	}
	x.fallback = x.find(s.domains[0])
	old := s.current.Load()
	if x.fallback == nil {
		if old == nil {
			return errors.Join(failed...)
		}
		x.fallback = old.fallback
	}
	s.current.Store(x)
	s.check()
	return errors.Join(failed...)
}

func (s *Store) fix(domain string) string {
	if s.opts.Dir == "" {
		return "set the folder of certificates (tls.certificates) and put a certificate for " + domain + " there"
	}
	return "put " + domain + ".crt (with its chain) and " + domain + ".key into " + s.opts.Dir
}

// add enters p under its names, where no earlier one has them. An expired one leaves its names to wildcards among the
// earlier ones: files of a domain may be left over that a wildcard has by now.
func (x *index) add(p *pair, now time.Time) {
	expired := now.After(p.cert.Leaf.NotAfter)
	for _, n := range p.cert.Leaf.DNSNames {
		n = strings.ToLower(strings.TrimSuffix(n, "."))
		m := x.exact
		if rest, ok := strings.CutPrefix(n, "*."); ok {
			m, n = x.wildcard, rest
		} else if expired && x.find(n) != nil {
			continue
		}
		if m[n] == nil {
			m[n] = p.cert
		}
	}
	x.infos = append(x.infos, Info{
		Names: slices.Clone(p.cert.Leaf.DNSNames), NotAfter: p.cert.Leaf.NotAfter,
		SelfSigned: p.selfSigned, File: p.file,
	})
}

// findPairs lists the pairs in dir, by name. A certificate without a key is
// taken for a chain or a CA and left out.
func findPairs(dir string) ([]*pair, error) {
	if dir == "" {
		return nil, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("certs: read folder of certificates: %w", err)
	}
	var found []*pair
	add := func(cert, key string) {
		if isFile(cert) && isFile(key) {
			found = append(found, &pair{file: cert, key: key})
		}
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch ext := filepath.Ext(path); ext {
		case ".crt", ".pem":
			add(path, strings.TrimSuffix(path, ext)+".key")
		default:
			add(filepath.Join(path, "fullchain.pem"), filepath.Join(path, "privkey.pem"))
		}
	}
	return found, nil
}

func isFile(path string) bool {
	st, err := os.Stat(path) // certbot's files are links
	return err == nil && st.Mode().IsRegular()
}

// loadPair reads and checks a pair.
func loadPair(f *pair) (*pair, error) {
	certPEM, err := readFile(f.file)
	if err != nil {
		return nil, err
	}
	keyPEM, err := readFile(f.key)
	if err != nil {
		return nil, err
	}
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("%s with %s: %w", f.file, f.key, err)
	}
	if cert.Leaf == nil {
		if cert.Leaf, err = x509.ParseCertificate(cert.Certificate[0]); err != nil {
			return nil, fmt.Errorf("%s: %w", f.file, err)
		}
	}
	if len(cert.Leaf.DNSNames) == 0 {
		return nil, fmt.Errorf("%s: the certificate has no DNS name (subjectAltName)", f.file)
	}
	return &pair{cert: &cert, file: f.file, key: f.key}, nil
}

func readFile(path string) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if st.Size() > maxFile {
		return nil, fmt.Errorf("%s: %d bytes are too long for a certificate or key", path, st.Size())
	}
	return os.ReadFile(path)
}

// fileMark changes when a file does: its size, its time, or what a link points
// to. A file that isn't there has the mark "".
func fileMark(path string) string {
	st, err := os.Stat(path)
	if err != nil {
		return ""
	}
	target, _ := filepath.EvalSymlinks(path)
	return fmt.Sprintf("%s %d %d;", target, st.Size(), st.ModTime().UnixNano())
}

// fingerprint is of all files that Reload would look at.
func (s *Store) fingerprint() (string, error) {
	found, err := findPairs(s.opts.Dir)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, f := range found {
		b.WriteString(f.file + " " + fileMark(f.file) + fileMark(f.key))
	}
	return b.String(), nil
}

// check warns about certificates that work but should be better. s.mu is held.
func (s *Store) check() {
	today := s.now().Format(time.DateOnly)
	for _, p := range s.pairs {
		leaf := p.cert.Leaf
		if k, ok := leaf.PublicKey.(*rsa.PublicKey); ok {
			s.warnOnce("rsa "+p.file, "RSA certificate: each TLS handshake costs several times the CPU time of ECDSA",
				zap.String("file", p.file), zap.Int("bits", k.N.BitLen()), zap.String("fix", "get an ECDSA P-256 certificate"))
		}
		if left := leaf.NotAfter.Sub(s.now()); left < 14*24*time.Hour {
			s.warnOnce("expires "+p.file+today, "certificate expires soon or has expired",
				zap.String("file", p.file), zap.Strings("names", leaf.DNSNames), zap.Time("not_after", leaf.NotAfter),
				zap.String("fix", "renew it; the new files are noticed by themselves"))
		}
		if st, err := os.Stat(p.key); err == nil && readableByOthers(st.Mode()) {
			s.warnOnce("mode "+p.key, "private key can be read by every user of this machine",
				zap.String("file", p.key), zap.String("fix", "chmod o-rwx "+p.key))
		}
	}
}

// warnOnce logs a warning unless the same key was given before.
func (s *Store) warnOnce(key, msg string, fields ...zap.Field) {
	if _, ok := s.told[key]; ok {
		return
	}
	if len(s.told) > 10_000 { // years of daily warnings
		clear(s.told)
	}
	s.told[key] = struct{}{}
	s.log.Warn(msg, fields...)
}

// readableByOthers says nothing on Windows, where modes do not tell.
func readableByOthers(m fs.FileMode) bool { return runtime.GOOS != "windows" && m.Perm()&0o004 != 0 }
