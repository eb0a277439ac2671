package harness

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// Again runs the tests of a folder below test once more, in a process of their own, with
// other servers: env says which. only is a regular expression for their names, "" for all; skip are
// names that are left out.
func Again(t *testing.T, folder, only string, skip []string, env ...string) {
	t.Helper()
	root, err := ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	if err := Reads(root, "test"); err != nil {
		t.Fatal(err)
	}
	hexmpp, err := Binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(testProgram(t, root, folder), "-test.v", "-test.run="+only)
	if len(skip) > 0 {
		cmd.Args = append(cmd.Args, "-test.skip=^("+strings.Join(skip, "|")+")$")
	}
	if deadline, ok := t.Deadline(); ok { // it must end before this process does, and say where it was
		cmd.Args = append(cmd.Args, "-test.timeout="+time.Until(deadline.Add(-10*time.Second)).String())
	}
	cmd.Dir = filepath.Join(root, "test", folder)
	cmd.Env = append(append(os.Environ(), "HEXMPP_BINARY="+hexmpp), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, unimportant.ReplaceAll(out, nil))
		return
	}
	passed := strings.Count(string(out), "\n--- PASS: ")
	t.Logf("%d tests passed\n%s", passed, skipped(string(out)))
	if passed == 0 && only == "" {
		t.Errorf("no test ran:\n%s", out)
	}
}

// unimportant are the lines about tests that begin, or pass.
var unimportant = regexp.MustCompile(`(?m)^ *(=== [A-Z]+ |--- PASS: ).*\n`)

// testProgram makes the test program of a folder below test.
func testProgram(t *testing.T, root, folder string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), folder+".test")
	args := []string{"test", "-c", "-o", path}
	if Race {
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
