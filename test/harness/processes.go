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
	var entries []string
	for name := range strings.SplitSeq(names, ",") {
		if name != "" && !strings.Contains(extra, name+": {") {
			entries = append(entries, name+": {run: process}")
		}
	}
	return insert(extra, "extensions:", entries)
}

// withoutRooms switches the plugin muc off, unless extra has something to say about it: most tests
// do without its process.
func withoutRooms(extra string) string {
	if strings.Contains(extra, "muc:") {
		return extra
	}
	return insert(extra, "plugins:", []string{"muc: {enabled: false}"})
}

// insert puts entries in front of those of a section of YAML, which may be written either way.
func insert(extra, section string, entries []string) string {
	before, after, there := strings.Cut(extra, section)
	block := section + "\n  " + strings.Join(entries, "\n  ") + "\n"
	switch flow, isFlow := strings.CutPrefix(after, " {"); {
	case len(entries) == 0:
		return extra
	case !there:
		return block + extra
	case isFlow:
		return before + section + " {" + strings.Join(entries, ", ") + ", " + flow
	default:
		return before + block + strings.TrimPrefix(after, "\n")
	}
}
