package xmlstream

import (
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

const header = `<?xml version='1.0'?><stream:stream to='example.org' version='1.0' xml:lang='en' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>`

// samples are stanzas as clients send them.
var samples = func() map[string]string {
	var items strings.Builder
	for i := range 40 {
		fmt.Fprintf(&items, `<item jid='contact-%02d@example.org' name='Contact number %d' subscription='both'><group>Friends</group></item>`, i, i)
	}
	return map[string]string{
		"message": `<message xmlns='jabber:client' to='romeo@montague.example/orchard' id='c3f1a6d2-8f4b-4a4e-9d9a-0b6d2c1e5f77' type='chat'><body>Wherefore art thou, Romeo? I have been waiting here.</body><active xmlns='http://jabber.org/protocol/chatstates'/><origin-id xmlns='urn:xmpp:sid:0' id='c3f1a6d2'/><request xmlns='urn:xmpp:receipts'/></message>`,
		"ping":    `<iq from='juliet@capulet.example/balcony' to='capulet.example' id='c2s1' type='get'><ping xmlns='urn:xmpp:ping'/></iq>`,
		"roster":  `<iq id='roster1' to='juliet@capulet.example/balcony' type='result'><query xmlns='jabber:iq:roster' ver='ver14'>` + items.String() + `</query></iq>`,
		"vcard": `<iq id='v1' type='set'><vCard xmlns='vcard-temp'><PHOTO><TYPE>image/png</TYPE><BINVAL>` +
			base64.StdEncoding.EncodeToString([]byte(strings.Repeat("\x89PNG-picture", 625))) + `</BINVAL></PHOTO></vCard></iq>`,
		"unicode": `<message to='ромео@монтекки.example' id='м1' type='chat'><body>Ромео, о зачем же ты Ромео! Покинь отца и отрекись навеки от имени родного, а не хочешь — так поклянись, что любишь ты меня. 羅密歐啊羅密歐，為什麼你是羅密歐呢？否認你的父親，拋棄你的姓名吧。</body></message>`,
	}
}()

var sampleNames = []string{"message", "ping", "roster", "vcard", "unicode"}

// BenchmarkScanner is what all the checks cost, without building anything.
func BenchmarkScanner(b *testing.B) {
	for _, name := range sampleNames {
		b.Run(name, func(b *testing.B) {
			in := []byte(samples[name])
			w := works.New().(*work)
			limits := Limits{}.withDefaults()
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				w.begin(clientScope, limits, inside, false)
				if done, err := w.scan(in); !done || err != nil {
					b.Fatal(done, err)
				}
			}
		})
	}
}

// BenchmarkNext is the whole way from bytes to a *stanza.Stanza.
func BenchmarkNext(b *testing.B) {
	for _, name := range sampleNames {
		b.Run(name, func(b *testing.B) {
			r := NewReader(Limits{})
			r.Feed([]byte(header))
			if _, ok, err := r.Next(); !ok || err != nil {
				b.Fatal(ok, err)
			}
			in := []byte(samples[name])
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			var s *stanza.Stanza
			for b.Loop() {
				r.Feed(in)
				t, ok, err := r.Next()
				if !ok || err != nil {
					b.Fatal(ok, err)
				}
				s = t.Stanza
				if _, ok, _ = r.Next(); ok {
					b.Fatal("more than one token")
				}
			}
			if s.Kind == 0 {
				b.Fatal("no stanza")
			}
		})
	}
}

// BenchmarkEncodingXML reads the same stanzas as tokens of encoding/xml.
func BenchmarkEncodingXML(b *testing.B) {
	for _, name := range sampleNames {
		b.Run(name, func(b *testing.B) {
			in := samples[name]
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				d := xml.NewDecoder(strings.NewReader(in))
				for {
					if _, err := d.Token(); err == io.EOF {
						break
					} else if err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
