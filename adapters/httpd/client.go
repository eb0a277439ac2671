package httpd

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Client is who sent a request, as far as that can be told.
type Client struct {
	Addr netip.AddrPort // port 0 if a proxy told
	// Private says that nobody on the way can read along: there is TLS, it comes
	// from this machine, or a trusted proxy says that it came by TLS.
	Private bool
	Proxied bool // a trusted proxy told; then TLS, if any, is the proxy's
}

type clientKey struct{}

// ClientOf returns who sent a request that the Server handles.
func ClientOf(r *http.Request) Client {
	c, _ := r.Context().Value(clientKey{}).(Client)
	return c
}

func withClient(r *http.Request, proxies []netip.Prefix) context.Context {
	return context.WithValue(r.Context(), clientKey{}, clientOf(r, proxies))
}

// Headers that proxies add.
const (
	forwardedFor   = "X-Forwarded-For"
	forwardedProto = "X-Forwarded-Proto"
)

// clientOf looks at the headers of trusted proxies, from the last one on: what the
// first one that is not trusted says of those before it is worth nothing.
func clientOf(r *http.Request, proxies []netip.Prefix) Client {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return Client{}
	}
	peer = netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port())
	trusted := func(a netip.Addr) bool {
		return slices.ContainsFunc(proxies, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	told := strings.Join(r.Header.Values(forwardedFor), ",")
	if told == "" || !trusted(peer.Addr()) {
		local := peer.Addr().IsLoopback() && told == "" && r.Header.Get("Forwarded") == "" && r.Header.Get("Via") == ""
		return Client{Addr: peer, Private: r.TLS != nil || local}
	}
	c := Client{Addr: peer, Proxied: true}
	hops := strings.Split(told, ",")
	for _, hop := range slices.Backward(hops) {
		a, err := netip.ParseAddr(strings.TrimSpace(hop))
		if err != nil {
			break
		}
		c.Addr = netip.AddrPortFrom(a.Unmap().WithZone(""), 0)
		if !trusted(c.Addr.Addr()) {
			break
		}
	}
	// The proxy nearest to us speaks last, and only it is certainly trusted.
	protos := strings.Split(strings.Join(r.Header.Values(forwardedProto), ","), ",")
	c.Private = strings.EqualFold(strings.TrimSpace(protos[len(protos)-1]), "https")
	return c
}

// Unproxied wraps a handler that knows nothing of proxies: its requests are as if they came from the client itself. Of
// TLS that a trusted proxy has with the client it is only said that it is there.
func Unproxied(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := ClientOf(r)
		if !c.Addr.IsValid() {
			h.ServeHTTP(w, r)
			return
		}
		as := *r
		as.RemoteAddr = c.Addr.String()
		if c.Proxied {
			as.TLS = nil
			if c.Private {
				as.TLS = &tls.ConnectionState{}
			}
		}
		h.ServeHTTP(w, &as)
	})
}
