// Package posh finds which certificates a domain says are those of its XMPP servers, in a file that is fetched by HTTPS
// from the domain itself (RFC 7711; RFC 7712 5.2): so a hosting provider needs no certificate for the domain.
//
// Decided, where RFC 7711 leaves it open: 5 redirects at most are followed; a result is kept for a day at most, and a
// failure for five minutes; SHA-256, SHA-384 and SHA-512 are known, others passed over; a document without
// "expires" is none.
package posh

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// Times and bounds.
const (
	fetchTime       = 10 * time.Second // of everything for one domain
	maxKept         = 24 * time.Hour
	failedKept      = 5 * time.Minute
	maxCache        = 1000 // domains
	maxFetches      = 16   // at one time
	maxRedirects    = 5
	maxDocument     = 64 << 10 // bytes
	maxFingerprints = 100
)

// path is where a document is (RFC 7712 5.2).
const path = "/.well-known/posh/xmpp-server.json"

// Client fetches documents, and keeps what is in them for a while. Its methods may be called by any goroutine.
type Client struct {
	http    *http.Client
	now     func() time.Time
	fetches chan struct{} // has room for as many as there may be

	mu   sync.Mutex // guards what follows
	kept map[string]result
}

// result is what became of a domain.
type result struct {
	prints []fingerprints
	err    error
	until  time.Time
}

// New makes a Client that fetches by a transport, whose TLS checks the names of web servers; nil: one of its own with these
// authorities (nil: those of the system). No proxy is used.
func New(roots *x509.CertPool, transport http.RoundTripper) *Client {
	if transport == nil {
		transport = newTransport(roots)
	}
	return &Client{
		http: &http.Client{Transport: transport, CheckRedirect: redirect},
		now:  time.Now, fetches: make(chan struct{}, maxFetches), kept: map[string]result{},
	}
}

// redirect says whether one is followed (RFC 7711 10).
func redirect(r *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return fmt.Errorf("more than %d redirects", maxRedirects)
	}
	return secure(r.URL)
}

// secure says whether an address is one of HTTPS.
func secure(u *url.URL) error {
	if u.Scheme != "https" || u.Host == "" || u.User != nil {
		return errors.New("it points at an address that is not one of HTTPS")
	}
	return nil
}

// Verify says whether the document of a domain, which is as in jid.JID.Domain, lists a certificate, the peer's own. That it is
// valid at this time is for the caller (RFC 7711 6).
func (c *Client) Verify(ctx context.Context, cert *x509.Certificate, domain string) error {
	if _, err := netip.ParseAddr(domain); err == nil {
		return errors.New("posh: an address has none")
	}
	host, err := jid.DomainToASCII(domain)
	if err != nil {
		return errors.New("posh: no name of the DNS has none")
	}
	r, err := c.lookup(ctx, host)
	if err == nil {
		err = r.err
	}
	if err != nil {
		return fmt.Errorf("posh: https://%s%s: %w", host, path, err)
	}
	for _, p := range r.prints {
		if p.match(cert) {
			return nil
		}
	}
	return fmt.Errorf("posh: https://%s%s does not list the certificate", host, path)
}

// lookup returns what is known of a host, or fetches it. The error is about now.
func (c *Client) lookup(ctx context.Context, host string) (result, error) {
	if r, ok := c.known(host); ok {
		return r, nil
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	select {
	case c.fetches <- struct{}{}:
		defer func() { <-c.fetches }()
	case <-ctx.Done():
		return result{}, ctx.Err()
	}
	if r, ok := c.known(host); ok { // another stream has waited for it
		return r, nil
	}
	r := result{}
	var keep time.Duration
	if r.prints, keep, r.err = c.fetch(ctx, host); r.err != nil {
		keep = failedKept
		if ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return r, ctx.Err() // nobody wants to know any more
		}
	}
	r.until = c.now().Add(min(keep, maxKept))
	c.keep(host, r)
	return r, nil
}

// known returns what is kept of a host.
func (c *Client) known(host string) (result, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.kept[host]
	return r, ok && c.now().Before(r.until)
}

