// Package codec turns what ports/extension says into the messages of the plugin
// contract (api/proto/hexmpp/plugin/v1), and back. Both ends of a Session use it:
// adapters/pluginhost in the server, package plugin in a process.
//
// # Whom it trusts
//
// What a plugin says is bytes from outside. Its stanzas and elements are read by the
// scanner that reads what clients send (ports/xmpp/xmlstream), and made canonical by
// it; addresses are parsed, times and sizes are bounded, and whatever is wrong is an
// *Error that names the field. What the kernel says was checked when it came in: a
// plugin builds its stanza of the content without a scan, but for the list of children.
//
// # Whose memory it is
//
// Messages share strings with the values that they were made of, and the other way
// round: a message must not be changed once it was made or read.
package codec

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
	"unsafe"

	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// Error says what is wrong with a message, and where.
type Error struct {
	Field string // path of names of the contract: "effects[3].send.stanza.to"
	Err   error
}

func (e *Error) Error() string { return e.Field + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// in puts a field around an error; nil stays nil.
func in(field string, err error) error {
	if err == nil {
		return nil
	}
	if e, ok := err.(*Error); ok {
		return &Error{field + "." + e.Field, e.Err}
	}
	return &Error{field, err}
}

// at is in for an element of a list.
func at(field string, i int, err error) error {
	if err == nil {
		return nil
	}
	return in(field+"["+strconv.Itoa(i)+"]", err)
}

func wrong(field, format string, args ...any) error {
	return &Error{field, fmt.Errorf(format, args...)}
}

var (
	errMissing = errors.New("it is missing")
	errText    = errors.New("it is no UTF-8")
)

// text says whether a string can be in a message: a message with another one can't be
// written, nor can the whole frame.
func text(field string, s string) error {
	if !utf8.ValidString(s) {
		return &Error{field, errText}
	}
	return nil
}

func texts(field string, list []string) error {
	for i, s := range list {
		if !utf8.ValidString(s) {
			return at(field, i, errText)
		}
	}
	return nil
}

// valid is for text that people read.
func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// address reads an address that may be absent.
func address(field, s string) (jid.JID, error) {
	if s == "" {
		return jid.JID{}, nil
	}
	j, err := jid.Parse(s)
	return j, in(field, err)
}

// somebody reads an address that has to be there.
func somebody(field, s string) (jid.JID, error) {
	if s == "" {
		return jid.JID{}, &Error{field, errMissing}
	}
	return address(field, s)
}

func addresses(field string, list []string) ([]jid.JID, error) {
	if len(list) == 0 {
		return nil, nil
	}
	out := make([]jid.JID, len(list))
	for i, s := range list {
		j, err := jid.Parse(s)
		if err != nil {
			return nil, at(field, i, err)
		}
		out[i] = j
	}
	return out, nil
}

func addressTexts(list []jid.JID) []string {
	if len(list) == 0 {
		return nil
	}
	out := make([]string, len(list))
	for i, j := range list {
		out[i] = j.String()
	}
	return out
}

// micros and moment are times as the contract has them: zero is 0, and the other
// way round.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func moment(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// millis rounds a duration up: what is not over must not become 0.
func millis(d time.Duration) uint64 {
	if d <= 0 {
		return 0
	}
	return uint64((d-1)/time.Millisecond) + 1
}

func duration(field string, ms uint64) (time.Duration, error) {
	if ms > uint64(math.MaxInt64/time.Millisecond) {
		return 0, wrong(field, "%d milliseconds are too many", ms)
	}
	return time.Duration(ms) * time.Millisecond, nil
}

func small(n int) uint32 { return uint32(min(max(0, n), math.MaxUint32)) }

// number reads a count that becomes an int; what is more than most is most.
func number[T uint32 | uint64](n T, most int) int {
	if uint64(n) > uint64(most) {
		return most
	}
	return int(n)
}

func ip(field string, b []byte) (netip.Addr, error) {
	if len(b) == 0 {
		return netip.Addr{}, nil
	}
	a, ok := netip.AddrFromSlice(b)
	if !ok {
		return a, wrong(field, "%d bytes are no address", len(b))
	}
	return a, nil
}

// bytesOf and stringOf change the type without a copy. See the package comment: neither
// is changed any more.
func bytesOf(s string) []byte {
	if s == "" {
		return nil
	}
	return unsafe.Slice(unsafe.StringData(s), len(s))
}

func stringOf(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	return unsafe.String(unsafe.SliceData(b), len(b))
}

func checkLength(n, most int) error {
	if n > most {
		return fmt.Errorf("%d bytes, the limit is %d", n, most)
	}
	return nil
}
