package c2s

import (
	"crypto/rand"
	"encoding/base64"

	"github.com/hexmpp/hexmpp/core/sasl"
	"github.com/hexmpp/hexmpp/core/session"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
)

// serverLang is the xml:lang of our headers: the language of our error texts.
const serverLang = "en"

// open answers a stream header with ours and the features (RFC 6120 4.3, 4.7).
func (s *Stream) open(b *transport.Batch, h *stream.Header) {
	s.claims = jid.JID{}
	if h.From != "" {
		if from, err := jid.Parse(h.From); err == nil {
			s.claims = from.Bare()
		}
	}
	domain, err := s.resolve(h)
	if domain == "" {
		domain = s.srv.Registry.Default()
	}
	s.greet(b, header(domain, s.claims))
	if err != nil {
		s.fail(b, err)
		return
	}
	s.domain = domain
	if s.state == connected {
		s.state = opened
		s.raw(b, s.features(s.beforeLogin()))
		return
	}
	s.state = unbound
	s.raw(b, s.features(s.afterLogin()))
}

// resolve returns the hosted domain that a header asks for, and why it can't be
// served.
func (s *Stream) resolve(h *stream.Header) (domain string, fault *stream.Error) {
	if h.ContentSpace != xmpp.NSClient {
		return "", stream.Err(stream.InvalidNamespace, "the content namespace is jabber:client") // RFC 6120 4.8.2
	}
	domain, fault = s.host(h)
	if major, _, ok := stream.ParseVersion(h.Version); fault == nil && (!ok || major < 1) {
		fault = stream.Err(stream.UnsupportedVersion, "streams of XMPP 1.0 only") // 4.9.3.25
	}
	return domain, fault
}

// host returns the hosted domain that the header's to, or SNI, asks for.
func (s *Stream) host(h *stream.Header) (domain string, fault *stream.Error) {
	sni := s.serverName()
	switch {
	case h.To == "" && s.domain != "":
		return s.domain, nil
	case h.To == "" && sni != "": // liberal by 4.7.2; SNI says the same thing
		return sni, nil
	case h.To == "":
		return s.srv.Registry.Default(), nil
	}
	to, err := jid.Parse(h.To)
	if err != nil || to.Local() != "" || !to.IsBare() || !s.srv.Registry.Hosted(to.Domain()) {
		return "", stream.Err(stream.HostUnknown, "") // 4.9.3.6
	}
	domain = to.Domain()
	if sni != "" && sni != domain {
		return domain, stream.Err(stream.HostUnknown, "the TLS handshake asked for "+sni)
	}
	if s.domain != "" && s.domain != domain {
		return domain, stream.Err(stream.HostUnknown, "the stream was opened to "+s.domain)
	}
	return domain, nil
}

// serverName returns the hosted domain that the client named in its TLS
// handshake, "" if it named none of them (but, say, the name of the machine). By
// WebSocket that is the name of a web server, which may serve several domains.
func (s *Stream) serverName() string {
	if s.framed() || s.peer.TLS == nil || s.peer.TLS.ServerName == "" {
		return ""
	}
	if name, err := jid.Parse(s.peer.TLS.ServerName); err == nil && s.srv.Registry.Hosted(name.Domain()) {
		return name.Domain()
	}
	return ""
}

// header is ours: from, a new unpredictable id, version and language. to is who
// the client says it is, zero if it does not say (4.7.2).
func header(domain string, to jid.JID) stream.Header {
	return stream.Header{From: domain, To: to.String(), ID: randomID(), Lang: serverLang, Version: "1.0", ContentSpace: xmpp.NSClient}
}

// randomID returns 144 bits in 24 characters that are plain in XML and JIDs.
func randomID() string {
	var raw [18]byte
	rand.Read(raw[:])
	return base64.RawURLEncoding.EncodeToString(raw[:])
}

func (s *Stream) features(list []*stanza.Element) string {
	dst := []byte("<stream:features>")
	if s.framed() { // RFC 7395 3.3.3
		dst = []byte("<stream:features xmlns:stream='" + xmpp.NSStream + "'>")
	}
	for _, f := range list {
		dst = f.Append(dst, "")
	}
	return string(append(dst, "</stream:features>"...))
}

// beforeLogin lists STARTTLS, SASL mechanisms (with the channel bindings that
// work, XEP-0440) and what extensions offer to whoever is not logged in.
func (s *Stream) beforeLogin() (list []*stanza.Element) {
	if s.peer.TLS == nil && s.peer.TLSAvailable {
		starttls := stanza.El(xmpp.NSTLS, "starttls")
		if s.srv.TLSRequired {
			starttls.Add(stanza.El(xmpp.NSTLS, "required"))
		}
		list = append(list, starttls)
	}
	if !s.secure() {
		return list
	}
	s.login.bindings = s.bindings()
	s.login.offered = sasl.Offer(s.plainAllowed(), s.login.bindings)
	mechanisms := stanza.El(xmpp.NSSASL, "mechanisms")
	for _, m := range s.login.offered {
		mechanisms.Add(stanza.El(xmpp.NSSASL, "mechanism").WithText(m))
	}
	list = append(list, mechanisms)
	if len(s.login.bindings) > 0 {
		types := stanza.El(nsChannelBinding, "sasl-channel-binding")
		for _, cb := range s.login.bindings {
			types.Add(stanza.El(nsChannelBinding, "channel-binding", stanza.At("type", cb.Type)))
		}
		list = append(list, types)
	}
	return append(list, s.srv.Registry.StreamFeatures(s.domain, true)...)
}

// afterLogin lists resource binding, the session element that old clients want
// (a no-op since RFC 6120), what rosters can do, and what extensions offer.
func (s *Stream) afterLogin() []*stanza.Element {
	list := []*stanza.Element{
		stanza.El(xmpp.NSBind, "bind"),
		stanza.El(xmpp.NSSession, "session").Add(stanza.El(xmpp.NSSession, "optional")),
		stanza.El("urn:xmpp:features:rosterver", "ver"),    // RFC 6121 2.6.1
		stanza.El(session.NSManagement, "sm"),              // XEP-0198 2
		stanza.El("urn:xmpp:features:pre-approval", "sub"), // RFC 6121 3.4.1
	}
	return append(list, s.srv.Registry.StreamFeatures(s.domain, false)...)
}
