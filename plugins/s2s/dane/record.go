package dane

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"fmt"
)

// Certificate usages (RFC 6698 2.1.1, RFC 7218 2.1).
const (
	PKIXTA = 0 // an authority, which has to be trusted, too
	PKIXEE = 1 // the certificate, for which a trusted authority has to vouch, too
	DANETA = 2 // an authority, which need not be trusted
	DANEEE = 3 // the certificate, and nothing else counts (RFC 7671 5.1)
)

// Selectors and matching types (RFC 6698 2.1.2, 2.1.3).
const (
	selectKey = 1 // 0: the certificate

	matchFull   = 0
	matchSHA256 = 1
	matchSHA512 = 2
)

// Record is a TLSA record.
type Record struct {
	Usage, Selector, Matching uint8
	Data                      []byte
}

func (r Record) String() string {
	return fmt.Sprintf("%d %d %d %.16x", r.Usage, r.Selector, r.Matching, r.Data)
}

// parseRecord reads RDATA (RFC 6698 2.1). The bytes are copied. ok says that the record can be used (RFC 6698 4.1).
func parseRecord(b []byte) (r Record, ok bool) {
	if len(b) < 4 {
		return r, false
	}
	r = Record{b[0], b[1], b[2], bytes.Clone(b[3:])}
	switch r.Matching {
	case matchFull:
		ok = true
	case matchSHA256:
		ok = len(r.Data) == sha256.Size
	case matchSHA512:
		ok = len(r.Data) == sha512.Size
	}
	return r, ok && r.Usage <= DANEEE && r.Selector <= selectKey
}

// Matches says whether a record is of a certificate, whatever its usage.
func (r Record) Matches(c *x509.Certificate) bool {
	b := c.Raw
	if r.Selector == selectKey {
		b = c.RawSubjectPublicKeyInfo
	}
	switch r.Matching {
	case matchSHA256:
		sum := sha256.Sum256(b)
		b = sum[:]
	case matchSHA512:
		sum := sha512.Sum512(b)
		b = sum[:]
	}
	return bytes.Equal(b, r.Data)
}
