// Package xmppc is an XMPP client for tests: small, strict about what it
// reads, and free to send anything.
//
// It reads with encoding/xml, on purpose not with the project's own scanner,
// so that no mistake can cancel itself out. Each step fails the test when the
// answer isn't the one that was asked for or doesn't come in time, and a
// failing test shows the whole dialogue. A Conn belongs to the test's goroutine; another one
// may call TryNext meanwhile, and nothing else.
//
//	c := xmppc.Dial(t, srv.C2S)
//	c.Open("example.test")
//	c.StartTLS(srv.CA.TLS("example.test"))
//	c.Login("romeo", "secret")
//	c.Bind("orchard")
//	c.Send(`<message to='juliet@example.test'><body>Art thou not Romeo?</body></message>`)
package xmppc
