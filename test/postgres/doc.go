// Package postgres runs the tests of test/e2e and test/interop again, with a
// server that keeps its data in PostgreSQL. It starts PostgreSQL from the
// binaries that are installed (test/harness/pgtest), and each server under
// test gets a database of its own.
//
// That this is a package and not a part of theirs lets go test run both at
// once, each within its own limit of time.
package postgres
