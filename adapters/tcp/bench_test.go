//go:build linux

package tcp

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/ports/transport"
)

// The benchmarks measure a server whose clients are another process: this test
// binary again, told by the environment what to do. Figures to compare with:
// feasibility 3 (memory) and 5 (CPU a message).

const childEnv = "TCP_BENCH_CHILD"

// job is what the child process does.
type job struct {
	Addr   string
	TLS    bool
	Idle   int           // so many connections, one echo each, then idle
	Pairs  int           // or so many pairs that send to each other,
	Rate   int           // so many messages a second in all,
	For    time.Duration // so long
	Stanza int           // of so many bytes
}

// childMain runs a job if this process is a child.
func childMain() bool {
	spec := os.Getenv(childEnv)
	if spec == "" {
		return false
	}
	var j job
	if err := json.Unmarshal([]byte(spec), &j); err != nil {
		panic(err)
	}
	if j.Idle > 0 {
		j.idle()
	} else {
		j.relay()
	}
	return true
}

func (j job) dial() net.Conn {
	c, err := net.Dial("tcp", j.Addr)
	if err != nil {
		panic(err)
	}
	if j.TLS {
		return tls.Client(c, clientConfig())
	}
	return c
}

func (j job) idle() {
	p := make([]byte, 300)
	var wg sync.WaitGroup
	slots := make(chan struct{}, 50)
	conns := make([]net.Conn, j.Idle)
	for i := range conns {
		slots <- struct{}{}
		wg.Go(func() {
			c := j.dial()
			c.Write(p)
			if _, err := io.ReadFull(c, make([]byte, len(p))); err != nil {
				panic(err)
			}
			conns[i] = c
			<-slots
		})
	}
	wg.Wait()
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin) // until the parent is done
	runtime.KeepAlive(conns)
}

// relay sends from one end of each pair in turn, at the rate, and reports how
// many messages came out at the other ends.
func (j job) relay() {
	type end struct {
		send net.Conn
		n    int
	}
	ends := make([]*end, j.Pairs)
	var wg sync.WaitGroup
	for i := range ends {
		e := &end{send: j.dial()}
		recv := j.dial()
		ends[i] = e
		for k, c := range []net.Conn{recv, e.send} {
			fmt.Fprintf(c, "%08d%08d", 2*i+1-k, 2*i+k) // I am, I talk to
			io.ReadFull(c, make([]byte, 2))
		}
		wg.Go(func() {
			buf := make([]byte, 64<<10)
			for {
				n, err := recv.Read(buf)
				e.n += n
				if err != nil {
					return
				}
			}
		})
	}
	fmt.Println("ready")
	p := make([]byte, j.Stanza)
	start := time.Now()
	sent := 0
	for time.Since(start) < j.For {
		for due := int(time.Since(start).Seconds() * float64(j.Rate)); sent < due; sent++ {
			if _, err := ends[sent%j.Pairs].send.Write(p); err != nil {
				panic(err)
			}
		}
		time.Sleep(100 * time.Microsecond)
	}
	for _, e := range ends {
		if t, ok := e.send.(*tls.Conn); ok {
			t.CloseWrite()
		} else {
			e.send.(*net.TCPConn).CloseWrite()
		}
	}
	wg.Wait()
	got := 0
	for _, e := range ends {
		got += e.n
	}
	fmt.Println(got / j.Stanza)
}

// child starts j in another process and waits until it is ready.
func child(b *testing.B, j job) (out *lineReader, stop func()) {
	b.Helper()
	spec, err := json.Marshal(j)
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+string(spec))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	out = &lineReader{pipe}
	if l := out.line(); l != "ready" {
		b.Fatalf("child said %q", l)
	}
	return out, func() { in.Close(); cmd.Wait() }
}

type lineReader struct{ r io.Reader }

func (l *lineReader) line() string {
	var s []byte
	var p [1]byte
	for {
		if _, err := l.r.Read(p[:]); err != nil || p[0] == '\n' {
			return string(s)
		}
		s = append(s, p[0])
	}
}

// benchServer is a Server on loopback for benchmarks.
func benchServer(b *testing.B, o Options, stream func(transport.Peer, transport.Conn) transport.Stream) *Server {
	cert := testCert(b, "example.test")
	o.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert, nil }
	o.Listeners = []Listener{{Addr: "127.0.0.1:0"}, {Addr: "127.0.0.1:0", DirectTLS: true}}
	s, err := New(o, Deps{NewStream: stream})
	if err != nil {
		b.Fatal(err)
	}
	if err := s.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	return s
}

