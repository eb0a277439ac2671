package c2s

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/core/sasl"
	"github.com/hexmpp/hexmpp/ports/auth"
	"github.com/hexmpp/hexmpp/ports/observe"
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
	user     jid.JID   // whom the exchange is for, once known
	proof    bool      // the client's next response is its proof
	since    time.Time // when its credentials were asked for
	guesses  int       // failures with a password or proof
	failures int       // all of them

	// An answer that the throttle holds back, and until when. Tick sends it.
	held  *sasl.Result
	until time.Time
}

// sasl handles an element of the SASL namespace (RFC 6120 6.4).
func (s *Stream) sasl(b *transport.Batch, e *stanza.Element) transport.Wait {
	l := s.login
	switch {
	case !s.secure():
		return s.refused(b, sasl.EncryptionRequired, "") // 6.5.4
	case e.Local == "auth" && e.Attr("mechanism") == sasl.Plain && !s.plainAllowed():
		return s.refused(b, sasl.EncryptionRequired, "")
	case e.Local == "auth":
		x, err := sasl.New(e.Attr("mechanism"), sasl.Params{Bindings: l.bindings, Offered: l.offered})
		if err != nil {
			return s.refused(b, sasl.InvalidMechanism, "")
		}
		msg, present, err := sasl.DecodeInitial(e.Text())
		if err != nil {
			return s.refused(b, sasl.IncorrectEncoding, "")
		}
		if l.exchange != nil && !s.count(b, false) { // given up without an answer
			return nil
		}
		l.exchange, l.user, l.proof = x, jid.JID{}, false
		return s.proceed(b, x.Start(msg, present))
	case e.Local == "response" && l.exchange == nil:
		return s.refused(b, sasl.MalformedRequest, "no exchange is under way")
	case e.Local == "response":
		msg, err := sasl.DecodeBase64(e.Text())
		if err != nil {
			return s.refused(b, sasl.IncorrectEncoding, "")
		}
		if l.proof {
			return s.prove(b, msg)
		}
		return s.proceed(b, l.exchange.Step(msg))
	case e.Local == "abort":
		return s.refused(b, sasl.Aborted, "")
	}
	s.fail(b, stream.Err(stream.UnsupportedStanzaType, ""))
	return nil
}

// proceed acts on what the exchange came to.
func (s *Stream) proceed(b *transport.Batch, r sasl.Result) transport.Wait {
	switch r.Status {
	case sasl.Challenge:
		s.raw(b, "<challenge xmlns='"+xmpp.NSSASL+"'>"+sasl.EncodeBase64(r.Data)+"</challenge>")
		return nil
	case sasl.Success:
		return s.succeed(b, r)
	case sasl.Failure:
		if r.Binding {
			return s.refusedAs(b, r.Failure, r.Text, observe.ChannelBinding)
		}
		return s.refused(b, r.Failure, r.Text)
	}
	user, err := jid.New(r.User, s.domain, "")
	if err != nil { // no account can have this name, but a guess it is
		addr, now := s.peer.Addr.Addr(), s.srv.Now()
		delay, refused := s.srv.Throttle.Attempt(addr, jid.JID{}, now)
		if refused {
			return s.refused(b, sasl.TemporaryAuthFailure, tooMany)
		}
		s.srv.Throttle.Failed(addr, jid.JID{}, now)
		return s.hold(b, sasl.Result{Failure: sasl.NotAuthorized}, delay)
	}
	s.login.user = user
	if r.Status == sasl.NeedKeys {
		return s.keys(r.Hash)
	}
	return s.verify(b, r.Password)
}

// keys reads the SCRAM keys of the user; the client's proof comes next.
func (s *Stream) keys(h auth.Hash) transport.Wait {
	user, x := s.login.user, s.login.exchange
	s.login.proof, s.login.since = true, s.srv.Now()
	return func(ctx context.Context) {
		keys, err := s.srv.Credentials.SCRAM(ctx, user, h)
		s.resume = func(b *transport.Batch) {
			if err != nil {
				s.srv.sourceFailed("reading keys", err)
				s.proceed(b, x.Verdict(err))
				return
			}
			s.proceed(b, x.Keys(keys))
		}
	}
}

// prove takes the proof of SCRAM, if the throttle lets it.
func (s *Stream) prove(b *transport.Batch, msg []byte) transport.Wait {
	l, addr := s.login, s.peer.Addr.Addr()
	delay, refused := s.srv.Throttle.Attempt(addr, l.user, s.srv.Now())
	if refused {
		return s.refused(b, sasl.TemporaryAuthFailure, tooMany)
	}
	r := l.exchange.Step(msg)
	switch {
	case r.Status == sasl.Success:
		s.srv.Throttle.Succeeded(addr, l.user, s.srv.Now())
	case r.Failure == sasl.NotAuthorized:
		s.srv.Throttle.Failed(addr, l.user, s.srv.Now())
	default:
		s.srv.Throttle.Abandoned(addr, l.user, s.srv.Now())
	}
	return s.hold(b, r, delay)
}

