package caps

import (
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/xmlstream"
)

// hostile is an answer, and a <c/>, as long as a stanza may be.
func hostile(t testing.TB) (answer *stanza.Stanza, c string) {
	t.Helper()
	parse := func(xml string) *stanza.Stanza {
		st, err := xmlstream.ParseStanza([]byte(xml), xmpp.NSClient, xmlstream.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	long := strings.Repeat("<a/>", 65_000)
	answer = parse("<iq type='result' id='1'><query xmlns='" + nsInfo + "'>" + long + "</query></iq>")
	return answer, Of(parse("<presence><c xmlns='" + NS + "' hash='sha-1' node='n' ver='q07IKJEyjvHSyhy//CH0CxmKi8w='>" + long + "</c></presence>"))
}

// What is too long is not parsed: whoever waits for the goroutine waits for nothing.
func TestWhatIsTooLongIsNotRead(t *testing.T) {
	answer, c := hostile(t)
	if n := testing.AllocsPerRun(1, func() {
		if found, shared := judge(&info{}, answer); found != nil || shared {
			t.Error("believed")
		}
		if _, ok := read(c); ok {
			t.Error("read")
		}
	}); n > 10 {
		t.Errorf("%.0f allocations", n)
	}
}

func BenchmarkHostile(b *testing.B) {
	answer, c := hostile(b)
	for b.Loop() {
		judge(&info{}, answer)
		read(c)
	}
}
