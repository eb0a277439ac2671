package harness

import (
	"os"
	"os/exec"
	"testing"
)

// Require returns the path of a program that a test runs. If it isn't there
// the test skips and says which Debian package has it; with
// HEXMPP_REQUIRE_ALL=1 that is a failure.
func Require(t testing.TB, program, debian string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		Missing(t, program, debian)
	}
	return path
}

// RequirePython returns Debian's interpreter if it can import the module.
func RequirePython(t testing.TB, module, debian string) string {
	t.Helper()
	const python = "/usr/bin/python3"
	if err := exec.Command(python, "-c", "import "+module).Run(); err != nil {
		Missing(t, "Python module "+module, debian)
	}
	return python
}

// Missing skips or fails the test for want of a program.
func Missing(t testing.TB, what, debian string) {
	t.Helper()
	const format = "%s is not installed: apt-get install %s"
	if os.Getenv("HEXMPP_REQUIRE_ALL") == "1" {
		t.Fatalf(format, what, debian)
	}
	t.Skipf(format, what, debian)
}
