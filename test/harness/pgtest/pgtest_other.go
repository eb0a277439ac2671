//go:build !linux

package pgtest

import "testing"

// Server is never made on this system.
type Server struct{}

// Start skips the test: whether a server ends with the test process, however
// that ends, is solved for Linux only.
func Start(t testing.TB) *Server {
	t.Helper()
	t.Skip("pgtest: PostgreSQL is run on Linux only")
	return nil
}

func (*Server) DSN(database, schema string) string { return "" }
func (*Server) Folder() string                     { return "" }
func (*Server) Socket() string                     { return "" }
func (*Server) Run()                               {}
func (*Server) Stop()                              {}
func (*Server) Crash()                             {}
func (*Server) Log() string                        { return "" }
