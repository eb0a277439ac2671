package peerstream

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
)

// initiator opens a stream to a peer that the test writes.
func initiator(t testing.TB, c *Config, h *events, far string, script func(p *peer)) (*Stream, error) {
	a, b := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		script(&peer{t: t, conn: b})
	}()
	s, err := Initiate(context.Background(), a, c, Opening{Pair: Pair{"ours.example", far}, Bidi: true}, h)
	t.Cleanup(func() { b.Close(); a.Close(); <-done })
	return s, err
}

func TestInitiating(t *testing.T) {
	answer := func(features string) string {
		return header("version='1.0' from='far.example' to='ours.example' id='s1'") + "<stream:features>" + features + "</stream:features>"
	}
	for rule, row := range map[string]struct {
		far    string
		script func(p *peer)
		want   error
	}{
		"STARTTLS stripped": {"tls.example", func(p *peer) {
			p.hear("version='1.0'")
			p.say(strings.Replace(answer("<dialback xmlns='urn:xmpp:features:dialback'/>"), "far.", "tls.", 1))
			p.hear("<starttls") // RFC 7590 3.1
			p.say("<stream:error><unsupported-stanza-type xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>")
			p.hear("</stream:stream>")
		}, ErrNoTLS},
		"an old server, where TLS is required": {"tls.example", func(p *peer) { p.hear("version='1.0'"); p.say(header("id='s1'")); p.hear("</stream:stream>") }, ErrNoTLS},
		"a stream error": {"far.example", func(p *peer) {
			p.hear("version='1.0'")
			p.say(header("version='1.0' id='s1'") + "<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>")
			p.hear("</stream:stream>")
		}, &PeerError{Condition: stream.HostUnknown}},
		"another domain answers": {"far.example", func(p *peer) {
			p.hear("version='1.0'")
			p.say(strings.Replace(answer(""), "far.", "bank.", 1))
			p.hear("<invalid-from")
		}, stream.Err(stream.InvalidFrom, "")},
		"a client's namespace": {"far.example", func(p *peer) {
			p.hear("version='1.0'")
			p.say(strings.Replace(answer(""), "jabber:server'", "jabber:client'", 1))
			p.hear("<invalid-namespace")
		}, stream.Err(stream.InvalidNamespace, "")},
		"a version that is none": {"far.example", func(p *peer) { p.hear("version='1.0'"); p.say(header("version='q'")); p.hear("<unsupported-version") }, stream.Err(stream.UnsupportedVersion, "")},
		"no XML": {"far.example", func(p *peer) {
			p.hear("version='1.0'")
			p.say("HTTP/1.1 400 Bad Request\r\n\r\n")
			p.hear("<not-well-formed")
		}, stream.Err(stream.NotWellFormed, "")},
		"stanzas instead of features": {"far.example", func(p *peer) {
			p.hear("version='1.0'")
			p.say(header("version='1.0' id='s1'") + "<message from='a@far.example' to='b@ours.example'/>")
			p.hear("<not-authorized")
		}, stream.Err(stream.NotAuthorized, "")},
		"it hangs up": {"far.example", func(p *peer) { p.hear("version='1.0'"); p.conn.Close() }, nil},
		"TLS is refused": {"far.example", func(p *peer) {
			p.hear("version='1.0'")
			p.say(answer("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"))
			p.hear("<starttls")
			p.say("<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>")
			p.hear("</stream:stream>")
		}, ErrNoTLS},
	} {
		t.Run(rule, func(t *testing.T) {
			s, err := initiator(t, testConfig(), newEvents(), row.far, row.script)
			if err == nil {
				s.Abort()
				t.Fatal("it is open")
			}
			var pe *PeerError
			if want := (*PeerError)(nil); errors.As(row.want, &want) {
				if !errors.As(err, &pe) || pe.Condition != want.Condition {
					t.Error(err)
				}
			} else if row.want != nil && !errors.Is(err, row.want) {
				t.Error(err)
			}
		})
	}
}

// RFC 7590 3.1: TLS is asked for though nobody offers it. Somebody who takes the offer away alone has not got far; who takes the
// request away, too, gets nothing, soon.
func TestSTARTTLSTakenAway(t *testing.T) {
	features := header("version='1.0' from='tls.example' to='ours.example' id='s1'") + "<stream:features/>"
	t.Run("the offer", func(t *testing.T) {
		s, err := initiator(t, testConfig(), newEvents(), "tls.example", func(p *peer) {
			p.hear("version='1.0'")
			p.say(features)
			p.hear("<starttls")
			p.say("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
			p.conn = tls.Server(p.conn, &tls.Config{Certificates: []tls.Certificate{*certificate()}})
			p.hear("version='1.0'")
			p.say(features)
		})
		if err != nil {
			t.Fatal(err)
		}
		if !s.Secure() {
			t.Error("no TLS")
		}
		s.Abort()
	})
	t.Run("the request", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			begun := time.Now()
			_, err := initiator(t, testConfig(), newEvents(), "tls.example", func(p *peer) {
				p.hear("version='1.0'")
				p.say(features)
				p.hear("</stream:stream>")
			})
			if took := time.Since(begun); !errors.Is(err, ErrNoTLS) || errors.Is(err, ErrTimeout) || took != unaskedTLS {
				t.Errorf("%v after %v", err, took)
			}
		})
	})
}

