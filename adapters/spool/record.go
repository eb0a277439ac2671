package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"time"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/xmlstream"
)

// A frame is four bytes of length, four of checksum (CRC-32C of the rest), and
// the body: a byte that says what it is, and its fields. Numbers are unsigned
// varints, strings have their length in front.
const frameHead = 8

// What a body is.
const (
	kindMessage byte = 1 + iota // ID, stamp, to, sender, handled, stanza
	kindDone                    // IDs
	kindSession                 // SM-ID, user, handled
	kindEnded                   // SM-ID
	kindHead                    // format, the last ID given before, how many bytes of sessions follow; a file begins with it
	kindLast                    // the last ID given

	lastKind = kindLast
)

// format is that of the files. The first had neither kindHead nor kindLast. Whatever
// else changes, a file begins with a kindHead that has the format in front.
const format = 2

// errFormat: a file is of a format that only a newer version knows.
var errFormat = errors.New("spool: written by a newer version of the server")

// maxBody bounds a body, in bytes. A stanza is never as large (storage.MaxValue), and
// the fourth byte of each frame is zero.
const maxBody = 1<<24 - 1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errFrame: the bytes are no frame, or only a part of one.
var errFrame = errors.New("spool: not a frame")

// appendFrame appends a frame whose body is what fill appends.
func appendFrame(dst []byte, kind byte, fill func([]byte) []byte) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0, 0, 0, 0, 0, kind)
	dst = fill(dst)
	body := dst[start+frameHead:]
	binary.LittleEndian.PutUint32(dst[start:], uint32(len(body)))
	binary.LittleEndian.PutUint32(dst[start+4:], crc32.Checksum(body, castagnoli))
	return dst
}

// nextFrame cuts a frame off p.
func nextFrame(p []byte) (kind byte, fields, rest []byte, err error) {
	if len(p) < frameHead+1 {
		return 0, nil, nil, errFrame
	}
	n := binary.LittleEndian.Uint32(p)
	if n == 0 || n > maxBody || int64(n) > int64(len(p)-frameHead) {
		return 0, nil, nil, errFrame
	}
	body := p[frameHead : frameHead+int(n)]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(p[4:]) {
		return 0, nil, nil, errFrame
	}
	return body[0], body[1:], p[frameHead+int(n):], nil
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func appendMessage(dst []byte, r *storage.SpoolRecord) []byte {
	return appendFrame(dst, kindMessage, func(dst []byte) []byte {
		dst = binary.AppendUvarint(dst, r.ID)
		dst = binary.AppendVarint(dst, r.Stamp.UnixMicro())
		dst = appendString(dst, r.To.String())
		dst = appendString(dst, r.Sender)
		dst = binary.AppendUvarint(dst, uint64(r.Handled))
		return r.Stanza.Append(dst, jid.JID{}, xmpp.NSClient)
	})
}

// maxDone is how many IDs a frame has at most.
const maxDone = 64 << 10

func appendDone(dst []byte, ids []uint64) []byte {
	for some := range slices.Chunk(ids, maxDone) {
		dst = appendFrame(dst, kindDone, func(dst []byte) []byte {
			for _, id := range some {
				dst = binary.AppendUvarint(dst, id)
			}
			return dst
		})
	}
	return dst
}

func appendSession(dst []byte, s *storage.SpoolSession) []byte {
	return appendFrame(dst, kindSession, func(dst []byte) []byte {
		dst = appendString(dst, s.ID)
		dst = appendString(dst, s.User.String())
		return binary.AppendUvarint(dst, uint64(s.Handled))
	})
}

func appendEnded(dst []byte, id string) []byte {
	return appendFrame(dst, kindEnded, func(dst []byte) []byte { return append(dst, id...) })
}

// appendHead appends the head of a file: what is known at its beginning.
func appendHead(dst []byte, last uint64, sessions map[string]storage.SpoolSession) []byte {
	var known []byte
	for _, session := range sessions {
		known = appendSession(known, &session)
	}
	dst = appendFrame(dst, kindHead, func(dst []byte) []byte {
		dst = binary.AppendUvarint(dst, format)
		dst = binary.AppendUvarint(dst, last)
		return binary.AppendUvarint(dst, uint64(len(known)))
	})
	return append(dst, known...)
}

func appendLast(dst []byte, id uint64) []byte {
	return appendFrame(dst, kindLast, func(dst []byte) []byte { return binary.AppendUvarint(dst, id) })
}

// fields reads the fields of a body; the first fault sticks.
type fields struct {
	p   []byte
	err error
}

func (f *fields) uint() uint64 {
	v, n := binary.Uvarint(f.p)
	if n <= 0 {
		f.fail()
		return 0
	}
	f.p = f.p[n:]
	return v
}

func (f *fields) int() int64 {
	v, n := binary.Varint(f.p)
	if n <= 0 {
		f.fail()
		return 0
	}
	f.p = f.p[n:]
	return v
}

func (f *fields) string() string {
	n := f.uint()
	if n > uint64(len(f.p)) {
		f.fail()
		return ""
	}
	s := string(f.p[:n])
	f.p = f.p[n:]
	return s
}

func (f *fields) jid() jid.JID {
	j, err := jid.Parse(f.string())
	if err != nil {
		f.fail()
	}
	return j
}

func (f *fields) fail() {
	f.p = nil
	if f.err == nil {
		f.err = errFrame
	}
}

func parseMessage(p []byte) (r storage.SpoolRecord, err error) {
	f := fields{p: p}
	r.ID = f.uint()
	r.Stamp = time.UnixMicro(f.int()).UTC()
	r.To = f.jid()
	r.Sender = f.string()
	r.Handled = uint32(f.uint())
	if f.err != nil {
		return r, f.err
	}
	if r.Stanza, err = xmlstream.ParseCanonical(f.p); err != nil {
		return r, fmt.Errorf("record %d, received %s for %s: the stanza of %d bytes: %w", r.ID, r.Stamp.Format(time.RFC3339), r.To, len(f.p), err)
	}
	return r, nil
}

func parseSession(p []byte) (s storage.SpoolSession, err error) {
	f := fields{p: p}
	s.ID, s.User = f.string(), f.jid()
	s.Handled = uint32(f.uint())
	return s, f.err
}

// parseHead also returns how many bytes the head has behind its own frame.
func parseHead(p []byte) (last uint64, behind int64, err error) {
	f := fields{p: p}
	if v := f.uint(); f.err == nil && v > format {
		return 0, 0, fmt.Errorf("%w: its format is %d, and this version knows those up to %d", errFormat, v, format)
	}
	last, behind = f.uint(), int64(f.uint())
	if behind < 0 {
		f.fail()
	}
	return last, behind, f.err
}
