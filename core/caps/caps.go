// Package caps is entity capabilities (XEP-0115): what a client can do, found
// by the hash that it puts into its presence.
//
// caps.go has <c/>, answer.go reads answers to disco#info (5.4), ver.go makes
// verification strings of them (5.1). cache.go keeps what was verified, shared
// by all sessions; directory.go asks clients for what is not known yet.
//
// Left out: the format without a hash (section 13), which can't be verified and
// is ignored, and the optimization of section 8.4. Identities are verified with
// the rest and not kept: nobody here asks for them.
package caps

import (
	"crypto"
	_ "crypto/sha1" // mandatory to implement (9.1)
	_ "crypto/sha256"
	_ "crypto/sha512"
	"encoding/base64"
	"strings"

	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// NS is the namespace of <c/>, and the feature of whoever supports it (7).
const NS = "http://jabber.org/protocol/caps"

// algorithms are the hashes by which strings are verified, by their names in
// IANA's registry. The broken ones (md2, md5) are not among them.
var algorithms = map[string]crypto.Hash{
	"sha-1":   crypto.SHA1,
	"sha-224": crypto.SHA224,
	"sha-256": crypto.SHA256,
	"sha-384": crypto.SHA384,
	"sha-512": crypto.SHA512,
}

// Bounds of the attributes of <c/>, in bytes. Whoever exceeds one is taken for
// somebody without capabilities.
const (
	maxHash = 32
	maxVer  = 256
	maxNode = 1023
)

// maxElement bounds <c/>, and maxAnswer an answer to disco#info, in bytes: both are
// parsed while others wait. The attributes of <c/> may be all references; answers of
// today have some 4 KiB.
const (
	maxElement = 8 << 10
	maxAnswer  = 16 << 10
)

// C is <c/> (section 4).
type C struct{ Hash, Node, Ver string }

// Of returns the <c/> of a presence stanza, "" if it has none. It is a part of
// the stanza.
func Of(st *stanza.Stanza) string {
	child, ok := st.Child(NS, "c")
	if !ok {
		return ""
	}
	return st.Content()[child.Start:child.End]
}

// read reads <c/>. ok is false if it can't be worked with: it is of the format of
// before version 1.4, incomplete, or has a ver that no hash of that name can give.
// It shares the memory of xml.
func read(xml string) (c C, ok bool) {
	if len(xml) > maxElement {
		return C{}, false
	}
	e, err := stanza.ParseElement(xml, "")
	if err != nil {
		return C{}, false
	}
	c = C{Hash: e.Attr("hash"), Node: e.Attr("node"), Ver: e.Attr("ver")}
	return c, c.usable()
}

func (c *C) usable() bool {
	if c.Hash == "" || len(c.Hash) > maxHash || c.Node == "" || len(c.Node) > maxNode || c.Ver == "" || len(c.Ver) > maxVer {
		return false
	}
	hash, known := algorithms[c.Hash]
	return !known || len(c.Ver) == base64.StdEncoding.EncodedLen(hash.Size())
}

// Query returns the node to ask for, with memory of its own (6.2).
func (c *C) Query() string { return strings.Join([]string{c.Node, c.Ver}, "#") }

// Element returns <c/>.
func (c *C) Element() *stanza.Element {
	return stanza.El(NS, "c", stanza.At("hash", c.Hash), stanza.At("node", c.Node), stanza.At("ver", c.Ver))
}