// Dialback as the initiating server (XEP-0220 2.1.1, examples 1 to 4), and towards the authoritative one (2.1.2, examples 5 to 8).
func TestDialbackOfOurs(t *testing.T) {
	h := newEvents()
	next := make(chan string)
	heard := make(chan string, 10)
	s, err := initiator(t, testConfig(), h, "far.example", func(p *peer) {
		p.hear("version='1.0'")
		p.say(header("from='far.example' version='1.0' id='s1'") + "<stream:features><dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback></stream:features>")
		for text := range next {
			if say, ok := strings.CutPrefix(text, "say "); ok {
				p.say(say)
			} else {
				p.hear(text)
				heard <- text
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(context.Background(), false) }()
	defer func() { s.Abort(); <-ended; close(next) }()
	for local, row := range map[string]struct{ answer, want string }{
		"ours.example":       {"type='valid'/>", "<nil>"},
		"rooms.ours.example": {"type='invalid'/>", ErrInvalid.Error()},
		"x.ours.example":     {"type='error'><error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></db:result>", "stanza error item-not-found (cancel)"},
	} {
		pair := Pair{local, "far.example"}
		if err := s.Authorize(pair); err != nil {
			t.Fatal(err)
		}
		next <- "<db:result from='" + local + "' to='far.example'>key-far.example-" + local + "-s1</db:result>"
		<-heard
		next <- "say <db:result from='far.example' to='other.example' type='valid'/>" // not asked for
		next <- "say <db:result from='far.example' to='" + local + "' " + row.answer
		h.until(t, "authorized "+local+" far.example "+row.want)
		if s.May(pair) != (row.want == "<nil>") {
			t.Errorf("%s: may is %v", local, s.May(pair))
		}
	}
	for id, row := range map[string]struct {
		answer string
		want   error
	}{
		"i1": {"type='valid'/>", nil},
		"i2": {"type='invalid'/>", ErrInvalid},
		"i3": {"type='error'><error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></db:verify>", &stanza.Error{Condition: stanza.ItemNotFound}},
	} {
		said := make(chan error, 1)
		if err := s.Verify(Pair{"ours.example", "far.example"}, id, "thekey", func(err error) { said <- err }); err != nil {
			t.Fatal(err)
		}
		next <- "<db:verify from='ours.example' to='far.example' id='" + id + "'>thekey</db:verify>"
		<-heard
		next <- "say <db:verify from='far.example' to='ours.example' id='other' type='valid'/>"
		next <- "say <db:verify from='far.example' to='ours.example' id='" + id + "' " + row.answer
		if err := <-said; !errors.Is(err, row.want) {
			t.Errorf("%s: %v", id, err)
		}
	}
	// 2.1.2: the stream ends while a verification is under way
	said := make(chan error, 1)
	_ = s.Verify(Pair{"ours.example", "far.example"}, "i4", "thekey", func(err error) { said <- err })
	next <- "id='i4'"
	<-heard
	s.Abort()
	if err := <-said; !errors.Is(err, &stanza.Error{Condition: stanza.RemoteServerTimeout}) {
		t.Error(err)
	}
}

// XEP-0368 3, RFC 6066 3: the server that is asked for by TLS is the domain, as DNS has it; an address is none.
func TestServerName(t *testing.T) {
	for far, want := range map[string]string{"far.example": "far.example", "bücher.example": "xn--bcher-kva.example", "192.0.2.1": "", "[2001:db8::1]": ""} {
		a, b := net.Pipe()
		names := make(chan string, 1)
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = tls.Server(b, &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
				names <- hello.ServerName
				return nil, errors.New("that was all")
			}}).Handshake()
			b.Close()
		}()
		if _, err := Initiate(context.Background(), a, testConfig(), Opening{Pair: Pair{"ours.example", far}, DirectTLS: true}, &events{}); err == nil {
			t.Error("no error")
		}
		<-done
		if got := <-names; got != want {
			t.Errorf("%s: SNI is %q, want %q", far, got, want)
		}
	}
}

// What was given up does not arrive later: the connection is reset, with all that the peer has not got yet.
func TestAbortDropsWhatIsUnsent(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	done := make(chan struct{})
	p := &peer{t: t, conn: b}
	go func() {
		defer close(done)
		p.hear("version='1.0'")
		p.say(header("version='1.0' from='far.example' to='ours.example' id='s1'") + "<stream:features><dialback xmlns='urn:xmpp:features:dialback'/></stream:features>")
	}()
	s, err := Initiate(t.Context(), a, testConfig(), Opening{Pair: Pair{"ours.example", "far.example"}}, &events{})
	if err != nil {
		t.Fatal(err)
	}
	<-done
	_ = a.SetWriteDeadline(time.Now().Add(time.Second))
	for err == nil { // until nothing more fits
		_, err = a.Write(make([]byte, 1<<20))
	}
	s.Abort()
	_ = b.SetReadDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.Copy(io.Discard, b); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the peer reads until %v", err)
	}
}
