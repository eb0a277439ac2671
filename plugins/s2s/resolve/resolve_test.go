package resolve_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/hexmpp/hexmpp/plugins/s2s/resolve"
	"github.com/hexmpp/hexmpp/test/harness/dnstest"
)

// zone is a name server. Names that it does not have do not exist; "SERVFAIL" and "silence" are what it
// says of others, "silence AAAA" of one type.
type zone map[string][]string

func (z zone) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	a := new(dns.Msg)
	a.SetReply(q)
	a.Compress = true
	records, there := z[strings.ToLower(q.Question[0].Name)]
	if !there {
		a.Rcode = dns.RcodeNameError
	}
	name := q.Question[0].Name
	if to, alias := strings.CutPrefix(strings.Join(records, ""), "CNAME "); alias {
		a.Answer = append(a.Answer, &dns.CNAME{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeCNAME, Class: dns.ClassINET, Ttl: 60}, Target: to})
		name, records = to, z[to]
	}
	for _, text := range records {
		switch text {
		case "SERVFAIL":
			a.Rcode = dns.RcodeServerFailure
			continue
		case "silence", "silence " + dns.TypeToString[q.Question[0].Qtype]:
			return
		}
		if strings.HasPrefix(text, "silence ") {
			continue
		}
		rr, err := dns.NewRR(name + " 60 IN " + text)
		if err != nil {
			panic(err)
		}
		if rr.Header().Rrtype == q.Question[0].Qtype {
			a.Answer = append(a.Answer, rr)
		}
	}
	w.WriteMsg(a)
}

func (z zone) serve(t *testing.T) *resolve.Resolver {
	t.Helper()
	at := dnstest.Serve(t, "127.0.0.1:0", z)
	return &resolve.Resolver{DNS: &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", at)
	}}}
}

// RFC 6120 3.2, XEP-0368 3 and 5
func TestTargets(t *testing.T) {
	z := zone{
		"_xmpp-server._tcp.one.test.":            {"SRV 5 1 5269 xmpp.one.test."},
		"_xmpp-server._tcp.both.test.":           {"SRV 5 1 5269 a.both.test.", "SRV 20 1 5269 c.both.test."},
		"_xmpps-server._tcp.both.test.":          {"SRV 10 1 443 b.both.test."},
		"_xmpp-server._tcp.none.test.":           {"SRV 0 0 0 ."},
		"_xmpps-server._tcp.clear.test.":         {"SRV 0 0 0 ."},
		"_xmpp-server._tcp.clear.test.":          {"SRV 0 0 5269 xmpp.clear.test."},
		"_xmpps-server._tcp.shut.test.":          {"SRV 0 0 0 ."},
		"_xmpp-server._tcp.xn--bcher-kva.test.":  {"SRV 0 0 5270 books.test."},
		"_xmpp-server._tcp.broken.test.":         {"SERVFAIL"},
		"_xmpp-server._tcp.halfbroken.test.":     {"SERVFAIL"},
		"_xmpps-server._tcp.halfbroken.test.":    {"SRV 0 0 5270 x.test."},
		"_xmpps-server._tcp.shutbroken.test.":    {"SRV 0 0 0 ."},
		"_xmpp-server._tcp.shutbroken.test.":     {"SERVFAIL"},
		"_xmpp-server._tcp.alias.test.":          {"CNAME _xmpp-server._tcp.one.test."},
		"_xmpp-server._tcp.some.test.":           {"SRV 0 0 0 .", "SRV 1 0 5269 some.test."},
		"_xmpp-server._tcp.empty.test.":          {"TXT \"no SRV of this name\""},
		"_xmpp-server._tcp.example.with.port.0.": {"SRV 0 0 0 x.test."},
	}
	r := z.serve(t)
	r.Overrides = map[string]string{"there.test": "xmpp.there.test:5555", "v6.test": "[2001:db8::1]:5269", "wrong.test": "nowhere"}
	for domain, want := range map[string]string{
		"one.test":                         "xmpp.one.test:5269 (STARTTLS)",
		"both.test":                        "a.both.test:5269 (STARTTLS), b.both.test:443 (direct TLS), c.both.test:5269 (STARTTLS)",
		"none.test":                        "not found",
		"shut.test":                        "not found",
		"clear.test":                       "xmpp.clear.test:5269 (STARTTLS)",
		"bücher.test":                      "books.test:5270 (STARTTLS)",
		"nothing.test":                     "nothing.test:5269 (STARTTLS)",
		"empty.test":                       "empty.test:5269 (STARTTLS)",
		"broken.test":                      "broken.test:5269 (STARTTLS)",
		"halfbroken.test":                  "x.test:5270 (direct TLS)",
		"shutbroken.test":                  "error",
		"alias.test":                       "xmpp.one.test:5269 (STARTTLS)",
		"some.test":                        "some.test:5269 (STARTTLS)",
		"127.0.0.2":                        "127.0.0.2:5269 (STARTTLS)",
		"[2001:db8::2]":                    "[2001:db8::2]:5269 (STARTTLS)",
		"there.test":                       "xmpp.there.test:5555 (STARTTLS)",
		"v6.test":                          "[2001:db8::1]:5269 (STARTTLS)",
		"wrong.test":                       "error",
		"example.with.port.0":              "not found",
		strings.Repeat("a.", 130) + "test": "not found",
	} {
		list, err := r.Targets(t.Context(), domain)
		var names []string
		for _, t := range list {
			names = append(names, t.String())
		}
		got := strings.Join(names, ", ")
		switch {
		case errors.Is(err, resolve.ErrNotFound):
			got = "not found"
		case err != nil:
			got = "error"
		}
		if got != want {
			t.Errorf("%s: %s (%v), want %s", domain, got, err, want)
		}
	}
}

