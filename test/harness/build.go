package harness

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// Binary builds ./cmd/hexmpp on the first call of a test process and returns
// its path. With -race the binary has the race detector too. HEXMPP_BINARY
// names one that is already built.
var Binary = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("HEXMPP_BINARY"); path != "" {
		return filepath.Abs(path)
	}
	root, err := ModuleRoot()
	if err != nil {
		return "", err
	}
	if err := Reads(root, "go.mod", "go.sum", "adapters", "cmd", "core", "ports"); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "hexmpp-test-bin-")
	if err != nil {
		return "", fmt.Errorf("harness: build: %w", err)
	}
	built = dir
	path := filepath.Join(dir, "hexmpp")
	args := []string{"build", "-o", path}
	if Race {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, "./cmd/hexmpp")...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("harness: go build ./cmd/hexmpp: %w\n%s", err, out)
	}
	return path, nil
})

// Reads tells go test what the result of a test depends on: files and folders
// of the module that other processes read for it. go test keeps a result as
// long as nothing has changed that the test itself has looked at; it knows
// nothing of what the compiler reads, and would take yesterday's result of
// another server for today's.
func Reads(root string, paths ...string) error {
	for _, path := range paths {
		err := filepath.WalkDir(filepath.Join(root, path), func(_ string, _ fs.DirEntry, err error) error { return err })
		if err != nil {
			return fmt.Errorf("harness: look at the sources: %w", err)
		}
	}
	return nil
}

// built is the folder that Binary made, "" if it made none.
var built string

// Cleanup removes what Binary built. A TestMain calls it last.
func Cleanup() {
	if built != "" {
		os.RemoveAll(built)
	}
}

// ModuleRoot is the folder of the module that the test belongs to.
func ModuleRoot() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("harness: find the module: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}
