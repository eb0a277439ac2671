package xmlstream

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
)

const openFrame = "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='example.test' version='1.0' xml:lang='de'/>\x00"

// readFrames feeds in in pieces of n bytes, and tells what came.
func readFrames(in string, n int) (got []string, err error) {
	r := NewFrameReader(Limits{})
	for len(in) > 0 {
		n := min(n, len(in))
		r.Feed([]byte(in[:n]))
		in = in[n:]
		for {
			t, ok, err := r.Next()
			if err != nil {
				return got, err
			}
			if !ok {
				break
			}
			switch t.Kind {
			case Open:
				got = append(got, "open "+t.Header.To+" "+t.Header.Version+" "+t.Header.Lang)
			case Close:
				got = append(got, "close")
			case Stanza:
				got = append(got, "stanza "+t.Stanza.ID+" "+t.Stanza.Lang)
			default:
				got = append(got, "element "+t.Element.Space+" "+t.Element.Local)
			}
		}
	}
	return got, nil
}

func TestFrames(t *testing.T) {
	const message = "<message xmlns='jabber:client' id='1'><body>x</body></message>"
	for _, c := range []struct {
		in   string
		want string
		cond stream.Condition
	}{
		{openFrame, "open example.test 1.0 de", ""},
		{"<?xml version='1.0'?>" + openFrame, "open example.test 1.0 de", ""},
		{openFrame + message + "\x00" + message + " \n\x00", "open example.test 1.0 de|stanza 1 de|stanza 1 de", ""},
		{openFrame + "<a xmlns='urn:xmpp:sm:3' h='1'/>\x00", "open example.test 1.0 de|element urn:xmpp:sm:3 a", ""},
		{openFrame + "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>\x00<junk", "open example.test 1.0 de|close", ""},
		{openFrame + message + message + "\x00", "open example.test 1.0 de|stanza 1 de", stream.BadFormat},
		{openFrame + "\x00", "open example.test 1.0 de", stream.BadFormat},
		{openFrame + " \x00", "open example.test 1.0 de", stream.BadFormat},
		{openFrame + " " + message + "\x00", "open example.test 1.0 de", stream.BadFormat},
		{openFrame + "<message\x00", "open example.test 1.0 de", stream.NotWellFormed},
		{openFrame + "<message><body>x\x00</body></message>\x00", "open example.test 1.0 de", stream.NotWellFormed},
		{openFrame + "</stream:stream>\x00", "open example.test 1.0 de", stream.NotWellFormed},
		{openFrame + message + "<?xml version='1.0'?>\x00", "open example.test 1.0 de|stanza 1 de", stream.BadFormat},
		{openFrame + "text\x00", "open example.test 1.0 de", stream.BadFormat},
		{openFrame + "<stream:error/>\x00", "open example.test 1.0 de", stream.NotWellFormed},
		{message + "\x00", "", stream.BadFormat},
		{"<open to='example.test'/>\x00", "", stream.InvalidNamespace},
		{"<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>\x00", "", stream.BadFormat},
		{"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>\x00", "", stream.NotWellFormed},
		{openFrame + "<message>" + strings.Repeat("<body>x</body>", 30000), "open example.test 1.0 de", stream.PolicyViolation},
	} {
		for _, n := range []int{1, 7, 1 << 20} {
			if n == 1 && len(c.in) > 10_000 {
				continue
			}
			got, err := readFrames(c.in, n)
			var fault *stream.Error
			errors.As(err, &fault)
			cond := stream.Condition("")
			if fault != nil {
				cond = fault.Condition
			}
			if s := strings.Join(got, "|"); s != c.want || cond != c.cond {
				t.Errorf("%.200q by %d: %q, %v; want %q, %s", c.in, n, s, err, c.want, c.cond)
			}
		}
	}
}

// Reset behind SASL: the end of the message at hand is still to come.
func TestFramesRestart(t *testing.T) {
	r := NewFrameReader(Limits{})
	r.Feed([]byte(openFrame + "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"))
	for range 2 {
		if _, ok, err := r.Next(); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	r.Reset()
	r.Feed([]byte("\x00" + openFrame))
	if got, ok, err := r.Next(); !ok || err != nil || got.Kind != Open {
		t.Fatal(got, ok, err)
	}
}

// What comes does not depend on where it was cut.
func FuzzFrames(f *testing.F) {
	f.Add(openFrame+"<message xmlns='jabber:client'><body>x</body></message>\x00", uint8(3))
	f.Add("<?xml version='1.0'?>"+openFrame+"<r xmlns='urn:xmpp:sm:3'/>\x00 \x00", uint8(1))
	f.Fuzz(func(t *testing.T, in string, n uint8) {
		whole, err := readFrames(in, len(in)+1)
		parts, err2 := readFrames(in, int(n)+1)
		if fmt.Sprint(whole, err) != fmt.Sprint(parts, err2) {
			t.Errorf("%q: whole %q %v, by %d %q %v", in, whole, err, n+1, parts, err2)
		}
	})
}
