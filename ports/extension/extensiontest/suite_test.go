package extensiontest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// failures counts what would fail a test.
type failures struct {
	testing.TB
	texts []string
}

func (f *failures) Errorf(format string, args ...any) {
	f.texts = append(f.texts, fmt.Sprintf(format, args...))
}
func (f *failures) Cleanup(func()) {}

// Garbage gets as far as handlers that are careless in a usual way.
func TestGarbageFindsMistakes(t *testing.T) {
	const ns = "urn:example:careless"
	tests := []struct {
		name, want string
		handle     func(context.Context, *extension.Host, extension.IQ) (*stanza.Element, error)
	}{
		{"a child that is taken for granted", "nil pointer", func(_ context.Context, _ *extension.Host, q extension.IQ) (*stanza.Element, error) {
			return stanza.El(ns, "r").WithText(q.Payload().Child(ns, "item").Text()), nil
		}},
		{"an index without a length", "out of range", func(_ context.Context, _ *extension.Host, q extension.IQ) (*stanza.Element, error) {
			return stanza.El(ns, "r").WithText(q.Payload().Attr("node")[:1]), nil
		}},
		{"a client's mistake as an internal error", "bad form", func(_ context.Context, _ *extension.Host, q extension.IQ) (*stanza.Element, error) {
			if x := q.Payload().Child("jabber:x:data", "x"); x != nil && x.Attr("type") == "submit" {
				return nil, errors.New("bad form")
			}
			return nil, nil
		}},
		{"a name that the client chose", "not a well-formed element", func(_ context.Context, _ *extension.Host, q extension.IQ) (*stanza.Element, error) {
			return stanza.El(ns, "n"+q.Payload().Attr("name")), nil
		}},
		{"nothing", "", func(context.Context, *extension.Host, extension.IQ) (*stanza.Element, error) { return nil, nil }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := &failures{TB: t}
			h := suite(f, extension.Registration{
				Name: "careless",
				IQ:   []extension.IQHandler{{Space: ns, Local: "do", To: extension.ToServer, Handle: tt.handle}},
			})
			h.garbageIQ(&h.reg.IQ[0], approach{romeo, "", "example.org"}, 1, rounds)
			found := strings.Join(f.texts, "\n")
			if !strings.Contains(found, tt.want) || (found == "") != (tt.want == "") {
				t.Errorf("found %.2000s", found)
			}
		})
	}
}
