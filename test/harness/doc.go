// Package harness runs the hexmpp binary for tests that speak to it through
// sockets: it builds the binary once, writes a configuration, owns ports,
// folders and certificates, starts and stops the process, keeps its log and
// measures it from outside.
//
// It knows the command line and the configuration keys, and nothing of the
// packages inside. What is said on a stream is package xmppc's business.
//
// A test starts a server with Start, a TestMain one for many tests with
// Launch. A test that needs a program which may be absent says so by Require.
package harness
