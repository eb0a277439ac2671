package postgres

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/test/harness"
	"github.com/hexmpp/hexmpp/test/harness/pgtest"
)

var only = flag.String("only", "", "run only the tests that match: go test ./test/postgres -args -only TestRoster")

func TestMain(m *testing.M) {
	code := m.Run()
	harness.Cleanup()
	os.Exit(code)
}

// onceIsEnough are the tests of test/e2e that no database makes different, and
// that take time: what clients may do wrong ends before anything is stored,
// and the command line is looked at without a server.
var onceIsEnough = []string{
	"TestHostile", "TestSlowClients",
	"TestConfigCheck", "TestConfigShow", "TestServeWithoutConfiguration", "TestVersionCommand",
	"TestDatabaseIsLost", // which has a PostgreSQL for itself
}

func TestOnPostgres(t *testing.T) {
	server := pgtest.Start(t)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the end of PostgreSQL's log:\n%s", server.Log())
		}
	})
	t.Run("e2e", func(t *testing.T) { again(t, server, "e2e", onceIsEnough) })
	t.Run("interop", func(t *testing.T) { again(t, server, "interop", nil) })
}

// again runs the tests of a folder below test in a process of their own, all
// but those to skip.
func again(t *testing.T, server *pgtest.Server, folder string, skip []string) {
	t.Parallel() // foreign clients let a processor wait most of the time
	root, err := harness.ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	if err := harness.Reads(root, "test"); err != nil {
		t.Fatal(err)
	}
	hexmpp, err := harness.Binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(build(t, root, folder), "-test.v", "-test.run="+*only)
	if len(skip) > 0 {
		cmd.Args = append(cmd.Args, "-test.skip=^("+strings.Join(skip, "|")+")$")
	}
	if deadline, ok := t.Deadline(); ok { // it must end before this process does, and say where it was
		cmd.Args = append(cmd.Args, "-test.timeout="+time.Until(deadline.Add(-10*time.Second)).String())
	}
	cmd.Dir = filepath.Join(root, "test", folder)
	cmd.Env = append(os.Environ(), "HEXMPP_BINARY="+hexmpp, harness.PostgresVariable+"="+server.Folder())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, unimportant.ReplaceAll(out, nil))
		return
	}
	passed := strings.Count(string(out), "\n--- PASS: ")
	t.Logf("%d tests passed\n%s", passed, skipped(string(out)))
	if passed == 0 && *only == "" {
		t.Errorf("no test ran:\n%s", out)
	}
}

// unimportant are the lines about tests that begin, or pass.
var unimportant = regexp.MustCompile(`(?m)^ *(=== [A-Z]+ |--- PASS: ).*\n`)

// build makes the test program of a folder below test.
func build(t *testing.T, root, folder string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), folder+".test")
	args := []string{"test", "-c", "-o", path}
	if harness.Race {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, "./test/"+folder)...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// skipped are the lines about tests that were skipped, with their reasons.
func skipped(out string) string {
	var found strings.Builder
	var before string
	for line := range strings.Lines(out) {
		if strings.HasPrefix(strings.TrimLeft(line, " "), "--- SKIP: ") {
			found.WriteString(before + line)
		}
		before = line
	}
	return found.String()
}
