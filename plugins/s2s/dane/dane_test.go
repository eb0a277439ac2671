package dane

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/hexmpp/hexmpp/test/harness/dnstest"
)

// zone is a nameserver that validates. Names that it does not have do not exist, for certain. Among the records of a name
// "insecure" says that they are not signed, "SERVFAIL" and "silence" what they are; either may be of one type: "SERVFAIL TLSA".
type zone map[string][]string

func (z zone) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	a := new(dns.Msg)
	a.SetReply(q)
	a.Compress = true
	typ := dns.TypeToString[q.Question[0].Qtype]
	name := q.Question[0].Name
	a.AuthenticatedData = q.AuthenticatedData
	if to, alias := strings.CutPrefix(strings.Join(z[name], ""), "CNAME "); alias {
		a.Answer = append(a.Answer, &dns.CNAME{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeCNAME, Class: dns.ClassINET, Ttl: 60}, Target: to})
		name = to
	}
	records, there := z[name]
	if !there {
		a.Rcode = dns.RcodeNameError
	}
	for _, text := range records {
		word, of, _ := strings.Cut(text, " ")
		switch mine := of == "" || of == typ; {
		case word == "insecure":
			a.AuthenticatedData = a.AuthenticatedData && !mine
		case word == "SERVFAIL":
			if mine {
				a.Rcode, a.AuthenticatedData = dns.RcodeServerFailure, false
			}
		case word == "REFUSED":
			a.Rcode = dns.RcodeRefused
		case word == "silence":
			if mine {
				return
			}
		default:
			rr, err := dns.NewRR(name + " 60 IN " + text)
			if err != nil {
				panic(err)
			}
			if rr.Header().Rrtype == q.Question[0].Qtype {
				a.Answer = append(a.Answer, rr)
			}
		}
	}
	if w.LocalAddr().Network() == "udp" {
		a.Truncate(udpSize)
	}
	w.WriteMsg(a)
}

// serve returns a client of a nameserver, behind one that refuses connections.
func (z zone) serve(t testing.TB) *Client {
	t.Helper()
	there := dnstest.Serve(t, "127.0.0.1:0", z)
	gone, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	at := []netip.AddrPort{netip.MustParseAddrPort(gone.LocalAddr().String()), netip.MustParseAddrPort(there)}
	return New(func() ([]netip.AddrPort, error) { return at, nil })
}

