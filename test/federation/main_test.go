package federation

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness"
	"github.com/hexmpp/hexmpp/test/harness/netlab"
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	defer harness.Cleanup()
	path, err := harness.Binary() // here, where what is missing of it can be fetched
	if err == nil {
		err = os.Setenv("HEXMPP_BINARY", path)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := flag.Set("test.parallel", "16"); err != nil { // tests that wait, whatever there is of processors
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return netlab.Main(m)
}
