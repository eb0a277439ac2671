package caps

import (
	"crypto"
	"fmt"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/xmlstream"
)

// typical is what a client of today answers: some 60 features.
func typical() string {
	var b strings.Builder
	b.WriteString("<identity category='client' type='phone' name='Example'/>")
	for i := range 60 {
		fmt.Fprintf(&b, "<feature var='urn:xmpp:feature-of-a-usual-length:%d'/>", i)
	}
	return b.String()
}

// BenchmarkAnswer is all that a question costs behind the parser of streams.
func BenchmarkAnswer(b *testing.B) {
	st, err := xmlstream.ParseStanza([]byte("<iq type='result' id='1'><query xmlns='http://jabber.org/protocol/disco#info'>"+typical()+"</query></iq>"), xmpp.NSClient, xmlstream.Limits{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		a, err := Parse(st.Find(nsInfo, "query"))
		if err != nil || a.Ver(crypto.SHA1) == "" {
			b.Fatal(err)
		}
	}
}

func BenchmarkOf(b *testing.B) {
	for _, content := range []string{"", "<show>away</show><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='http://psi-im.org' ver='q07IKJEyjvHSyhy//CH0CxmKi8w='/>"} {
		st, err := xmlstream.ParseStanza([]byte("<presence>"+content+"</presence>"), xmpp.NSClient, xmlstream.Limits{})
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprint("with=", content != ""), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, ok := Of(st); ok != (content != "") {
					b.Fatal(content)
				}
			}
		})
	}
}
