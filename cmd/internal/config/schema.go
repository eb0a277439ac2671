package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// option is one key of the file. It has either a value, or a section of
// options below it, or entries under names that the operator chooses.
type option struct {
	key    string
	doc    string // what it means, in whole sentences
	preset string // the default, as YAML; "" if it has none
	note   string // said in place of the default where that depends on others
	secret bool   // never printed
	open   bool   // it means something else to have no value than to have an empty one

	value   value
	section []option
	entries *entries
}

// entries are the options below names that are not known before.
type entries struct {
	name  string                              // what a name is: "plugin"
	add   func(name string) ([]option, error) // makes an entry
	names func() []string                     // of the entries that were made
	get   func(name string) []option
}

// value reads and writes one field of a Config.
type value interface {
	// read sets the field. Errors are told through the reader.
	read(r *reader, path string, n *yaml.Node)
	// text is the field as YAML on one line.
	text() string
	// kind says what is allowed: "a duration such as 30s".
	kind() string
	// plain is the field as JSON has it.
	plain() any
}

// setDefaults gives each field the default that the table says.
func setDefaults(table []option) {
	for _, o := range table {
		setDefaults(o.section)
		if o.preset == "" {
			continue
		}
		r := &reader{lines: map[string]int{}}
		root := r.parse([]byte(o.preset))
		o.value.read(r, o.key, root)
		if len(r.errs) > 0 {
			panic(fmt.Sprintf("config: default of %s: %v", o.key, r.errs)) // a mistake in options.go
		}
	}
}

// kind is how values of one type are written.
type kind[T any] struct {
	what  string   // "a duration such as 30s"
	tags  []string // YAML tags that it may have
	parse func(string) (T, error)
	text  func(T) string
}

// one is an option with a single value.
func one[T any](to *T, k kind[T]) value { return single[T]{to, k} }

// many is an option with a list; a single value stands for a list of one.
func many[T any](to *[]T, k kind[T]) value { return list[T]{to, k} }

type single[T any] struct {
	to *T
	k  kind[T]
}

func (s single[T]) text() string { return s.k.text(*s.to) }
func (s single[T]) plain() any   { return plain(*s.to) }
func (s single[T]) kind() string { return s.k.what }

func (s single[T]) read(r *reader, path string, n *yaml.Node) {
	if v, ok := scalar(r, path, n, s.k); ok {
		*s.to = v
	}
}

type list[T any] struct {
	to *[]T
	k  kind[T]
}

func (l list[T]) kind() string { return l.k.what + ", or a list of them" }

func (l list[T]) plain() any {
	values := make([]any, len(*l.to))
	for i, v := range *l.to {
		values[i] = plain(v)
	}
	return values
}

// plain is a value as JSON has it: what is not text, a number or a truth value is text.
func plain(v any) any {
	if s, ok := v.(fmt.Stringer); ok {
		return s.String()
	}
	return v
}

func (l list[T]) text() string {
	texts := make([]string, len(*l.to))
	for i, v := range *l.to {
		texts[i] = l.k.text(v)
	}
	return "[" + strings.Join(texts, ", ") + "]"
}

func (l list[T]) read(r *reader, path string, n *yaml.Node) {
	items := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		items = n.Content
	}
	values := make([]T, 0, len(items))
	for _, item := range items {
		if v, ok := scalar(r, path, item, l.k); ok {
			values = append(values, v)
		}
	}
	*l.to = values
}

// scalar reads a value that is no list and no mapping.
func scalar[T any](r *reader, path string, n *yaml.Node, k kind[T]) (v T, ok bool) {
	if n.Kind != yaml.ScalarNode || !slices.Contains(k.tags, n.ShortTag()) {
		r.fail(n.Line, "%s: want %s, not %s", path, k.what, describe(n))
		return v, false
	}
	v, err := k.parse(n.Value)
	if err != nil {
		r.fail(n.Line, "%s: %v: want %s", path, err, k.what)
		return v, false
	}
	return v, true
}

// pairs is an option that is a mapping from names to values of one kind.
func pairs(to *map[string]string, name, val kind[string]) value { return mapping{to, name, val} }

type mapping struct {
	to        *map[string]string
	name, val kind[string]
}

func (m mapping) kind() string {
	return "a mapping from " + m.name.what + " to " + m.val.what
}

func (m mapping) plain() any { return *m.to }

func (m mapping) text() string {
	var b strings.Builder
	for i, name := range slices.Sorted(maps.Keys(*m.to)) {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(m.name.text(name) + ": " + m.val.text((*m.to)[name]))
	}
	return "{" + b.String() + "}"
}

func (m mapping) read(r *reader, path string, n *yaml.Node) {
	*m.to = map[string]string{}
	r.fields(path, n, func(key, val *yaml.Node) {
		name, ok := scalar(r, path, key, m.name)
		if !ok {
			return
		}
		if v, ok := scalar(r, path+"."+name, val, m.val); ok {
			(*m.to)[name] = v
		}
	})
}

// free is an option whose content somebody else checks: options of an extension
// or plugin. It may hold secrets and is not printed.
func free(to *map[string]any) value { return anything{to} }

type anything struct{ to *map[string]any }

func (a anything) kind() string { return "a mapping" }

func (a anything) plain() any { return *a.to }

func (a anything) text() string {
	if len(*a.to) == 0 {
		return "{}"
	}
	return redacted
}

func (a anything) read(r *reader, path string, n *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		r.fail(n.Line, "%s: want %s, not %s", path, a.kind(), describe(n))
		return
	}
	*a.to = map[string]any{}
	if !r.plain(path, n) {
		return
	}
	if err := n.Decode(a.to); err != nil {
		r.fail(n.Line, "%s: %v", path, err)
		return
	}
	if _, err := json.Marshal(*a.to); err != nil { // that is how its owner gets them
		r.fail(n.Line, "%s: something in it is neither text nor a number, a truth value, a list, or a mapping from text", path)
	}
}
