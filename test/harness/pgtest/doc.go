// Package pgtest runs a PostgreSQL server for tests, from the binaries that
// are installed: a cluster of its own in a temporary folder, a unix socket
// there, no TCP, settings as they come (fsync is on). Tests of the adapter use
// it as well as those that speak to the binary; it knows nothing of either.
//
// The server never outlives the test process: it is ended by its process id
// with the test, and by the kernel if the process dies before.
package pgtest
