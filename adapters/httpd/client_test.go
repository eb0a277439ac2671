package httpd

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
)

func TestClientOf(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")}
	for _, c := range []struct {
		name, peer, told, proto string
		tls                     bool
		addr                    string
		private, proxied        bool
	}{
		{"direct", "192.0.2.1:5", "", "", false, "192.0.2.1:5", false, false},
		{"direct, TLS", "192.0.2.1:5", "", "", true, "192.0.2.1:5", true, false},
		{"this machine", "127.0.0.1:5", "", "", false, "127.0.0.1:5", true, false},
		{"mapped", "[::ffff:127.0.0.1]:5", "", "", false, "127.0.0.1:5", true, false},
		{"a stranger's word", "192.0.2.1:5", "198.51.100.7", "https", false, "192.0.2.1:5", false, false},
		{"proxy with TLS", "127.0.0.1:5", "198.51.100.7", "https", false, "198.51.100.7:0", true, true},
		{"proxy in clear", "127.0.0.1:5", "198.51.100.7", "http", false, "198.51.100.7:0", false, true},
		{"proxy without a word", "127.0.0.1:5", "198.51.100.7", "", false, "198.51.100.7:0", false, true},
		{"two proxies", "127.0.0.1:5", "198.51.100.7, 10.1.1.1", "https", false, "198.51.100.7:0", true, true},
		{"a lie", "127.0.0.1:5", "203.0.113.9, 198.51.100.7", "https", false, "198.51.100.7:0", true, true},
		{"a lie of TLS", "127.0.0.1:5", "198.51.100.7", "https, http", false, "198.51.100.7:0", false, true},
		{"nonsense", "127.0.0.1:5", "198.51.100.7, x", "https", false, "127.0.0.1:5", true, true},
		{"IPv6", "127.0.0.1:5", "2001:db8::7", "https", false, "[2001:db8::7]:0", true, true},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = c.peer
		if c.told != "" {
			r.Header.Set(forwardedFor, c.told)
		}
		if c.proto != "" {
			r.Header.Set(forwardedProto, c.proto)
		}
		if c.tls {
			r.TLS = &tls.ConnectionState{}
		}
		want := Client{Addr: netip.MustParseAddrPort(c.addr), Private: c.private, Proxied: c.proxied}
		if got := clientOf(r, proxies); got != want {
			t.Errorf("%s: %+v, want %+v", c.name, got, want)
		}
	}
}

func TestUnproxied(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	for _, c := range []struct {
		name, peer, told, proto string
		tls                     bool // of the connection to us
		addr                    string
		secure                  bool
	}{
		{"direct", "[::ffff:192.0.2.1]:5", "", "", false, "192.0.2.1:5", false},
		{"this machine in clear", "127.0.0.1:5", "", "", false, "127.0.0.1:5", false},
		{"direct, TLS", "192.0.2.1:5", "", "", true, "192.0.2.1:5", true},
		{"proxy with TLS", "127.0.0.1:5", "198.51.100.7", "https", false, "198.51.100.7:0", true},
		{"proxy that has TLS with us alone", "127.0.0.1:5", "198.51.100.7", "http", true, "198.51.100.7:0", false},
		{"a stranger's word", "192.0.2.1:5", "198.51.100.7", "https", false, "192.0.2.1:5", false},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = c.peer
		r.Header.Set(forwardedFor, c.told)
		r.Header.Set(forwardedProto, c.proto)
		if c.told == "" {
			r.Header.Del(forwardedFor)
		}
		if c.tls {
			r.TLS = &tls.ConnectionState{}
		}
		h := Unproxied(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if r.RemoteAddr != c.addr || (r.TLS != nil) != c.secure {
				t.Errorf("%s: %s, TLS %v", c.name, r.RemoteAddr, r.TLS != nil)
			}
		}))
		h.ServeHTTP(httptest.NewRecorder(), r.WithContext(withClient(r, proxies)))
	}
}

func TestAddresses(t *testing.T) {
	a := addresses{most: 2, exempt: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, open: map[netip.Prefix]int{}}
	enter := func(ip string) (func(), bool) { return a.enter(&net.TCPAddr{IP: net.ParseIP(ip), Port: 1}) }
	leave, _ := enter("2001:db8::1")
	if _, ok := enter("2001:db8::2"); !ok {
		t.Error("the second is refused")
	}
	if _, ok := enter("2001:db8::3"); ok {
		t.Error("a third of one network")
	}
	if _, ok := enter("192.0.2.1"); !ok {
		t.Error("another address is refused")
	}
	leave()
	if _, ok := enter("2001:db8::3"); !ok {
		t.Error("refused though there is room")
	}
	for range 5 {
		if _, ok := enter("127.0.0.1"); !ok {
			t.Error("a proxy is refused")
		}
	}
}

// Who a trusted proxy speaks for is not taken for the proxy.
func TestFromBehindProxy(t *testing.T) {
	local := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	h := From(local, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for told, want := range map[string]int{"": 200, "198.51.100.7": 403, "127.0.0.2": 200} {
		r, w := httptest.NewRequest("GET", "/", nil), httptest.NewRecorder()
		r.RemoteAddr = "127.0.0.1:5"
		if told != "" {
			r.Header.Set(forwardedFor, told)
		}
		if h.ServeHTTP(w, r.WithContext(withClient(r, local))); w.Code != want {
			t.Errorf("%q: %d", told, w.Code)
		}
	}
}