const hash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// RFC 7673 3
func TestLookup(t *testing.T) {
	tlsa := func(kind string) string { return "TLSA " + kind + " " + hash }
	addr := "A 192.0.2.1"
	large := make([]string, 40)
	for i := range large {
		large[i] = fmt.Sprintf("TLSA 3 1 1 %064x", i)
	}
	z := zone{
		"_xmpp-server._tcp.good.test.": {"SRV 1 1 5269 xmpp.good.test."},
		"xmpp.good.test.":              {addr},
		"_5269._tcp.xmpp.good.test.":   {tlsa("3 1 1"), tlsa("2 0 1"), tlsa("9 1 1"), tlsa("3 7 1"), tlsa("3 1 9"), "TLSA 3 1 1 abcd", "TLSA 3 1 2 abcd"},

		"_xmpp-server._tcp.both.test.":  {"SRV 1 1 5269 a.both.test."},
		"_xmpps-server._tcp.both.test.": {"SRV 1 1 5270 b.both.test."},
		"a.both.test.":                  {addr},
		"b.both.test.":                  {"AAAA 2001:db8::1"},
		"_5269._tcp.a.both.test.":       {tlsa("3 0 1")},
		"_5270._tcp.b.both.test.":       {"CNAME shared.both.test."},
		"shared.both.test.":             {tlsa("1 1 1")},

		"_xmpp-server._tcp.unsigned.test.": {"SRV 1 1 5269 xmpp.good.test.", "insecure"},
		"_xmpp-server._tcp.address.test.":  {"SRV 1 1 5269 address.test."},
		"address.test.":                    {addr, "insecure"},
		"_5269._tcp.address.test.":         {tlsa("3 1 1")},
		"_xmpp-server._tcp.record.test.":   {"SRV 1 1 5269 record.test."},
		"record.test.":                     {addr},
		"_5269._tcp.record.test.":          {tlsa("3 1 1"), "insecure"},
		"_xmpp-server._tcp.shut.test.":     {"SRV 0 0 0 ."},

		"_xmpp-server._tcp.bogus.test.":       {"SERVFAIL"},
		"_xmpp-server._tcp.refused.test.":     {"REFUSED"},
		"_xmpp-server._tcp.badaddress.test.":  {"SRV 1 1 5269 badaddress.test."},
		"badaddress.test.":                    {addr, "SERVFAIL AAAA"},
		"_xmpp-server._tcp.badrecord.test.":   {"SRV 1 1 5269 badrecord.test."},
		"badrecord.test.":                     {addr},
		"_5269._tcp.badrecord.test.":          {"SERVFAIL"},
		"_xmpp-server._tcp.half.test.":        {"SRV 1 1 5269 badrecord.test.", "SRV 1 1 5269 xmpp.good.test."},
		"_xmpp-server._tcp.withoutone.test.":  {"SRV 1 1 5269 badrecord.test.", "SRV 1 1 5269 plain.test."},
		"plain.test.":                         {addr},
		"_xmpp-server._tcp.large.test.":       {"SRV 1 1 1 large.test."},
		"large.test.":                         {addr},
		"_1._tcp.large.test.":                 large,
		"_xmpp-server._tcp.xn--bcher-kva.de.": {"SRV 1 1 5269 XMPP.Good.test."},
	}
	c := z.serve(t)
	for domain, want := range map[string]struct {
		records int
		servers string
		fails   string
	}{
		"good.test":                        {records: 2, servers: "xmpp.good.test"},
		"both.test":                        {records: 2, servers: "a.both.test b.both.test"},
		"bücher.de":                        {records: 2, servers: "xmpp.good.test"},
		"large.test":                       {records: 40, servers: "large.test"}, // over TCP
		"nothing.test":                     {},
		"unsigned.test":                    {},
		"shut.test":                        {},
		"192.0.2.1":                        {},
		"[2001:db8::1]":                    {},
		"address.test":                     {servers: "address.test"},
		"record.test":                      {servers: "record.test"},
		"bogus.test":                       {fails: "SERVFAIL"},
		"refused.test":                     {fails: "Refused"},
		"badaddress.test":                  {fails: "badaddress.test. AAAA"},
		"badrecord.test":                   {fails: "_5269._tcp.badrecord.test. TLSA"},
		"half.test":                        {records: 2, servers: "xmpp.good.test"},
		"withoutone.test":                  {fails: "TLSA"},
		strings.Repeat("a.", 120) + "test": {},
	} {
		a, err := c.Lookup(t.Context(), domain)
		switch {
		case want.fails != "":
			if err == nil || !strings.Contains(err.Error(), want.fails) {
				t.Errorf("%s: %+v, %v; want %q", domain, a, err, want.fails)
			}
		case err != nil:
			t.Errorf("%s: %v", domain, err)
		case len(a.Records) != want.records || strings.Join(a.Servers, " ") != want.servers:
			t.Errorf("%s: %d of %v, want %+v", domain, len(a.Records), a, want)
		}
	}
}

// A question that nobody answers ends with its context.
func TestSilence(t *testing.T) {
	c := zone{"_xmpp-server._tcp.a.test.": {"silence"}}.serve(t)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if a, err := c.Lookup(ctx, "a.test"); err == nil {
		t.Errorf("%+v", a)
	}
}

// Many who ask at one time are a bounded number of questions, and all have their answers.
func TestManyAtOneTime(t *testing.T) {
	z := zone{"xmpp.good.test.": {"A 192.0.2.1"}, "_5269._tcp.xmpp.good.test.": {"TLSA 3 1 1 " + hash}}
	for i := range 100 {
		z[fmt.Sprintf("_xmpp-server._tcp.d%d.test.", i)] = []string{"SRV 1 1 5269 xmpp.good.test."}
	}
	c := z.serve(t)
	c.questions = make(chan struct{}, 10)
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			if a, err := c.Lookup(t.Context(), fmt.Sprintf("d%d.test", i)); err != nil || len(a.Records) != 1 {
				t.Errorf("%+v, %v", a, err)
			}
		})
	}
	all.Wait()
	if len(c.questions) != 0 {
		t.Errorf("%d are still under way", len(c.questions))
	}
}

func TestMatches(t *testing.T) {
	cert := &x509.Certificate{Raw: []byte("a certificate"), RawSubjectPublicKeyInfo: []byte("a key")}
	for selector, b := range [][]byte{cert.Raw, cert.RawSubjectPublicKeyInfo} {
		s256, s512 := sha256.Sum256(b), sha512.Sum512(b)
		for matching, data := range [][]byte{b, s256[:], s512[:]} {
			r, ok := parseRecord(append([]byte{3, byte(selector), byte(matching)}, data...))
			if !ok || !r.Matches(cert) || r.Matches(&x509.Certificate{Raw: []byte("x"), RawSubjectPublicKeyInfo: []byte("x")}) {
				t.Errorf("selector %d, matching type %d", selector, matching)
			}
			if r.Selector = 1 - r.Selector; r.Matches(cert) {
				t.Errorf("selector %d is no matter", selector)
			}
		}
	}
}

