package mam

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/binary"
	"fmt"
)

// IDs writes the IDs of an archive as clients see them: text that can't be
// predicted (XEP-0313 3), and that tells nothing of when a message came, or how many
// there are (XEP-0359 6). It is the number, enciphered; whoever has the secret reads
// it. Any goroutine may use it.
type IDs struct{ block cipher.Block }

// NewIDs returns IDs by a secret of 32 bytes, which must stay what it is as long as
// the archive does.
func NewIDs(secret []byte) (*IDs, error) {
	if len(secret) != 32 {
		return nil, fmt.Errorf("mam: a secret of %d bytes for archive IDs, want 32", len(secret))
	}
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, fmt.Errorf("mam: archive IDs: %w", err)
	}
	return &IDs{block}, nil
}

var encoding = base64.RawURLEncoding.Strict()

// Write returns the text of an ID: 22 letters, digits, hyphens and underscores.
func (x *IDs) Write(id uint64) string {
	var b [aes.BlockSize]byte
	binary.BigEndian.PutUint64(b[:], id)
	x.block.Encrypt(b[:], b[:])
	var text [22]byte
	encoding.Encode(text[:], b[:])
	return string(text[:])
}

// Read is the reverse of Write: ok is false for what it never returns.
func (x *IDs) Read(text string) (id uint64, ok bool) {
	var b [aes.BlockSize]byte
	if len(text) != encoding.EncodedLen(len(b)) {
		return 0, false
	}
	if n, err := encoding.Decode(b[:], []byte(text)); err != nil || n != len(b) {
		return 0, false
	}
	x.block.Decrypt(b[:], b[:])
	return binary.BigEndian.Uint64(b[:]), binary.BigEndian.Uint64(b[8:]) == 0
}
