package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// documents are all Markdown files of the project.
func documents(t *testing.T) (files []string) {
	t.Helper()
	err := filepath.WalkDir(root(t), func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || d.Name() == "testdata" || d.Name() == "node_modules"):
			return filepath.SkipDir
		case strings.HasSuffix(path, ".md"):
			files = append(files, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

func TestLinksOfTheDocumentationResolve(t *testing.T) {
	for _, doc := range documents(t) {
		for i, line := range lines(t, doc) {
			for _, m := range link.FindAllStringSubmatch(line, -1) {
				target, err := url.Parse(m[1])
				if err != nil {
					t.Errorf("%s:%d: %s: %v", rel(t, doc), i+1, m[1], err)
					continue
				}
				if target.Scheme != "" || target.Path == "" {
					continue // another site, or this page
				}
				if _, err := os.Stat(filepath.Join(filepath.Dir(doc), filepath.FromSlash(target.Path))); err != nil {
					t.Errorf("%s:%d links to %s, which isn't there.\n  Rule: links resolve.\n  Reason: whoever moves a file must see what pointed at it.", rel(t, doc), i+1, m[1])
				}
			}
		}
	}
}

// In the journey a row names a file and the functions in it that a stanza passes.
var (
	journeyFile = regexp.MustCompile(`\]\(\.\./([^)]+\.go)\)`)
	journeyName = regexp.MustCompile("`([A-Za-z][A-Za-z0-9]*)`")
)

func TestTheJourneyNamesWhatIsThere(t *testing.T) {
	doc := filepath.Join(root(t), "docs", "stanza-journey.md")
	rows := 0
	for i, line := range lines(t, doc) {
		cells := strings.Split(line, "|")
		if len(cells) < 5 {
			continue
		}
		file := journeyFile.FindStringSubmatch(cells[2])
		if file == nil {
			continue
		}
		rows++
		there := functions(t, filepath.Join(root(t), file[1]))
		for _, name := range journeyName.FindAllStringSubmatch(cells[3], -1) {
			if !there[name[1]] {
				t.Errorf("docs/stanza-journey.md:%d: %s has no function %s.\n  Rule: the journey names what is there.\n  Reason: it is the map that readers follow.", i+1, file[1], name[1])
			}
		}
	}
	if rows < 6 {
		t.Errorf("docs/stanza-journey.md has %d rows with files, want the six files at least", rows)
	}
}

func functions(t *testing.T, path string) map[string]bool {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Errorf("the journey: %v", err)
		return nil
	}
	names := map[string]bool{}
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok {
			names[fn.Name.Name] = true
		}
	}
	return names
}
