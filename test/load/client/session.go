package client

import (
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"
)

// Session is a bound resource with stream management. Send may be called by one
// goroutine; a goroutine of the session reads.
type Session struct {
	JID  string
	User string

	conn    *conn
	handle  func(item []byte)
	sent    atomic.Uint32 // stanzas since <enable/>
	acked   atomic.Uint32 // of these
	got     uint32        // the reader's
	acks    chan struct{} // has room for one
	done    chan struct{} // closed when the reader has ended
	err     error         // of the reader, once done is closed; nil for the end of the stream
	closing atomic.Bool
}

// Login logs in, binds a resource, and enables stream management. Handle is called
// by the reader for each message, presence and iq from now on; the item is valid
// during the call. Requests are answered with an error.
func (s *Server) Login(user, password, resource string, handle func(item []byte)) (*Session, error) {
	x, err := s.login(user, password, resource)
	if err != nil {
		return nil, fmt.Errorf("login of %s: %w", user, err)
	}
	x.handle = handle
	go x.read()
	return x, nil
}

func (s *Server) login(user, password, resource string) (_ *Session, err error) {
	c, features, err := s.dial()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	if features, err = c.authenticate(features, user, password); err != nil {
		return nil, err
	}
	jid, err := c.bind(features, resource)
	if err != nil {
		return nil, err
	}
	if _, err = c.ask("enabled", "<enable xmlns='%s' resume='true'/>", nsSM); err != nil {
		return nil, err
	}
	return &Session{JID: jid, User: user, conn: c, acks: make(chan struct{}, 1), done: make(chan struct{})}, nil
}

// Send writes some stanzas in one piece, with a request to acknowledge them or
// without.
func (x *Session) Send(xml []byte, stanzas int, ask bool) error {
	x.sent.Add(uint32(stanzas))
	if ask {
		xml = append(xml, "<r xmlns='"+nsSM+"'/>"...)
	}
	_, err := x.conn.Write(xml)
	return err
}

// Ask asks the server to acknowledge.
func (x *Session) Ask() error { return x.Send(nil, 0, true) }

// Unacked is how many stanzas were sent and are not acknowledged.
func (x *Session) Unacked() int { return int(x.sent.Load() - x.acked.Load()) }

// ErrLate: the limit came first.
var ErrLate = errors.New("client: the server did not answer in time")

// AwaitUnacked waits until at most n stanzas are not acknowledged.
func (x *Session) AwaitUnacked(n int, late <-chan struct{}) error {
	for x.Unacked() > n {
		select {
		case <-x.acks:
		case <-x.done:
			return fmt.Errorf("client: %s: the stream ended: %w", x.JID, errors.Join(x.err, ErrEnded))
		case <-late:
			return ErrLate
		}
	}
	return nil
}

// ErrEnded: the server closed the stream.
var ErrEnded = errors.New("client: the stream has ended")

// Ended says whether the stream has ended, though nobody called Close.
func (x *Session) Ended() (ended bool, err error) {
	select {
	case <-x.done:
		return !x.closing.Load(), x.err
	default:
		return false, nil
	}
}

// Close ends the stream in order, waits for the server to do so for a while, and
// closes the connection.
func (x *Session) Close() {
	x.closing.Store(true)
	x.conn.SetDeadline(time.Now().Add(10 * time.Second))
	if x.conn.send("</stream:stream>") == nil {
		<-x.done
	}
	x.conn.Close()
	<-x.done
}

func (x *Session) read() {
	defer close(x.done)
	for {
		item, err := x.conn.sc.Next()
		if err != nil {
			x.err = err
			return
		}
		switch Name(item) {
		case "message", "presence":
			x.got++
			x.handle(item)
		case "iq":
			x.got++
			x.handle(item)
			err = x.refuse(item)
		case "r":
			err = x.conn.send("<a xmlns='%s' h='%d'/>", nsSM, x.got)
		case "a":
			err = x.acknowledged(Attr(item, "h"))
		case "stream:error":
			err = fmt.Errorf("client: %.500s", item)
		case "": // the end
			return
		}
		if err != nil {
			x.err = err
			return
		}
	}
}

// refuse answers a request.
func (x *Session) refuse(item []byte) error {
	if typ := Attr(item, "type"); typ != "get" && typ != "set" {
		return nil
	}
	to := ""
	if from := Attr(item, "from"); from != "" {
		to = " to='" + from + "'"
	}
	x.sent.Add(1)
	return x.conn.send("<iq type='error' id='%s'%s><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>", Attr(item, "id"), to)
}

func (x *Session) acknowledged(text string) error {
	h, err := strconv.ParseUint(text, 10, 32)
	if err != nil || int32(x.sent.Load()-uint32(h)) < 0 || int32(uint32(h)-x.acked.Load()) < 0 {
		return fmt.Errorf("client: %s: acknowledged %q of %d, %d before", x.JID, text, x.sent.Load(), x.acked.Load())
	}
	x.acked.Store(uint32(h))
	select {
	case x.acks <- struct{}{}:
	default:
	}
	return nil
}
