package arch

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/hexmpp/hexmpp"

// A pkg is what `go list -json` says about a package.
type pkg struct {
	ImportPath, Dir, Name, Doc string
	GoFiles, TestGoFiles       []string
	XTestGoFiles               []string
	Imports                    []string
}

// folder is the path below the module, "core/c2s".
func (p pkg) folder() string { return strings.TrimPrefix(p.ImportPath, module+"/") }

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Dir,Name,Doc,GoFiles,TestGoFiles,XTestGoFiles,Imports", module+"/...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("go list: %v", err)
		}
		all = append(all, p)
	}
}

// A rule says what the packages of one top folder may import beside the
// standard library. Entries are folders of ours or modules, with all below.
type rule struct {
	folder string
	may    []string
	why    string
}

var rules = []rule{
	{"ports", []string{"ports", "golang.org/x/text", "golang.org/x/net/idna"},
		"ports are the contracts and the words they are written in: whatever imports them must get nothing else with them"},
	{"core", []string{"ports", "core", "go.uber.org/zap", "golang.org/x/sync", "golang.org/x/time"},
		"the kernel knows its contracts only, so that it runs in a test without a network, a database or fx"},
	{"api", []string{"ports", "api", "google.golang.org/grpc", "google.golang.org/protobuf", "github.com/hashicorp/go-plugin"},
		"plugin authors import it: it must not drag in the server"},
	{"adapters", []string{"ports", "go.uber.org/zap", "golang.org/x/sync", "golang.org/x/time"},
		"an adapter plugs one library into one port; it knows neither the kernel nor its neighbours, so each can be replaced alone"},
	{"plugins", []string{"ports", "api"},
		"a plugin must run unchanged in a process of its own, where there is no kernel to reach into"},
	{"test", []string{"ports/xmpp", "test", "golang.org/x/sys", "go.yaml.in/yaml", "github.com/rogpeppe/go-internal", "pgregory.net/rapid", "go.uber.org/goleak", "github.com/miekg/dns"},
		"these tests speak to the binary through sockets: what they could reach inside would not be tested as users meet it"},
}

// adapted names the libraries that an adapter exists for, or plainly needs.
var adapted = map[string][]string{
	"adapters/storage/sql":          {"github.com/jmoiron/sqlx", "github.com/pressly/goose", "modernc.org/sqlite", "github.com/lib/pq"},
	"adapters/certs":                {"golang.org/x/net/idna"},
	"adapters/spool":                {"golang.org/x/sys"},
	"adapters/tcp":                  {"golang.org/x/sys"},
	"adapters/auth/local":           {"golang.org/x/text"},
	"adapters/adminapi":             {"api"},
	"plugins/s2s/dane":              {"golang.org/x/net/dns/dnsmessage"}, // the library of Go asks for no TLSA records
	"api/plugin":                    {"golang.org/x/sys", "github.com/google/jsonschema-go"},
	"adapters/pluginhost":           {"api", "google.golang.org/grpc", "google.golang.org/protobuf", "github.com/hashicorp/go-plugin", "github.com/google/jsonschema-go"},
	"adapters/pluginhost/runner":    {"github.com/hashicorp/go-hclog", "golang.org/x/sys"},
	"adapters/websocket":            {"golang.org/x/net", "github.com/coder/websocket"},
	"adapters/metrics":              {"github.com/prometheus"},
	"adapters/cluster/nats":         {"github.com/nats-io"},
	"test/plugins":                  {"ports", "api", "google.golang.org/grpc"}, // programs that tests start, written as those of others are
	"ports/extension/extensiontest": {"pgregory.net/rapid"},
	"ports/storage/storagetest":     {"pgregory.net/rapid"},
	"ports/auth/authtest":           {"pgregory.net/rapid"},
}

func TestImports(t *testing.T) {
	for _, p := range packages(t) {
		folder := p.folder()
		for _, r := range rules {
			if !below(folder, r.folder) {
				continue
			}
			may := append(slices.Clone(r.may), unit(folder))
			for at, libraries := range adapted {
				if below(folder, at) {
					may = append(may, libraries...)
				}
			}
			for _, imported := range p.Imports {
				if standard(imported) || allowed(imported, may) {
					continue
				}
				t.Errorf("%s imports %s.\n  Rule: %s may import the standard library, %s.\n  Reason: %s.",
					folder, short(imported), r.folder, strings.Join(may, ", "), r.why)
			}
		}
	}
}

func TestNobodyImportsCommands(t *testing.T) {
	for _, p := range packages(t) {
		for _, imported := range p.Imports {
			if below(short(imported), "cmd") && imported != short(imported) && !below(p.folder(), "cmd") {
				t.Errorf("%s imports %s.\n  Rule: nobody imports cmd.\n  Reason: it is the only place that knows everything, so whoever imports it knows everything too.",
					p.folder(), short(imported))
			}
		}
	}
}

func TestFxIsInCmdOnly(t *testing.T) {
	for _, p := range packages(t) {
		for _, imported := range p.Imports {
			if allowed(imported, []string{"go.uber.org/fx", "go.uber.org/dig"}) && !below(p.folder(), "cmd") {
				t.Errorf("%s imports %s.\n  Rule: fx appears only below cmd.\n  Reason: constructors work without a container; wiring is one place to read.", p.folder(), imported)
			}
		}
	}
}

// TestCoreNeverReachesAdapters looks through all that core needs, however far.
func TestCoreNeverReachesAdapters(t *testing.T) {
	for _, from := range []string{"core", "ports", "plugins"} {
		out, err := exec.Command("go", "list", "-e", "-deps", "-f", "{{.ImportPath}}", module+"/"+from+"/...").Output()
		if err != nil {
			t.Fatalf("go list -deps: %v", err)
		}
		for line := range strings.Lines(string(out)) {
			path := strings.TrimSpace(line)
			for _, never := range []string{"adapters", "cmd", "core"} {
				if never != from && path != short(path) && below(short(path), never) {
					t.Errorf("%s reaches %s.\n  Rule: %s never reaches %s, not even through others.\n  Reason: the arrows of the design point at ports.",
						from, short(path), from, never)
				}
			}
		}
	}
}

func TestMainPackagesAreInCmdOnly(t *testing.T) {
	for _, p := range packages(t) {
		if p.Name == "main" && !below(p.folder(), "cmd") && !below(p.folder(), "api/examples") && !below(p.folder(), "test/plugins") && p.folder() != "test/load" {
			t.Errorf("%s is a main package.\n  Rule: programs are below cmd, but for test/load, which measures, and plugins that tests start.\n  Reason: there is one binary; whoever looks for what runs finds it there.", p.folder())
		}
	}
}

// unit is the folder whose packages belong together and may import one another.
func unit(folder string) string {
	parts := strings.Split(folder, "/")
	n := 2
	if len(parts) > 1 && parts[0] == "adapters" {
		switch parts[1] {
		case "extension", "storage", "auth", "cluster": // a folder of adapters
			n = 3
		}
	}
	return strings.Join(parts[:min(n, len(parts))], "/")
}

// standard reports whether a path is of the standard library: no dot in its first part.
func standard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}

func allowed(path string, may []string) bool {
	return slices.ContainsFunc(may, func(m string) bool { return below(short(path), m) })
}

func short(path string) string { return strings.TrimPrefix(path, module+"/") }

// below reports whether a path is that folder or in it.
func below(path, folder string) bool { return path == folder || strings.HasPrefix(path, folder+"/") }