func TestNameservers(t *testing.T) {
	for text, want := range map[string]string{
		"nameserver 127.0.0.1\n": "127.0.0.1:53",
		"# x\nsearch a b\nnameserver 127.0.0.53\noptions edns0\nnameserver ::1": "127.0.0.53:53 [::1]:53",
		"nameserver 192.0.2.1\noptions edns0 trust-ad\n":                        "192.0.2.1:53",
		"nameserver 127.0.0.1\nnameserver 192.0.2.1\n":                          "error",
		"nameserver 192.0.2.1":                                                  "error",
		"nameserver\nnameserver x\n":                                            "error",
		"":                                                                      "error",
	} {
		list, err := parseConf(text)
		var got []string
		for _, a := range list {
			got = append(got, a.String())
		}
		if err != nil {
			got = []string{"error"}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: %v, %v", text, list, err)
		}
	}
}

// An answer to another question, or with another ID, is none.
func TestOtherAnswers(t *testing.T) {
	name := dnsmessage.MustNewName("a.test.")
	q := dnsmessage.Question{Name: name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}
	build := func(h dnsmessage.Header, q dnsmessage.Question) []byte {
		m := dnsmessage.Message{Header: h, Questions: []dnsmessage.Question{q}}
		b, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	good := dnsmessage.Header{ID: 7, Response: true, AuthenticData: true}
	if r, err := parseReply(build(good, q), 7, q); err != nil || !r.secure {
		t.Error(r, err)
	}
	otherName, otherType, noResponse := q, q, good
	otherName.Name, otherType.Type, noResponse.Response = dnsmessage.MustNewName("b.test."), dnsmessage.TypeAAAA, false
	for i, b := range [][]byte{build(good, otherName), build(good, otherType), build(noResponse, q), build(good, q)[:13], nil} {
		if _, err := parseReply(b, 7, q); err != errOther {
			t.Errorf("%d: %v", i, err)
		}
	}
	if _, err := parseReply(build(good, q), 8, q); err != errOther {
		t.Error(err)
	}
}

// Whatever a nameserver says, there is little of it, it can be used, and a failure is not signed.
func FuzzReply(f *testing.F) {
	name := dnsmessage.MustNewName("a.test.")
	header := dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET, TTL: 60}
	for _, body := range []dnsmessage.ResourceBody{
		&dnsmessage.SRVResource{Priority: 1, Weight: 1, Port: 5269, Target: name},
		&dnsmessage.UnknownResource{Type: typeTLSA, Data: append([]byte{3, 1, 1}, make([]byte, 32)...)},
		&dnsmessage.AResource{A: [4]byte{192, 0, 2, 1}},
		&dnsmessage.CNAMEResource{CNAME: name},
	} {
		for _, typ := range []dnsmessage.Type{dnsmessage.TypeSRV, typeTLSA, dnsmessage.TypeA} {
			m := dnsmessage.Message{
				Header:    dnsmessage.Header{ID: 7, Response: true, AuthenticData: true},
				Questions: []dnsmessage.Question{{Name: name, Type: typ, Class: dnsmessage.ClassINET}},
				Answers:   []dnsmessage.Resource{{Header: header, Body: body}},
			}
			b, err := m.Pack()
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b, uint16(typ))
		}
	}
	f.Fuzz(func(t *testing.T, msg []byte, typ uint16) {
		q := dnsmessage.Question{Name: name, Type: dnsmessage.Type(typ), Class: dnsmessage.ClassINET}
		before := bytes.Clone(msg)
		r, err := parseReply(msg, 7, q)
		if !bytes.Equal(before, msg) {
			t.Error("the message was changed")
		}
		if err != nil {
			return
		}
		if len(r.servers)+len(r.records)+r.addresses > maxRecords {
			t.Errorf("%+v", r)
		}
		if slices.ContainsFunc(r.records, func(r Record) bool { return r.Usage > 3 || r.Selector > 1 || r.Matching > 2 || len(r.Data) == 0 }) {
			t.Errorf("%v", r.records)
		}
		if r.secure && (len(msg) < 12 || msg[3]&0x20 == 0 || msg[3]&0xf != 0 && msg[3]&0xf != 3) {
			t.Error("signed without the AD bit, or a failure")
		}
	})
}

// Whatever is in resolv.conf, a nameserver is on this machine, or the file says that it is trusted.
func FuzzConf(f *testing.F) {
	f.Add("nameserver 127.0.0.1\noptions trust-ad")
	f.Add("nameserver 192.0.2.1\n")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := parseConf(text)
		if err == nil && len(list) == 0 || len(list) > 3 {
			t.Error(list, err)
		}
		for _, a := range list {
			if !a.Addr().IsLoopback() && !strings.Contains(text, "trust-ad") {
				t.Error(a)
			}
		}
	})
}
