package pluginhost

import (
	"encoding/json"
	"fmt"
	"regexp"
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
func checkOptions(schema string, options []byte) (*problem, error) {
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
	var s jsonschema.Schema
	if err := json.Unmarshal([]byte(schema), &s); err != nil {
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
// the schema, outermost first.
func problemOf(err error) *problem {
	text, way := err.Error(), ""
	for m := step.FindStringSubmatch(text); m != nil; m = step.FindStringSubmatch(text) {
		way, text = m[1], text[len(m[0]):]
	}
	var path []string
	parts := strings.Split(way, "/")
	for i := 1; i < len(parts); i++ {
		if parts[i-1] == "properties" {
			path = append(path, strings.NewReplacer("~1", "/", "~0", "~").Replace(parts[i]))
			parts[i] = ""
		}
	}
	return &problem{strings.Join(path, "."), text}
}
