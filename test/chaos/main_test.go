package chaos

import (
	"os"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness"
)

func TestMain(m *testing.M) {
	code := m.Run()
	harness.Cleanup()
	os.Exit(code)
}
