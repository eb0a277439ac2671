package browser

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/test/harness"
	"github.com/hexmpp/hexmpp/test/harness/missing"
)

// within is the time that a scenario has: a browser on a busy machine is slow.
const within = 4 * time.Minute

func TestMain(m *testing.M) {
	code := m.Run()
	harness.Cleanup()
	os.Exit(code)
}

func TestChat(t *testing.T)   { run(t, "chat.mjs", start(t, ""), nil) }
func TestRoom(t *testing.T)   { run(t, "room.mjs", start(t, ""), nil) }
func TestReload(t *testing.T) { run(t, "reload.mjs", start(t, ""), nil) }

func TestRestart(t *testing.T) {
	s := start(t, "")
	run(t, "restart.mjs", s, s.follow)
}

func TestConverse(t *testing.T) {
	folder, err := filepath.Abs(filepath.Join("node_modules", "converse.js"))
	if err != nil {
		t.Fatal(err)
	}
	run(t, "converse.mjs", start(t, folder), nil)
}

// A web is a server with the chat and two accounts.
type web struct{ *harness.Server }

const password = "correct horse battery"

// start serves our own client, or converse.js from a folder.
func start(t *testing.T, converse string) web {
	t.Helper()
	harness.Require(t, "node", "nodejs")
	harness.Require(t, "chromium", "chromium")
	for _, name := range []string{"playwright-core", "converse.js"} {
		if _, err := os.Stat(filepath.Join("node_modules", name)); err != nil {
			missing.Skip(t, name, "npm, and then: npm install --no-package-lock --ignore-scripts (in test/browser)")
		}
	}
	options := "{chat: true}"
	if converse != "" {
		options = fmt.Sprintf("{chat: true, converse: %q}", converse)
	}
	s := harness.Start(t, harness.Config{Extra: "web: " + options + "\nplugins: {muc: {}}\n"})
	for _, name := range []string{"romeo", "juliet"} {
		s.MustAddUser(t, name+"@"+s.Domain, password)
	}
	return web{s}
}

// follow does what a scenario asks for.
func (s web) follow(word string) error {
	switch word {
	case "stop":
		return s.Stop()
	case "kill":
		s.Kill()
	case "start":
		return s.Run()
	}
	return nil
}

// run runs a scenario to its end. Each line that it writes is given to follow,
// and answered when that is done.
func run(t *testing.T, scenario string, s web, follow func(word string) error) {
	t.Helper()
	if err := harness.Reads(".", scenario, "browser.mjs"); err != nil {
		t.Fatal(err)
	}
	shots := os.Getenv("HEXMPP_SCREENSHOTS")
	if shots == "" {
		shots = t.TempDir()
	}
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal(err)
	}
	setup, err := json.Marshal(map[string]any{
		"url": "http://" + s.HTTP + "/", "domain": s.Domain, "chromium": chromium, "shots": shots,
		"accounts": map[string]string{"romeo": password, "juliet": password},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", scenario)
	cmd.Env = append(os.Environ(), "HEXMPP_BROWSER="+string(setup))
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // so that it ends its browser
	cmd.WaitDelay = 10 * time.Second
	var wrong bytes.Buffer
	cmd.Stderr = &wrong
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		t.Log(lines.Text())
		if follow == nil {
			continue
		}
		if err := follow(lines.Text()); err != nil {
			t.Errorf("%s: %v", lines.Text(), err)
			cancel()
			break
		}
		if _, err := io.WriteString(in, "done\n"); err != nil {
			break // it has ended, and says why
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%s: %v\n%s", scenario, err, &wrong)
	}
}
