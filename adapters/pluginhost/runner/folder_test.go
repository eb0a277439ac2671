//go:build unix

package runner

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/zap"
)

func newRunner(t testing.TB, o Options, log *zap.Logger) *Runner {
	t.Helper()
	if o.Folder == "" {
		dir, err := os.MkdirTemp("", "h") // t.TempDir is too long for a socket
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		o.Folder = dir
	}
	r, err := New(o, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func TestFolders(t *testing.T) {
	base, err := os.MkdirTemp("", "h")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(base) })
	file := filepath.Join(base, "file")
	open := filepath.Join(base, "open")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(open, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, folder, want string }{
		{"relative", "run", "not an absolute path"},
		{"too long", filepath.Join(base, strings.Repeat("x", 100)), "characters too long"},
		{"open to others", open, "chmod 700 " + open},
		{"a file", file, "not a directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := New(Options{Folder: c.folder}, zap.NewNop())
			if err == nil {
				r.Close()
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestStaleFoldersAreSwept(t *testing.T) {
	first := newRunner(t, Options{}, zap.NewNop())
	base := first.options.Folder
	for _, dir := range []string{"r-dead/plugin-dir1", "r-unborn", "somebody"} {
		if err := os.MkdirAll(filepath.Join(base, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"r-dead/lock", "r-dead/plugin-dir1/s", "r-file"} {
		if err := os.WriteFile(filepath.Join(base, file), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	second := newRunner(t, Options{Folder: base}, zap.NewNop())
	var got []string
	entries, err := os.ReadDir(base)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		got = append(got, e.Name())
	}
	want := map[string]bool{"lock": true, "somebody": true, "r-file": true, filepath.Base(first.Folder()): true, filepath.Base(second.Folder()): true}
	if len(got) != len(want) {
		t.Errorf("left: %v", got)
	}
	for _, name := range got {
		if !want[name] {
			t.Errorf("left: %s", name)
		}
	}
}

func TestIntegrity(t *testing.T) {
	base := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		t.Helper()
		path := filepath.Join(base, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	mode := func(name string, mode os.FileMode) {
		t.Helper()
		if err := os.Chmod(filepath.Join(base, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	link := func(to, name string) {
		t.Helper()
		if err := os.Symlink(to, filepath.Join(base, name)); err != nil {
			t.Fatal(err)
		}
	}
	digest := func(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text))) }

	write("good/p", "p", 0o755)
	write("good/data", "d", 0o644)
	write("good/open", "o", 0o666)
	write("open/deep/p", "p", 0o755)
	mode("open", 0o777)
	write("sticky/p", "p", 0o755)
	mode("sticky", 0o777|os.ModeSticky)
	link("../open/deep/p", "good/link")
	link(filepath.Join(base, "good"), "short")
	link("loop", "loop")
	if err := syscall.Mkfifo(filepath.Join(base, "good/pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	strangers := write("sticky/strangers", "p", 0o755)
	root := os.Geteuid() == 0
	if root {
		if err := os.Chown(strangers, 12345, 12345); err != nil {
			t.Fatal(err)
		}
	}

	for _, c := range []struct {
		name, command string
		files         map[string]string
		want          string // path, or part of an error
	}{
		{"relative", "good/p", nil, filepath.Join(base, "good/p")},
		{"dot", "./good/../good/p", nil, filepath.Join(base, "good/p")},
		{"absolute", filepath.Join(base, "good/p"), nil, filepath.Join(base, "good/p")},
		{"by a link", "short/p", nil, filepath.Join(base, "good/p")},
		{"sticky folder", "sticky/p", nil, filepath.Join(base, "sticky/p")},
		{"right digests", "good/p", map[string]string{"good/p": digest("p"), "short/data": digest("d")}, filepath.Join(base, "good/p")},
		{"open folder", "open/deep/p", nil, "chmod o-w " + filepath.Join(base, "open")},
		{"open file", "good/open", nil, "chmod o-w " + filepath.Join(base, "good/open")},
		{"a link into an open folder", "good/link", nil, "chmod o-w " + filepath.Join(base, "open")},
		{"a link to itself", "./loop", nil, "more than 40 symbolic links"},
		{"a folder", "./good", nil, "is a folder"},
		{"not there", "good/no", nil, "no such file"},
		{"another digest", "good/p", map[string]string{"good/data": digest("x")}, "good/data has SHA-256 " + digest("d") + ", not " + digest("x")},
		{"no digest", "good/p", map[string]string{"good/data": "abc"}, `"abc" is no SHA-256`},
		{"an open file among the files", "good/p", map[string]string{"good/open": digest("o")}, "chmod o-w"},
		{"a missing file", "good/p", map[string]string{"good/no": digest("o")}, "no such file"},
		{"a pipe", "good/p", map[string]string{"good/pipe": digest("o")}, "no regular file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &Spec{Name: "echo", Command: Command{Path: c.command}, Folder: base, Files: c.files}
			p, err := s.find(t.Context())
			if err == nil {
				defer p.close()
			}
			if strings.HasPrefix(c.want, base) {
				if err != nil || p.path != c.want {
					t.Errorf("got %+v, %v, want %s", p, err, c.want)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "plugin echo: ") {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	if root { // only root can give files away
		s := &Spec{Name: "echo", Command: Command{Path: "sticky/strangers"}, Folder: base}
		if _, err := s.find(t.Context()); err == nil || !strings.Contains(err.Error(), "belongs to user 12345") {
			t.Errorf("a stranger's file in a sticky folder: %v", err)
		}
	}
	s := &Spec{Name: "echo", Command: Command{Path: "a/b"}}
	if _, err := s.find(t.Context()); err == nil || !strings.Contains(err.Error(), errNoFolder.Error()) {
		t.Errorf("relative without a folder: %v", err)
	}
}
