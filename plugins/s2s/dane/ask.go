package dane

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// typeTLSA is that of TLSA records (RFC 6698 7.1).
const typeTLSA dnsmessage.Type = 52

// Times and bounds of questions.
const (
	askTime    = 2 * time.Second // for one nameserver
	askRounds  = 2
	udpSize    = 1232      // bytes of an answer over UDP: it is not fragmented
	maxRecords = 100       // of an answer
	maxConf    = 256 << 10 // bytes of resolv.conf
)

// resolvConf is where the nameservers of the system are.
const resolvConf = "/etc/resolv.conf"

// Nameservers returns those of the system, if they can be trusted. The error says what an administrator can do.
func Nameservers() ([]netip.AddrPort, error) {
	f, err := os.Open(resolvConf)
	if err != nil {
		return nil, fmt.Errorf("dane: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxConf))
	if err != nil {
		return nil, fmt.Errorf("dane: %w", err)
	}
	return parseConf(string(b))
}

// parseConf reads resolv.conf.
func parseConf(text string) ([]netip.AddrPort, error) {
	var list []netip.AddrPort
	trusted := false
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		switch words[0] {
		case "nameserver":
			if a, err := netip.ParseAddr(words[1]); err == nil && len(list) < 3 {
				list = append(list, netip.AddrPortFrom(a.Unmap(), 53))
			}
		case "options":
			for _, o := range words[1:] {
				trusted = trusted || o == "trust-ad"
			}
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("dane: %s names no nameserver; one that validates DNSSEC is needed", resolvConf)
	}
	for _, a := range list {
		if !trusted && !a.Addr().IsLoopback() {
			return nil, fmt.Errorf("dane: the nameserver %s of %s is not on this machine, and its answers could be changed on the way: run one that validates DNSSEC here, "+
				"or say that the way to it is safe, by the line \"options trust-ad\"", a.Addr(), resolvConf)
		}
	}
	return list, nil
}

// reply is an answer of a nameserver.
type reply struct {
	secure    bool // the nameserver has validated it
	truncated bool
	servers   []server
	records   []Record // those that can be used
	addresses int
}

// ask asks for records of a type. No such name, or no such record, is no error.
func (c *Client) ask(ctx context.Context, name string, typ dnsmessage.Type) (reply, error) {
	n, err := dnsmessage.NewName(name)
	if err != nil {
		return reply{}, nil // too long: there is no such name
	}
	servers, err := c.nameservers()
	if err != nil {
		return reply{}, err
	}
	select {
	case c.questions <- struct{}{}:
		defer func() { <-c.questions }()
	case <-ctx.Done():
		return reply{}, ctx.Err()
	}
	q := dnsmessage.Question{Name: n, Type: typ, Class: dnsmessage.ClassINET}
	for range askRounds {
		for _, s := range servers {
			var r reply
			if r, err = exchange(ctx, "udp", s, q); err == nil && r.truncated {
				r, err = exchange(ctx, "tcp", s, q)
			}
			if err == nil {
				return r, nil
			}
			if err = fmt.Errorf("%s %s, asked of %s: %w", name, typeName(typ), s, err); ctx.Err() != nil {
				return reply{}, err
			}
		}
	}
	return reply{}, err
}

func typeName(t dnsmessage.Type) string {
	if t == typeTLSA {
		return "TLSA"
	}
	return strings.TrimPrefix(t.String(), "Type")
}

// exchange asks one nameserver, once.
func exchange(ctx context.Context, network string, to netip.AddrPort, q dnsmessage.Question) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, to.String())
	if err != nil {
		return reply{}, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	id, msg, err := question(q)
	if err != nil {
		return reply{}, err
	}
	if network == "tcp" {
		msg = append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)
	}
	if _, err := conn.Write(msg); err != nil {
		return reply{}, err
	}
	buf := make([]byte, 1<<16)
	for {
		n := 0
		if network == "tcp" {
			if _, err = io.ReadFull(conn, buf[:2]); err == nil {
				n, err = io.ReadFull(conn, buf[:binary.BigEndian.Uint16(buf)])
			}
		} else {
			n, err = conn.Read(buf)
		}
		if err != nil {
			if ctx.Err() != nil {
				err = ctx.Err()
			}
			return reply{}, err
		}
		r, err := parseReply(buf[:n], id, q)
		if errors.Is(err, errOther) && network == "udp" {
			continue // somebody guesses
		}
		return r, err
	}
}

// question makes a message, with an ID that can't be guessed. The AD bit asks for that of the answer (RFC 6840 5.7).
func question(q dnsmessage.Question) (id uint16, msg []byte, err error) {
	var random [2]byte
	rand.Read(random[:])
	id = binary.BigEndian.Uint16(random[:])
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: id, RecursionDesired: true, AuthenticData: true})
	var opt dnsmessage.ResourceHeader
	err = errors.Join(b.StartQuestions(), b.Question(q), b.StartAdditionals(),
		opt.SetEDNS0(udpSize, dnsmessage.RCodeSuccess, false), b.OPTResource(opt, dnsmessage.OPTResource{}))
	if err != nil {
		return 0, nil, err
	}
	msg, err = b.Finish()
	return id, msg, err
}

var errOther = errors.New("it is no answer to the question")

// parseReply reads an answer to a question. The error wraps errOther if it is to another one.
func parseReply(msg []byte, id uint16, q dnsmessage.Question) (r reply, err error) {
	var p dnsmessage.Parser
	h, err := p.Start(msg)
	if err != nil || h.ID != id || !h.Response {
		return r, errOther
	}
	asked, err := p.Question()
	if err != nil || asked.Type != q.Type || asked.Class != q.Class || !strings.EqualFold(asked.Name.String(), q.Name.String()) {
		return r, errOther
	}
	if r.truncated = h.Truncated; r.truncated {
		return r, nil
	}
	switch h.RCode {
	case dnsmessage.RCodeSuccess, dnsmessage.RCodeNameError:
	case dnsmessage.RCodeServerFailure:
		return r, errors.New("the nameserver failed (SERVFAIL): it could not find out, or the signature is wrong")
	default:
		return r, fmt.Errorf("the nameserver says %s", strings.TrimPrefix(h.RCode.String(), "RCode"))
	}
	r.secure = h.AuthenticData
	if err := p.SkipAllQuestions(); err != nil {
		return reply{}, err
	}
	for range maxRecords {
		rh, err := p.AnswerHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			return r, nil
		}
		if err != nil {
			return reply{}, err
		}
		if rh.Type != q.Type || rh.Class != dnsmessage.ClassINET { // a CNAME, on the way to the others
			if err := p.SkipAnswer(); err != nil {
				return reply{}, err
			}
			continue
		}
		if err := r.add(&p, rh.Type); err != nil {
			return reply{}, err
		}
	}
	return r, nil
}

// add reads a record.
func (r *reply) add(p *dnsmessage.Parser, typ dnsmessage.Type) error {
	switch typ {
	case dnsmessage.TypeSRV:
		s, err := p.SRVResource()
		if err != nil {
			return err
		}
		r.servers = append(r.servers, server{strings.ToLower(s.Target.String()), s.Port})
	case typeTLSA:
		u, err := p.UnknownResource()
		if err != nil {
			return err
		}
		if rec, ok := parseRecord(u.Data); ok {
			r.records = append(r.records, rec)
		}
	default:
		r.addresses++
		return p.SkipAnswer()
	}
	return nil
}
