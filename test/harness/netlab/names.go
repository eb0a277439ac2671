package netlab

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"

	"github.com/hexmpp/hexmpp/test/harness/dnstest"
)

// Names is the name server of a network. Names that it does not have do not exist.
type Names struct {
	t testing.TB

	mu     sync.Mutex // guards what follows
	have   map[string][]dns.RR
	broken map[string]bool
	asked  map[string]int
	signed bool
}

// serve runs one until the test ends.
func serve(t testing.TB) *Names {
	t.Helper()
	n := &Names{t: t, have: map[string][]dns.RR{}, broken: map[string]bool{}, asked: map[string]int{}}
	dnstest.Serve(t, gateway+":53", n)
	return n
}

// Add adds records, as in a zone file: "_xmpp-server._tcp.a.test. 60 IN SRV 1 1 5269 xmpp.a.test.".
func (n *Names) Add(records ...string) {
	n.t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, text := range records {
		rr, err := dns.NewRR(text)
		if err != nil {
			n.t.Fatalf("netlab: %s: %v", text, err)
		}
		name := strings.ToLower(rr.Header().Name)
		n.have[name] = append(n.have[name], rr)
	}
}

// Server adds what a domain with an XMPP server on a host has: an address, and a record for servers.
func (n *Names) Server(domain string, h *Host) {
	n.t.Helper()
	n.Add(fmt.Sprintf("xmpp.%s. 60 IN A %s", domain, h.Addr), fmt.Sprintf("_xmpp-server._tcp.%s. 60 IN SRV 5 1 5269 xmpp.%s.", domain, domain))
}

// Remove takes all records of a name away.
func (n *Names) Remove(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.have, strings.ToLower(dns.Fqdn(name)))
}

// Break has questions for a name answered with SERVFAIL, or as usual.
func (n *Names) Break(name string, on bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.broken[strings.ToLower(dns.Fqdn(name))] = on
}

// Sign has all answers be those of a name server that has validated their signatures (the AD bit), or not.
func (n *Names) Sign(on bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.signed = on
}

// Asked returns how often a name was asked for, in questions of any type.
func (n *Names) Asked(name string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.asked[strings.ToLower(dns.Fqdn(name))]
}

// ServeDNS implements dns.Handler.
func (n *Names) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	a := new(dns.Msg)
	a.SetReply(q)
	a.Authoritative, a.RecursionAvailable = true, true
	if len(q.Question) != 1 {
		a.Rcode = dns.RcodeFormatError
		w.WriteMsg(a)
		return
	}
	name := strings.ToLower(q.Question[0].Name)
	n.mu.Lock()
	n.asked[name]++
	have, broken := n.have[name], n.broken[name]
	a.AuthenticatedData = n.signed && q.AuthenticatedData && !broken
	n.mu.Unlock()
	switch {
	case broken:
		a.Rcode = dns.RcodeServerFailure
	case have == nil:
		a.Rcode = dns.RcodeNameError
	}
	for _, rr := range have {
		if rr.Header().Rrtype == q.Question[0].Qtype && !broken {
			a.Answer = append(a.Answer, rr)
		}
	}
	w.WriteMsg(a)
}
