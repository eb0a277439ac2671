package websocket

import (
	"bufio"
	"crypto/sha1" // RFC 6455 4.2.2 wants it; nothing rests on it
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/ports/transport"
)

// Protocol is the subprotocol (RFC 7395 3.1).
const Protocol = "xmpp"

// Place is room for one connection, at whoever serves it.
type Place interface {
	// Take serves the connection: see tcp.Place.
	Take(nc net.Conn, p transport.Peer, newStream func(transport.Peer, transport.Conn) transport.Stream) error
	// Release gives the room back, in place of Take.
	Release()
}

// Handler answers requests for a WebSocket.
type Handler struct {
	// Reserve counts a connection, or says why there can't be one more.
	Reserve func(peer netip.AddrPort) (Place, error)
	// NewStream makes the kernel's side; nil refuses the connection.
	NewStream func(transport.Peer, transport.Conn) transport.Stream
	// Client tells who sent a request: the address, whether nobody on the way can
	// read along, and whether a proxy stands in between.
	Client func(*http.Request) (addr netip.AddrPort, private, proxied bool)
	// Origins are those of web pages that may connect besides those of the same
	// host ("https://chat.example.org"); "*" lets all.
	Origins []string
	Log     *zap.Logger
}

// answerTime bounds how long the answer to a request takes to be written.
const answerTime = 10 * time.Second

// ServeHTTP answers the opening handshake (RFC 6455 4.2).
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	refuse := func(code int, text string) { http.Error(w, text, code) }
	key := r.Header.Get("Sec-WebSocket-Key")
	raw, err := base64.StdEncoding.DecodeString(key)
	switch {
	case r.Method != http.MethodGet:
		w.Header().Set("Allow", http.MethodGet)
		refuse(http.StatusMethodNotAllowed, "a WebSocket begins with GET")
		return
	case !hasToken(r.Header, "Connection", "upgrade") || !hasToken(r.Header, "Upgrade", "websocket"):
		w.Header().Set("Upgrade", "websocket")
		refuse(http.StatusUpgradeRequired, "this is for WebSocket (RFC 7395)")
		return
	case r.Header.Get("Sec-WebSocket-Version") != "13":
		w.Header().Set("Sec-WebSocket-Version", "13")
		refuse(http.StatusUpgradeRequired, "version 13 of WebSocket only")
		return
	case err != nil || len(raw) != 16:
		refuse(http.StatusBadRequest, "Sec-WebSocket-Key is not 16 bytes in Base64")
		return
	case !hasToken(r.Header, "Sec-WebSocket-Protocol", Protocol): // RFC 7395 3.1
		refuse(http.StatusBadRequest, "the subprotocol is "+Protocol)
		return
	case !h.originAllowed(r):
		refuse(http.StatusForbidden, "not for pages of this origin")
		return
	}
	addr, private, proxied := h.Client(r)
	place, err := h.Reserve(addr)
	if err != nil {
		w.Header().Set("Retry-After", "10")
		refuse(http.StatusServiceUnavailable, "too many connections at present")
		return
	}
	nc, first, err := hijack(w, key)
	if err != nil {
		place.Release()
		h.Log.Debug("a WebSocket could not be opened", zap.Stringer("peer", addr), zap.Error(err))
		return
	}
	err = place.Take(nc, transport.Peer{Addr: addr, Private: private}, func(p transport.Peer, c transport.Conn) transport.Stream {
		if proxied && p.TLS != nil { // it ends at the proxy: nothing can be bound to it
			p.TLS = nil
		}
		return New(h.NewStream, p, c, first)
	})
	if err != nil {
		nc.Close()
		h.Log.Warn("a WebSocket could not be served", zap.Stringer("peer", addr), zap.Error(err))
	}
}

// hijack takes the connection of a request and answers it. first is what was read
// behind it.
func hijack(w http.ResponseWriter, key string) (nc net.Conn, first []byte, err error) {
	nc, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			nc.Close()
		}
	}()
	if first, err = buffered(buf.Reader); err != nil {
		return nc, nil, err
	}
	if err := nc.SetDeadline(time.Now().Add(answerTime)); err != nil {
		return nc, nil, err
	}
	_, err = io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Accept: "+accept(key)+"\r\nSec-WebSocket-Protocol: "+Protocol+"\r\n\r\n")
	if err != nil {
		return nc, nil, err
	}
	return nc, first, nc.SetDeadline(time.Time{})
}

func buffered(r *bufio.Reader) ([]byte, error) {
	n := r.Buffered()
	if n == 0 {
		return nil, nil
	}
	first := make([]byte, n)
	_, err := io.ReadFull(r, first)
	return first, err
}

// accept is Sec-WebSocket-Accept (RFC 6455 4.2.2).
func accept(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// hasToken says whether a header that is a list of tokens has one, in any case.
func hasToken(h http.Header, name, token string) bool {
	for _, v := range h.Values(name) {
		for t := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(t), token) {
				return true
			}
		}
	}
	return false
}

// originAllowed keeps pages of other sites from connecting in the name of who
// visits them (RFC 6455 10.2). What is no browser sends no Origin.
func (h *Handler) originAllowed(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	if u, err := url.Parse(origin); err == nil && u.Host != "" && strings.EqualFold(u.Host, r.Host) {
		return true
	}
	return slices.ContainsFunc(h.Origins, func(o string) bool { return o == "*" || strings.EqualFold(o, origin) })
}
