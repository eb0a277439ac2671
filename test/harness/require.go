package harness

import (
	"os/exec"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness/missing"
)

// Require returns the path of a program that a test runs. If it isn't there
// the test skips and says which Debian package has it; with
// HEXMPP_REQUIRE_ALL=1 that is a failure.
func Require(t testing.TB, program, debian string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		missing.Skip(t, program, debian)
	}
	return path
}

// RequirePython returns Debian's interpreter if it can import the module.
func RequirePython(t testing.TB, module, debian string) string {
	t.Helper()
	const python = "/usr/bin/python3"
	if err := exec.Command(python, "-c", "import "+module).Run(); err != nil {
		missing.Skip(t, "Python module "+module, debian)
	}
	return python
}
