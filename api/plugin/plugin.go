// Package plugin makes a process of an extension: what is written once against
// ports/extension runs inside the server, or is served by this package as a plugin.
//
//	func main() {
//		p := plugin.Of(Options{Greeting: "Hello"}, New)
//		p.Version = "1.0.0"
//		plugin.Serve(p)
//	}
//
// docs/plugins/writing-in-go.md tells it from the beginning. What a process meets is
// docs/plugins/processes.md, what is said to it docs/plugins/protocol.md.
//
// # What is different in a process
//
//   - Events of one ordering key are handled one after the other, those of other keys at
//     the same time, 64 of them at most. Inline is without meaning.
//   - Reads cost a round trip to the server (0.1 ms and more), but for what stage handlers
//     read of Residents. Calls that can't return an error, such as Sessions.Of, end the
//     handler if the server does not answer: the event fails.
//   - Some refusals come when the outcome is applied, not from the call: the event fails
//     then. What is known here (permissions, sizes) is checked at once.
//   - What a plugin knows by heart of a key, beyond storage, memory and groups, is void after
//     Registration.Forget.
//
// # Why it does not use go-plugin's server
//
// What go-plugin asks of a process is one line, a health service and a call to shut down.
// Its own server for Go brings a broker, a log library and a multiplexer along, which
// nothing here uses, and swaps the standard streams for pipes of its own.
package plugin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/hexmpp/hexmpp/ports/extension"
)

// Plugin is what a process serves.
type Plugin struct {
	Version     string // for people
	Description string // one line

	// Schema is the JSON schema (2020-12) of the options, "" if there are none.
	Schema func() (string, error)
	// New makes the registration. options is a JSON object that fits the schema, or nil for
	// what is described before there are options: the claims must be the same then, but that
	// options may leave out Notices, of which the plugin is not told then. It is called more
	// than once, and does nothing beside: what a plugin begins it begins in Start. An *OptionError
	// names the option.
	New func(options []byte) (extension.Registration, error)

	// Drain, if it is not nil, is called when another process of the plugin acts: no handler of
	// this one is called any more, and whatever it asks of a Host, or by Do, is refused with
	// ErrRelieved. It goes on with what has to come to an end by itself, such as relayed media,
	// and returns when nothing is left, or soon behind the end of ctx.
	Drain func(ctx context.Context) error

	// Handlers is how many events may be handled at once; 64.
	Handlers int
	// Shards is how many Sessions it serves; 2.
	Shards int
}

// Of makes a Plugin whose options are a struct with JSON tags: the schema is derived
// from it (a tag jsonschema:"..." describes a field), and what is not set in the configuration
// is as in defaults. Options that are not in the struct are refused.
func Of[O any](defaults O, newReg func(o O) (extension.Registration, error)) Plugin {
	return Plugin{
		Schema: func() (string, error) { return schemaOf(defaults) },
		New: func(options []byte) (extension.Registration, error) {
			o, err := decode(defaults, options)
			if err != nil {
				return extension.Registration{}, err
			}
			return newReg(o)
		},
	}
}

// ErrRelieved is what a process is told that asks for something when another one acts.
var ErrRelieved = errors.New("plugin: another process of the plugin acts")

// OptionError is about an option that can't be used.
type OptionError struct {
	Path string // "rooms.max"
	Err  error
}

func (e *OptionError) Error() string { return "option " + e.Path + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *OptionError) Unwrap() error { return e.Err }

// decode reads options over defaults.
func decode[O any](defaults O, options []byte) (o O, err error) {
	// A copy: slices and maps of the defaults must not be written into.
	b, err := json.Marshal(defaults)
	if err != nil {
		return o, fmt.Errorf("plugin: defaults of options: %w", err)
	}
	if err = json.Unmarshal(b, &o); err != nil || len(options) == 0 {
		return o, err
	}
	d := json.NewDecoder(bytes.NewReader(options))
	d.DisallowUnknownFields()
	if err = d.Decode(&o); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) && wrong.Field != "" {
			return o, &OptionError{wrong.Field, fmt.Errorf("it is a %s, where a %s is wanted", wrong.Value, wrong.Type)}
		}
		return o, err
	}
	if _, err = d.Token(); !errors.Is(err, io.EOF) {
		return o, errors.New("something follows the options")
	}
	return o, nil
}

// schemaOf derives a schema: nothing is required, since there are defaults.
func schemaOf[O any](defaults O) (string, error) {
	s, err := jsonschema.For[O](nil)
	if err != nil {
		return "", fmt.Errorf("plugin: schema of options: %w", err)
	}
	b, err := json.Marshal(defaults)
	if err != nil {
		return "", fmt.Errorf("plugin: defaults of options: %w", err)
	}
	var values map[string]json.RawMessage
	if err := json.Unmarshal(b, &values); err != nil {
		return "", fmt.Errorf("plugin: options are no JSON object: %w", err)
	}
	for name, p := range s.Properties {
		if v, ok := values[name]; ok && string(v) != "null" {
			p.Default = v
		}
	}
	optional(s)
	if b, err = json.Marshal(s); err != nil {
		return "", fmt.Errorf("plugin: schema of options: %w", err)
	}
	return string(b), nil
}

func optional(s *jsonschema.Schema) {
	if s == nil {
		return
	}
	s.Required = nil
	for _, p := range s.Properties {
		optional(p)
	}
	optional(s.Items)
}
