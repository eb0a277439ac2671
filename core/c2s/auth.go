package c2s

import (
	"context"

	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/core/sasl"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
)

// login is what a stream holds until it is authenticated.
type login struct {
	bytes    int // of input
	bindings []sasl.Binding
	offered  []string
	exchange *sasl.Exchange
	user     jid.JID // whom the exchange is for, once known
	failures int
}

// sasl handles an element of the SASL namespace (RFC 6120 6.4).
func (s *Stream) sasl(b *transport.Batch, e *stanza.Element) transport.Wait {
	l := s.login
	if !s.secure() {
		return s.refused(b, sasl.EncryptionRequired, "") // 6.5.4
	}
	switch e.Local {
	case "auth":
		if l.exchange != nil { // a new attempt ends the one under way
			l.exchange = nil
		}
		x, err := sasl.New(e.Attr("mechanism"), sasl.Params{Bindings: l.bindings, Offered: l.offered})
		if err != nil {
			return s.refused(b, sasl.InvalidMechanism, "")
		}
		l.exchange = x
		text := e.Text()
		if text == "" {
			return s.proceed(b, x.Start(nil, false))
		}
		msg, err := sasl.DecodeBase64(text)
		if err != nil {
			return s.refused(b, sasl.IncorrectEncoding, "")
		}
		return s.proceed(b, x.Start(msg, true))
	case "response":
		if l.exchange == nil {
			return s.refused(b, sasl.MalformedRequest, "no exchange is under way")
		}
		msg, err := sasl.DecodeBase64(e.Text())
		if err != nil {
			return s.refused(b, sasl.IncorrectEncoding, "")
		}
		return s.proceed(b, l.exchange.Step(msg))
	case "abort":
		return s.refused(b, sasl.Aborted, "")
	}
	s.fail(b, stream.Err(stream.UnsupportedStanzaType, ""))
	return nil
}

// proceed acts on what the exchange came to.
func (s *Stream) proceed(b *transport.Batch, r sasl.Result) transport.Wait {
	l := s.login
	switch r.Status {
	case sasl.Challenge:
		s.out.Raw(b, "<challenge xmlns='"+xmpp.NSSASL+"'>"+sasl.EncodeBase64(r.Data)+"</challenge>")
	case sasl.NeedKeys:
		return s.attempt(b, r.User, func(ctx context.Context, user jid.JID) func() sasl.Result {
			keys, err := s.srv.Credentials.SCRAM(ctx, user, r.Hash)
			if err != nil {
				s.srv.Log.Error("auth: reading keys failed: logins fail until the source answers again", zap.Error(err))
				return func() sasl.Result { return l.exchange.Verdict(err) }
			}
			return func() sasl.Result { return l.exchange.Keys(keys) }
		})
	case sasl.NeedVerify:
		return s.attempt(b, r.User, func(ctx context.Context, user jid.JID) func() sasl.Result {
			err := s.srv.Verifier.VerifyPassword(ctx, user, r.Password)
			return func() sasl.Result { return l.exchange.Verdict(err) }
		})
	case sasl.Success:
		return s.succeed(b, r)
	case sasl.Failure:
		return s.refused(b, r.Failure, r.Text)
	}
	return nil
}

// attempt asks a source of accounts, if this address and account have not
// failed too often. ask runs in the Wait; what it returns, in the next turn.
func (s *Stream) attempt(b *transport.Batch, name string, ask func(context.Context, jid.JID) func() sasl.Result) transport.Wait {
	user, err := jid.New(name, s.domain, "")
	if err != nil { // no account can have this name
		return s.refused(b, sasl.NotAuthorized, "")
	}
	s.login.user = user
	if wait := s.srv.Throttle.Wait(s.peer.Addr.Addr(), user, s.srv.Now()); wait > 0 {
		return s.refused(b, sasl.TemporaryAuthFailure, "too many failed logins, try again later")
	}
	return func(ctx context.Context) {
		then := ask(ctx, user)
		s.resume = func(b *transport.Batch) {
			if s.state != ended {
				s.proceed(b, then()) // never waits: see sasl.Exchange
			}
		}
	}
}

// succeed ends SASL: a new stream begins, on the same connection (6.4.6).
func (s *Stream) succeed(b *transport.Batch, r sasl.Result) transport.Wait {
	user := s.login.user
	if r.Authzid != "" {
		if z, err := jid.Parse(r.Authzid); err != nil || z != user {
			return s.refused(b, sasl.InvalidAuthzid, "")
		}
	}
	if s.peer.TLS != nil && !s.claims.IsZero() && s.claims != user { // 6.4.6
		return s.refused(b, sasl.NotAuthorized, "the stream was opened in another name")
	}
	now := s.srv.Now()
	s.srv.Throttle.Succeeded(s.peer.Addr.Addr(), user, now)
	s.srv.LoggedIn(user, now)
	s.srv.Log.Debug("logged in", zap.Stringer("user", user), zap.Stringer("addr", s.peer.Addr))
	data := ""
	if r.Data != nil {
		data = sasl.EncodeBase64(r.Data)
	}
	s.out.Raw(b, "<success xmlns='"+xmpp.NSSASL+"'>"+data+"</success>")
	s.user, s.login, s.state = user, nil, authenticated
	s.rd.SetLimits(s.srv.Limits.after())
	s.rd.Reset()
	return nil
}

// refused tells the client of a failure; the stream stays open for another
// try, a bounded number of times (6.4.5).
func (s *Stream) refused(b *transport.Batch, c sasl.Condition, text string) transport.Wait {
	l := s.login
	if c == sasl.NotAuthorized && !l.user.IsZero() {
		s.srv.Throttle.Failed(s.peer.Addr.Addr(), l.user, s.srv.Now())
		s.srv.Log.Info("login failed", zap.Stringer("user", l.user), zap.Stringer("addr", s.peer.Addr))
	}
	l.exchange, l.user = nil, jid.JID{}
	f := stanza.El(xmpp.NSSASL, "failure").Add(stanza.El(xmpp.NSSASL, string(c)))
	if text != "" {
		f.Add(stanza.El(xmpp.NSSASL, "text", stanza.Attr{Space: xmpp.NSXML, Local: "lang", Value: serverLang}).WithText(text))
	}
	s.out.Raw(b, string(f.Append(nil, "")))
	if l.failures++; l.failures > s.srv.Limits.SASLAttempts {
		s.fail(b, stream.Err(stream.PolicyViolation, "too many failed logins"))
	}
	return nil
}
