package frame

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

func TestFields(t *testing.T) {
	j := jid.MustParse("romeo@example.org/orchard")
	s := stanza.New(stanza.Header{Kind: stanza.Message, From: j, ID: "1"}, stanza.El("", "body").WithText("hi"))
	p := Append(nil, 9, func(dst []byte) []byte {
		dst = AppendInt(AppendUint(dst, 1<<63), -5)
		dst = AppendJID(AppendJID(AppendString(dst, "text"), j), jid.JID{})
		return AppendStanza(append(dst, 7), s)
	})
	kind, fields, rest, err := Next(append(p, 1, 2), 1000)
	if kind != 9 || err != nil || !bytes.Equal(rest, []byte{1, 2}) {
		t.Fatal(kind, rest, err)
	}
	f := Fields{P: fields}
	if f.Uint() != 1<<63 || f.Int() != -5 || f.Text() != "text" || f.JID() != j || !f.AnyJID().IsZero() || f.Byte() != 7 || f.Stanza().String() != s.String() || f.Err != nil {
		t.Error(f.Err)
	}
	for n := range len(fields) - 1 { // a fault sticks, wherever it is
		f := Fields{P: fields[:n]}
		f.Uint()
		f.Int()
		f.Text()
		f.JID()
		f.AnyJID()
		f.Byte()
		if f.Stanza(); !errors.Is(f.Err, ErrFrame) {
			t.Fatalf("%d bytes: %v", n, f.Err)
		}
	}
	empty := Fields{P: AppendJID(nil, jid.JID{})}
	if empty.JID(); !errors.Is(empty.Err, ErrFrame) {
		t.Error("no address is one")
	}
}

func TestReader(t *testing.T) {
	var p []byte
	for i := range byte(3) {
		p = Append(p, i, func(dst []byte) []byte { return append(dst, bytes.Repeat([]byte{i}, int(i)*100)...) })
	}
	r := NewReader(bytes.NewReader(p), int64(len(p)))
	for i := range byte(3) {
		if kind, fields, err := r.Next(); kind != i || len(fields) != int(i)*100 || err != nil {
			t.Error(kind, len(fields), err)
		}
	}
	if _, _, err := r.Next(); err != io.EOF {
		t.Error(err)
	}
	for n := 1; n < len(p); n++ {
		r := NewReader(bytes.NewReader(p[:n]), int64(n))
		var err error
		for err == nil {
			_, _, err = r.Next()
		}
		if err != ErrFrame && err != io.EOF {
			t.Fatal(err)
		}
	}
	long := append([]byte{255, 255, 255, 255}, p...)
	if _, _, err := NewReader(bytes.NewReader(long), int64(len(long))).Next(); err != ErrFrame {
		t.Error(err)
	}
}

func TestDamage(t *testing.T) {
	p := Append(nil, 1, func(dst []byte) []byte { return append(dst, "text"...) })
	for i := range p {
		q := bytes.Clone(p)
		q[i] ^= 0x10
		if _, _, _, err := Next(q, 1000); err == nil {
			t.Errorf("byte %d", i)
		}
	}
	if _, _, _, err := Next(p, 4); err == nil {
		t.Error("longer than allowed")
	}
}

func FuzzFrame(f *testing.F) {
	f.Add(Append(nil, 1, func(dst []byte) []byte { return AppendString(dst, "text") }))
	f.Fuzz(func(t *testing.T, p []byte) {
		for rest := p; ; {
			kind, fields, more, err := Next(rest, len(p))
			if err != nil {
				break
			}
			if again := Append(nil, kind, func(dst []byte) []byte { return append(dst, fields...) }); !bytes.Equal(again, rest[:len(again)]) {
				t.Error("another frame")
			}
			rest = more
		}
		fields := Fields{P: p}
		for len(fields.P) > 0 && fields.Err == nil {
			fields.Uint()
			fields.Text()
			fields.AnyJID()
			fields.Int()
			for range fields.Count() {
				fields.Byte()
			}
		}
	})
}
