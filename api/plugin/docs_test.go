package plugin_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var fence = regexp.MustCompile("(?s)```go\n(.*?)```")

// code returns the blocks of Go of a page.
func code(t *testing.T, page string) (blocks []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "plugins", page))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range fence.FindAllStringSubmatch(string(text), -1) {
		blocks = append(blocks, m[1])
	}
	return blocks
}

const imports = `package main

import (
	"testing"

	"github.com/hexmpp/hexmpp/api/plugin/plugintest"
	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/extension/extensiontest"
)

`

// The plugin of writing-in-go.md is built, and the tests of testing.md test it.
func TestTheDocumentation(t *testing.T) {
	program, tests := code(t, "writing-in-go.md"), code(t, "testing.md")
	if len(program) != 4 || len(tests) != 2 {
		t.Fatalf("%d and %d blocks of Go", len(program), len(tests))
	}
	// In the module, where its packages can be imported; go list does not look into testdata.
	if err := os.MkdirAll("testdata", 0o755); err != nil {
		t.Fatal(err)
	}
	folder, err := os.MkdirTemp("testdata", "hello")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder); _ = os.Remove("testdata") })
	outside := `package main

import (
	"context"

	"github.com/hexmpp/hexmpp/api/plugin"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

type conn struct{ Domain string }

func arrived(ctx context.Context, peer conn, received *stanza.Stanza) error {
	` + strings.TrimSpace(program[1]) + `
	return err
}

var _ = arrived
`
	calls := `package main

import (
	"context"
	"fmt"
	"io"

	"github.com/hexmpp/hexmpp/ports/extension"
)

var _ = extension.Registration{
	` + program[3] + `}
`
	routes := `package main

import (
	"net/http"

	"github.com/hexmpp/hexmpp/ports/extension"
)

func page(http.ResponseWriter, *http.Request) {}

var _ = extension.Registration{
	` + program[2] + `}
`
	for name, text := range map[string]string{"main.go": program[0], "outside.go": outside, "calls.go": calls, "routes.go": routes, "main_test.go": imports + tests[0] + "\n" + tests[1]} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"build", "-o", "hello", "."}, {"vet", "."}, {"test", "."}} {
		cmd := exec.Command("go", args...)
		cmd.Dir = folder
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	if lines := strings.Count(program[0], "\n"); lines > 40 {
		t.Errorf("the first plugin has %d lines", lines)
	}
}
