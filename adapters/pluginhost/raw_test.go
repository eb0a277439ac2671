//go:build unix

package pluginhost

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/hexmpp/hexmpp/api/plugin/handshake"
	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
)

// raw is a plugin on the contract itself, without the SDK: it does what its words say,
// which are in a file, so that the next process may be another one.
type raw struct {
	pluginv1.UnimplementedPluginServer
	words map[string]string
	ended chan struct{}
	once  sync.Once
}

func (p *raw) has(word string) bool { _, ok := p.words[word]; return ok }

// at does what the words want at a moment of the plugin's life.
func (p *raw) at(moment string) error {
	only := p.words["die-at-"+moment] // one version
	switch {
	case p.has("die-at-"+moment) && (only == "" || only == p.words["version"]):
		fmt.Fprintln(os.Stderr, "about to die at "+moment)
		os.Exit(7)
	case p.has("hang-at-" + moment):
		select {}
	case p.has("refuse-at-" + moment):
		return status.Error(codes.FailedPrecondition, "no "+moment+" today")
	}
	return nil
}

func runRaw(args []string) int {
	text, err := os.ReadFile(strings.TrimPrefix(args[0], "@")) // so that it is not the name of a file
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	p := &raw{words: map[string]string{}, ended: make(chan struct{})}
	for _, word := range strings.Fields(string(text)) {
		key, value, _ := strings.Cut(word, "=")
		p.words[key] = value
	}
	if v, ok := appended(); ok {
		p.words["version"] = v
	}
	if os.Getenv(handshake.CookieKey) != handshake.CookieValue {
		fmt.Fprintln(os.Stderr, "this is a plugin")
		return 1
	}
	if p.has("stray") {
		fmt.Println("a word before the handshake")
	}
	if p.at("start") != nil {
		return 1
	}
	path := filepath.Join(os.Getenv("PLUGIN_UNIX_SOCKET_DIR"), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	options := []grpc.ServerOption{grpc.MaxRecvMsgSize(64 << 20), grpc.MaxSendMsgSize(64 << 20)}
	if n, _ := strconv.Atoi(p.words["streams"]); n > 0 {
		options = append(options, grpc.MaxConcurrentStreams(uint32(n)))
	}
	s := grpc.NewServer(options...)
	pluginv1.RegisterPluginServer(s, p)
	h := health.NewServer()
	h.SetServingStatus("plugin", grpc_health_v1.HealthCheckResponse_SERVING)
	if p.has("ill") {
		h.SetServingStatus("plugin", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	}
	grpc_health_v1.RegisterHealthServer(s, h)
	go func() { _ = s.Serve(l) }()
	version := "1"
	if v := p.words["protocol"]; v != "" {
		version = v
	}
	fmt.Printf("1|%s|unix|%s|grpc\n", version, path)
	if p.has("stray") {
		fmt.Println("a word behind the handshake")
	}
	gone := make(chan struct{})
	go func() { _, _ = io.Copy(io.Discard, os.Stdin); close(gone) }()
	select {
	case <-gone:
	case <-p.ended:
	}
	return 0
}

// versionMark and a digit, behind the end of a program, make it another version.
const versionMark = "\nversion="

func appended() (version string, ok bool) {
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		return "", false
	}
	defer f.Close()
	end := make([]byte, len(versionMark)+1)
	if _, err := f.Seek(-int64(len(end)), io.SeekEnd); err != nil {
		return "", false
	}
	if _, err := io.ReadFull(f, end); err != nil {
		return "", false
	}
	return strings.CutPrefix(string(end), versionMark)
}

func (p *raw) Describe(context.Context, *pluginv1.DescribeRequest) (*pluginv1.DescribeResponse, error) {
	if err := p.at("describe"); err != nil {
		return nil, err
	}
	m := &pluginv1.Manifest{
		Name: "raw", Version: "1", Description: "for tests",
		Components: []*pluginv1.Component{{Domain: "raw.$domain", Stanzas: true, Items: true,
			Disco: &pluginv1.Disco{Identities: []*pluginv1.Identity{{Category: "component", Type: "generic", Name: "raw"}}}}},
		Credit: &pluginv1.Credit{Events: 256, Bytes: 4 << 20}, MaxShards: 2,
		OptionsSchema: `{"type": "object", "properties": {"greeting": {"type": "string", "maxLength": 20}, "rooms": {"type": "object", "properties": {"max": {"type": "integer", "minimum": 1}}}}, "additionalProperties": false}`,
	}
	for word, value := range p.words {
		switch word {
		case "version":
			m.Version = value
		case "name":
			m.Name = value
		case "domain":
			m.Components[0].Domain = value
		case "wants":
			m.Permissions = strings.Split(value, ",")
		case "schema":
			m.OptionsSchema = value
		case "drains":
			m.Drains = true
		case "calls":
			m.Calls = []*pluginv1.Call{{Name: "do", Help: strings.TrimSpace("does it " + value), Arguments: []*pluginv1.CallArgument{{Name: "what"}, {Name: "more", Optional: true}}}}
		case "far":
			m.FarDomains = true
		case "listens":
			m.Listeners = []*pluginv1.Listener{{Name: "x", Network: "udp"}}
		case "frames":
			n, _ := strconv.Atoi(value)
			m.MaxPluginFrameBytes = uint32(n)
		case "huge":
			m.Description = strings.Repeat("x", 2<<20)
		case "told":
			m.Permissions = []string{"see-presence"}
			m.Notices = []pluginv1.NoticeKind{pluginv1.NoticeKind_NOTICE_KIND_BECAME_AVAILABLE}
		case "writes":
			m.Stages = []*pluginv1.StageHandler{{Stage: pluginv1.Stage_STAGE_WRITE, Class: pluginv1.Class_CLASS_DECIDE}}
		case "observes":
			m.Permissions = []string{"see-stanzas"}
			m.Stages = []*pluginv1.StageHandler{{Stage: pluginv1.Stage_STAGE_SUBMIT, Class: pluginv1.Class_CLASS_DECIDE, Policy: pluginv1.Policy_POLICY_OPEN}}
		}
	}
	if p.has("nothing") {
		m = nil
	}
	return &pluginv1.DescribeResponse{Manifest: m}, nil
}

func (p *raw) Configure(_ context.Context, r *pluginv1.ConfigureRequest) (*pluginv1.ConfigureResponse, error) {
	if err := p.at("configure"); err != nil {
		return nil, err
	}
	out := &pluginv1.ConfigureResponse{}
	if p.has("unwanted") {
		out.UnwantedNotices = []pluginv1.NoticeKind{pluginv1.NoticeKind_NOTICE_KIND_BECAME_AVAILABLE}
	}
	if bytes.Contains(r.OptionsJson, []byte("rude")) {
		out.Problems = []*pluginv1.Problem{{Path: "greeting", Message: "be polite"}}
	}
	if p.has("tell-configuration") {
		fmt.Fprintf(os.Stderr, "options %s domains %v components %v permissions %v data %s\n", r.OptionsJson, r.Domains, r.Components[0].Domains, r.Permissions, filepath.Base(r.DataFolder))
	}
	return out, nil
}

func (p *raw) Activate(_ context.Context, r *pluginv1.ActivateRequest) (*pluginv1.ActivateResponse, error) {
	if err := p.at("activate"); err != nil {
		return nil, err
	}
	fmt.Fprintf(os.Stderr, "activated generation %d, memory %d, for %s\n", r.Generation, r.MemoryRevision, r.ServedDomains)
	return &pluginv1.ActivateResponse{}, nil
}

// Drain waits for somebody who writes to a pipe.
func (p *raw) Drain(ctx context.Context, _ *pluginv1.DrainRequest) (*pluginv1.DrainResponse, error) {
	if err := p.at("drain"); err != nil {
		return nil, err
	}
	fmt.Fprintln(os.Stderr, "draining")
	over := make(chan struct{})
	go func() { _, _ = os.ReadFile(p.words["drains"]); close(over) }()
	select {
	case <-over:
		return &pluginv1.DrainResponse{}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *raw) Shutdown(context.Context, *pluginv1.ShutdownRequest) (*pluginv1.ShutdownResponse, error) {
	if err := p.at("shutdown"); err != nil {
		return nil, err
	}
	fmt.Fprintln(os.Stderr, "shutdown")
	time.AfterFunc(10*time.Millisecond, func() { p.once.Do(func() { close(p.ended) }) })
	return &pluginv1.ShutdownResponse{}, nil
}

// Session handles each event by the word in its message's body.
func (p *raw) Session(s grpc.BidiStreamingServer[pluginv1.KernelFrame, pluginv1.PluginFrame]) error {
	if err := p.at("session"); err != nil {
		return err
	}
	var mu sync.Mutex
	var generation uint64
	var requests uint64
	replies := map[uint64]chan *pluginv1.Response{}
	send := func(f *pluginv1.PluginFrame) {
		mu.Lock()
		defer mu.Unlock()
		f.Generation = generation
		_ = s.Send(f)
	}
	ask := func(q *pluginv1.Request) *pluginv1.Response {
		c := make(chan *pluginv1.Response, 1)
		mu.Lock()
		requests++
		q.Id = requests
		replies[q.Id] = c
		mu.Unlock()
		send(&pluginv1.PluginFrame{Requests: []*pluginv1.Request{q}})
		return <-c
	}
	for {
		f, err := s.Recv()
		if err != nil {
			return err
		}
		mu.Lock()
		if f.Hello != nil {
			generation = f.Generation
		}
		for _, r := range f.Responses {
			replies[r.Id] <- r
			delete(replies, r.Id)
		}
		mu.Unlock()
		if f.Beat != 0 {
			send(&pluginv1.PluginFrame{Beat: f.Beat})
		}
		out := &pluginv1.PluginFrame{}
		for _, e := range f.Events {
			if bytes.Contains(body(e), []byte("read ")) || bytes.Contains(body(e), []byte("wait ")) { // does not hold up the reader
				go func() { send(&pluginv1.PluginFrame{Outcomes: []*pluginv1.Outcome{p.handle(e, ask)}}) }()
			} else if o := p.handle(e, ask); o != nil {
				out.Outcomes = append(out.Outcomes, o)
			}
		}
		if len(out.Outcomes) > 0 {
			send(out)
		}
	}
}

func body(e *pluginv1.Event) []byte {
	if x := e.GetStanza(); x != nil {
		return x.Stanza.Content
	}
	return e.GetStage().GetStanza().GetContent()
}

func (p *raw) handle(e *pluginv1.Event, ask func(*pluginv1.Request) *pluginv1.Response) *pluginv1.Outcome {
	o := &pluginv1.Outcome{Event: e.Id, Epoch: e.Epoch}
	if e.GetStage() != nil {
		return o
	}
	x := e.GetStanza().GetStanza()
	if x.Type == "error" { // a message of ours that had no room
		return o
	}
	answer := func(text string) {
		o.Effects = append(o.Effects, &pluginv1.Effect{What: &pluginv1.Effect_Send{Send: &pluginv1.Send{Stanza: &pluginv1.Stanza{
			Kind: pluginv1.Kind_KIND_MESSAGE, Type: "chat", Id: x.Id, To: x.From, From: x.To, Content: []byte("<body>" + text + "</body>")}}}})
	}
	text := strings.TrimSuffix(strings.TrimPrefix(string(x.Content), "<body>"), "</body>")
	word, rest, _ := strings.Cut(text, " ")
	switch word {
	case "die":
		os.Exit(9)
	case "die-once": // rest is a file that says that it has been done
		if _, err := os.Stat(rest); err != nil {
			_ = os.WriteFile(rest, nil, 0o600)
			os.Exit(9)
		}
		answer(fmt.Sprintf("alive at attempt %d", e.Attempt))
	case "panic":
		go panic("at the disco")
		select {}
	case "freeze":
		select {}
	case "stop-process":
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		select {}
	case "ignore":
		return nil
	case "wait": // for somebody who writes to a pipe
		_, _ = os.ReadFile(rest)
		answer(fmt.Sprintf("attempt %d of %s", e.Attempt, p.words["version"]))
	case "read":
		r := ask(&pluginv1.Request{Event: e.Id, What: &pluginv1.Request_Get{Get: &pluginv1.GetEntry{Key: rest}}})
		answer(fmt.Sprintf("%s %s%s", rest, r.GetEntry().GetValue(), r.Error))
	case "flood":
		for i := range 2000 {
			answer(strconv.Itoa(i))
		}
	case "ill-formed":
		answer("<no></yes>")
	case "forge":
		answer("x")
		o.Effects[0].GetSend().Stanza.From = "juliet@a.test"
	case "large":
		answer(strings.Repeat("x", 7<<19))
	case "frame":
		n, _ := strconv.Atoi(rest)
		answer(strings.Repeat("x", n))
	case "twice":
		answer("x")
		o.Event += 1000
	case "unknown-effect":
		o.Effects = []*pluginv1.Effect{{}}
	case "fail":
		o.Failure = "it did not work"
	case "loop": // by messages to itself
		if n, _ := strconv.Atoi(rest); n > 0 {
			answer(fmt.Sprint("loop ", n-1))
			o.Effects[0].GetSend().Stanza.To, o.Effects[0].GetSend().Stanza.From = x.To, x.To
			break
		}
		answer("looped")
		o.Effects[0].GetSend().Stanza.To = "us.a.test"
	case "flood-itself":
		for range 200 {
			answer("nothing")
			last := o.Effects[len(o.Effects)-1].GetSend().Stanza
			last.To, last.From = x.To, x.To
		}
		answer("flooded")
	case "nothing":
	case "version":
		answer(p.words["version"])
	default:
		if c := e.GetStanza().Component; c != 0 {
			o.Failure = fmt.Sprintf("component %d", c)
			break
		}
		answer(text)
	}
	return o
}
