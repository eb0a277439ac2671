// Package frame is the form of what adapters keep in files of the node: frames,
// each with a checksum, and fields in them. The spool and the file of sessions consist
// of it.
//
// A frame is four bytes of length, four of checksum (CRC-32C of the rest), and the
// body: a byte that says what it is, and its fields. Numbers are varints, strings
// have their length in front.
package frame

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/xmlstream"
)

// Head is how many bytes a frame has in front of its body.
const Head = 8

// ErrFrame: the bytes are no frame, or only a part of one, or not one of the kind
// that they claim to be.
var ErrFrame = errors.New("not a frame")

func checksum(body []byte) uint32 { return crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)) }

// Append appends a frame whose fields are what fill appends.
func Append(dst []byte, kind byte, fill func([]byte) []byte) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0, 0, 0, 0, 0, kind)
	dst = fill(dst)
	body := dst[start+Head:]
	binary.LittleEndian.PutUint32(dst[start:], uint32(len(body)))
	binary.LittleEndian.PutUint32(dst[start+4:], checksum(body))
	return dst
}

// Next cuts a frame off p; no body is longer than most. What it returns is a part
// of p.
func Next(p []byte, most int) (kind byte, fields, rest []byte, err error) {
	if len(p) < Head+1 {
		return 0, nil, nil, ErrFrame
	}
	n := binary.LittleEndian.Uint32(p)
	if n == 0 || int64(n) > int64(most) || int64(n) > int64(len(p)-Head) {
		return 0, nil, nil, ErrFrame
	}
	body := p[Head : Head+int(n)]
	if checksum(body) != binary.LittleEndian.Uint32(p[4:]) {
		return 0, nil, nil, ErrFrame
	}
	return body[0], body[1:], p[Head+int(n):], nil
}

// Reader reads frame by frame.
type Reader struct {
	in   *bufio.Reader
	left int64
	buf  []byte
}

// NewReader returns a Reader of in, which has so many bytes: no frame is longer, so
// that damage costs no memory.
func NewReader(in io.Reader, size int64) *Reader { return &Reader{in: bufio.NewReader(in), left: size} }

// Next returns the next frame; its fields are valid until the next call. The error
// is io.EOF behind the last frame, ErrFrame, or that of reading.
func (r *Reader) Next() (kind byte, fields []byte, err error) {
	if r.left == 0 {
		return 0, nil, io.EOF
	}
	var h [Head]byte
	if err := r.fill(h[:]); err != nil {
		return 0, nil, err
	}
	n := int64(binary.LittleEndian.Uint32(h[:]))
	if n == 0 || n > r.left {
		return 0, nil, ErrFrame
	}
	if int64(cap(r.buf)) < n {
		r.buf = make([]byte, n)
	}
	body := r.buf[:n]
	if err := r.fill(body); err != nil {
		return 0, nil, err
	}
	if checksum(body) != binary.LittleEndian.Uint32(h[4:]) {
		return 0, nil, ErrFrame
	}
	return body[0], body[1:], nil
}

func (r *Reader) fill(p []byte) error {
	n, err := io.ReadFull(r.in, p)
	r.left -= int64(n)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrFrame
	}
	return err
}

// AppendUint appends a number.
func AppendUint(dst []byte, v uint64) []byte { return binary.AppendUvarint(dst, v) }

// AppendInt appends a number that may be negative.
func AppendInt(dst []byte, v int64) []byte { return binary.AppendVarint(dst, v) }

// AppendString appends a string.
func AppendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// AppendJID appends an address, which may be zero.
func AppendJID(dst []byte, j jid.JID) []byte { return AppendString(dst, j.String()) }

// AppendStanza appends a stanza; nothing may follow it in its frame.
func AppendStanza(dst []byte, s *stanza.Stanza) []byte {
	return s.Append(dst, jid.JID{}, xmpp.NSClient)
}

// Fields reads the fields of a body; the first fault sticks.
type Fields struct {
	P   []byte // what is left
	Err error
}

// Uint reads what AppendUint appended.
func (f *Fields) Uint() uint64 {
	v, n := binary.Uvarint(f.P)
	if n <= 0 {
		f.fail()
		return 0
	}
	f.P = f.P[n:]
	return v
}

// Int reads what AppendInt appended.
func (f *Fields) Int() int64 {
	v, n := binary.Varint(f.P)
	if n <= 0 {
		f.fail()
		return 0
	}
	f.P = f.P[n:]
	return v
}

// Count reads a number of things of which each takes a byte at least.
func (f *Fields) Count() int {
	n := f.Uint()
	if n > uint64(len(f.P)) {
		f.fail()
		return 0
	}
	return int(n)
}

// Byte reads one byte.
func (f *Fields) Byte() byte {
	if len(f.P) == 0 {
		f.fail()
		return 0
	}
	b := f.P[0]
	f.P = f.P[1:]
	return b
}

// Text reads what AppendString appended.
func (f *Fields) Text() string {
	n := f.Count()
	s := string(f.P[:n])
	f.P = f.P[n:]
	return s
}

// JID reads an address that is not zero.
func (f *Fields) JID() jid.JID {
	j := f.AnyJID()
	if j.IsZero() {
		f.fail()
	}
	return j
}

// AnyJID reads an address, which may be zero.
func (f *Fields) AnyJID() jid.JID {
	text := f.Text()
	if text == "" {
		return jid.JID{}
	}
	j, err := jid.Parse(text)
	if err != nil {
		f.fail()
	}
	return j
}

// Stanza reads what AppendStanza appended: all that is left.
func (f *Fields) Stanza() *stanza.Stanza {
	if f.Err != nil {
		return nil
	}
	s, err := xmlstream.ParseCanonical(f.P)
	f.P = nil
	if err != nil {
		f.Err = fmt.Errorf("%w: %w", ErrFrame, err)
		return nil
	}
	return s
}

func (f *Fields) fail() {
	f.P = nil
	if f.Err == nil {
		f.Err = ErrFrame
	}
}
