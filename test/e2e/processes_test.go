package e2e

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness"
)

// TestWhereExtensionsRun sees that extensions run where the configuration says: the tests of
// this package are run again by test/processes.
func TestWhereExtensionsRun(t *testing.T) {
	s := server(t)
	want := harness.InProcesses()
	var list []struct{ Name, State string }
	out := s.CLI(t, "plugin", "list", "--json")
	if err := json.Unmarshal([]byte(out.Stdout), &list); err != nil {
		t.Fatalf("%v: %s%s", err, out.Stdout, out.Stderr)
	}
	var got []string
	for _, p := range list {
		if p.State != "ready" {
			t.Errorf("%s is %s", p.Name, p.State)
		}
		got = append(got, p.Name)
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("%q run in processes, want %q", got, want)
	}
}
