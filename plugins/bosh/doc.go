// Package bosh serves XMPP over BOSH (XEP-0124, XEP-0206): HTTP requests on one side, streams of the server on the
// other, and package session in between.
//
// A session is in the server's memory (extension.Memory), with the ID of the last event of its stream that it has
// taken. Whatever happens to it is one transaction: what is for the server, and what the session is then. Only behind that a
// client is answered. So a process may end at any moment: what its clients repeat is given the same
// answer, or is new; and events that are given again are known.
//
// service.go has the table of sessions and the transactions, http.go the requests, record.go what is in memory.
//
// Section numbers are those of XEP-0124.
package bosh
