package tcp

import (
	"bytes"
	"crypto/tls"
	"reflect"
	"unsafe"
)

// stripper takes from a tls.Conn the buffers that it would hold for ever.
//
// A tls.Conn reads into a bytes.Buffer that grows to the largest record it has
// met and never shrinks, and holds another for handshake messages: 3.5 KiB a
// connection, 11 KiB once a large record came. Both are empty between records.
// So while input is read a pooled buffer is lent to the connection, and is
// taken back when the input is used up; an idle connection holds none.
//
// The fields are private, so they are found by reflection, by name and type;
// if crypto/tls ever looks different, nothing is stripped and all else works.
type stripper struct {
	active           bool
	raw, input, hand uintptr // offsets in tls.Conn
}

var strip = newStripper(reflect.TypeFor[tls.Conn]())

// rawBufs are lent to tls.Conn. bytes.Buffer moves its content instead of
// growing as long as content and free space asked for fill half of it.
var rawBufs = bufPool{size: 2*(maxRecord+bytes.MinRead) + 1<<10, keep: 64 << 10}

func newStripper(t reflect.Type) stripper {
	var s stripper
	ok := true
	offset := func(name string, want reflect.Type) uintptr {
		f, found := t.FieldByName(name)
		ok = ok && found && f.Type == want && len(f.Index) == 1
		return f.Offset
	}
	s.raw = offset("rawInput", reflect.TypeFor[bytes.Buffer]())
	s.input = offset("input", reflect.TypeFor[bytes.Reader]())
	s.hand = offset("hand", reflect.TypeFor[bytes.Buffer]())
	s.active = ok
	return s
}

func field[T any](c *tls.Conn, offset uintptr) *T {
	return (*T)(unsafe.Add(unsafe.Pointer(c), offset))
}

// lend gives c a pooled buffer to read into, which *box remembers. Like drop it
// is called by the one goroutine that reads from c, after the handshake.
func (s *stripper) lend(c *tls.Conn, box **[]byte) {
	raw := s.idle(c)
	if raw == nil || *box != nil {
		return
	}
	*box = rawBufs.get()
	*raw = *bytes.NewBuffer(append((**box)[:0], raw.Bytes()...))
}

// drop takes back what c does not need. Of a record that is there in part, c
// keeps those bytes only, so that a peer can't make us hold whole buffers.
func (s *stripper) drop(c *tls.Conn, box **[]byte) {
	raw := s.idle(c)
	if raw == nil {
		return
	}
	if hand := field[bytes.Buffer](c, s.hand); hand.Len() == 0 && hand.Cap() > 0 {
		*hand = bytes.Buffer{}
	}
	field[bytes.Reader](c, s.input).Reset(nil)
	rest := bytes.Clone(raw.Bytes())
	if *box != nil {
		raw.Reset()
		**box = raw.AvailableBuffer() // it may have been replaced by a larger one
		rawBufs.put(*box)
		*box = nil
	}
	*raw = bytes.Buffer{}
	if len(rest) > 0 {
		*raw = *bytes.NewBuffer(rest)
	}
}

// idle returns c's input buffer if it may be replaced: the layout is known, and
// no plaintext is left inside it.
func (s *stripper) idle(c *tls.Conn) *bytes.Buffer {
	if !s.active || field[bytes.Reader](c, s.input).Len() != 0 {
		return nil
	}
	return field[bytes.Buffer](c, s.raw)
}

// empty reports whether c certainly has no input of its own, which saves
// asking it.
func (s *stripper) empty(c *tls.Conn) bool {
	raw := s.idle(c)
	return raw != nil && raw.Len() == 0
}
