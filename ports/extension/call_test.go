package extension_test

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/ports/extension"
)

func TestCheckCalls(t *testing.T) {
	do := func(context.Context, []string, io.Writer) error { return nil }
	arg := func(name string, optional bool) extension.CallArg {
		return extension.CallArg{Name: name, Optional: optional}
	}
	for _, row := range []struct {
		rule string
		list []extension.Call
		want string // in the error; "" for none
	}{
		{"none", nil, ""},
		{"two", []extension.Call{{Name: "a", Do: do}, {Name: "b-2", Help: "x", Do: do, Args: []extension.CallArg{arg("a", false), arg("b", true), arg("c", true)}}}, ""},
		{"no name", []extension.Call{{Do: do}}, `call ""`},
		{"a name that looks like a flag", []extension.Call{{Name: "-a", Do: do}}, `call "-a"`},
		{"capitals", []extension.Call{{Name: "A", Do: do}}, `call "A"`},
		{"a long name", []extension.Call{{Name: strings.Repeat("a", 64), Do: do}}, "63 at most"},
		{"twice", []extension.Call{{Name: "a", Do: do}, {Name: "a", Do: do}}, "is there twice"},
		{"no function", []extension.Call{{Name: "a"}}, "has no function"},
		{"two lines of help", []extension.Call{{Name: "a", Help: "x\ny", Do: do}}, "not one line"},
		{"much help", []extension.Call{{Name: "a", Help: strings.Repeat("x", 1001), Do: do}}, "not one line"},
		{"many arguments", []extension.Call{{Name: "a", Do: do, Args: make([]extension.CallArg, extension.MaxCallArgs+1)}}, "17 arguments"},
		{"an argument without a name", []extension.Call{{Name: "a", Do: do, Args: []extension.CallArg{{}}}}, `argument ""`},
		{"an optional one in front", []extension.Call{{Name: "a", Do: do, Args: []extension.CallArg{arg("a", true), arg("b", false)}}}, `argument "b" comes behind`},
	} {
		err := extension.CheckCalls(row.list)
		if (err == nil) != (row.want == "") || err != nil && !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", row.rule, err, row.want)
		}
	}
}
