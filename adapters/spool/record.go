package spool

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/storage/frame"
	"github.com/hexmpp/hexmpp/ports/xmpp/xmlstream"
)

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

// nextFrame cuts a frame off p.
func nextFrame(p []byte) (kind byte, fields, rest []byte, err error) { return frame.Next(p, maxBody) }

func appendMessage(dst []byte, r *storage.SpoolRecord) []byte {
	return frame.Append(dst, kindMessage, func(dst []byte) []byte {
		dst = frame.AppendUint(dst, r.ID)
		dst = frame.AppendInt(dst, r.Stamp.UnixMicro())
		dst = frame.AppendJID(dst, r.To)
		dst = frame.AppendString(dst, r.Sender)
		dst = frame.AppendUint(dst, uint64(r.Handled))
		return frame.AppendStanza(dst, r.Stanza)
	})
}

// maxDone is how many IDs a frame has at most.
const maxDone = 64 << 10

func appendDone(dst []byte, ids []uint64) []byte {
	for some := range slices.Chunk(ids, maxDone) {
		dst = frame.Append(dst, kindDone, func(dst []byte) []byte {
			for _, id := range some {
				dst = frame.AppendUint(dst, id)
			}
			return dst
		})
	}
	return dst
}

func appendSession(dst []byte, s *storage.SpoolSession) []byte {
	return frame.Append(dst, kindSession, func(dst []byte) []byte {
		dst = frame.AppendString(dst, s.ID)
		dst = frame.AppendJID(dst, s.User)
		return frame.AppendUint(dst, uint64(s.Handled))
	})
}

func appendEnded(dst []byte, id string) []byte {
	return frame.Append(dst, kindEnded, func(dst []byte) []byte { return append(dst, id...) })
}

// appendHead appends the head of a file: what is known at its beginning.
func appendHead(dst []byte, last uint64, sessions map[string]storage.SpoolSession) []byte {
	var known []byte
	for _, session := range sessions {
		known = appendSession(known, &session)
	}
	dst = frame.Append(dst, kindHead, func(dst []byte) []byte {
		dst = frame.AppendUint(dst, format)
		dst = frame.AppendUint(dst, last)
		return frame.AppendUint(dst, uint64(len(known)))
	})
	return append(dst, known...)
}

func appendLast(dst []byte, id uint64) []byte {
	return frame.Append(dst, kindLast, func(dst []byte) []byte { return frame.AppendUint(dst, id) })
}

func parseMessage(p []byte) (r storage.SpoolRecord, err error) {
	f := frame.Fields{P: p}
	r.ID = f.Uint()
	r.Stamp = time.UnixMicro(f.Int()).UTC()
	r.To = f.JID()
	r.Sender = f.Text()
	r.Handled = uint32(f.Uint())
	if f.Err != nil {
		return r, f.Err
	}
	if r.Stanza, err = xmlstream.ParseCanonical(f.P); err != nil {
		return r, fmt.Errorf("record %d, received %s for %s: the stanza of %d bytes: %w", r.ID, r.Stamp.Format(time.RFC3339), r.To, len(f.P), err)
	}
	return r, nil
}

func parseSession(p []byte) (s storage.SpoolSession, err error) {
	f := frame.Fields{P: p}
	s.ID, s.User = f.Text(), f.JID()
	s.Handled = uint32(f.Uint())
	return s, f.Err
}

// parseHead also returns how many bytes the head has behind its own frame.
func parseHead(p []byte) (last uint64, behind int64, err error) {
	f := frame.Fields{P: p}
	if v := f.Uint(); f.Err == nil && v > format {
		return 0, 0, fmt.Errorf("%w: its format is %d, and this version knows those up to %d", errFormat, v, format)
	}
	last, behind = f.Uint(), int64(f.Uint())
	if behind < 0 {
		f.Err = frame.ErrFrame
	}
	return last, behind, f.Err
}
