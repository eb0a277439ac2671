package plugin_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/api/plugin"
	"github.com/hexmpp/hexmpp/api/plugin/codec"
	"github.com/hexmpp/hexmpp/api/plugin/plugintest"
	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/extension/extensiontest"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// options of the plugin that these tests start.
type options struct {
	Greeting string   `json:"greeting" jsonschema:"what everybody is told"`
	Words    []string `json:"words,omitempty"`
	Claim    bool     `json:"claim"` // one claim more, which is a mistake
}

func testPlugin() plugin.Plugin {
	p := plugin.Of(options{Greeting: "Hello"}, newTest)
	p.Version = "1.2.3"
	return p
}

var room = jid.MustParse("room@test.example.org")

func newTest(o options) (extension.Registration, error) {
	if o.Greeting == "" {
		return extension.Registration{}, &plugin.OptionError{Path: "greeting", Err: errors.New("it is empty")}
	}
	reg := extension.Registration{
		Name: "test", Permissions: []extension.Permission{extension.ReadRosters},
		Components: []extension.Component{{Domain: "test.$domain", Handle: func(ctx context.Context, h *extension.Host, e *extension.Envelope) error {
			return handle(ctx, h, e, o)
		}}},
		Start: func(ctx context.Context, h *extension.Host) error {
			fmt.Println("a stray print")
			background := plugin.Background(ctx)
			go func() {
				err := plugin.Do(background, "later", func(h *extension.Host) error {
					h.Store.Put(jid.JID{}, "later", []byte("1"))
					return nil
				})
				h.Log.Info("unasked", "error", fmt.Sprint(err))
			}()
			return h.Memory.Put("started", []byte("yes"))
		},
		Calls: testCalls(),
		Stop:  func(context.Context) error { fmt.Fprintln(os.Stderr, "stopped"); return nil },
	}
	if o.Claim {
		reg.Server.Features = []string{"urn:more"}
	}
	return reg, nil
}

func handle(ctx context.Context, h *extension.Host, e *extension.Envelope, o options) error {
	body := e.Stanza.Find("", "body").Text()
	switch body {
	case "crash":
		os.Exit(3)
	case "panic":
		h.Store.Put(jid.JID{}, "never", nil)
		panic("at the disco")
	case "refuse":
		return stanza.Err(stanza.Forbidden, "no")
	case "wait":
		<-ctx.Done()
		return context.Cause(ctx)
	case "rosters":
		_, err := h.Rosters.Subscribed(ctx, e.Stanza.From, e.Stanza.To)
		return err
	}
	if err := h.Memory.Put("last", []byte(body)); err != nil {
		return err
	}
	return h.Stanzas.Send(stanza.New(stanza.Header{Kind: stanza.Message, From: room, To: e.Stanza.From, Type: stanza.Chat},
		stanza.El("", "body").WithText(o.Greeting+", "+body)))
}

func TestMain(m *testing.M) {
	switch os.Getenv("TEST_AS") {
	case "plugin":
		plugin.Serve(testPlugin())
	case "":
		os.Exit(m.Run())
	}
}

func start(t *testing.T) *plugintest.Process {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return plugintest.Start(t, []string{"TEST_AS=plugin"}, exe)
}

