// Command bad is a plugin for tests that misbehaves. It speaks the contract itself, since the
// SDK would keep it from most of that. Its first argument is its name, by which it is NAME.$domain;
// the others say what it does wrong, and when.
//
// A message comes back with its content, unless its body names what is to go wrong then.
// test/e2e starts it; it is no example of how a plugin is written.
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/hexmpp/hexmpp/api/plugin/handshake"
	"github.com/hexmpp/hexmpp/api/plugin/wire"
	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
)

func main() {
	if len(os.Args) < 2 || os.Getenv(handshake.CookieKey) != handshake.CookieValue {
		fmt.Fprintln(os.Stderr, "bad is started by a server: bad NAME [WRONG ...]")
		os.Exit(2)
	}
	p := &plugin{name: os.Args[1], wrong: os.Args[2:]}
	p.exitAt("start")
	if p.does("stray-output") {
		fmt.Println("a word in front of the handshake")
	}
	if p.does("ignores-signals") {
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	}
	path := filepath.Join(os.Getenv("PLUGIN_UNIX_SOCKET_DIR"), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	s := grpc.NewServer()
	pluginv1.RegisterPluginServer(s, p)
	h := health.NewServer()
	h.SetServingStatus("plugin", grpc_health_v1.HealthCheckResponse_SERVING)
	grpc_health_v1.RegisterHealthServer(s, h)
	go func() { _ = s.Serve(l) }()
	fmt.Printf("1|%d|unix|%s|grpc\n", handshake.Version, path)
	p.exitAt("handshake")
	if p.does("stray-output") {
		fmt.Println("a word behind the handshake")
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // the life-line
	if p.does("ignores-signals") {
		fmt.Fprintln(os.Stderr, "the life-line has ended, and I go on")
		select {}
	}
}

type plugin struct {
	pluginv1.UnimplementedPluginServer
	name  string
	wrong []string
}

func (p *plugin) does(what string) bool { return slices.Contains(p.wrong, what) }

// value returns what is behind "what=".
func (p *plugin) value(what string) (string, bool) {
	for _, w := range p.wrong {
		if v, ok := strings.CutPrefix(w, what+"="); ok {
			return v, true
		}
	}
	return "", false
}

func (p *plugin) exitAt(moment string) {
	if p.does("exit-at-" + moment) {
		fmt.Fprintln(os.Stderr, "I leave at "+moment)
		os.Exit(7)
	}
}

// Describe says what the plugin is.
func (p *plugin) Describe(context.Context, *pluginv1.DescribeRequest) (*pluginv1.DescribeResponse, error) {
	p.exitAt("describe")
	m := &pluginv1.Manifest{
		Name: p.name, Version: "1", MaxShards: 1, Credit: &pluginv1.Credit{Events: 64, Bytes: 1 << 20},
		Components: []*pluginv1.Component{{Domain: p.name + ".$domain", Stanzas: true}},
	}
	if d, ok := p.value("claims"); ok {
		m.Components[0].Domain = d
	}
	if w, ok := p.value("wants"); ok {
		m.Permissions = []string{w}
	}
	if n, ok := p.value("calls-itself"); ok {
		m.Name = n
	}
	if p.does("far-domains") {
		m.FarDomains = true
	}
	return &pluginv1.DescribeResponse{Manifest: m}, nil
}

// Configure takes whatever comes.
func (p *plugin) Configure(context.Context, *pluginv1.ConfigureRequest) (*pluginv1.ConfigureResponse, error) {
	p.exitAt("configure")
	return &pluginv1.ConfigureResponse{}, nil
}

// Activate begins.
func (p *plugin) Activate(context.Context, *pluginv1.ActivateRequest) (*pluginv1.ActivateResponse, error) {
	p.exitAt("activate")
	return &pluginv1.ActivateResponse{}, nil
}

// Shutdown ends the process, if it is not deaf.
func (p *plugin) Shutdown(context.Context, *pluginv1.ShutdownRequest) (*pluginv1.ShutdownResponse, error) {
	if !p.does("ignores-signals") {
		time.AfterFunc(10*time.Millisecond, func() { os.Exit(0) })
	}
	return &pluginv1.ShutdownResponse{}, nil
}

// Session answers messages.
func (p *plugin) Session(s grpc.BidiStreamingServer[pluginv1.KernelFrame, pluginv1.PluginFrame]) error {
	x := &session{plugin: p, stream: s}
	for {
		f, err := s.Recv()
		if err != nil {
			return err
		}
		if f.Hello != nil {
			x.generation = f.Generation
		}
		if f.Beat != 0 {
			x.send(&pluginv1.PluginFrame{Beat: f.Beat})
		}
		for _, e := range f.Events {
			if o := x.handle(e); o != nil {
				x.send(&pluginv1.PluginFrame{Outcomes: []*pluginv1.Outcome{o}})
			}
		}
	}
}

type session struct {
	*plugin
	stream     grpc.BidiStreamingServer[pluginv1.KernelFrame, pluginv1.PluginFrame]
	mu         sync.Mutex // of send
	generation uint64
}

func (x *session) send(f *pluginv1.PluginFrame) {
	x.mu.Lock()
	defer x.mu.Unlock()
	f.Generation = x.generation
	_ = x.stream.Send(f)
}

// hoard is what leak keeps.
var hoard [][]byte

func (x *session) handle(e *pluginv1.Event) *pluginv1.Outcome {
	x.exitAt("event")
	o := &pluginv1.Outcome{Event: e.Id, Epoch: e.Epoch}
	got := e.GetStanza().GetStanza()
	body := strings.TrimSuffix(strings.TrimPrefix(string(got.GetContent()), "<body>"), "</body>")
	answer := func(from, content string) {
		o.Effects = append(o.Effects, &pluginv1.Effect{What: &pluginv1.Effect_Send{Send: &pluginv1.Send{Stanza: &pluginv1.Stanza{
			Kind: pluginv1.Kind_KIND_MESSAGE, Type: "chat", Id: got.GetId(), To: got.GetFrom(), From: from, Content: []byte(content)}}}})
	}
	switch body {
	case "hang": // beats are not answered either
		select {}
	case "flood of effects":
		for range 5000 {
			answer(got.GetTo(), "<body>flood</body>")
		}
	case "flood of frames": // what no event asked for, and nobody waits for what comes of it
		for id := uint64(1); id <= 100_000; id++ {
			u := &pluginv1.Unasked{Id: id, Key: "flood", Effects: []*pluginv1.Effect{{What: &pluginv1.Effect_Memory{Memory: &pluginv1.MemoryWrite{Key: "k", Value: []byte("v")}}}}}
			if wire.Shard(u.Key, 1) == 0 {
				x.send(&pluginv1.PluginFrame{Unasked: []*pluginv1.Unasked{u}})
			}
		}
	case "flood of log":
		line := append(bytes.Repeat([]byte("so many words "), 8), '\n')
		for range 50_000 {
			_, _ = os.Stderr.Write(line)
		}
		answer(got.GetTo(), "<body>said</body>")
	case "leak":
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for len(hoard) < 4096 {
			<-tick.C
			b := make([]byte, 1<<20)
			for i := 0; i < len(b); i += 512 {
				b[i] = 1
			}
			hoard = append(hoard, b)
		}
	case "ill-formed":
		answer(got.GetTo(), "<body>no</body></message><message>")
	case "forged account":
		answer("juliet@example.test/balcony", "<body>I am Juliet</body>")
	case "forged domain":
		answer("example.org", "<body>I am far away</body>")
	case "unknown event":
		o.Event += 1000
	default:
		answer(got.GetTo(), string(got.GetContent()))
	}
	return o
}
