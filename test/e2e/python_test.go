package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/test/harness"
)

// TestPythonPlugin: a plugin needs neither Go nor an SDK, but gRPC and the contract. It is
// found, answers, and is back when it was killed, or is replaced, as any other.
func TestPythonPlugin(t *testing.T) {
	python := harness.RequirePython(t, "grpc, google.protobuf", "python3-grpcio python3-protobuf")
	protoc := harness.Require(t, "protoc", "protobuf-compiler")
	root, err := harness.ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	if err := harness.Reads(root, "api/proto", "test/plugins/python"); err != nil {
		t.Fatal(err)
	}
	messages := t.TempDir()
	proto := filepath.Join(root, "api", "proto")
	files, err := filepath.Glob(filepath.Join(proto, "hexmpp", "plugin", "v1", "*.proto"))
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(protoc, append([]string{"--proto_path=" + proto, "--python_out=" + messages}, files...)...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := exec.Command(python, "-m", "compileall", "-q", messages).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	script := filepath.Join(root, "test", "plugins", "python", "echo.py")
	if _, err := os.Stat(script); err != nil {
		t.Fatal(err)
	}
	s := harness.Start(t, harness.Config{Registration: "open",
		Extra: fmt.Sprintf("plugins:\n  snake: {command: [%q, %q, snake, %q], limits: {start-time: 1m, grace-time: 1m}}\n", python, script, messages)})
	c := session(t, s, account(t, s, "romeo"), "orchard")
	const to = "snake." + domain
	said := 0
	say := func() {
		t.Helper()
		said++
		body := fmt.Sprintf("tea &amp; cake %d", said)
		c.Sendf("<message type='chat' id='m%d' to='%s'><body>%s</body></message>", said, to, body)
		if e := c.Next(); e.Attr("from") != to || e.Attr("type") != "chat" || !strings.Contains(e.Raw, "<body>"+body+"</body>") {
			t.Fatalf("got %s", e.Raw)
		}
	}
	count := func(want int) {
		t.Helper()
		if e := c.IQ("get", to, "<count xmlns='urn:hexmpp:test'/>"); !strings.Contains(e.Raw, fmt.Sprintf(">%d</count>", want)) {
			t.Errorf("got %s, want %d", e.Raw, want)
		}
	}
	for range 20 {
		say()
	}
	count(20)
	if out := s.CLI(t, "plugin", "call", "snake"); out.Code != 0 || !strings.Contains(out.Stdout, "count NUMBER  counts to it") {
		t.Errorf("%+v", out)
	}
	if out := s.CLI(t, "plugin", "call", "snake", "count", "3"); out.Code != 0 || out.Stdout != "1\n2\n3\n" {
		t.Errorf("%+v", out)
	}
	if out := s.CLI(t, "plugin", "call", "snake", "count", "x"); out.Code != 1 || !strings.Contains(out.Stderr, "snake count: no number: x") {
		t.Errorf("%+v", out)
	}
	before := pluginState(t, s, "snake")
	if err := syscall.Kill(before.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	say() // it waits for the next process
	if out := s.CLI(t, "plugin", "reload", "snake"); out.Code != 0 {
		t.Errorf("%+v", out)
	}
	count(0) // it keeps nothing in the kernel
	say()
	if !harness.Eventually(t, time.Minute, func() bool {
		p := pluginState(t, s, "snake")
		return p.State == "ready" && p.Restarts == 1 && p.Generation == 3
	}) {
		t.Errorf("%+v", pluginState(t, s, "snake"))
	}
}
