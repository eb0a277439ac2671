// Package missing is the one answer to a program that a test needs and that
// isn't there.
package missing

import (
	"os"
	"testing"
)

// Skip skips the test and says which Debian package has what is missing; with
// HEXMPP_REQUIRE_ALL=1 it fails the test instead.
func Skip(t testing.TB, what, debian string) {
	t.Helper()
	const format = "%s is not installed: apt-get install %s"
	if os.Getenv("HEXMPP_REQUIRE_ALL") == "1" {
		t.Fatalf(format, what, debian)
	}
	t.Skipf(format, what, debian)
}
