package core_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/api/plugin/plugintest"
	"github.com/hexmpp/hexmpp/ports/admin"
	"github.com/hexmpp/hexmpp/ports/extension"
)

// TestCalls: an extension is asked in the same way wherever it runs.
func TestCalls(t *testing.T) {
	plugintest.BothWays(t, func(t *testing.T, as plugintest.Way) {
		w := newWorld(t, with(as(t, extension.Registration{Name: "test", Calls: []extension.Call{
			{Name: "greet", Help: "greets", Args: []extension.CallArg{{Name: "who"}, {Name: "more", Optional: true}}, Do: func(_ context.Context, args []string, out io.Writer) error {
				for _, a := range args {
					fmt.Fprintf(out, "Hello, %s\n", a)
				}
				if len(args) > 1 {
					return errors.New("that is one too many")
				}
				return nil
			}},
		}})))
		list, err := w.k.ListCalls(t.Context(), "test")
		if want := []admin.Call{{Name: "greet", Help: "greets", Args: []admin.CallArg{{Name: "who"}, {Name: "more", Optional: true}}}}; err != nil || !reflect.DeepEqual(list, want) {
			t.Errorf("%+v, %v", list, err)
		}
		call := func(extension, name string, args ...string) (string, error) {
			var b strings.Builder
			err := w.k.Call(t.Context(), extension, name, args, func(text string) error { b.WriteString(text); return nil })
			return b.String(), err
		}
		if text, err := call("test", "greet", "world"); err != nil || text != "Hello, world\n" {
			t.Errorf("%q, %v", text, err)
		}
		if text, err := call("test", "greet", "a", "b"); err == nil || err.Error() != "test greet: that is one too many" || text != "Hello, a\nHello, b\n" {
			t.Errorf("%q, %v", text, err)
		}
		if _, err := call("test", "greet"); err == nil || !strings.Contains(err.Error(), "greet WHO [MORE]") {
			t.Error(err)
		}
		if _, err := call("test", "part"); !errors.Is(err, admin.ErrNoCall) {
			t.Error(err)
		}
		_, err = call("nobody", "greet")
		if _, listed := w.k.ListCalls(t.Context(), "nobody"); !errors.Is(err, admin.ErrNoPlugin) || !errors.Is(listed, admin.ErrNoPlugin) || !strings.Contains(err.Error(), "are: test") {
			t.Error(err, listed)
		}
	})
}
