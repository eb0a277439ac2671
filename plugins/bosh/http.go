package bosh

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/hexmpp/hexmpp/plugins/bosh/session"
)

// minGzip is the size from which on an answer is compressed.
const minGzip = 1024

// ServeHTTP implements http.Handler, for a repeatable route.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.allow(w, r)
	switch r.Method {
	case http.MethodPost:
	case http.MethodOptions:
		w.WriteHeader(http.StatusNoContent)
		return
	default:
		w.Header().Set("Allow", "POST, OPTIONS")
		http.Error(w, "BOSH (XEP-0124) asks by POST", http.StatusMethodNotAllowed)
		return
	}
	raw, err := s.read(r)
	if err != nil {
		write(w, r, session.Refusal(0, session.BadRequest))
		return
	}
	body, err := session.Parse(raw, s.o.BodyBytes)
	if err != nil {
		write(w, r, session.Refusal(0, session.BadRequest))
		return
	}
	answer, err := s.handle(r, body)
	if err != nil { // the client has gone, or the process ends: the server gives the request to the next one
		panic(http.ErrAbortHandler)
	}
	write(w, r, answer)
}

// allow writes the headers of CORS.
func (s *Service) allow(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	origin := "*"
	if len(s.o.Origins) > 0 {
		h.Add("Vary", "Origin")
		if origin = r.Header.Get("Origin"); !slices.Contains(s.o.Origins, origin) {
			return
		}
	}
	h.Set("Access-Control-Allow-Origin", origin)
	if r.Method == http.MethodOptions {
		h.Set("Access-Control-Allow-Methods", "POST, OPTIONS")
		h.Set("Access-Control-Allow-Headers", "Content-Type, Content-Encoding")
		h.Set("Access-Control-Max-Age", "86400")
	}
}

// read reads and unpacks a body (7.2: accept).
func (s *Service) read(r *http.Request) ([]byte, error) {
	most := int64(s.o.BodyBytes)
	var in io.Reader = io.LimitReader(r.Body, most+1)
	switch encoding := strings.ToLower(strings.TrimSpace(r.Header.Get("Content-Encoding"))); encoding {
	case "", "identity":
	case "gzip", "x-gzip":
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, err
		}
		in = io.LimitReader(z, most+1)
	default:
		return nil, fmt.Errorf("bosh: content encoding %.40q", encoding)
	}
	return io.ReadAll(in) // one that is too long Parse refuses
}

// secure says that a request came over TLS: the server says so.
func secure(r *http.Request) bool { return r.Header.Get("X-Forwarded-Proto") == "https" }

// handle answers a request, when there is an answer.
func (s *Service) handle(r *http.Request, b *session.Body) (session.Answer, error) {
	var e *entry
	var c <-chan session.Answer
	ticket := session.Ticket(s.ticket.Add(1))
	if b.SID == "" {
		var condition string
		if e, c, condition = s.create(r, b, ticket); condition != "" {
			return session.Refusal(ticket, condition), nil
		}
	} else {
		if e = s.find(b.SID); e == nil {
			return session.Refusal(ticket, session.ItemNotFound), nil
		}
		c = e.wait(ticket)
		err := s.do(e, func(rec *record) session.Out { return rec.session.Request(b, secure(r), ticket, s.now()) })
		switch {
		case errors.Is(err, errGone):
			return session.Refusal(ticket, session.ItemNotFound), nil
		case err != nil && s.ctx.Err() != nil:
			return session.Answer{}, err
		case err != nil:
			s.log.Warn("a request was given back", "error", err)
		}
	}
	select {
	case a := <-c:
		return a, nil
	case <-r.Context().Done():
		s.leave(e, ticket)
		return session.Answer{}, r.Context().Err()
	case <-s.ctx.Done():
		return session.Answer{}, context.Canceled
	}
}

// create begins a session (7), or says why not.
func (s *Service) create(r *http.Request, b *session.Body, ticket session.Ticket) (*entry, <-chan session.Answer, string) {
	if condition := session.Check(b); condition != "" {
		return nil, nil, condition
	}
	if !s.kernel.Hosted(b.To) {
		return nil, nil, session.HostUnknown
	}
	if s.o.RequireTLS && !secure(r) {
		return nil, nil, session.PolicyViolation
	}
	address, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		address = r.RemoteAddr
	}
	e := &entry{sid: rand.Text(), address: address, waiting: map[session.Ticket]chan session.Answer{}}
	s.mu.Lock()
	switch {
	case s.addresses[address] >= s.o.PerAddress:
		s.mu.Unlock()
		return nil, nil, session.PolicyViolation
	case len(s.sessions) >= s.o.Sessions:
		s.mu.Unlock()
		return nil, nil, session.InternalServerError
	}
	s.sessions[e.sid] = e
	s.addresses[address]++
	s.mu.Unlock()
	c := e.wait(ticket)
	err = s.transact(e, func(*record) (*record, session.Out, error) {
		m, out := session.New(b, e.sid, secure(r), ticket, s.now(), s.o.Session)
		return &record{address: address, session: m}, out, nil
	})
	if err != nil {
		s.log.Warn("a session was not begun", "error", err)
		e.turn.Lock()
		defer e.turn.Unlock()
		s.forget(e)
		return nil, nil, session.RemoteConnectionFailed
	}
	return e, c, ""
}

// write writes an answer.
func write(w http.ResponseWriter, r *http.Request, a session.Answer) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	// A client may name the media type. Nothing of an answer is a page, whatever it says.
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	if a.Status == 0 { // in clear, of a session that is not (19.1)
		h.Set("Connection", "close")
		w.WriteHeader(http.StatusForbidden)
		return
	}
	h.Set("Content-Type", a.Content)
	body := a.Body
	h.Add("Vary", "Accept-Encoding")
	if len(body) >= minGzip && accepts(r) {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = z.Write(body) // a Buffer does not fail
		_ = z.Close()
		body = b.Bytes()
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("Content-Length", fmt.Sprint(len(body)))
	w.WriteHeader(a.Status)
	_, _ = w.Write(body) // who has gone asks again
}

// accepts says that the client unpacks gzip (RFC 9110 12.5.3).
func accepts(r *http.Request) bool {
	for _, field := range r.Header.Values("Accept-Encoding") {
		for one := range strings.SplitSeq(field, ",") {
			name, parameters, _ := strings.Cut(one, ";")
			if q := strings.ReplaceAll(parameters, " ", ""); strings.TrimSpace(name) == "gzip" && q != "q=0" && q != "q=0.0" && q != "q=0.00" && q != "q=0.000" {
				return true
			}
		}
	}
	return false
}
