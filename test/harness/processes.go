package harness

import (
	"os"
	"strings"
)

// ProcessesVariable names the environment variable with the extensions, with commas, that
// run in processes of their own in each server that tests start, unless the test says where.
// test/processes sets it.
const ProcessesVariable = "HEXMPP_TEST_PROCESSES"

var inProcesses = os.Getenv(ProcessesVariable)

// InProcesses returns what the variable names.
func InProcesses() []string {
	return strings.FieldsFunc(inProcesses, func(r rune) bool { return r == ',' })
}

// elsewhere has what the variable names run in processes. extra is YAML at top level.
func elsewhere(extra, names string) string {
	var lines, entries strings.Builder
	for name := range strings.SplitSeq(names, ",") {
		if name == "" || strings.Contains(extra, name+": {") {
			continue
		}
		lines.WriteString("  " + name + ": {run: process}\n")
		entries.WriteString(name + ": {run: process}, ")
	}
	const section = "extensions:"
	before, after, there := strings.Cut(extra, section)
	switch flow, isFlow := strings.CutPrefix(after, " {"); {
	case lines.Len() == 0:
		return extra
	case !there:
		return section + "\n" + lines.String() + extra
	case isFlow:
		return before + section + " {" + entries.String() + flow
	default:
		return before + section + "\n" + lines.String() + strings.TrimPrefix(after, "\n")
	}
}
