package verify

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/plugins/s2s/dane"
)

// says is what the DNS says.
type says struct {
	answer dane.Answer
	err    error
}

func (s says) Lookup(context.Context, string) (dane.Answer, error) { return s.answer, s.err }

// of returns a record of a certificate.
func of(usage uint8, c *x509.Certificate) dane.Record {
	sum := sha256.Sum256(c.Raw)
	return dane.Record{Usage: usage, Matching: 1, Data: sum[:]}
}

// RFC 7673 4, RFC 7671 5
func TestDANE(t *testing.T) {
	root, foreign := authority(t, nil, "root"), authority(t, nil, "another root")
	middle := authority(t, root, "middle")
	pool := x509.NewCertPool()
	pool.AddCert(root.cert)

	good := issue(t, middle, names("far.example")).cert
	server := issue(t, root, names("xmpp.host.example")).cert
	alone := issue(t, nil, &x509.Certificate{DNSNames: []string{"x.example"}, NotAfter: at.Add(-time.Hour)}).cert
	stranger := issue(t, foreign, names("far.example")).cert
	strangersServer := issue(t, foreign, names("xmpp.host.example")).cert
	wrong := issue(t, foreign, names("else.example")).cert
	servers := []string{"xmpp.host.example"}

	chain := func(list ...*x509.Certificate) []*x509.Certificate { return list }
	for name, row := range map[string]struct {
		chain   []*x509.Certificate
		records []dane.Record
		servers []string
		err     error
		want    string
	}{
		"nothing signed":                                               {chain: chain(good, middle.cert)},
		"nothing signed, a server's certificate":                       {chain: chain(server), want: "is for xmpp.host.example, not for far.example"},
		"RFC 7673 4.1: a server's certificate, of a signed SRV record": {chain: chain(server), servers: servers},
		"a server's certificate that nobody vouches for":               {chain: chain(strangersServer), servers: servers, want: "signed by CN=another root"},
		"no telling":                    {chain: chain(good, middle.cert), err: errors.New("SERVFAIL"), want: "SERVFAIL"},
		"DANE-EE: nothing else matters": {chain: chain(alone), records: []dane.Record{of(dane.DANEEE, alone)}},
		"DANE-EE of another one":        {chain: chain(good, middle.cert), records: []dane.Record{of(dane.DANEEE, alone)}, want: "none fits: its certificate is another one"},
		"DANE-EE of one that is presented, and is not the peer's": {chain: chain(stranger, alone), records: []dane.Record{of(dane.DANEEE, alone)}, want: "another one"},
		"one of several":                              {chain: chain(alone), records: []dane.Record{of(dane.DANEEE, good), of(dane.PKIXEE, alone), of(dane.DANEEE, alone)}},
		"PKIX-EE":                                     {chain: chain(good, middle.cert), records: []dane.Record{of(dane.PKIXEE, good)}},
		"PKIX-EE of a server":                         {chain: chain(server), servers: servers, records: []dane.Record{of(dane.PKIXEE, server)}},
		"PKIX-EE that nobody vouches for":             {chain: chain(stranger), records: []dane.Record{of(dane.PKIXEE, stranger)}, want: "signed by CN=another root"},
		"PKIX-EE for another domain":                  {chain: chain(server), records: []dane.Record{of(dane.PKIXEE, server)}, want: "not for far.example"},
		"PKIX-TA: the root":                           {chain: chain(good, middle.cert), records: []dane.Record{of(dane.PKIXTA, root.cert)}},
		"PKIX-TA: an intermediate":                    {chain: chain(good, middle.cert), records: []dane.Record{of(dane.PKIXTA, middle.cert)}},
		"PKIX-TA: another authority, presented":       {chain: chain(good, middle.cert, foreign.cert), records: []dane.Record{of(dane.PKIXTA, foreign.cert)}, want: "another one"},
		"PKIX-TA: the peer's own":                     {chain: chain(good, middle.cert), records: []dane.Record{of(dane.PKIXTA, good)}, want: "another one"},
		"DANE-TA: an authority that nobody trusts":    {chain: chain(stranger, foreign.cert), records: []dane.Record{of(dane.DANETA, foreign.cert)}},
		"DANE-TA: for a server":                       {chain: chain(strangersServer, foreign.cert), servers: servers, records: []dane.Record{of(dane.DANETA, foreign.cert)}},
		"DANE-TA: for a server that is not named":     {chain: chain(strangersServer, foreign.cert), records: []dane.Record{of(dane.DANETA, foreign.cert)}, want: "not for far.example"},
		"DANE-TA: for another domain":                 {chain: chain(wrong, foreign.cert), records: []dane.Record{of(dane.DANETA, foreign.cert)}, want: "not for far.example"},
		"DANE-TA: one that signed nothing":            {chain: chain(stranger, root.cert), records: []dane.Record{of(dane.DANETA, root.cert)}, want: "signed by CN=another root"},
		"DANE-TA: an authority that is not presented": {chain: chain(stranger), records: []dane.Record{of(dane.DANETA, foreign.cert)}, want: "another one"},
		"DANE-TA: an intermediate":                    {chain: chain(good, middle.cert), records: []dane.Record{of(dane.DANETA, middle.cert)}},
		"DANE-TA: a trusted authority does not help":  {chain: chain(good, middle.cert, foreign.cert), records: []dane.Record{of(dane.DANETA, foreign.cert)}, want: "none fits"},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := New(Options{Roots: pool, Now: now})
			if err != nil {
				t.Fatal(err)
			}
			v.dane = says{dane.Answer{Records: row.records, Servers: row.servers}, row.err}
			check(t, v, row.chain, "far.example", row.want)
		})
	}
}