// RFC 2782: weights are proportions, and nobody is left out.
func TestWeights(t *testing.T) {
	r := zone{
		"_xmpp-server._tcp.heavy.test.":  {"SRV 1 90 1 heavy.test.", "SRV 1 0 1 none.test."},
		"_xmpps-server._tcp.heavy.test.": {"SRV 1 10 1 light.test."},
	}.serve(t)
	first := map[string]int{}
	const n = 600
	for range n {
		list, err := r.Targets(t.Context(), "heavy.test")
		if err != nil || len(list) != 3 {
			t.Fatal(list, err)
		}
		first[list[0].Host]++
	}
	if h, l := first["heavy.test"], first["light.test"]; h < n*7/10 || l < n/50 || h <= l {
		t.Errorf("%v", first)
	}
}

// listen accepts on an address of loopback, and returns its port.
func listen(t *testing.T, addr string) (port int) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().(*net.TCPAddr).Port
}

// Servers are tried in the order of their priorities, addresses one after the other, until one is taken.
func TestConnect(t *testing.T) {
	first, second := listen(t, "127.0.0.2:0"), listen(t, "127.0.0.3:0")
	shut := listen(t, "127.0.0.4:0") + 0
	l, err := net.Listen("tcp", "127.0.0.9:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().(*net.TCPAddr).Port
	l.Close()
	r := zone{
		"_xmpp-server._tcp.a.test.": {fmt.Sprintf("SRV 1 1 %d gone.test.", first), fmt.Sprintf("SRV 2 1 %d one.test.", closed),
			fmt.Sprintf("SRV 3 1 %d one.test.", first), fmt.Sprintf("SRV 3 1 %d same.test.", first), fmt.Sprintf("SRV 4 1 %d two.test.", second)},
		"one.test.":                     {"A 127.0.0.2"},
		"same.test.":                    {"A 127.0.0.2", "A 127.0.0.2"},
		"two.test.":                     {"A 127.0.0.3", "A 127.0.0.8"},
		"_xmpp-server._tcp.gone.test.":  {fmt.Sprintf("SRV 1 1 %d nowhere.test.", shut)},
		"_xmpp-server._tcp.dead.test.":  {fmt.Sprintf("SRV 1 1 %d dead.test.", closed), "SRV 1 1 5269 nowhere.test."},
		"dead.test.":                    {"A 127.0.0.9"},
		"_xmpp-server._tcp.slow.test.":  {"SERVFAIL"},
		"_xmpp-server._tcp.half.test.":  {"SERVFAIL"},
		"_xmpps-server._tcp.half.test.": {fmt.Sprintf("SRV 1 1 %d nowhere.test.", shut)},
		"broken.test.":                  {"SERVFAIL"},
	}.serve(t)
	var steps []string
	ctx := resolve.WithTrace(t.Context(), func(step string) { steps = append(steps, step) })
	var tried []string
	err = r.Connect(ctx, "a.test", func(_ context.Context, conn net.Conn, direct bool) error {
		defer conn.Close()
		tried = append(tried, conn.RemoteAddr().String())
		if len(tried) == 1 {
			return errors.New("not this one")
		}
		return nil
	})
	if want := []string{fmt.Sprint("127.0.0.2:", first), fmt.Sprint("127.0.0.3:", second)}; err != nil || !slices.Equal(tried, want) {
		t.Errorf("%q, want %q: %v", tried, want, err)
	}
	for _, part := range []string{"gone.test: no address", "refused", "connected to 127.0.0.2"} {
		if !strings.Contains(strings.Join(steps, "\n"), part) {
			t.Errorf("nobody was told %q: %q", part, steps)
		}
	}
	never := func(context.Context, net.Conn, bool) error { t.Error("connected"); return nil }
	for domain, notFound := range map[string]bool{"gone.test": true, "nothing.test": true, "dead.test": false, "slow.test": false, "half.test": false, "broken.test": false} {
		if err := r.Connect(t.Context(), domain, never); err == nil || errors.Is(err, resolve.ErrNotFound) != notFound {
			t.Errorf("%s: %v", domain, err)
		}
	}
	refused := errors.New("refused by try")
	err = r.Connect(t.Context(), "a.test", func(_ context.Context, conn net.Conn, _ bool) error { conn.Close(); return refused })
	if !errors.Is(err, refused) || errors.Is(err, resolve.ErrNotFound) {
		t.Error(err)
	}
}

// An address that does not answer does not hold up the next one (RFC 8305 5).
func TestHeadStart(t *testing.T) {
	port := listen(t, "127.0.0.5:0")
	// A listener whose backlog is full does not answer.
	full, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 6), Port: port})
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	r := zone{
		"_xmpp-server._tcp.a.test.": {fmt.Sprintf("SRV 1 1 %d a.test.", port)},
		"a.test.":                   {"A 127.0.0.6", "A 127.0.0.5"},
	}.serve(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := r.Connect(ctx, "a.test", func(_ context.Context, conn net.Conn, _ bool) error { return conn.Close() }); err != nil {
		t.Error(err)
	}
}

