package plugin_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/hexmpp/hexmpp/api/plugin"
	"github.com/hexmpp/hexmpp/api/plugin/plugintest"
	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// testCalls are those of the plugin that these tests start.
func testCalls() []extension.Call {
	return []extension.Call{
		{Name: "say", Help: "says it", Args: []extension.CallArg{{Name: "what"}, {Name: "more", Optional: true}}, Do: call},
		{Name: "list", Do: func(context.Context, []string, io.Writer) error { return nil }},
	}
}

// call does what its argument says.
func call(ctx context.Context, args []string, out io.Writer) error {
	switch args[0] {
	case "wait":
		fmt.Fprintln(out, "waits")
		<-ctx.Done()
		return ctx.Err()
	case "hang":
		fmt.Fprintln(out, "hangs")
		select {}
	case "crash":
		os.Exit(3)
	case "panic":
		panic("at the disco")
	case "fail":
		return errors.New(strings.Repeat("é", 5000))
	case "much":
		for range 3 << 10 {
			if _, err := io.WriteString(out, strings.Repeat("x", 1<<10)); err != nil {
				return err
			}
		}
		_, err := out.Write(make([]byte, 200<<10))
		return err
	case "do":
		return plugin.Do(ctx, "called", func(h *extension.Host) error {
			h.Store.Put(jid.JID{}, "called", []byte(args[1]))
			return nil
		})
	}
	_, err := fmt.Fprintln(out, strings.Join(args, " "))
	return err
}

func TestCall(t *testing.T) {
	p := active(t)
	for _, row := range []struct {
		call string
		args []string
		text string
		code codes.Code
		err  string
	}{
		{"say", []string{"hello"}, "hello\n", codes.OK, ""},
		{"say", []string{"hello", "world"}, "hello world\n", codes.OK, ""},
		{"list", nil, "", codes.OK, ""},
		{"say", nil, "", codes.InvalidArgument, "0 arguments"},
		{"shout", nil, "", codes.NotFound, `there is no call "shout"`},
		{"say", []string{"panic"}, "", codes.Aborted, "extension test: panic"},
		{"say", []string{"fail"}, "", codes.Aborted, "éé"},
		{"say", []string{"do", "x"}, "", codes.OK, ""},
	} {
		text, err := p.Call(t.Context(), row.call, row.args...)
		if s := status.Convert(err); text != row.text || s.Code() != row.code || !strings.Contains(s.Message(), row.err) || len(s.Message()) > 4200 {
			t.Errorf("%s %q: %q, %.200v", row.call, row.args, text, err)
		}
	}
	if u := p.Unasked(); u.Effects[0].GetWrite().GetKey() != "called" {
		t.Error(u)
	}
	text, err := p.Call(t.Context(), "say", "much") // as much as tells that it was too much
	if err != nil || len(text) != extension.MaxCallText+1 {
		t.Errorf("%d bytes, %v", len(text), err)
	}
	if c := p.Manifest.Calls; len(c) != 2 || c[0].Help != "says it" || c[0].Arguments[1].Name != "more" || !c[0].Arguments[1].Optional {
		t.Error(c)
	}
}

func TestCallBeforeItActs(t *testing.T) {
	p := start(t)
	if _, err := p.Call(t.Context(), "say", "x"); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("not configured: %v", err)
	}
	if problems := p.Configure(`{}`); len(problems) > 0 {
		t.Fatal(problems)
	}
	if _, err := p.Call(t.Context(), "say", "x"); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("configured: %v", err)
	}
}

// begun makes a call that waits, and returns when it does; end is its error.
func begun(ctx context.Context, t *testing.T, p *plugintest.Process, what string) (end <-chan error) {
	t.Helper()
	stream, err := p.Client.Call(ctx, &pluginv1.CallRequest{Call: "say", Arguments: []string{what}})
	if err != nil {
		t.Fatal(err)
	}
	if m, err := stream.Recv(); err != nil || len(m.Text) == 0 {
		t.Fatal(m, err)
	}
	ch := make(chan error, 1)
	go func() {
		_, err := stream.Recv()
		ch <- err
	}()
	return ch
}

// Eight at once, those that hang though nobody waits for them included.
func TestCallsAtOnce(t *testing.T) {
	p := active(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var ends []<-chan error
	for i := range extension.MaxCalls {
		what := "wait"
		if i == 0 {
			what = "hang"
		}
		ends = append(ends, begun(ctx, t, p, what))
	}
	if _, err := p.Call(t.Context(), "say", "x"); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("the ninth: %v", err)
	}
	cancel()
	for _, end := range ends {
		if err := <-end; status.Code(err) != codes.Canceled {
			t.Error(err)
		}
	}
	// The waiting ones end on their side a moment later; the one that hangs does not.
	var wg sync.WaitGroup
	for range extension.MaxCalls - 1 {
		wg.Go(func() {
			for {
				if _, err := p.Call(t.Context(), "say", "x"); status.Code(err) != codes.ResourceExhausted {
					if err != nil {
						t.Error(err)
					}
					return
				}
			}
		})
	}
	wg.Wait()
}

// The end of a process ends its calls.
func TestCallAndShutdown(t *testing.T) {
	p := active(t)
	end := begun(t.Context(), t, p, "wait")
	if err := p.Shutdown(); err != nil {
		t.Error(err)
	}
	if err := <-end; status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "about to end") {
		t.Error(err)
	}
	p = active(t)
	if _, err := p.Call(t.Context(), "say", "crash"); status.Code(err) != codes.Unavailable {
		t.Error(err)
	}
}

// aKernel is one for calls, which ask it for nothing.
type aKernel struct {
	extension.Kernel
	ctx context.Context
}

func (k aKernel) Reader() *extension.Host {
	return &extension.Host{Now: time.Now, Log: slog.New(slog.DiscardHandler)}
}
func (k aKernel) Context() context.Context { return k.ctx }

// In tests without a process a call goes through the messages, too.
func TestCallThrough(t *testing.T) {
	reg, err := newTest(options{Greeting: "Hi"})
	if err != nil {
		t.Fatal(err)
	}
	for name, other := range map[string]extension.Registration{"through": plugintest.Through(reg), "elsewhere": plugintest.Elsewhere(t, reg)} {
		if name == "elsewhere" {
			other.Remote.Attach(aKernel{ctx: t.Context()})
		}
		var b strings.Builder
		if err := other.Calls[0].Do(t.Context(), []string{"hello"}, &b); err != nil || b.String() != "hello\n" {
			t.Errorf("%s: %q, %v", name, b.String(), err)
		}
		if err := other.Calls[0].Do(t.Context(), []string{"panic"}, &b); err == nil || err.Error() != "extension test: panic" {
			t.Errorf("%s: %v", name, err)
		}
	}
}
