package harness

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Binary builds ./cmd/hexmpp on the first call of a test process and returns
// its path. With -race the binary has the race detector too. HEXMPP_BINARY
// names one that is already built.
var Binary = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("HEXMPP_BINARY"); path != "" {
		return filepath.Abs(path)
	}
	return build("cmd/hexmpp")
})

// Plugin builds a program of test/plugins on the first call of a test process and returns
// its path. With -race it has the race detector too.
func Plugin(t testing.TB, name string) string {
	t.Helper()
	programs.Lock()
	defer programs.Unlock()
	if path, ok := programs.paths[name]; ok {
		return path
	}
	path, err := build("test/plugins/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if programs.paths == nil {
		programs.paths = map[string]string{}
	}
	programs.paths[name] = path
	return path
}

// programs are those that Plugin built.
var programs struct {
	sync.Mutex
	paths map[string]string
}

// sources are what programs are built from, beside their own folder.
var sources = []string{"go.mod", "go.sum", "adapters", "api", "cmd", "core", "plugins", "ports"}

// build builds a main package, by its folder in the module.
func build(folder string) (path string, err error) {
	root, err := ModuleRoot()
	if err != nil {
		return "", err
	}
	if err := Reads(root, append(slices.Clone(sources), folder)...); err != nil {
		return "", err
	}
	dir, err := outputs()
	if err != nil {
		return "", fmt.Errorf("harness: build: %w", err)
	}
	path = filepath.Join(dir, filepath.Base(folder))
	args := []string{"build", "-o", path}
	if Race {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, "./"+folder)...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("harness: go build ./%s: %w\n%s", folder, err, out)
	}
	return path, nil
}

// outputs makes the folder for what is built.
var outputs = sync.OnceValues(func() (dir string, err error) {
	built, err = os.MkdirTemp("", "hexmpp-test-bin-")
	return built, err
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

// ReadsServer is Reads for what the server is built from, for tests of a server that another
// process has built.
func ReadsServer(t testing.TB) {
	t.Helper()
	root, err := ModuleRoot()
	if err == nil {
		err = Reads(root, sources...)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// built is the folder that outputs made, "" if it made none.
var built string

// Cleanup removes what Binary and Plugin built. A TestMain calls it last.
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
