// Package dane finds what the DNS says of the certificates of a domain's servers: TLSA records (RFC 6698, 7671) of the
// servers that SRV records name (RFC 7673), as RFC 7712 5.1 wants it for XMPP. All of it must be signed (DNSSEC).
//
// It validates no signature: it asks a nameserver that does, and takes its word, the AD bit. So the nameserver must be on this
// machine, or the way to it one that nobody can tamper with (options trust-ad in resolv.conf, see resolv.conf(5)).
//
// Which of several servers a certificate is of is not looked at: a domain that names servers in a signed record
// is any of them. So the same answer is good for streams of both directions.
package dane

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// lookupTime is how long all questions for a domain may take together.
const lookupTime = 10 * time.Second

// maxServers is how many servers of a domain are asked for.
const maxServers = 20

// maxQuestions is how many questions are under way at one time: anybody who connects can have us ask.
const maxQuestions = 100

// Client asks for associations. Its methods may be called by any goroutine.
type Client struct {
	nameservers func() ([]netip.AddrPort, error)
	questions   chan struct{} // has room for as many as there may be
}

// New makes a Client that asks what nameservers returns at that moment, one after the other: Nameservers, for one.
func New(nameservers func() ([]netip.AddrPort, error)) *Client {
	return &Client{nameservers, make(chan struct{}, maxQuestions)}
}

// Answer is what the DNS says of a domain, signed.
type Answer struct {
	// Records are those that can be used (RFC 6698 4.1), of all servers of the domain. If there is one, a certificate
	// that none of them matches is not the domain's.
	Records []Record
	// Servers are names of servers, for which certificates may be issued as well as for the domain (RFC 7673 4.1).
	Servers []string
}

// server is one that a signed SRV record names.
type server struct {
	name string // with a final dot
	port uint16
}

// Lookup asks for what there is of a domain, which is as in jid.JID.Domain. An Answer without anything says that the
// domain has nothing signed. With an error there is no telling: nothing is proved then, not by an authority
// either (RFC 7673 3.1).
func (c *Client) Lookup(ctx context.Context, domain string) (Answer, error) {
	if _, err := netip.ParseAddr(domain); err == nil {
		return Answer{}, nil
	}
	name, err := jid.DomainToASCII(domain)
	if err != nil {
		return Answer{}, nil // no name of the DNS
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	servers, err := c.servers(ctx, name)
	if err != nil {
		return Answer{}, fmt.Errorf("dane: %w", err)
	}
	type result struct {
		records []Record
		err     error
	}
	results := make([]result, len(servers))
	var all sync.WaitGroup
	for i, s := range servers {
		all.Go(func() { results[i].records, results[i].err = c.records(ctx, s) })
	}
	all.Wait()
	var a Answer
	var failed error
	for i, r := range results {
		if r.err != nil {
			failed = errors.Join(failed, r.err)
			continue // the server is not to be used (RFC 7673 3.2, 3.3)
		}
		a.Records = append(a.Records, r.records...)
		a.Servers = append(a.Servers, strings.TrimSuffix(servers[i].name, "."))
	}
	if failed != nil && len(a.Records) == 0 {
		return Answer{}, fmt.Errorf("dane: %w", failed)
	}
	return a, nil
}

// servers asks for SRV records, and returns what those name that are signed (RFC 7673 3.1).
func (c *Client) servers(ctx context.Context, name string) (list []server, err error) {
	kinds := [...]string{"_xmpp-server._tcp.", "_xmpps-server._tcp."}
	var replies [len(kinds)]reply
	var errs [len(kinds)]error
	var all sync.WaitGroup
	for i, kind := range kinds {
		all.Go(func() { replies[i], errs[i] = c.ask(ctx, kind+name+".", dnsmessage.TypeSRV) })
	}
	all.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	for _, r := range replies {
		if !r.secure {
			continue
		}
		for _, s := range r.servers {
			if s.name != "." && s.port != 0 && len(list) < maxServers {
				list = append(list, s)
			}
		}
	}
	return list, nil
}

// records asks for the TLSA records of a server, if its addresses are signed (RFC 7673 3.2, 3.3).
func (c *Client) records(ctx context.Context, s server) ([]Record, error) {
	types := [...]dnsmessage.Type{dnsmessage.TypeAAAA, dnsmessage.TypeA}
	var replies [len(types)]reply
	var errs [len(types)]error
	var all sync.WaitGroup
	for i, t := range types {
		all.Go(func() { replies[i], errs[i] = c.ask(ctx, s.name, t) })
	}
	all.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	secure := false
	for _, r := range replies {
		secure = secure || r.secure && r.addresses > 0
	}
	if !secure {
		return nil, nil
	}
	r, err := c.ask(ctx, fmt.Sprintf("_%d._tcp.%s", s.port, s.name), typeTLSA)
	if err != nil || !r.secure {
		return nil, err
	}
	return r.records, nil
}
