package pluginhost

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// TestSchemas: a schema of a plugin neither ends the server nor holds it up, whatever it says.
func TestSchemas(t *testing.T) {
	doubling := `{"$ref":"#/$defs/a40","$defs":{"a0":{}`
	for i := 1; i <= 40; i++ {
		doubling += fmt.Sprintf(`,"a%d":{"allOf":[{"$ref":"#/$defs/a%d"},{"$ref":"#/$defs/a%d"}]}`, i, i-1, i-1)
	}
	doubling += `}}`
	for _, c := range []struct{ schema, options, want, key string }{
		{`{"$ref":"#"}`, `{}`, "leads to itself", ""},
		{`{"allOf":[{"$ref":"#"}]}`, `{}`, "leads to itself", ""},
		{`{"not":{"not":{"$ref":"#/not"}}}`, `{}`, "leads to itself", ""},
		{`{"if":{},"then":{"dependentSchemas":{"a":{"$ref":"#"}}}}`, `{"a":1}`, "leads to itself", ""},
		{`{"$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}},"properties":{"x":{"$ref":"#/%24defs/a"}}}`, `{}`, "leads to itself", ""},
		{`{"$defs":{"a/b":{"$ref":"#/$defs/a~1b"}}}`, `{}`, "leads to itself", ""},
		{doubling, `{}`, "more than 1000", ""},
		{`{"$dynamicRef":"#"}`, `{}`, "only $ref", ""},
		{`{"$anchor":"me","$ref":"#me"}`, `{}`, "only pointers", ""},
		{`{"properties":{"a":{"$id":"http://a.test/b","$ref":"#/x"}}}`, `{}`, "$id", ""},
		{`{"$ref":"#/nowhere"}`, `{}`, "leads nowhere", ""},
		{`{"$ref":7}`, `{}`, "options_schema", ""},
		{`{"allOf":7}`, `{}`, "options_schema", ""},
		{`{"properties":{"a":null}}`, `{}`, "options_schema", ""},
		{`[]`, `{}`, "options_schema", ""},
		{strings.Repeat(`{"not":`, 9000) + "{}" + strings.Repeat("}", 9000), `{}`, "more than 100 levels", ""},
		{`{"$REF":"#"}`, `{}`, "leads to itself", ""}, // the library reads it so
		{`{"not":{"$ref":"#"},"not":{}}`, `{}`, "leads to itself", ""},
		// A tree is none: each step is another value's.
		{`{"type":"object","properties":{"name":{"type":"string"},"children":{"type":"array","items":{"$ref":"#"}}},"additionalProperties":false}`,
			`{"name":"a","children":[{"name":"b","children":[{"name":7}]}]}`, "", "children.children.name"},
		{`{"$defs":{"size":{"type":"integer","minimum":1}},"properties":{"max":{"$ref":"#/$defs/size"},"min":{"$ref":"#/$defs/size"}}}`, `{"max":0}`, "", "max"},
		{`{"properties":{"max":{"type":"integer"}}}`, `{"max":1}`, "", ""},
	} {
		problem, err := checkOptions(c.schema, []byte(c.options))
		switch {
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%.80s: error %v, want %s", c.schema, err, c.want)
		case c.want == "" && err != nil:
			t.Errorf("%.80s: %v", c.schema, err)
		case (problem != nil) != (c.key != "") || problem != nil && problem.path != c.key:
			t.Errorf("%.80s: %+v, want a problem of %s", c.schema, problem, c.key)
		}
	}
}

func FuzzSchema(f *testing.F) {
	for _, s := range []string{`{"$ref":"#"}`, `{"properties":{"a":{"$ref":"#"}}}`, `{"type":["object","null"],"required":["a"]}`, `{"anyOf":[{"const":{"a":1}},{"enum":[1]}]}`,
		`{"$defs":{"a":{"items":{"$ref":"#/$defs/a"}}},"additionalProperties":{"$ref":"#/$defs/a"}}`, `{"patternProperties":{"^a":{"minimum":1}},"unevaluatedProperties":false}`,
		`{"$schema":"http://json-schema.org/draft-07/schema#","dependencies":{"a":["b"],"c":{"$ref":"#"}}}`} {
		f.Add(s, `{"a": 1, "c": [[]]}`)
	}
	f.Fuzz(func(_ *testing.T, schema, options string) {
		if len(schema) > 1000 || len(options) > 1000 || !json.Valid([]byte(options)) {
			return
		}
		_, _ = checkOptions(schema, []byte(options))
	})
}

// What a plugin says may be shown by a terminal.
func TestShort(t *testing.T) {
	for text, want := range map[string]string{
		"plain é":                "plain é",
		"\x1b[2J\r\nx\u202e":     "?[2J??x?",
		"\xff":                   "?",
		strings.Repeat("é", 150): strings.Repeat("é", 100) + "...",
	} {
		if got := short(text); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}