// quick is a Stream without the checks of fake.
type quick struct {
	conn transport.Conn
	feed func(s *quick, b *transport.Batch, p []byte)

	mu    sync.Mutex
	out   []byte
	dirty bool
	to    *quick
}

func (s *quick) Feed(b *transport.Batch, p []byte) transport.Wait { s.feed(s, b, p); return nil }
func (s *quick) Secured(*transport.Batch, *transport.TLS)         {}
func (s *quick) Tick(*transport.Batch, time.Time) time.Time       { return time.Time{} }
func (s *quick) Closed(b *transport.Batch, _ error) {
	if s.to != nil {
		s.to.conn.Close()
	}
}

func (s *quick) Drain(dst []byte, limit int) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(limit, len(s.out))
	dst = append(dst, s.out[:n]...)
	if n == len(s.out) {
		s.dirty = false
		if s.out = s.out[:0]; cap(s.out) > 4096 {
			s.out = nil
		}
	} else {
		s.out = s.out[n:]
	}
	return dst
}

func (s *quick) queue(b *transport.Batch, p []byte) {
	s.mu.Lock()
	s.out = append(s.out, p...)
	add := !s.dirty
	s.dirty = true
	s.mu.Unlock()
	if add {
		b.Add(s.conn)
	}
}

// BenchmarkIdle reports what an idle connection takes: resident memory of the
// process, a second after the last connect and after the memory was given back
// as at the end of a storm.
func BenchmarkIdle(b *testing.B) {
	const conns = 3000
	for _, mode := range []string{"clear", "tls", "tls-portable"} {
		b.Run(mode, func(b *testing.B) {
			for range b.N {
				s := benchServer(b, Options{Portable: mode == "tls-portable"}, func(_ transport.Peer, c transport.Conn) transport.Stream {
					return &quick{conn: c, feed: func(s *quick, b *transport.Batch, p []byte) {
						s.queue(b, p)
						s.out = append([]byte(nil), s.out...)
					}}
				})
				freeMemory()
				before := resident(b)
				a := s.Addrs("")
				addr := a[0].String()
				if mode != "clear" {
					addr = a[1].String()
				}
				_, stop := child(b, job{Addr: addr, TLS: mode != "clear", Idle: conns})
				time.Sleep(time.Second)
				natural := resident(b)
				freeMemory()
				released := resident(b)
				b.ReportMetric(float64(natural-before)/conns, "B-natural/conn")
				b.ReportMetric(float64(released-before)/conns, "B-released/conn")
				stop()
				stopNow(s)
			}
		})
	}
}

// BenchmarkRelay reports the server's CPU time for a message from one
// connection to another, without any XML.
func BenchmarkRelay(b *testing.B) {
	for _, mode := range []string{"clear", "tls", "tls-portable"} {
		for _, load := range []struct{ pairs, rate int }{{2, 100_000}, {200, 50_000}, {1000, 20_000}} {
			b.Run(fmt.Sprintf("%s/pairs=%d/rate=%d", mode, load.pairs, load.rate), func(b *testing.B) {
				for range b.N {
					var mu sync.Mutex
					byID := map[string]*quick{}
					s := benchServer(b, Options{Portable: mode == "tls-portable"}, func(_ transport.Peer, c transport.Conn) transport.Stream {
						return &quick{conn: c, feed: func(s *quick, b *transport.Batch, p []byte) {
							if s.to != nil {
								s.to.queue(b, p)
								return
							}
							if len(p) < 16 {
								return
							}
							mu.Lock()
							byID[string(p[:8])] = s
							s.to = byID[string(p[8:16])]
							mu.Unlock()
							s.queue(b, []byte("ok"))
						}}
					})
					a := s.Addrs("")
					addr := a[0].String()
					if mode != "clear" {
						addr = a[1].String()
					}
					out, stop := child(b, job{Addr: addr, TLS: mode != "clear", Pairs: load.pairs, Rate: load.rate, For: 2 * time.Second, Stanza: 290})
					cpu := cpuTime()
					n, err := strconv.Atoi(strings.TrimSpace(out.line()))
					if err != nil || n == 0 {
						b.Fatalf("no messages: %v", err)
					}
					b.ReportMetric(float64((cpuTime()-cpu).Nanoseconds())/1000/float64(n), "cpu-µs/message")
					b.ReportMetric(float64(n)/2, "messages/s")
					b.ReportMetric(0, "ns/op")
					stop()
					stopNow(s)
				}
			})
		}
	}
}
