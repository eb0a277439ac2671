package peerstream

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
	"github.com/hexmpp/hexmpp/ports/xmpp/xmlstream"
)

// Opening says how to open a stream.
type Opening struct {
	Pair
	DirectTLS bool
	// Bidi asks for stanzas both ways, if the peer offers that (XEP-0288).
	Bidi bool
	// VerifyOnly: the stream is for Verify alone, and is not authenticated.
	VerifyOnly bool
	// Step is told what was done, for people; nil: nobody is.
	Step func(text string)
}

// Initiate opens a stream over a connection: headers, TLS, features, and SASL EXTERNAL where the peer
// takes it. Otherwise the pair is not authorized yet: Authorize asks by dialback, once Run reads. The connection is the
// stream's; it is closed if an error is returned.
func Initiate(ctx context.Context, conn net.Conn, c *Config, o Opening, h Handler) (*Stream, error) {
	s := newStream(conn, c, h)
	s.initiator, s.local, s.far = true, o.Local, o.Far
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if o.Step == nil {
		o.Step = func(string) {}
	}
	if err := s.initiate(ctx, o); err != nil {
		s.Close(endOf(err))
		_ = s.flush()
		s.Abort()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = fmt.Errorf("%w: %w", ErrTimeout, err)
		}
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, err
	}
	s.dropUnsent(true)
	return s, nil
}

// endOf returns what the peer is told at the end.
func endOf(err error) *stream.Error {
	if e := (*stream.Error)(nil); errors.As(err, &e) {
		return e
	}
	return nil
}

func (s *Stream) initiate(ctx context.Context, o Opening) error {
	terms := s.c.Terms(s.far)
	if o.DirectTLS {
		if err := s.tlsClient(ctx, true); err != nil {
			return fmt.Errorf("peerstream: direct TLS: %w", err)
		}
		o.Step("TLS is on (direct)")
	}
	if err := s.open(); err != nil {
		return err
	}
	if s.modern && !s.secure && (s.features.startTLS || !terms.NoTLS) {
		if err := s.startTLS(ctx); err != nil {
			return err
		}
		o.Step("TLS is on (STARTTLS)")
		if err := s.open(); err != nil {
			return err
		}
	}
	if !s.secure && !terms.NoTLS {
		return ErrNoTLS
	}
	valid := s.Valid(ctx, s.far)
	switch {
	case valid == nil:
		o.Step("the certificate is valid for " + s.far + " (" + s.Proof(s.far) + ")")
	case terms.Certificate:
		return fmt.Errorf("%w: %w", ErrCertificate, valid)
	default:
		o.Step("the certificate is not valid for " + s.far + ": " + valid.Error())
	}
	if o.VerifyOnly {
		return nil
	}
	if o.Bidi && s.features.bidi {
		s.out = append(s.out, "<bidi xmlns='"+NSBidi+"'/>"...)
		s.bidi = true
	}
	if s.features.external {
		switch err := s.authenticate(); {
		case err == nil:
			o.Step("authenticated by certificate (SASL EXTERNAL)")
		case !errors.Is(err, ErrUnauthorized):
			return err
		default:
			o.Step("the peer does not take our certificate: " + err.Error())
		}
	}
	return nil
}

// open sends a header and reads the peer's, and its features.
func (s *Stream) open() error {
	s.opened = true
	s.out = s.appendHeader(s.out)
	if err := s.flush(); err != nil {
		return err
	}
	t, err := s.expect(xmlstream.Open)
	if err != nil {
		return err
	}
	h := t.Header
	switch major, _, ok := stream.ParseVersion(h.Version); {
	case !ok:
		return stream.Err(stream.UnsupportedVersion, "version 1.0 is supported")
	case h.ContentSpace != xmpp.NSServer:
		return stream.Err(stream.InvalidNamespace, "the content namespace is "+xmpp.NSServer)
	default:
		s.modern = major >= 1
	}
	if from, ok := canonical(h.From); h.From != "" && (!ok || from != s.far) {
		return stream.Err(stream.InvalidFrom, "the stream is to another domain") // RFC 6120 4.7.1
	}
	s.id, s.features = h.ID, features{}
	if !s.modern { // dialback as it was before features
		s.features.dialback = true
		return nil
	}
	t, err = s.expect(xmlstream.Element)
	if err != nil {
		return err
	}
	if t.Element.Space != xmpp.NSStream || t.Element.Local != "features" {
		return stream.Err(stream.UnsupportedFeature, "features expected")
	}
	s.features = readFeatures(t.Element)
	return nil
}

