package webchat

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/test/harness/missing"
)

// TestClient runs the tests of the client in the folder test: of all that needs
// no page. test/browser looks at the rest.
func TestClient(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		missing.Skip(t, "node", "nodejs")
	}
	files, err := filepath.Glob("test/*.test.js")
	if err != nil || len(files) == 0 {
		t.Fatalf("no tests (%v)", err)
	}
	for _, name := range append(files, "test/server.js") { // go test remembers what a result depends on
		if _, err := os.Stat(name); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, node, append([]string{"--test", "--test-reporter=tap"}, files...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !regexp.MustCompile(`(?m)^# pass [1-9]`).Match(out) {
		t.Fatalf("no test has run:\n%s", out)
	}
}
