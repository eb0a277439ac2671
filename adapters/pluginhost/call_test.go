//go:build unix

package pluginhost

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/admin"
	"github.com/hexmpp/hexmpp/ports/extension"
)

// Call does what its argument says.
func (p *raw) Call(q *pluginv1.CallRequest, s grpc.ServerStreamingServer[pluginv1.CallResponse]) error {
	say := func(text string) error { return s.Send(&pluginv1.CallResponse{Text: []byte(text)}) }
	what, _, _ := strings.Cut(q.Arguments[0], " ")
	switch what {
	case "die":
		os.Exit(9)
	case "wait":
		if err := say("waits"); err != nil {
			return err
		}
		<-s.Context().Done()
		fmt.Fprintln(os.Stderr, "the call is over")
		return s.Context().Err()
	case "hang":
		if err := say("hangs"); err != nil {
			return err
		}
		select {}
	case "flood":
		for say(strings.Repeat("x", 1000)) == nil {
		}
		return nil
	case "piece":
		return say(strings.Repeat("x", extension.MaxCallText))
	case "large":
		return say(strings.Repeat("x", 2*extension.MaxCallText))
	case "fail":
		return status.Error(codes.NotFound, "no such thing")
	case "wordless":
		return status.Error(codes.DataLoss, "")
	}
	return say(p.words["version"] + " " + strings.Join(q.Arguments, ","))
}

// asked asks by the registration, as the kernel does.
func (r *rig) asked(ctx context.Context, out io.Writer, args ...string) error {
	return r.regs[0].Calls[0].Do(ctx, args, out)
}

func TestCall(t *testing.T) {
	r := newRig(t, "version=7 calls")
	r.start()
	if c := r.regs[0].Calls; len(c) != 1 || c[0].Usage() != "do WHAT [MORE]" || c[0].Help != "does it" {
		t.Fatalf("%+v", c)
	}
	for args, want := range map[string]string{
		"hello":       "7 hello",
		"hello world": "7 hello,world",
		"piece":       strings.Repeat("x", extension.MaxCallText),
	} {
		var b bytes.Buffer
		if err := r.asked(t.Context(), &b, strings.Fields(args)...); err != nil || b.String() != want {
			t.Errorf("%s: %.100q, %v", args, b.String(), err)
		}
	}
	for what, want := range map[string]string{
		"fail":     "no such thing",
		"wordless": "DataLoss",
		"large":    "larger than max",
	} {
		if err := r.asked(t.Context(), io.Discard, what); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// A process that dies in a call, or is ended in one, or is not there.
func TestCallOfAProcessThatEnds(t *testing.T) {
	r := newRig(t, "version=7 calls")
	r.times.steady = time.Nanosecond // crashes don't add up
	if err := r.prepare(); err != nil {
		t.Fatal(err)
	}
	if err := r.asked(t.Context(), io.Discard, "x"); err == nil || !strings.Contains(err.Error(), "no process of it is ready now: it is starting") {
		t.Errorf("before it acts: %v", err)
	}
	if err := r.begin(); err != nil {
		t.Fatal(err)
	}
	before := r.info()
	if err := r.asked(t.Context(), io.Discard, "die"); !errors.Is(err, errCallLost) {
		t.Errorf("it dies: %v", err)
	}
	r.until("ready again", func(i admin.PluginInfo) bool {
		return i.State == admin.PluginReady && i.Generation > before.Generation
	})
	var b bytes.Buffer
	if err := r.asked(t.Context(), &b, "hello"); err != nil || b.String() != "7 hello" {
		t.Errorf("the next one: %q, %v", b.String(), err)
	}
	end := r.askedWaits(t.Context(), "wait")
	if err := r.host.DisablePlugin(t.Context(), "raw"); err != nil {
		t.Fatal(err)
	}
	if err := <-end; !errors.Is(err, errCallLost) {
		t.Errorf("it is ended: %v", err)
	}
	if err := r.asked(t.Context(), io.Discard, "x"); err == nil || !strings.Contains(err.Error(), "it is disabled: an administrator stopped it") {
		t.Errorf("disabled: %v", err)
	}
}

// first is a writer that tells when something was written.
type first struct {
	once sync.Once
	seen chan struct{}
}

func (f *first) Write(b []byte) (int, error) {
	f.once.Do(func() { close(f.seen) })
	return len(b), nil
}

// askedWaits asks what takes long, and returns when it has begun.
func (r *rig) askedWaits(ctx context.Context, what string) <-chan error {
	r.t.Helper()
	out, end := &first{seen: make(chan struct{})}, make(chan error, 1)
	go func() { end <- r.asked(ctx, out, what) }()
	select {
	case <-out.seen:
	case err := <-end:
		r.t.Fatal(err)
	case <-time.After(time.Minute):
		r.t.Fatal("the call does not begin")
	}
	return end
}

// Whoever asks goes, or has no more time: the call is over, on both sides where the process does its part.
// A process that hangs in a call goes on with all else.
func TestCallThatTakesLong(t *testing.T) {
	r := newRig(t, "version=7 calls")
	r.start()
	for _, what := range []string{"wait", "hang"} {
		ctx, cancel := context.WithCancel(t.Context())
		end := r.askedWaits(ctx, what)
		cancel()
		if err := <-end; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", what, err)
		}
	}
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := r.asked(short, io.Discard, "hang"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("in time: %v", err)
	}
	entry := func() bool {
		found := false
		_ = r.host.PluginLogs(t.Context(), "raw", 200, false, func(e admin.PluginLogEntry) error {
			found = found || e.Message == "the call is over"
			return nil
		})
		return found
	}
	r.until("told", func(admin.PluginInfo) bool { return entry() })
	r.expect("hello", "hello")
	enough := errors.New("enough")
	if err := r.asked(t.Context(), writerFunc(func([]byte) (int, error) { return 0, enough }), "flood"); !errors.Is(err, enough) {
		t.Errorf("a flood: %v", err)
	}
	if i := r.info(); i.Restarts != 0 || i.State != admin.PluginReady {
		t.Errorf("%+v", i)
	}
}

type writerFunc func(b []byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// Another version may explain its calls in other words, and not have others.
func TestCallsAndReload(t *testing.T) {
	r := newRig(t, "version=7 calls")
	r.start()
	r.say("version=8 calls=other-words")
	if err := r.host.ReloadPlugin(t.Context(), "raw"); err != nil {
		t.Error(err)
	}
	var b bytes.Buffer
	if err := r.asked(t.Context(), &b, "x"); err != nil || b.String() != "8 x" {
		t.Errorf("%q, %v", b.String(), err)
	}
	r.say("version=9")
	if err := r.host.ReloadPlugin(t.Context(), "raw"); err == nil || !strings.Contains(err.Error(), "calls") {
		t.Error(err)
	}
}