// keep makes room: what is stale goes first, then whatever comes first.
func (c *Client) keep(host string, r result) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.kept) >= maxCache {
		for h, old := range c.kept {
			if !c.now().Before(old.until) {
				delete(c.kept, h)
			}
		}
	}
	for h := range c.kept {
		if len(c.kept) < maxCache {
			break
		}
		delete(c.kept, h)
	}
	c.kept[host] = r
}

// fetch gets a document, and the one that it refers to (RFC 7711 3).
func (c *Client) fetch(ctx context.Context, host string) ([]fingerprints, time.Duration, error) {
	first, err := c.get(ctx, "https://"+host+path)
	if err != nil {
		return nil, 0, err
	}
	if first.ref == "" {
		return first.prints, first.expires, nil
	}
	second, err := c.get(ctx, first.ref)
	switch {
	case err != nil:
		return nil, 0, fmt.Errorf("what it refers to: %w", err)
	case second.ref != "":
		return nil, 0, errors.New("what it refers to refers to another one")
	}
	return second.prints, min(first.expires, second.expires), nil // RFC 7711 6
}

// get gets one document.
func (c *Client) get(ctx context.Context, at string) (document, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return document{}, errors.New("it is no address")
	}
	if err := secure(req.URL); err != nil {
		return document{}, err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		if e := (*url.Error)(nil); errors.As(err, &e) {
			err = e.Err // without the address, which may be long
		}
		return document{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return document{}, fmt.Errorf("the web server says %d", resp.StatusCode)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxDocument+1))
	if err != nil {
		return document{}, err
	}
	return parse(b)
}

// document is a fingerprints document, or with ref a reference document.
type document struct {
	prints  []fingerprints
	ref     string // an address of HTTPS, or what should be one
	expires time.Duration
}

// fingerprints are hashes of one certificate, by their names.
type fingerprints map[string][]byte

// parse reads a document (RFC 7711 3.1, 3.2).
func parse(b []byte) (document, error) {
	if len(b) > maxDocument {
		return document{}, fmt.Errorf("it has more than %d bytes", maxDocument)
	}
	var j struct {
		Fingerprints []map[string]string `json:"fingerprints"`
		URL          *string             `json:"url"`
		Expires      *int64              `json:"expires"`
	}
	if err := json.Unmarshal(b, &j); err != nil {
		return document{}, errors.New("it is no document of POSH")
	}
	switch {
	case (j.URL == nil) == (len(j.Fingerprints) == 0):
		return document{}, errors.New("it has neither fingerprints nor url, or both")
	case len(j.Fingerprints) > maxFingerprints:
		return document{}, fmt.Errorf("it has more than %d fingerprints", maxFingerprints)
	case j.Expires == nil || *j.Expires < 0:
		return document{}, errors.New("it does not say for how long it holds")
	case *j.Expires == 0:
		return document{}, errors.New("it does not hold any more (expires is 0)")
	}
	d := document{expires: maxKept}
	if *j.Expires < int64(maxKept/time.Second) {
		d.expires = time.Duration(*j.Expires) * time.Second
	}
	if j.URL != nil {
		if d.ref = *j.URL; d.ref == "" {
			return document{}, errors.New("url is empty")
		}
		return d, nil
	}
	for _, list := range j.Fingerprints {
		prints := fingerprints{}
		for name, text := range list {
			// Some leave the padding out, as an example of the RFC does.
			for len(text) > 0 && text[len(text)-1] == '=' {
				text = text[:len(text)-1]
			}
			hash, err := base64.RawStdEncoding.Strict().DecodeString(text)
			if known := digest(name, nil); err == nil && known != nil && len(hash) == len(known) {
				prints[name] = hash
			}
		}
		d.prints = append(d.prints, prints)
	}
	return d, nil
}

// digest returns the hash of that name, nil if it is not known.
func digest(name string, b []byte) []byte {
	switch name {
	case "sha-256":
		h := sha256.Sum256(b)
		return h[:]
	case "sha-384":
		h := sha512.Sum384(b)
		return h[:]
	case "sha-512":
		h := sha512.Sum512(b)
		return h[:]
	}
	return nil
}

// match says whether they are of a certificate: all that are known.
func (f fingerprints) match(cert *x509.Certificate) bool {
	for name, hash := range f {
		if string(digest(name, cert.Raw)) != string(hash) {
			return false
		}
	}
	return len(f) > 0
}
