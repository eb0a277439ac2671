package runner

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
)

// handshakeLine finds go-plugin's line in a line of standard output:
//
//	1|VERSION|unix|/path/of/the/socket|grpc
//
// The certificate and the flag of the broker, which plugins in Go may add, can
// follow. What stands in front of it (a program that prints without a line end)
// is rest. The result is nil if there is none.
func handshakeLine(line []byte) (handshake, rest []byte) {
	for at := 0; at < len(line); at++ {
		next := bytes.Index(line[at:], []byte("1|"))
		if next < 0 {
			return nil, nil
		}
		at += next
		if isHandshake(line[at:]) {
			return line[at:], line[:at]
		}
	}
	return nil, nil
}

func isHandshake(line []byte) bool {
	parts := bytes.SplitN(line, []byte("|"), 8)
	if len(parts) < 5 || len(parts) > 7 || string(parts[0]) != "1" {
		return false
	}
	digits := len(parts[1]) > 0 && len(parts[1]) <= 4
	for _, c := range parts[1] {
		digits = digits && c >= '0' && c <= '9'
	}
	if !digits || len(parts[3]) == 0 {
		return false
	}
	switch string(parts[2]) {
	case "unix", "tcp":
	default:
		return false
	}
	switch string(parts[4]) {
	case "grpc", "netrpc": // the latter is refused with a better error by go-plugin
	default:
		return false
	}
	if len(parts) > 5 {
		for _, c := range parts[5] {
			if !(c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '+' || c == '/' || c == '=') {
				return false
			}
		}
	}
	return len(parts) < 7 || string(parts[6]) == "true" || string(parts[6]) == "false"
}

// A promise is a reader whose text is not there yet: one line, then the end.
type promise struct {
	once  sync.Once
	ready chan struct{}
	text  []byte // read by one goroutine, once ready is closed
}

func newPromise() *promise { return &promise{ready: make(chan struct{})} }

// keep gives the text. What comes later is ignored.
func (p *promise) keep(text []byte) {
	p.once.Do(func() {
		p.text = text
		close(p.ready)
	})
}

func (p *promise) Read(b []byte) (int, error) {
	<-p.ready
	if len(p.text) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.text)
	p.text = p.text[n:]
	return n, nil
}

func (p *promise) Close() error { return nil }

// checkAddress says whether the plugin listens where only the server's user can
// connect: on a socket in the folder that it was given. Where there are no unix
// sockets it is a port of the loopback interface, and go-plugin asks for
// certificates.
func checkAddress(network, address, folder string) error {
	const fix = "listen on a unix socket in the folder that $PLUGIN_UNIX_SOCKET_DIR names"
	if runtime.GOOS == "windows" {
		host, _, err := net.SplitHostPort(address)
		if ip := net.ParseIP(host); network != "tcp" || err != nil || !ip.IsLoopback() {
			return fmt.Errorf("it listens on %s %q, not on a loopback address", network, address)
		}
		return nil
	}
	switch {
	case network != "unix":
		return fmt.Errorf("it listens on %s %q, which every user of this machine can reach: %s", network, address, fix)
	case len(address) > maxSocketPath:
		return fmt.Errorf("the path of its socket has %d characters, at most %d are possible: give the socket a shorter name", len(address), maxSocketPath)
	case !filepath.IsAbs(address) || !strings.HasPrefix(filepath.Clean(address), folder+string(filepath.Separator)):
		return fmt.Errorf("its socket %q is not in %s: %s", address, folder, fix)
	}
	return nil
}
