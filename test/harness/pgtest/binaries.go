package pgtest

import (
	"errors"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness/missing"
)

var errNotInstalled = errors.New("pgtest: PostgreSQL is not installed")

// folder returns the folder of the newest PostgreSQL that is installed.
func folder() (string, error) {
	if path, err := exec.LookPath("postgres"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil { // a link may be alone in its folder
			return filepath.Dir(path), nil
		}
	}
	// Debian keeps the server out of PATH, in a folder for each version.
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil || len(found) == 0 {
		return "", errNotInstalled
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path)))) // 0 sorts last
		return n
	}
	return filepath.Dir(slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })), nil
}

func require(t testing.TB) string {
	t.Helper()
	bin, err := folder()
	if err != nil {
		missing.Skip(t, "PostgreSQL", "postgresql")
	}
	return bin
}
