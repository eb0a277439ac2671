package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// shownBy is a test as docs/checklist.md names it: folder, function, subtest.
var shownBy = regexp.MustCompile("`([a-z][a-z0-9/]*) (Test\\w+)(?:/([^`]+))?`")

func TestTheChecklistNamesTestsThatExist(t *testing.T) {
	known := map[string]*testNames{}
	rows := 0
	for i, line := range lines(t, filepath.Join(root(t), "docs", "checklist.md")) {
		cells := strings.Split(line, "|")
		if len(cells) < 5 || strings.TrimSpace(cells[1]) == "Behaviour" || strings.HasPrefix(cells[1], " ---") {
			continue
		}
		rows++
		names := shownBy.FindAllStringSubmatch(line, -1)
		if len(names) == 0 {
			t.Errorf("docs/checklist.md:%d names no test.\n  Rule: each behaviour names the test that shows it.\n  Reason: what nobody tests is a wish.", i+1)
		}
		for _, name := range names {
			folder := name[1]
			if known[folder] == nil {
				known[folder] = testsOf(t, folder)
			}
			if !known[folder].has(name[2], name[3]) {
				t.Errorf("docs/checklist.md:%d: %s has no test %s/%s.\n  Rule: the checklist names what is there.\n  Reason: a test that was renamed or removed would leave a promise that nobody keeps.", i+1, folder, name[2], name[3])
			}
		}
	}
	if rows < 80 {
		t.Errorf("docs/checklist.md has %d rows, want 80 at least: is the table still read?", rows)
	}
}

// testNames are the test functions of a folder, and all strings in its tests:
// names of subtests are among them.
type testNames struct {
	functions map[string]bool
	texts     map[string]bool
}

func testsOf(t *testing.T, folder string) *testNames {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root(t), filepath.FromSlash(folder), "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	n := &testNames{map[string]bool{}, map[string]bool{}}
	for _, path := range files {
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		n.add(f)
	}
	return n
}

func (n *testNames) add(f *ast.File) {
	ast.Inspect(f, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.FuncDecl:
			if node.Recv == nil {
				n.functions[node.Name.Name] = true
			}
		case *ast.BasicLit:
			if text, err := strconv.Unquote(node.Value); err == nil && node.Kind == token.STRING {
				n.texts[text] = true
			}
		}
		return true
	})
}

// has says whether a function is there, with this subtest unless it is "".
func (n *testNames) has(function, sub string) bool {
	return n.functions[function] && (sub == "" || n.sub(sub))
}

// sub says whether a path of subtests is there: each of its names is a string in
// the tests, or begins with one where it ends in "...". Names may have slashes.
func (n *testNames) sub(path string) bool {
	if n.texts[path] {
		return true
	}
	if start, cut := strings.CutSuffix(path, "..."); cut && start != "" && n.texts[start] {
		return true
	}
	for i := range len(path) {
		if path[i] == '/' && n.texts[path[:i]] && n.sub(path[i+1:]) {
			return true
		}
	}
	return false
}

func TestTheChecklistWouldMissATest(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "x_test.go", `package x
func TestOne(t *testing.T) {
	t.Run("a row/with a slash", nil)
	t.Run("made of " + what, nil)
	table := []string{"table", "it's \u2665"}
}
func (x) TestMethod(t *testing.T) {}`, 0)
	if err != nil {
		t.Fatal(err)
	}
	n := &testNames{map[string]bool{}, map[string]bool{}}
	n.add(f)
	for name, want := range map[string]bool{
		"TestOne": true, "TestOne/a row/with a slash": true, "TestOne/table": true, "TestOne/made of ...": true, "TestOne/it's \u2665": true,
		"TestOne/table/a row/with a slash": true, "TestOne/table/made of ...": true,
		"TestTwo": false, "TestMethod": false, "TestOne/a row": false, "TestOne/made of": false, "TestOne/made of it": false, "TestOne/...": false,
		"TestOne/table/nothing": false, "TestOne/nothing/table": false, "TestTwo/table": false,
	} {
		function, sub, _ := strings.Cut(name, "/")
		if n.has(function, sub) != want {
			t.Errorf("%s: want %v", name, want)
		}
	}
}
