package sasl

import (
	"encoding/base64"
	"errors"
	"strings"
)

// ErrEncoding: text is not base64. To the client it is IncorrectEncoding.
var ErrEncoding = errors.New("sasl: incorrect base64")

// strict refuses padding bits that are not zero (RFC 6120 6.3.5).
var strict = base64.StdEncoding.Strict()

// DecodeInitial decodes the character data of <auth/> (RFC 6120 6.4.2): none
// means that there is no initial response, "=" that it is empty. The results
// are what Exchange.Start takes. The error is ErrEncoding.
func DecodeInitial(text string) (data []byte, present bool, err error) {
	switch text {
	case "":
		return nil, false, nil
	case "=":
		return []byte{}, true, nil
	}
	data, err = DecodeBase64(text)
	return data, err == nil, err
}

// DecodeBase64 decodes the character data of <response/>. Every character
// outside the alphabet, white space too, and padding elsewhere than at the end
// is an error (RFC 6120 13.9.1): ErrEncoding. No text at all is no data.
func DecodeBase64(text string) ([]byte, error) {
	// encoding/base64 skips line ends even in strict mode.
	if strings.ContainsAny(text, "\r\n") {
		return nil, ErrEncoding
	}
	data, err := strict.DecodeString(text)
	if err != nil {
		return nil, ErrEncoding
	}
	return data, nil
}

// EncodeBase64 encodes the data of <challenge/> or <success/>. Additional data
// of zero length would be "=" in <success/> (RFC 6120 6.4.6); no mechanism here
// has it, their success carries none or more.
func EncodeBase64(data []byte) string { return base64.StdEncoding.EncodeToString(data) }