func readFeatures(e *stanza.Element) (f features) {
	for _, x := range e.Elements() {
		switch {
		case x.Space == xmpp.NSTLS && x.Local == "starttls":
			f.startTLS, f.requireTLS = true, x.Child("", "required") != nil
		case x.Space == xmpp.NSSASL && x.Local == "mechanisms":
			for _, m := range x.Elements() {
				f.external = f.external || m.Local == "mechanism" && m.Text() == "EXTERNAL"
			}
		case x.Space == NSDialbackFeature && x.Local == "dialback":
			f.dialback, f.errors = true, x.Child("", "errors") != nil
		case x.Space == NSBidiFeature && x.Local == "bidi":
			f.bidi = true
		case x.Space == NSManagement && x.Local == "sm":
			f.management = true
		}
	}
	return f
}

// expect reads the next token, which must be of a kind.
func (s *Stream) expect(kind xmlstream.Kind) (xmlstream.Token, error) {
	var buf [4096]byte
	for {
		t, ok, err := s.r.Next()
		if err != nil {
			return t, err
		}
		if !ok {
			n, err := s.conn.Read(buf[:])
			if n == 0 && err != nil {
				return t, fmt.Errorf("peerstream: the connection ended during negotiation: %w", err)
			}
			s.r.Feed(buf[:n])
			continue
		}
		if t.Kind == xmlstream.Element && t.Element.Space == xmpp.NSStream && t.Element.Local == "error" {
			return t, peerError(t.Element)
		}
		if t.Kind == xmlstream.Close && kind != xmlstream.Close {
			return t, fmt.Errorf("%w during negotiation", ErrClosed)
		}
		if t.Kind != kind {
			return t, stream.Err(stream.NotAuthorized, "not authenticated yet")
		}
		s.r.Hold()
		return t, nil
	}
}

// unaskedTLS is how long a peer may take to answer <starttls/> that did not offer it.
const unaskedTLS = 5 * time.Second

// startTLS asks for TLS, also of a peer that does not offer it: somebody on the way may have taken that away (RFC 7590
// 3.1).
func (s *Stream) startTLS(ctx context.Context) error {
	offered := s.features.startTLS
	s.out = append(s.out, "<starttls xmlns='"+xmpp.NSTLS+"'/>"...)
	if err := s.flush(); err != nil {
		return err
	}
	if soon := time.Now().Add(unaskedTLS); !offered && soon.Before(s.deadline) {
		_ = s.conn.SetReadDeadline(soon)
	}
	t, err := s.expect(xmlstream.Element)
	if err != nil && !offered {
		return fmt.Errorf("%w; it was asked for all the same: %v", ErrNoTLS, err)
	}
	if err != nil {
		return err
	}
	if t.Element.Space != xmpp.NSTLS || t.Element.Local != "proceed" {
		return fmt.Errorf("%w: STARTTLS failed", ErrNoTLS)
	}
	if err = s.tlsClient(ctx, false); err != nil {
		return fmt.Errorf("peerstream: TLS: %w", err)
	}
	return nil
}

// failureReason is what a failure of SASL says: a condition, and text perhaps (RFC 6120 6.4.5).
func failureReason(e *stanza.Element) string {
	condition, text := "no reason is given", ""
	for _, c := range e.Elements() {
		if c.Local == "text" {
			text = fmt.Sprintf(" (%.200q)", c.Text())
		} else {
			condition = fmt.Sprintf("%.60s", c.Local)
		}
	}
	return condition + text
}

// authenticate tries SASL EXTERNAL (XEP-0178 3). The error wraps ErrUnauthorized if the peer refused: the
// stream goes on.
func (s *Stream) authenticate() error {
	id := base64.StdEncoding.EncodeToString([]byte(s.local))
	s.out = append(s.out, "<auth xmlns='"+xmpp.NSSASL+"' mechanism='EXTERNAL'>"+id+"</auth>"...)
	if err := s.flush(); err != nil {
		return err
	}
	t, err := s.expect(xmlstream.Element)
	if err != nil {
		return err
	}
	switch e := t.Element; {
	case e.Space == xmpp.NSSASL && e.Local == "success":
	case e.Space == xmpp.NSSASL && e.Local == "failure":
		return fmt.Errorf("%w: %s", ErrUnauthorized, failureReason(e))
	default:
		return stream.Err(stream.UnsupportedFeature, "the end of SASL expected")
	}
	s.r.Reset()
	if err = s.open(); err != nil {
		return err
	}
	s.outward[s.pair()] = may
	if s.bidi {
		s.any[s.far] = true
	}
	return nil
}

func (s *Stream) pair() Pair { return Pair{s.local, s.far} }