// said is an event that somebody said something in a room.
func said(t *testing.T, to jid.JID, text string) *pluginv1.Event {
	e, err := codec.Event(&extension.RemoteEvent{Kind: extension.ToComponent, Component: -1, Key: to.String(), At: time.Now(), Envelope: extension.Envelope{
		Stanza: stanza.New(stanza.Header{Kind: stanza.Message, From: jid.MustParse("romeo@example.org/x"), To: to}, stanza.El("", "body").WithText(text)),
	}})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func active(t *testing.T) *plugintest.Process {
	t.Helper()
	p := start(t)
	if problems := p.Configure(`{"greeting": "Hi"}`); len(problems) > 0 {
		t.Fatal(problems)
	}
	p.Activate(nil)
	for range 2 { // of Start, and behind it: in any order
		u := p.Unasked()
		if u.Effects[0].GetMemory().GetKey() != "started" && u.Effects[0].GetWrite().GetKey() != "later" {
			t.Fatal(u)
		}
	}
	return p
}

func TestAnEventAndItsOutcome(t *testing.T) {
	p := active(t)
	p.Send(said(t, room, "world"))
	o := p.Outcome()
	if o.Event != 1 || len(o.Effects) != 2 || string(o.Effects[0].GetMemory().GetValue()) != "world" {
		t.Fatal(o)
	}
	if s := o.Effects[1].GetSend().GetStanza(); string(s.GetContent()) != "<body>Hi, world</body>" || s.To != "romeo@example.org/x" {
		t.Error(s)
	}
	if err := p.Shutdown(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"a stray print", "stopped", `"msg":"unasked","error":"<nil>"`} {
		if !strings.Contains(p.Log(), want) {
			t.Errorf("the log has no %q:\n%s", want, p.Log())
		}
	}
}

func TestAHandlerThatFails(t *testing.T) {
	p := active(t)
	p.Send(said(t, room, "panic"), said(t, room, "refuse"), said(t, room, "rosters"), said(t, room, "ok"))
	if o := p.Outcome(); o.Failure != "extension test: panic" || len(o.Effects) > 0 {
		t.Error(o)
	}
	if o := p.Outcome(); o.GetError().GetCondition() != "forbidden" {
		t.Error(o)
	}
	if o := p.Outcome(); !strings.Contains(o.Failure, "there is no host") { // it is plugintest's
		t.Error(o)
	}
	if o := p.Outcome(); len(o.Effects) != 2 {
		t.Error(o)
	}
	if log := p.Log(); !strings.Contains(log, "at the disco") || !strings.Contains(log, "plugin_test.handle") {
		t.Errorf("the log has no stack:\n%s", log)
	}
}

func TestOrder(t *testing.T) {
	p := active(t)
	const rooms, each = 20, 100
	var events []*pluginv1.Event
	for i := range each {
		for r := range rooms {
			events = append(events, said(t, jid.MustParse(fmt.Sprintf("room%d@test.example.org", r)), fmt.Sprint(i)))
		}
	}
	for len(events) > 0 { // in flight is what its credit lets
		n := min(200, len(events))
		p.Send(events[:n]...)
		events = events[n:]
		for range n {
			o := p.Outcome()
			if o.Failure != "" || len(o.Effects) != 2 {
				t.Fatal(o)
			}
			id := int(o.Event) - 1
			if got := string(o.Effects[0].GetMemory().GetValue()); got != fmt.Sprint(id/rooms) {
				t.Fatalf("event %d has the outcome of %s", id, got)
			}
		}
	}
}

func TestEventsOfAKeyKeepTheirOrder(t *testing.T) {
	p := active(t)
	var events []*pluginv1.Event
	for i := range 200 {
		events = append(events, said(t, room, fmt.Sprint(i)))
	}
	p.Send(events...)
	for i := range 200 {
		if o := p.Outcome(); o.Event != uint64(i+1) {
			t.Fatalf("%d came in place %d", o.Event, i+1)
		}
	}
}

func TestReset(t *testing.T) {
	p := active(t)
	p.Send(said(t, room, "wait"), said(t, room, "void"))
	p.Reset(room.String(), 5)
	again := said(t, room, "again")
	again.Epoch = 5
	p.Send(again)
	if o := p.Outcome(); o.Event != 3 || o.Epoch != 5 {
		t.Errorf("%v, want that of the event that was sent behind the reset", o)
	}
}

func TestDeadlineOfAnEvent(t *testing.T) {
	p := active(t)
	e := said(t, room, "wait")
	e.DeadlineMs = 1
	p.Send(e)
	if o := p.Outcome(); !strings.Contains(o.Failure, "1ms are over") {
		t.Error(o)
	}
}

func TestTheEndOfTheServer(t *testing.T) {
	p := active(t)
	p.CloseLifeLine()
	var exit *exec.ExitError
	if err := p.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Error(err)
	}
}

// What a process was handling when it crashed, the next one handles.
func TestACrash(t *testing.T) {
	p := active(t)
	p.Send(said(t, room, "crash"))
	var exit *exec.ExitError
	if err := p.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Fatal(err)
	}
	next := active(t)
	again := said(t, room, "again")
	again.Attempt = 2
	next.Send(again)
	if o := next.Outcome(); len(o.Effects) != 2 {
		t.Error(o)
	}
}

func TestOptionsThatCannotBeUsed(t *testing.T) {
	for in, path := range map[string]string{`{"greeting": ""}`: "greeting", `{"greeting": 5}`: "greeting", `{"other": 1}`: "", `{"claim": true}`: "", `[]`: ""} {
		p := start(t)
		problems := p.Configure(in)
		if len(problems) != 1 || problems[0].Path != path || problems[0].Message == "" {
			t.Errorf("%s: %v", in, problems)
		}
		p.Kill()
	}
}

func TestDescribe(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "describe")
	cmd.Env = append(os.Environ(), "TEST_AS=plugin")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var m struct {
		Name, Version, OptionsSchema string
		Components                   []struct{ Domain string }
	}
	if err := json.Unmarshal(out, &m); err != nil {
		t.Fatal(err)
	}
	if m.Name != "test" || m.Version != "1.2.3" || len(m.Components) != 1 {
		t.Errorf("%s", out)
	}
	for _, want := range []string{`"default":"Hello"`, `"description":"what everybody is told"`, `"additionalProperties":false`} {
		if !strings.Contains(m.OptionsSchema, want) {
			t.Errorf("the schema has no %s: %s", want, m.OptionsSchema)
		}
	}
	if strings.Contains(m.OptionsSchema, "required") {
		t.Errorf("something has no default: %s", m.OptionsSchema)
	}
}

func TestByHand(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), "TEST_AS=plugin")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), filepath.Base(exe)+" is a plugin of hexmpp") {
		t.Errorf("%v: %s", err, out)
	}
}

// The same, without a process.
func TestThrough(t *testing.T) {
	reg, err := newTest(options{Greeting: "Hi"})
	if err != nil {
		t.Fatal(err)
	}
	reg.Start = nil // it has a goroutine
	h := extensiontest.New(t, plugintest.Through(reg), extensiontest.Options{})
	answer := h.Component(extension.Envelope{Stanza: stanza.New(stanza.Header{Kind: stanza.Message, From: jid.MustParse("romeo@example.org/x"), To: room},
		stanza.El("", "body").WithText("world"))})
	if answer != nil {
		t.Fatal(answer)
	}
	if list := h.Effects(); len(list) != 1 || list[0].Stanza.Find("", "body").Text() != "Hi, world" {
		t.Error(list)
	}
	if string(h.Memory()["last"].Value) != "world" {
		t.Error(h.Memory())
	}
}

func TestDoInside(t *testing.T) {
	if err := plugin.Do(t.Context(), "k", nil); !errors.Is(err, plugin.ErrInside) {
		t.Error(err)
	}
}
