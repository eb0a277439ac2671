package pluginhost

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
)

// maxProblems is how many wrong options are told at once.
const maxProblems = 20

// A problem is an option that can't be used.
type problem struct {
	path string // "rooms.max"; "" if it is about all of them
	text string
}

// checkOptions says what is wrong with options by a JSON schema (2020-12); "" is the
// schema of a plugin that has none. nil: nothing is. The error is about the schema itself.
func checkOptions(schema string, options []byte) (_ *problem, err error) {
	defer func() { // the schema is a plugin's, and the library somebody else's
		if r := recover(); r != nil {
			err = fmt.Errorf("options_schema: it can't be used: %v", r)
		}
	}()
	var value map[string]any
	if err := json.Unmarshal(options, &value); err != nil {
		return nil, fmt.Errorf("options: %w", err)
	}
	if schema == "" {
		if len(value) > 0 {
			return &problem{"", "the plugin has no options"}, nil
		}
		return nil, nil
	}
	s, err := readSchema([]byte(schema))
	if err != nil {
		return nil, fmt.Errorf("options_schema: %w", err)
	}
	r, err := s.Resolve(&jsonschema.ResolveOptions{}) // without a loader it reads nothing from elsewhere
	if err != nil {
		return nil, fmt.Errorf("options_schema: %w", err)
	}
	if err := r.Validate(value); err != nil {
		return problemOf(err), nil
	}
	return nil, nil
}

var step = regexp.MustCompile(`^validating ([^:]*): `)

// problemOf finds in an error of the library where the option is: it names the way through
// the schema, outermost first. A place that is not within the one before is where a
// reference leads.
func problemOf(err error) *problem {
	text, at := err.Error(), ""
	var path []string
	for m := step.FindStringSubmatch(text); m != nil; m = step.FindStringSubmatch(text) {
		place := m[1]
		text = text[len(m[0]):]
		if !strings.HasPrefix(place, "/") { // the schema itself
			place = ""
		}
		if way, below := strings.CutPrefix(place, at+"/"); below {
			parts := strings.Split(way, "/")
			for i := 1; i < len(parts); i++ {
				if parts[i-1] == "properties" {
					path = append(path, unescape.Replace(parts[i]))
					parts[i] = ""
				}
			}
		}
		at = place
	}
	return &problem{strings.Join(path, "."), short(text)}
}

// Bounds of a schema.
const (
	maxSchemas = 1000 // by which one value may be looked at
	maxNesting = 100
)

// readSchema reads a schema, and refuses one by which somebody would validate for ever, or
// nearly: one that leads to itself for one and the same value, or that doubles again and
// again. References are pointers within the schema, so that they can be followed here.
func readSchema(text []byte) (*jsonschema.Schema, error) {
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		return nil, err
	}
	if depth(v) > maxNesting {
		return nil, fmt.Errorf("it is nested more than %d levels deep", maxNesting)
	}
	s := &jsonschema.Schema{}
	if err := json.Unmarshal(text, s); err != nil {
		return nil, err
	}
	// As the library understood it: to it "$REF" is a "$ref", too.
	read, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	w := schemas{costs: map[string]int{}}
	if err := json.Unmarshal(read, &w.root); err != nil {
		return nil, err
	}
	return s, w.all("", w.root)
}

func depth(v any) int {
	most := 0
	switch v := v.(type) {
	case map[string]any:
		for _, child := range v {
			most = max(most, depth(child))
		}
	case []any:
		for _, child := range v {
			most = max(most, depth(child))
		}
	}
	return 1 + most
}

// schemas goes through a schema. Each part of it has a place, a JSON pointer (RFC 6901).
type schemas struct {
	root  any
	costs map[string]int // by place; 0 while it is being found out
}

// all looks at every object that may be a schema.
func (w *schemas) all(place string, v any) error {
	switch v := v.(type) {
	case map[string]any:
		if _, err := w.cost(place, v); err != nil {
			return err
		}
		for _, key := range slices.Sorted(maps.Keys(v)) {
			child := v[key]
			switch key {
			case "const", "default", "enum", "examples":
				continue
			}
			if err := w.all(place+"/"+escape.Replace(key), child); err != nil {
				return err
			}
		}
	case []any:
		for i, child := range v {
			if err := w.all(place+"/"+strconv.Itoa(i), child); err != nil {
				return err
			}
		}
	}
	return nil
}

// cost is how many schemas a value that this one is for is looked at by, this one included.
func (w *schemas) cost(place string, v any) (int, error) {
	s, ok := v.(map[string]any)
	if !ok { // true or false; whatever else is found by the library
		return 1, nil
	}
	if n, known := w.costs[place]; known && n == 0 {
		return 0, fmt.Errorf("%q leads to itself, for the same value", short(place))
	} else if known {
		return n, nil
	}
	w.costs[place] = 0
	n := 1
	add := func(place string, v any) error {
		m, err := w.cost(place, v)
		if n += m; err == nil && n > maxSchemas {
			err = fmt.Errorf("%q: one value would be looked at by more than %d schemas", short(place), maxSchemas)
		}
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(s)) {
		child := s[key]
		at := place + "/" + escape.Replace(key)
		var err error
		switch key {
		case "$dynamicRef", "$recursiveRef":
			err = fmt.Errorf("%q: only $ref is possible", short(at))
		case "$id":
			if place != "" {
				err = fmt.Errorf("%q: only the whole of a schema may have an $id", short(at))
			}
		case "$ref":
			ref, _ := child.(string)
			var to any
			var where string
			if where, to, err = w.follow(ref); err == nil {
				err = add(where, to)
			}
		case "not", "if", "then", "else":
			err = add(at, child)
		case "allOf", "anyOf", "oneOf":
			list, _ := child.([]any)
			for i := 0; i < len(list) && err == nil; i++ {
				err = add(at+"/"+strconv.Itoa(i), list[i])
			}
		case "dependentSchemas", "dependencies":
			of, _ := child.(map[string]any)
			for _, name := range slices.Sorted(maps.Keys(of)) {
				if err == nil {
					err = add(at+"/"+escape.Replace(name), of[name])
				}
			}
		}
		if err != nil {
			return 0, err
		}
	}
	w.costs[place] = n
	return n, nil
}

var (
	escape   = strings.NewReplacer("~", "~0", "/", "~1")
	unescape = strings.NewReplacer("~1", "/", "~0", "~")
)

// follow returns what a reference leads to, and its place.
func (w *schemas) follow(ref string) (place string, v any, err error) {
	pointer, ok := strings.CutPrefix(ref, "#")
	if ok && strings.Contains(pointer, "%") {
		pointer, err = url.PathUnescape(pointer)
	}
	if !ok || err != nil || pointer != "" && pointer[0] != '/' {
		return "", nil, fmt.Errorf("$ref %q: only pointers within the schema are possible, such as #/$defs/name", short(ref))
	}
	v = w.root
	for _, name := range strings.Split(pointer, "/")[1:] {
		name = unescape.Replace(name)
		switch of := v.(type) {
		case map[string]any:
			v, ok = of[name]
		case []any:
			var i int
			if i, err = strconv.Atoi(name); err == nil && i >= 0 && i < len(of) {
				v, name = of[i], strconv.Itoa(i)
			} else {
				ok = false
			}
		default:
			ok = false
		}
		if !ok {
			return "", nil, fmt.Errorf("$ref %q leads nowhere", short(ref))
		}
		place += "/" + escape.Replace(name)
	}
	return place, v, nil
}
