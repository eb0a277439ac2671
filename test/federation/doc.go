// Package federation runs servers on hosts of their own (package netlab) and speaks to them as
// their users do: hexmpp, Debian's Prosody and Debian's ejabberd. Its tests say what users of servers that federate can
// rely on, and what the servers make of bad certificates, lost connections and lost servers.
//
// Certificates are of the network's authority. Users register themselves, and speak from outside of all hosts.
package federation
