package posh

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var (
	cert  = &x509.Certificate{Raw: []byte("the certificate of a hosting provider")}
	other = &x509.Certificate{Raw: []byte("another one")}
)

// print is a fingerprint of a certificate.
func print(c *x509.Certificate) string {
	h := sha256.Sum256(c.Raw)
	return base64.StdEncoding.EncodeToString(h[:])
}

func document64(c *x509.Certificate, expires int) string {
	return fmt.Sprintf(`{"fingerprints": [{"sha-256": "%s"}], "expires": %d}`, print(c), expires)
}

// web is a web server for all hosts, of which it answers by name; a document that begins with a status is that,
// and a Location.
type web struct {
	mu    sync.Mutex
	asked []string
	at    map[string]string // host and path
}

func (w *web) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = append(w.asked, r.Host+r.URL.Path)
	text, there := w.at[r.Host+r.URL.Path]
	if to, ok := strings.CutPrefix(text, "to "); ok {
		http.Redirect(rw, r, to, http.StatusFound)
		return
	}
	if !there {
		rw.WriteHeader(http.StatusNotFound)
	}
	fmt.Fprint(rw, text)
}

func (w *web) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.asked)
}

// serve returns a client for which all names are those of the server, whose certificate is for *.example.com and example.com.
func (w *web) serve(t *testing.T) *Client {
	s := httptest.NewTLSServer(w)
	t.Cleanup(s.Close)
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	c := New(pool, nil)
	c.http.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, s.Listener.Addr().String())
	}
	return c
}

func TestVerify(t *testing.T) {
	const domain = "example.com"
	well := domain + path
	sum := sha512.Sum512(cert.Raw)
	long := base64.StdEncoding.EncodeToString(sum[:])
	many := strings.Repeat(`{"sha-256": "x"},`, 101)
	for name, row := range map[string]struct {
		at     map[string]string
		domain string
		want   string // in the error; "": none
	}{
		"RFC 7711 3.1":                    {at: map[string]string{well: document64(cert, 60)}},
		"another certificate":             {at: map[string]string{well: document64(other, 60)}, want: "does not list"},
		"one of several":                  {at: map[string]string{well: fmt.Sprintf(`{"fingerprints": [{"sha-256": "%s"}, {"sha-256": "%s"}], "expires": 1}`, print(other), print(cert))}},
		"SHA-512":                         {at: map[string]string{well: fmt.Sprintf(`{"fingerprints": [{"sha-512": "%s"}], "expires": 1}`, long)}},
		"two hashes":                      {at: map[string]string{well: fmt.Sprintf(`{"fingerprints": [{"sha-512": "%s", "sha-256": "%s"}], "expires": 1}`, long, print(cert))}},
		"two hashes of two certificates":  {at: map[string]string{well: fmt.Sprintf(`{"fingerprints": [{"sha-512": "%s", "sha-256": "%s"}], "expires": 1}`, long, print(other))}, want: "does not list"},
		"a hash that nobody knows":        {at: map[string]string{well: fmt.Sprintf(`{"fingerprints": [{"md5": "%s"}], "expires": 1}`, print(cert))}, want: "does not list"},
		"a hash of another name":          {at: map[string]string{well: fmt.Sprintf(`{"fingerprints": [{"sha-512": "%s"}], "expires": 1}`, print(cert))}, want: "does not list"},
		"no padding":                      {at: map[string]string{well: strings.ReplaceAll(document64(cert, 60), "=", "")}},
		"no fingerprint":                  {at: map[string]string{well: `{"fingerprints": [], "expires": 1}`}, want: "neither fingerprints nor url"},
		"an empty one":                    {at: map[string]string{well: `{"fingerprints": [{}], "expires": 1}`}, want: "does not list"},
		"both fingerprints and url":       {at: map[string]string{well: strings.Replace(document64(cert, 60), "{", `{"url": "https://example.com/x", `, 1)}, want: "or both"},
		"expires 0":                       {at: map[string]string{well: document64(cert, 0)}, want: "expires is 0"},
		"expires before":                  {at: map[string]string{well: document64(cert, -1)}, want: "how long"},
		"expires never":                   {at: map[string]string{well: `{"fingerprints": [{"sha-256": "` + print(cert) + `"}]}`}, want: "how long"},
		"no JSON":                         {at: map[string]string{well: "<html>"}, want: "no document"},
		"no file":                         {want: "404"},
		"an error with a document":        {at: map[string]string{"x": ""}, want: "404"},
		"too large":                       {at: map[string]string{well: strings.Repeat(" ", maxDocument) + document64(cert, 60)}, want: "65536 bytes"},
		"too many":                        {at: map[string]string{well: `{"fingerprints": [` + strings.TrimSuffix(many, ",") + `], "expires": 1}`}, want: "more than 100"},
		"RFC 7711 3.2: a reference":       {at: map[string]string{well: `{"url": "https://hosting.example.com/a.json", "expires": 9}`, "hosting.example.com/a.json": document64(cert, 60)}},
		"a reference to a reference":      {at: map[string]string{well: `{"url": "https://hosting.example.com/a.json", "expires": 9}`, "hosting.example.com/a.json": `{"url": "https://example.com/", "expires": 9}`}, want: "refers to another"},
		"a reference to nothing":          {at: map[string]string{well: `{"url": "https://hosting.example.com/a.json", "expires": 9}`}, want: "what it refers to: the web server says 404"},
		"a reference without encryption":  {at: map[string]string{well: `{"url": "http://hosting.example.com/a.json", "expires": 9}`}, want: "not one of HTTPS"},
		"a reference that is no address":  {at: map[string]string{well: `{"url": ":", "expires": 9}`}, want: "no address"},
		"a reference that does not hold":  {at: map[string]string{well: `{"url": "https://hosting.example.com/a.json", "expires": 0}`}, want: "expires is 0"},
		"an empty reference":              {at: map[string]string{well: `{"url": "", "expires": 9}`}, want: "empty"},
		"RFC 7711 10: a redirect":         {at: map[string]string{well: "to https://hosting.example.com/a.json", "hosting.example.com/a.json": document64(cert, 60)}},
		"a redirect without encryption":   {at: map[string]string{well: "to http://hosting.example.com/a.json"}, want: "not one of HTTPS"},
		"redirects without end":           {at: map[string]string{well: "to https://example.com/a", domain + "/a": "to https://example.com/a"}, want: "more than 5 redirects"},
		"a web server with another name":  {at: map[string]string{"example.net" + path: document64(cert, 60)}, domain: "example.net", want: "certificate is valid for"},
		"a domain with umlauts":           {at: map[string]string{"xn--bcher-kva.example.com" + path: document64(cert, 60)}, domain: "bücher.example.com"},
		"an address":                      {domain: "192.0.2.1", want: "an address has none"},
		"what is no name":                 {domain: "a b", want: "no name"},
		"a reference to an unknown place": {at: map[string]string{well: `{"url": "https://user@hosting.example.com/a.json", "expires": 9}`}, want: "not one of HTTPS"},
	} {
		t.Run(name, func(t *testing.T) {
			w := &web{at: row.at}
			c := w.serve(t)
			d := row.domain
			if d == "" {
				d = domain
			}
			err := c.Verify(t.Context(), cert, d)
			if (err == nil) != (row.want == "") || err != nil && !strings.Contains(err.Error(), row.want) {
				t.Errorf("%v, want %q", err, row.want)
			}
			if n := w.count(); n > 7 {
				t.Errorf("%d requests", n)
			}
		})
	}
}

