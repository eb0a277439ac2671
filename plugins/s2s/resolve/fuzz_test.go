package resolve

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"
)

// Whatever is in the configuration, a place comes of it, or an error.
func FuzzOverride(f *testing.F) {
	for _, s := range []string{"xmpp.example:5269", "[2001:db8::1]:5269", ":1", "a:0", "a:65536", "a:b:c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, at string) {
		if p, err := override(at); err == nil && (p.Host == "" || p.Port == 0) {
			t.Errorf("%q: %+v", at, p)
		}
	})
}

// RFC 2782: an order of servers leaves nobody out, and no server comes in front of one with a lower priority.
func FuzzOrder(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 0, 10, 0, 0})
	f.Add([]byte{255, 255, 255, 255, 0, 0, 0, 0, 255, 255, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		var list []Target
		left := map[Target]int{}
		for ; len(b) >= 4; b = b[4:] {
			s := Target{Host: "x", Port: uint16(len(b)), Priority: binary.BigEndian.Uint16(b), Weight: binary.BigEndian.Uint16(b[2:])}
			list = append(list, s)
			left[s]++
		}
		n := len(list)
		out := ordered(list)
		if len(out) != min(n, maxTargets) {
			t.Fatalf("%d of %d", len(out), n)
		}
		for i, s := range out {
			if left[s]--; left[s] < 0 {
				t.Errorf("%v comes twice", s)
			}
			if i > 0 && s.Priority < out[i-1].Priority {
				t.Errorf("%v behind %v", s, out[i-1])
			}
		}
	})
}

// answering is a connection to a name server that answers each question with bytes of the test, over TCP.
func answering(b []byte) net.Conn {
	ours, theirs := net.Pipe()
	go func() {
		defer theirs.Close()
		for {
			var size [2]byte
			if _, err := io.ReadFull(theirs, size[:]); err != nil {
				return
			}
			q := make([]byte, binary.BigEndian.Uint16(size[:]))
			if _, err := io.ReadFull(theirs, q); err != nil || len(q) < 12 {
				return
			}
			end := 12 // of the question
			for end < len(q) && q[end] != 0 {
				end += int(q[end]) + 1
			}
			end = min(end+5, len(q))
			a := append([]byte{q[0], q[1], 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0}, q[12:end]...)
			if len(b) > 4 {
				copy(a[2:12], []byte{0x80 | b[0], b[1] &^ 0x70, 0, 1, 0, b[2], 0, b[3], 0, b[4]})
				a = append(a, b[5:]...)
			}
			binary.BigEndian.PutUint16(size[:], uint16(len(a)))
			if _, err := theirs.Write(append(size[:], a...)); err != nil {
				return
			}
		}
	}()
	return ours
}

// Whatever a name server says, the servers of a domain are few, and have names and ports.
func FuzzAnswers(f *testing.F) {
	// flags, counts, then records: the name by a pointer, SRV, IN, a TTL, priority 1, weight 2, port 3, x.
	srv := []byte{0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 9, 0, 9, 0, 1, 0, 2, 0, 3, 1, 'x', 0}
	f.Add(append([]byte{1, 0, 1, 0, 0}, srv...))
	f.Add(append(append([]byte{1, 0, 2, 0, 0}, srv...), srv...))
	f.Add([]byte{1, 3, 0, 0, 0}) // NXDOMAIN
	f.Add([]byte{1, 2, 0, 0, 0}) // SERVFAIL
	f.Add(append([]byte{1, 0, 1, 0, 0}, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 127, 0, 0, 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		b = b[:min(len(b), 60_000)]
		r := &Resolver{DNS: &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) { return answering(b), nil }}}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		list, err := r.Targets(ctx, "far.example")
		if err == nil && len(list) == 0 || len(list) > maxTargets {
			t.Errorf("%d servers, %v", len(list), err)
		}
		for _, s := range list {
			if s.Host == "" || s.Port == 0 {
				t.Errorf("%+v", s)
			}
		}
		a := r.ask(ctx, query{0, false}, Target{Host: "far.example", Port: 1})
		if len(a.places) > maxAddresses || a.err == nil && len(a.places) == 0 {
			t.Errorf("%+v", a)
		}
		for _, p := range a.places {
			if p.addr.Addr() == (netip.Addr{}) || p.addr.Addr().Is6() {
				t.Errorf("%+v", p)
			}
		}
	})
}
