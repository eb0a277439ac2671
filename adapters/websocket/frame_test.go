package websocket

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
)

// client makes a frame as a client does.
func client(first byte, payload string) []byte {
	f := appendHead(nil, 0, len(payload))
	f[0] = first
	f[1] |= 0x80
	mask := []byte{0x1, 0x80, 0xFF, 0x37}
	f = append(f, mask...)
	for i := range len(payload) {
		f = append(f, payload[i]^mask[i%4])
	}
	return f
}

const fin = 0x80

func text(s string) []byte { return client(fin|opText, s) }

// read decodes in, in pieces of n bytes, and tells what came.
func read(in []byte, n int) string {
	var d decoder
	var got []byte
	var told []string
	for len(in) > 0 {
		part := in[:min(n, len(in))]
		in = in[len(part):]
		var err error
		before := len(got)
		got, err = d.decode(got, part, func(f controlFrame) { told = append(told, fmt.Sprintf("%x:%s", f.op, f.payload)) })
		if len(got)-before > len(part)+1 {
			return "more came out than in"
		}
		if err != nil {
			told = append(told, err.Error())
			break
		}
	}
	return strings.ReplaceAll(string(got), "\x00", "|") + " " + strings.Join(told, ",")
}

func join(frames ...[]byte) []byte { return bytes.Join(frames, nil) }

func TestDecode(t *testing.T) {
	long, longer := strings.Repeat("x", 300), strings.Repeat("y", 70_000)
	unmasked := appendFrame(nil, opText, []byte("<a/>"))
	notShortest := append([]byte{fin | opText, 0x80 | 126, 0, 5, 0, 0, 0, 0}, "hello"...)
	huge := append([]byte{fin | opText, 0x80 | 127}, binary.BigEndian.AppendUint64(nil, 1<<63)...)
	for _, c := range []struct {
		name string
		in   []byte
		want string
	}{
		{"one", text("<a/>"), "<a/>| "},
		{"two", join(text("<a/>"), text("<b/>")), "<a/>|<b/>| "},
		{"empty", text(""), "| "},
		{"sizes", join(text(long), text(longer)), long + "|" + longer + "| "},
		{"fragments", join(client(opText, "<a"), client(opContinuation, ""), client(fin|opContinuation, "/>")), "<a/>| "},
		{"ping between fragments", join(client(opText, "<a"), client(fin|opPing, "hi"), client(fin|opContinuation, "/>")), "<a/>| 9:hi"},
		{"pong", client(fin|opPong, ""), " a:"},
		{"a zero byte", text("a\x00b"), "a\x01b| "},
		{"close", join(text("<a/>"), client(fin|opClose, "\x03\xe9bye"), text("<b/>")), "<a/>| 8:\x03\xe9bye,websocket: the peer closes"},
		{"binary", join(text("<a/>"), client(fin|opBinary, "x")), "<a/>| websocket: binary data"},
		{"unmasked", unmasked, " websocket: protocol error"},
		{"compressed though not agreed", client(fin|0x40|opText, "x"), " websocket: protocol error"},
		{"unknown opcode", client(fin|3, ""), " websocket: protocol error"},
		{"unknown control", client(fin|0xB, ""), " websocket: protocol error"},
		{"continuation of nothing", client(fin|opContinuation, "x"), " websocket: protocol error"},
		{"message in a message", join(client(opText, "<a"), text("<b/>")), "<a websocket: protocol error"},
		{"ping in fragments", client(opPing, "x"), " websocket: protocol error"},
		{"long ping", client(fin|opPing, strings.Repeat("x", 126)), " websocket: protocol error"},
		{"length not in its shortest form", notShortest, " websocket: protocol error"},
		{"length beyond all", append(huge, 1, 2, 3, 4), " websocket: protocol error"},
	} {
		for _, n := range []int{1, 3, 1 << 20} {
			if got := read(c.in, n); got != c.want {
				t.Errorf("%s by %d: %.200q, want %.200q", c.name, n, got, c.want)
			}
		}
	}
}

// What comes does not depend on where the input was cut, and nothing is held but a
// header and a control frame.
func FuzzDecode(f *testing.F) {
	f.Add(join(text("<a/>"), client(opText, "<b"), client(fin|opPing, "p"), client(fin|opContinuation, "/>")), uint8(2))
	f.Add(client(fin|opClose, "\x03\xe8"), uint8(0))
	f.Fuzz(func(t *testing.T, in []byte, n uint8) {
		whole, parts := read(in, len(in)+1), read(in, int(n)+1)
		if whole != parts {
			t.Errorf("whole %q, by %d %q", whole, n+1, parts)
		}
	})
}
