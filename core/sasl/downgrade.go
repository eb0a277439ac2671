package sasl

import (
	"encoding/base64"
	"slices"
	"strings"
)

// What stands between the items of a list, and between the two lists, in the
// text that XEP-0474 6.1 hashes. XML 1.0 has neither character (8), so no name
// of a mechanism or of a binding can hold one.
const (
	betweenItems = "\x1e"
	betweenLists = "\x1f"
)

// downgradeAttribute is the optional attribute of XEP-0474 6.1 as it stands in
// the server-first-message, with its comma. Both sides sign that message with
// the password, so a client that computes another hash from the features that
// it was shown knows that somebody changed them on the way.
func (h *hashFunc) downgradeAttribute(p Params) string {
	d := h.new()
	d.Write([]byte(offerText(p)))
	return ",h=" + base64.StdEncoding.EncodeToString(d.Sum(nil))
}

// offerText is what the stream was offered, as one text (XEP-0474 6.1, steps 1
// to 4). Go compares strings by their bytes, which is the order asked for: the
// collation i;octet of RFC 4790 9.3.
func offerText(p Params) string {
	mechanisms := slices.Clone(p.Offered)
	slices.Sort(mechanisms)
	text := strings.Join(mechanisms, betweenItems)
	if len(p.Bindings) == 0 { // then no list of them was sent
		return text
	}
	types := make([]string, len(p.Bindings))
	for i, b := range p.Bindings {
		types[i] = b.Type
	}
	slices.Sort(types)
	return text + betweenLists + strings.Join(types, betweenItems)
}
