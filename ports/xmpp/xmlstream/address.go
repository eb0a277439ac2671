package xmlstream

import (
	"strings"
	"unicode/utf8"

	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// address is a `to` that was costly to parse, and what came of it.
type address struct {
	raw string
	jid jid.JID
}

// maxAddress bounds how long an address may be that a Reader keeps, in bytes.
const maxAddress = 256

// isLast reports whether raw is the address that r.last keeps.
func (r *Reader) isLast(raw []byte) bool { return r.last != nil && r.last.raw == string(raw) }

// parseTo is jid.Parse with a memory of one: whoever writes in Greek or
// Chinese mostly writes to the same address again, and to prepare it takes
// longer than to read the stanza (BenchmarkNext/unicode). Canonical ASCII
// addresses cost next to nothing and are not kept.
func (r *Reader) parseTo(raw string) (jid.JID, error) {
	j, err := jid.Parse(raw)
	if err == nil && len(raw) <= maxAddress && (j.String() != raw || !isASCII(raw)) {
		kept := strings.Clone(raw)
		if j.String() == raw {
			// Parse may have shared the memory of the stanza.
			if j, err = jid.Parse(kept); err != nil {
				return jid.JID{}, err
			}
		}
		r.last = &address{kept, j}
	}
	return j, err
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
