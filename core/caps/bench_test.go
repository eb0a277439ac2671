package caps

import (
	"crypto"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
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

func BenchmarkC(b *testing.B) {
	for _, content := range []string{"", "<show>away</show><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='http://psi-im.org' ver='q07IKJEyjvHSyhy//CH0CxmKi8w='/>"} {
		st, err := xmlstream.ParseStanza([]byte("<presence>"+content+"</presence>"), xmpp.NSClient, xmlstream.Limits{})
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprint("with=", content != ""), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if c := Of(st); c != "" {
					read(c)
				}
			}
		})
	}
}

// BenchmarkSeen is what presence with a string that is known costs a session
// that has it already, and one that has just logged in.
func BenchmarkSeen(b *testing.B) {
	w := &world{}
	d := New(Options{Now: time.Now, Expect: func(st *stanza.Stanza, _ time.Duration, done func(*transport.Batch, *stanza.Stanza)) func() {
		w.open = append(w.open, &expected{st, done})
		return func() {}
	}})
	a, err := Parse(query(b, typical()))
	if err != nil {
		b.Fatal(err)
	}
	ad := C{"sha-1", "http://example.org", a.Ver(crypto.SHA1)}.xml()
	var batch transport.Batch
	send := func(*transport.Batch, *stanza.Stanza) bool { return true }
	me := Client{jid.MustParse("romeo@example.test/a"), &Slot{}, send}
	d.Seen(&batch, me, ad)
	w.open[0].done(&batch, stanza.New(w.open[0].ask.Reply(stanza.Result), query(b, typical())))
	for _, again := range []bool{true, false} {
		b.Run(fmt.Sprint("again=", again), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !again {
					d.Forget(&batch, me.Slot)
				}
				if !me.Slot.Settled(ad) {
					d.Seen(&batch, me, ad)
				}
				if me.Slot.Features() == nil {
					b.Fatal("not known")
				}
			}
		})
	}
}