// lists is what a web server says.
type lists struct {
	cert  *x509.Certificate
	asked *int
}

func (l lists) Verify(_ context.Context, c *x509.Certificate, _ string) error {
	*l.asked++
	if c.Equal(l.cert) {
		return nil
	}
	return errors.New("posh: it does not list the certificate" + strings.Repeat("x", 1000) + "\n")
}

// A web server is asked where the certificate proves nothing, and is in time (RFC 7711 6).
func TestPOSH(t *testing.T) {
	root := authority(t, nil, "root")
	pool := x509.NewCertPool()
	pool.AddCert(root.cert)
	good := issue(t, root, names("far.example")).cert
	hosting := issue(t, root, names("hosting.example")).cert
	old := issue(t, root, &x509.Certificate{DNSNames: []string{"hosting.example"}, NotAfter: at.Add(-time.Hour)}).cert
	for name, row := range map[string]struct {
		cert, listed *x509.Certificate
		proof, want  string
		asked        int
	}{
		"not needed":         {good, hosting, ByAuthority, "", 0},
		"listed":             {hosting, hosting, ByWeb, "", 1},
		"not listed":         {hosting, good, "", "is for hosting.example, not for far.example (posh: it does not list", 1},
		"listed and expired": {old, old, "", "expired on", 0},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := New(Options{Roots: pool, Now: now})
			if err != nil {
				t.Fatal(err)
			}
			asked := 0
			v.posh = lists{row.listed, &asked}
			check(t, v, []*x509.Certificate{row.cert}, "far.example", row.want)
			if asked != row.asked {
				t.Errorf("asked %d times", asked)
			}
			if proof, _ := v.Verify(t.Context(), []*x509.Certificate{row.cert}, "far.example"); proof != row.proof {
				t.Errorf("by %q, want %q", proof, row.proof)
			}
		})
	}
}

// A pin, and DANE's records, are asked before anybody else.
func TestOrder(t *testing.T) {
	one := issue(t, nil, names("far.example")).cert
	asked := 0
	v, err := New(Options{Roots: x509.NewCertPool(), Now: now, Pins: map[string]string{"pinned.example": strings.Repeat("00", 32)}})
	if err != nil {
		t.Fatal(err)
	}
	v.dane, v.posh = says{dane.Answer{Records: []dane.Record{of(dane.DANEEE, one)}}, nil}, lists{one, &asked}
	check(t, v, []*x509.Certificate{one}, "pinned.example", "pinned")
	if proof, err := v.Verify(t.Context(), []*x509.Certificate{one}, "far.example"); proof != ByDNS || err != nil {
		t.Error(proof, err)
	}
	v.dane = says{dane.Answer{Records: []dane.Record{{Usage: dane.DANEEE, Data: []byte("x")}}}, nil}
	check(t, v, []*x509.Certificate{one}, "far.example", "none fits")
	if asked != 0 {
		t.Error("a web server was asked")
	}
}