// verify has a password checked, if the throttle lets it.
func (s *Stream) verify(b *transport.Batch, password string) transport.Wait {
	user, x, addr := s.login.user, s.login.exchange, s.peer.Addr.Addr()
	delay, refused := s.srv.Throttle.Attempt(addr, user, s.srv.Now())
	if refused {
		return s.refused(b, sasl.TemporaryAuthFailure, tooMany)
	}
	s.login.since = s.srv.Now()
	return func(ctx context.Context) {
		err := s.srv.Verifier.VerifyPassword(ctx, user, password)
		switch {
		case err == nil:
			s.srv.Throttle.Succeeded(addr, user, s.srv.Now())
		case errors.Is(err, auth.ErrDenied), errors.Is(err, auth.ErrPassword), ctx.Err() != nil: // going away is no way around the throttle
			s.srv.Throttle.Failed(addr, user, s.srv.Now())
		default:
			s.srv.Throttle.Abandoned(addr, user, s.srv.Now())
			s.srv.sourceFailed("checking a password", err)
		}
		s.resume = func(b *transport.Batch) { s.hold(b, x.Verdict(err), delay) }
	}
}

const tooMany = "too many failed logins, try again later"

// hold sends the outcome of a login, when its delay is over.
func (s *Stream) hold(b *transport.Batch, r sasl.Result, delay time.Duration) transport.Wait {
	if delay <= 0 {
		return s.proceed(b, r)
	}
	s.login.held, s.login.until = &r, s.srv.Now().Add(delay)
	return nil
}

// release sends an answer that was held back long enough.
func (s *Stream) release(b *transport.Batch, now time.Time) {
	if l := s.login; l != nil && l.held != nil && !now.Before(l.until) {
		r := *l.held
		l.held = nil
		s.proceed(b, r) // success or failure: neither waits
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
		s.refused(b, sasl.NotAuthorized, "the stream was opened in another name")
		if s.state != ended {
			s.fail(b, stream.Err(stream.NotAuthorized, ""))
		}
		return nil
	}
	s.since = s.login.since // not now: the account may have gone since its keys were read
	s.srv.LoggedIn(user, s.srv.Now())
	s.srv.Observe.LoggedIn()
	s.srv.Log.Debug("logged in", zap.Stringer("user", user), zap.Stringer("addr", s.peer.Addr))
	data := ""
	if r.Data != nil {
		data = sasl.EncodeBase64(r.Data)
	}
	s.raw(b, "<success xmlns='"+xmpp.NSSASL+"'>"+data+"</success>")
	s.user, s.login, s.state = user, nil, authenticated
	s.pace = pace{meter: s.srv.Rates.Hold(user, s.srv.Now())}
	s.rd.SetLimits(s.srv.Limits.after())
	s.rd.Reset()
	s.restart()
	return nil
}

// refused tells the client of a failure; the stream stays open for another
// try, a bounded number of times (6.4.5).
func (s *Stream) refused(b *transport.Batch, c sasl.Condition, text string) transport.Wait {
	return s.refusedAs(b, c, text, string(c))
}

// refusedAs is refused for a failure that counts as another one.
func (s *Stream) refusedAs(b *transport.Batch, c sasl.Condition, text, counts string) transport.Wait {
	l := s.login
	s.srv.Observe.LoginFailed(counts)
	if c == sasl.NotAuthorized && !l.user.IsZero() {
		s.srv.Log.Info("login failed", zap.Stringer("user", l.user), zap.Stringer("addr", s.peer.Addr))
	}
	guess := c == sasl.NotAuthorized && !l.user.IsZero() || c == sasl.Aborted
	l.exchange, l.user, l.proof = nil, jid.JID{}, false
	f := stanza.El(xmpp.NSSASL, "failure").Add(stanza.El(xmpp.NSSASL, string(c)))
	if text != "" {
		f.Add(stanza.El(xmpp.NSSASL, "text", stanza.Attr{Space: xmpp.NSXML, Local: "lang", Value: serverLang}).WithText(text))
	}
	s.raw(b, string(f.Append(nil, "")))
	s.count(b, guess)
	return nil
}

// count counts a failure; past the bounds it ends the stream and is false. A
// client that looks for a mechanism that works has more tries than one that
// looks for a password: there are clients that go through seven mechanisms.
func (s *Stream) count(b *transport.Batch, guess bool) bool {
	l, most := s.login, s.srv.Limits.SASLAttempts
	l.failures++
	if guess {
		l.guesses++
	}
	if l.guesses <= most && l.failures <= 3*most {
		return true
	}
	s.fail(b, stream.Err(stream.PolicyViolation, "too many failed logins"))
	return false
}
