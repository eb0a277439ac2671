package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Error is one thing that is wrong in a configuration file.
type Error struct {
	File string
	Line int // from 1; 0 if it is about no line
	Text string
}

func (e Error) Error() string {
	if e.File == "" {
		return e.Text
	}
	if e.Line == 0 {
		return e.File + ": " + e.Text
	}
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Text)
}

// Wrong says that the option at this path ("tls.certificates") has a value that
// can't be used, for a reason that is seen outside of the file. If the file has no such
// option the line is that of the section that it belongs to.
func (c *Config) Wrong(path string, why error) Error {
	line := 0
	for at := path; line == 0 && at != ""; {
		line = c.lines[at]
		at = at[:max(0, strings.LastIndexByte(at, '.'))]
	}
	return Error{c.File, line, path + ": " + why.Error()}
}

// Errors is everything that is wrong, in the order of the lines.
type Errors []Error

func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, err := range e {
		lines[i] = err.Error()
	}
	return strings.Join(lines, "\n")
}

// Sort puts them in the order of their lines.
func (e Errors) Sort() {
	slices.SortStableFunc(e, func(a, b Error) int { return cmp.Compare(a.Line, b.Line) })
}

// Join returns one error for two, each of which may be nil: of type Errors if both are.
func Join(a, b error) error {
	var x, y Errors
	if !errors.As(a, &x) || !errors.As(b, &y) {
		return errors.Join(a, b)
	}
	all := append(slices.Clone(x), y...)
	all.Sort()
	return all
}

// Bounds of a file, so that no input makes the reader run long.
const (
	maxErrors = 50
	maxDepth  = 20
)

// reader collects what is wrong and where each option was set.
type reader struct {
	file  string
	errs  Errors
	lines map[string]int
}

func (r *reader) fail(line int, format string, args ...any) {
	if len(r.errs) < maxErrors {
		r.errs = append(r.errs, Error{r.file, line, fmt.Sprintf(format, args...)})
	}
}

// section reads a mapping by its table.
func (r *reader) section(path string, n *yaml.Node, table []option) {
	r.fields(path, n, func(key, val *yaml.Node) {
		i := slices.IndexFunc(table, func(o option) bool { return o.key == key.Value })
		if i < 0 {
			r.fail(key.Line, "%s", unknownKey(path, key.Value, table))
			return
		}
		r.option(join(path, key.Value), key, val, table[i])
	})
}

func (r *reader) option(path string, key, val *yaml.Node, o option) {
	if isNull(val) {
		// A section may be there with all its lines commented out.
		if o.value != nil {
			r.fail(key.Line, "%s has no value: want %s; leave the line out for the default", path, o.value.kind())
		}
		return
	}
	r.lines[path] = key.Line
	switch {
	case val.Kind == yaml.AliasNode:
		r.fail(val.Line, "%s: anchors and aliases are not supported", path)
	case o.value != nil:
		o.value.read(r, path, val)
	case o.entries != nil:
		r.entries(path, val, o.entries)
	default:
		r.section(path, val, o.section)
	}
}

// entries reads a mapping whose keys are names.
func (r *reader) entries(path string, n *yaml.Node, e *entries) {
	r.fields(path, n, func(key, val *yaml.Node) {
		table, err := e.add(key.Value)
		if err != nil {
			r.fail(key.Line, "%s: %v", path, err)
			return
		}
		setDefaults(table)
		r.lines[join(path, key.Value)] = key.Line
		if !isNull(val) {
			r.section(join(path, key.Value), val, table)
		}
	})
}

// fields calls do for each key of a mapping, once.
func (r *reader) fields(path string, n *yaml.Node, do func(key, val *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		where := path
		if where == "" {
			where = "the file"
		}
		r.fail(n.Line, "%s: want a mapping (lines of KEY: VALUE), not %s", where, describe(n))
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, val := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode || key.ShortTag() == "!!merge" {
			r.fail(key.Line, "%s is no key", describe(key))
			continue
		}
		if first, dup := seen[key.Value]; dup {
			r.fail(key.Line, "%s is set twice, first in line %d", join(path, key.Value), first)
			continue
		}
		seen[key.Value] = key.Line
		do(key, val)
	}
}

// plain reports whether a free mapping has no aliases and is not too deep.
func (r *reader) plain(path string, n *yaml.Node) bool {
	bad := 0
	var walk func(path string, n *yaml.Node, depth int)
	walk = func(path string, n *yaml.Node, depth int) {
		if bad > 0 {
			return
		}
		if n.Kind == yaml.AliasNode || depth > maxDepth || n.ShortTag() == "!!merge" {
			bad = max(n.Line, 1)
			return
		}
		for i, child := range n.Content {
			at := path
			if n.Kind == yaml.MappingNode && i%2 == 1 {
				at = join(path, n.Content[i-1].Value)
				r.lines[at] = n.Content[i-1].Line // for what its owner finds wrong
			}
			walk(at, child, depth+1)
		}
	}
	walk(path, n, 0)
	if bad > 0 {
		r.fail(bad, "%s: anchors, aliases and more than %d levels are not supported", path, maxDepth)
	}
	return bad == 0
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func isNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

// describe names what a node is, for an error.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	}
	switch n.ShortTag() {
	case "!!bool":
		return "the truth value " + short(n.Value)
	case "!!int", "!!float":
		return "the number " + short(n.Value)
	case "!!null":
		return "nothing"
	case "!!str":
		return fmt.Sprintf("the text %q", short(n.Value))
	}
	return fmt.Sprintf("%q", short(n.Value))
}

// short cuts a value for an error.
func short(s string) string {
	const most = 64
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}