// roundTrip is a transport.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// counted answers with a document, and counts.
func counted(n *int, text string, status int) *Client {
	var mu sync.Mutex
	return New(nil, roundTrip(func(r *http.Request) (*http.Response, error) {
		mu.Lock()
		*n++
		mu.Unlock()
		rec := httptest.NewRecorder()
		rec.WriteHeader(status)
		rec.WriteString(text)
		return rec.Result(), nil
	}))
}

// RFC 7711 6
func TestKept(t *testing.T) {
	for name, row := range map[string]struct {
		text   string
		status int
		keep   time.Duration
	}{
		"for as long as it says": {document64(cert, 60), 200, time.Minute},
		"for a day at most":      {document64(cert, 1_000_000_000), 200, 24 * time.Hour},
		"a failure":              {"", 404, 5 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := 0
				c := counted(&n, row.text, row.status)
				ask := func(want int) {
					if err := c.Verify(t.Context(), cert, "example.com"); (err == nil) != (row.status == 200) {
						t.Error(err)
					}
					if n != want {
						t.Errorf("%d requests, want %d", n, want)
					}
				}
				ask(1)
				time.Sleep(row.keep - time.Second)
				ask(1)
				time.Sleep(time.Second)
				ask(2)
			})
		})
	}
}

// What is kept is bounded, and many who ask at one time are a few requests.
func TestBounds(t *testing.T) {
	n := 0
	c := counted(&n, document64(cert, 60), 200)
	for i := range maxCache + 50 {
		if err := c.Verify(t.Context(), cert, fmt.Sprintf("d%d.example.com", i)); err != nil {
			t.Fatal(err)
		}
	}
	if len(c.kept) != maxCache {
		t.Errorf("%d are kept", len(c.kept))
	}

	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		now, most := 0, 0
		c := New(nil, roundTrip(func(r *http.Request) (*http.Response, error) {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			<-r.Context().Done()
			mu.Lock()
			now--
			mu.Unlock()
			return nil, r.Context().Err()
		}))
		var all sync.WaitGroup
		begun := time.Now()
		for i := range 100 {
			all.Go(func() {
				if c.Verify(t.Context(), cert, fmt.Sprintf("d%d.example.com", i)) == nil {
					t.Error("proved")
				}
			})
		}
		all.Wait()
		if took := time.Since(begun); most != maxFetches || took > 2*fetchTime {
			t.Errorf("%d at one time, %v", most, took)
		}
	})
}

// Who does not wait leaves no failure behind for others.
func TestCancelled(t *testing.T) {
	n := 0
	c := New(nil, roundTrip(func(r *http.Request) (*http.Response, error) {
		if n++; n == 1 {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}
		rec := httptest.NewRecorder()
		rec.WriteString(document64(cert, 60))
		return rec.Result(), nil
	}))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if c.Verify(ctx, cert, "example.com") == nil {
		t.Error("proved")
	}
	n = 1
	if err := c.Verify(t.Context(), cert, "example.com"); err != nil {
		t.Error(err)
	}
}

// Whatever a web server says is a document of one kind with something in it, or none.
func FuzzParse(f *testing.F) {
	f.Add([]byte(document64(cert, 60)))
	f.Add([]byte(`{"url": "https://hosting.example.com/a.json", "expires": 9}`))
	f.Add([]byte(`{"fingerprints": [{"sha-256": "="}], "expires": 9e99}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := parse(b)
		if err != nil {
			return
		}
		if (d.ref == "") == (len(d.prints) == 0) || d.expires <= 0 || d.expires > maxKept || len(d.prints) > maxFingerprints {
			t.Errorf("%+v", d)
		}
		for _, p := range d.prints {
			p.match(cert)
			for name, hash := range p {
				if len(hash) != len(digest(name, nil)) || len(hash) == 0 {
					t.Errorf("%s: %x", name, hash)
				}
			}
		}
	})
}
