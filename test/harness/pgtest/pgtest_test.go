package pgtest

import (
	"net"
	"testing"
)

// The server answers at its socket, again after a stop and a crash, and is
// gone in between.
func TestServer(t *testing.T) {
	s := Start(t)
	answers := func() bool {
		c, err := net.Dial("unix", s.Socket())
		if err != nil {
			return false
		}
		c.Close()
		return true
	}
	for _, end := range []func(){s.Stop, s.Crash} {
		if !answers() {
			t.Fatalf("no answer:\n%s", s.Log())
		}
		end()
		if answers() {
			t.Error("it answers after its end")
		}
		s.Run()
	}
}
