// Package dialback makes the keys of server dialback (XEP-0220) by the method of XEP-0185 section 3.
// Without the secret nobody can make one, and whoever has it can verify one without having kept it.
package dialback

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
)

// Key returns the key by which a server that opened a stream to the domain receiving says that it is
// originating. streamID is that of the response header. The secret is the same on all servers of the
// domain.
func Key(secret []byte, receiving, originating, streamID string) string {
	sum := sha256.Sum256(secret)
	m := hmac.New(sha256.New, []byte(hex.EncodeToString(sum[:])))
	for _, part := range [...]string{receiving, " ", originating, " ", streamID} {
		m.Write([]byte(part))
	}
	return hex.EncodeToString(m.Sum(nil))
}
