package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// pages returns the documents of the project.
func pages(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	read := func(path string) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		texts[path] = string(text)
	}
	read("../../README.md")
	err := filepath.WalkDir("../../docs", func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".md") {
			read(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return texts
}

// TestConfigurationsInDocs checks each YAML snippet with `config check`.
func TestConfigurationsInDocs(t *testing.T) {
	checked := 0
	for page, text := range pages(t) {
		for i, part := range strings.Split(text, "```yaml\n")[1:] {
			snippet, _, closed := strings.Cut(part, "```")
			file := filepath.Join(t.TempDir(), "snippet.yaml")
			if err := os.WriteFile(file, []byte(snippet), 0o600); err != nil {
				t.Fatal(err)
			}
			if r := hexmpp(t.Context(), "", "config", "check", "--no-plugins", "--config", file); !closed || r.code != exitOK {
				t.Errorf("%s, snippet %d: %s\n%s", page, i+1, r.err, snippet)
			}
			checked++
		}
	}
	if checked < 4 { // README, quick start (two), the reference
		t.Errorf("only %d snippets were found", checked)
	}
}

// TestCommandsInDocs parses each command of hexmpp that a page tells to run.
func TestCommandsInDocs(t *testing.T) {
	parsed := 0
	for page, text := range pages(t) {
		for line := range strings.Lines(text) {
			line = strings.TrimSpace(line)
			command, ok := strings.CutPrefix(line, "go run ./cmd/hexmpp ")
			if !ok {
				command, ok = strings.CutPrefix(line, "sudo -u hexmpp hexmpp ")
			}
			if !ok {
				continue
			}
			parser, err := newParser(t.Context(), &env{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := parser.Parse(strings.Fields(command)); err != nil {
				t.Errorf("%s: %s: %v", page, command, err)
			}
			parsed++
		}
	}
	if parsed < 6 {
		t.Errorf("only %d commands were found", parsed)
	}
}
