package private

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// acceptable says whether elements of a query may be got or set.
func acceptable(list []*stanza.Element) error {
	if len(list) == 0 {
		return stanza.Err(stanza.NotAcceptable, "There is no element in the query.")
	}
	for _, e := range list {
		switch {
		case e.Space == "" || e.Space == stanza.NoSpace || e.Space == NS:
			return stanza.Err(stanza.NotAcceptable, "The element has no namespace of its own.")
		case reserved(e.Space):
			return stanza.Err(stanza.NotAcceptable, "The namespace is reserved.")
		}
	}
	return nil
}

// reserved reports whether section 2.3 reserves a namespace (example 5).
func reserved(space string) bool {
	return strings.HasPrefix(space, "jabber:") || strings.HasPrefix(space, "http://jabber.org/") || space == "vcard-temp"
}

// name is what stored elements are told apart by.
type name struct{ space, local string }

func nameOf(e *stanza.Element) name { return name{e.Space, e.Local} }

// key is where a name is stored. No local name has a space in it, so that two
// names never make one key; of names too long for a key there is only a hash.
func (n name) key() string {
	joined := n.local + " " + n.space
	if key := "xml " + joined; len(key) <= storage.MaxKey {
		return key
	}
	sum := sha256.Sum256([]byte(joined))
	return "sha256 " + hex.EncodeToString(sum[:])
}

// group is what a set has under one name.
type group struct {
	name
	text []byte // as it is stored: XML, one element behind the other; nil for nothing to keep
}

// group sorts the elements of a set by name, in the order in which the names
// come first.
func (o Options) group(list []*stanza.Element) ([]group, error) {
	groups := []group{}
	index := map[name]int{}
	for _, e := range list {
		n := nameOf(e)
		if n.space != list[0].Space {
			return nil, stanza.Err(stanza.BadRequest, "Set one namespace at a time.")
		}
		i, known := index[n]
		if !known {
			if i = len(groups); i == o.MaxElements {
				return nil, o.tooMany()
			}
			index[n] = i
			groups = append(groups, group{name: n})
		}
		if len(e.Nodes) == 0 && len(e.Attrs) == 0 {
			continue
		}
		var err error
		if groups[i].text, err = o.encode(groups[i].text, e); err != nil {
			return nil, err
		}
	}
	return groups, nil
}

// encode appends an element as it is stored: XML that stands on its own. A
// result is written the same way, so that the bound on bytes holds for it, too.
func (o Options) encode(dst []byte, e *stanza.Element) ([]byte, error) {
	if dst = e.Append(dst, NS); len(dst) > o.MaxBytes {
		return nil, o.tooBig()
	}
	return dst, nil
}

// decode returns the answer to a get: a query with what is stored.
func decode(text []byte) (*stanza.Element, error) {
	return stanza.ParseElement("<query xmlns='"+NS+"'>"+string(text)+"</query>", "")
}

// tooBig is a policy-violation (RFC 6120 8.3.3.12): to wait does not help.
func (o Options) tooBig() error {
	return stanza.Err(stanza.PolicyViolation, fmt.Sprintf("Under one name at most %d bytes are kept.", o.MaxBytes))
}

// tooMany is a resource-constraint (RFC 6120 8.3.3.18): once something else is
// taken away, the same request succeeds.
func (o Options) tooMany() error {
	return stanza.Err(stanza.ResourceConstraint, fmt.Sprintf("At most %d elements are kept.", o.MaxElements))
}
