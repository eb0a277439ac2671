package processes

import (
	"flag"
	"os"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness"
)

var only = flag.String("only", about, "run only the tests that match: go test ./test/processes -args -only TestVCard")

// about are the tests of what runs in a process here, and of what passes blocking.
const about = "^Test(WhereExtensionsRun|Block|VCard|PrivateXML|Discovery|PingVersionTime|IQ|OneAnswer|ErrorTypes|Presence|Subscription|Carbons|Offline|Archive)"

func TestMain(m *testing.M) {
	code := m.Run()
	harness.Cleanup()
	os.Exit(code)
}

func TestInProcesses(t *testing.T) {
	harness.Again(t, "e2e", *only, nil, harness.ProcessesVariable+"=ping,vcard,private,blocking")
}