// A question without an answer ends with its context.
func TestNoAnswer(t *testing.T) {
	r := zone{"_xmpp-server._tcp.a.test.": {"silence"}, "_xmpps-server._tcp.a.test.": {"silence"}, "a.test.": {"silence"}}.serve(t)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	never := func(context.Context, net.Conn, bool) error { t.Error("connected"); return nil }
	if err := r.Connect(ctx, "a.test", never); err == nil || errors.Is(err, resolve.ErrNotFound) {
		t.Error(err)
	}
}

// What is being looked up for long holds up nothing that is there (RFC 8305 3, XEP-0495 4.2).
func TestLateAnswers(t *testing.T) {
	port := listen(t, "127.0.0.5:0")
	r := zone{
		"_xmpp-server._tcp.family.test.":  {fmt.Sprintf("SRV 1 1 %d family.test.", port)},
		"family.test.":                    {"A 127.0.0.5", "silence AAAA"},
		"_xmpp-server._tcp.servers.test.": {fmt.Sprintf("SRV 1 65535 %d silent.test.", port), fmt.Sprintf("SRV 1 0 %d servers.test.", port)},
		"silent.test.":                    {"silence"},
		"servers.test.":                   {"A 127.0.0.5"},
	}.serve(t)
	for _, domain := range []string{"family.test", "servers.test"} {
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second) // a look-up gives up after 5 seconds
		if err := r.Connect(ctx, domain, func(_ context.Context, conn net.Conn, _ bool) error { return conn.Close() }); err != nil {
			t.Error(err)
		}
		cancel()
	}
}

// IPv6 comes first (XEP-0495 5), and servers in their order.
func TestOrderOfAddresses(t *testing.T) {
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skip("no IPv6 on loopback: ", err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	for _, a := range []string{"127.0.0.21", "127.0.0.22", "127.0.0.23"} {
		l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", a, port))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
	}
	r := zone{
		"_xmpp-server._tcp.a.test.":  {fmt.Sprintf("SRV 1 1 %d a.test.", port), fmt.Sprintf("SRV 3 1 %d c.test.", port)},
		"_xmpps-server._tcp.a.test.": {fmt.Sprintf("SRV 2 1 %d b.test.", port)},
		"a.test.":                    {"A 127.0.0.21", "AAAA ::1"},
		"b.test.":                    {"A 127.0.0.22"},
		"c.test.":                    {"A 127.0.0.23"},
	}.serve(t)
	var tried []string
	err = r.Connect(t.Context(), "a.test", func(_ context.Context, conn net.Conn, direct bool) error {
		host, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
		tried = append(tried, fmt.Sprint(host, " ", direct))
		conn.Close()
		return errors.New("not this one")
	})
	if want := []string{"::1 false", "127.0.0.21 false", "127.0.0.22 true", "127.0.0.23 false"}; err == nil || !slices.Equal(tried, want) {
		t.Errorf("%q, want %q: %v", tried, want, err)
	}
}

// A domain can't have us connect to more than a few addresses.
func TestTries(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().(*net.TCPAddr).Port
	l.Close()
	z := zone{}
	for i := range 30 {
		name := fmt.Sprintf("s%d.test.", i)
		z["_xmpp-server._tcp.many.test."] = append(z["_xmpp-server._tcp.many.test."], fmt.Sprintf("SRV %d 1 %d %s", i/10, closed, name))
		for j := range 10 {
			z[name] = append(z[name], fmt.Sprintf("A 127.0.%d.%d", i+1, j+1))
		}
	}
	tries := 0
	ctx := resolve.WithTrace(t.Context(), func(step string) {
		if strings.Contains(step, "refused") {
			tries++
		}
	})
	err = z.serve(t).Connect(ctx, "many.test", func(context.Context, net.Conn, bool) error { t.Error("connected"); return nil })
	if err == nil || errors.Is(err, resolve.ErrNotFound) || !strings.Contains(err.Error(), "no more than 30") || tries != 30 {
		t.Errorf("%d tries: %v", tries, err)
	}
}
