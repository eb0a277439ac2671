// Command tls is a plugin for tests: at its listener, tls, it shows the certificate of the domain that a client
// asks for by SNI, and ends the connection. It asks the server for it each time. Its component is tls.$domain.
//
// test/e2e starts it; it is no example of how a plugin is written.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"github.com/hexmpp/hexmpp/api/plugin"
	"github.com/hexmpp/hexmpp/ports/extension"
)

// handshakeTime bounds a connection.
const handshakeTime = 20 * time.Second

func main() {
	p := plugin.Plugin{Version: "test", New: func([]byte) (extension.Registration, error) {
		s := &server{}
		return extension.Registration{
			Name: "tls", Permissions: []extension.Permission{extension.ReadCertificates},
			Components: []extension.Component{{Domain: "tls.$domain", Handle: ignore}},
			Listeners:  []extension.Listener{{Name: "tls", Network: "tcp", Address: "127.0.0.1:0"}},
			Start:      s.start, Stop: s.stop,
		}, nil
	}}
	os.Exit(plugin.Main(p, os.Args[1:]))
}

func ignore(context.Context, *extension.Host, *extension.Envelope) error { return nil }

type server struct {
	list []net.Listener
	all  sync.WaitGroup
}

func (s *server) start(ctx context.Context, h *extension.Host) (err error) {
	if s.list, err = h.Listeners.Get("tls"); err != nil {
		return err
	}
	background := plugin.Background(ctx)
	for _, l := range s.list {
		s.all.Go(func() { s.serve(background, l) })
	}
	return nil
}

func (s *server) stop(context.Context) error {
	for _, l := range s.list {
		_ = l.Close() // may be closed already
	}
	s.all.Wait()
	return nil
}

func (s *server) serve(ctx context.Context, l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		s.all.Go(func() { show(ctx, conn) })
	}
}

// show shakes hands. A domain whose certificate the server does not give is unrecognized_name for the client.
func show(ctx context.Context, conn net.Conn) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTime)
	defer cancel()
	t := tls.Server(conn, &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (cert *tls.Certificate, err error) {
		err = plugin.Do(ctx, hello.ServerName, func(h *extension.Host) error {
			cert, err = h.Certificates.Certificate(ctx, hello.ServerName)
			return err
		})
		if errors.Is(err, extension.ErrNotServed) {
			return nil, nil
		}
		return cert, err
	}})
	defer t.Close()
	_ = t.HandshakeContext(ctx)
}
