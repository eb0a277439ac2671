package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
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
				if target.Scheme != "" {
					continue // another site
				}
				to := doc // a place on this page
				if target.Path != "" {
					to = filepath.Join(filepath.Dir(doc), filepath.FromSlash(target.Path))
				}
				const rule = "\n  Rule: links resolve.\n  Reason: whoever moves a file or renames a heading must see what pointed at it."
				if _, err := os.Stat(to); err != nil {
					t.Errorf("%s:%d links to %s, which isn't there.%s", rel(t, doc), i+1, m[1], rule)
				} else if target.Fragment != "" && strings.HasSuffix(to, ".md") && !anchors(t, to)[target.Fragment] {
					t.Errorf("%s:%d links to %s, and there is no such heading.%s", rel(t, doc), i+1, m[1], rule)
				}
			}
		}
	}
}

// anchors are the names that headings of a page have in links, as GitHub makes
// them: lower case, spaces become hyphens, and of all else letters, digits,
// hyphens and underscores stay.
func anchors(t *testing.T, page string) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	code := false
	for _, line := range lines(t, page) {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			code = !code
		}
		title := strings.TrimLeft(line, "#")
		if code || title == line || !strings.HasPrefix(title, " ") {
			continue
		}
		names[strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, strings.TrimSpace(title))] = true
	}
	return names
}

func TestAnchors(t *testing.T) {
	page := filepath.Join(t.TempDir(), "page.md")
	text := "# A title\n## When the database can't be written\n### After `kill -9`\n#no heading\n```\n# a comment\n```\n"
	if err := os.WriteFile(page, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{"a-title": true, "when-the-database-cant-be-written": true, "after-kill--9": true}
	if got := anchors(t, page); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// Whoever begins at README.md finds every page by its links.
func TestEveryPageIsReachable(t *testing.T) {
	start := filepath.Join(root(t), "README.md")
	seen := map[string]bool{start: true}
	for todo := []string{start}; len(todo) > 0; todo = todo[1:] {
		for _, line := range lines(t, todo[0]) {
			for _, m := range link.FindAllStringSubmatch(line, -1) {
				target, err := url.Parse(m[1])
				if err != nil || target.Scheme != "" || !strings.HasSuffix(target.Path, ".md") {
					continue
				}
				page := filepath.Join(filepath.Dir(todo[0]), filepath.FromSlash(target.Path))
				if !seen[page] {
					seen[page] = true
					todo = append(todo, page)
				}
			}
		}
	}
	pages := 0
	for _, doc := range documents(t) {
		if !strings.HasPrefix(rel(t, doc), "docs/") {
			continue
		}
		pages++
		if !seen[doc] {
			t.Errorf("no link leads from README.md to %s.\n  Rule: every page of docs can be reached.\n  Reason: what nobody finds nobody reads.", rel(t, doc))
		}
	}
	if pages < 20 {
		t.Errorf("only %d pages were found", pages)
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
