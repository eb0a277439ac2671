package arch

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// sources are the Go files of a package, tests included.
func (p pkg) sources() (files []string) {
	for _, names := range [][]string{p.GoFiles, p.TestGoFiles, p.XTestGoFiles} {
		for _, name := range names {
			files = append(files, filepath.Join(p.Dir, name))
		}
	}
	return files
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	for _, p := range packages(t) {
		doc := p.Doc
		if len(p.GoFiles) == 0 { // go list knows the comments of built files only
			doc = testDoc(t, p)
		}
		want := "Package " + p.Name
		if p.Name == "main" {
			want = "" // any comment will do: it is what the program does
		}
		if doc == "" || !strings.HasPrefix(doc, want) {
			t.Errorf("%s has no package comment.\n  Rule: it says what the package implements, which sections, what it leaves out.\n  Reason: a reader decides by it where to look.", p.folder())
		}
	}
}

func testDoc(t *testing.T, p pkg) string {
	for _, path := range p.sources() {
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		if f.Doc != nil {
			return f.Doc.Text()
		}
	}
	return ""
}

func TestNothingIsLeftToFillIn(t *testing.T) {
	leftover := regexp.MustCompile(`panic\("(helper|TODO|not implemented|unimplemented)`)
	for _, p := range packages(t) {
		for _, path := range p.sources() {
			if p.folder() == "test/arch" {
				continue
			}
			for i, line := range lines(t, path) {
				if leftover.MatchString(line) {
					t.Errorf("%s:%d: %s\n  Rule: no function is a placeholder.\n  Reason: bad input would meet the panic.", rel(t, path), i+1, strings.TrimSpace(line))
				}
			}
		}
	}
}

func TestNoSleepInTests(t *testing.T) {
	for _, p := range packages(t) {
		for _, path := range p.sources() {
			if !strings.HasSuffix(path, "_test.go") && !below(p.folder(), "test") {
				continue
			}
			if strings.HasSuffix(path, "bench_test.go") {
				continue // a benchmark of sparse traffic paces itself
			}
			for _, call := range calls(t, path, "time", "Sleep") {
				t.Errorf("%s sleeps.\n  Rule: tests wait for events, by channels, sockets or testing/synctest.\n  Reason: a sleep is too short on a busy machine and too long on any other.", call)
			}
		}
	}
}

// calls finds calls of a package's function and names their places.
func calls(t *testing.T, path, name, function string) (places []string) {
	set := token.NewFileSet()
	f, err := parser.ParseFile(set, path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	synctest := false // in its bubble, sleeping is how a test waits for an event
	for _, imported := range f.Imports {
		synctest = synctest || imported.Path.Value == `"testing/synctest"`
	}
	if synctest {
		return nil
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok && sel.Sel.Name == function {
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == name {
				at := set.Position(sel.Pos())
				at.Filename = rel(t, at.Filename)
				places = append(places, at.String())
			}
		}
		return true
	})
	return places
}

// longFile is where a file of Go surely holds more than one thing.
const longFile = 600

func TestFilesAreShort(t *testing.T) {
	for _, p := range packages(t) {
		for _, path := range p.sources() {
			if n := len(lines(t, path)); n > longFile && !generated(t, path) {
				t.Errorf("%s has %d lines.\n  Rule: no file over %d lines.\n  Reason: a file is named for the one thing that it holds.", rel(t, path), n, longFile)
			}
		}
	}
}

func generated(t *testing.T, path string) bool {
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments|parser.PackageClauseOnly)
	if err != nil {
		t.Fatal(err)
	}
	return ast.IsGenerated(f)
}

func lines(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(string(bytes.TrimSuffix(text, []byte("\n"))), "\n")
}

func rel(t *testing.T, path string) string {
	t.Helper()
	short, err := filepath.Rel(root(t), path)
	if err != nil {
		return path
	}
	return short
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
