package session_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/plugins/bosh/session"
)

func TestParse(t *testing.T) { // 6, XEP-0206 2
	b, err := session.Parse([]byte("<?xml version='1.0'?>\n<b:body xmlns:b='"+session.NS+"' xmlns='"+session.NS+"' xmlns:x='urn:xmpp:xbosh' rid='9007199254740991' sid='s'"+
		" x:restart='1' wait='7' hold='2' unknown='?'>\n<message to='a@b'><body>1 &lt; 2</body></message> <iq xmlns='jabber:client'><q xmlns='urn:q' x:y='z'/></iq></b:body>\n"), 4096)
	if err != nil {
		t.Fatal(err)
	}
	if b.RID != session.MaxRID || b.SID != "s" || !b.Restart || b.Wait != 7 || b.Hold != 2 || len(b.Elements) != 2 {
		t.Fatalf("%+v", b)
	}
	if got, want := string(b.Elements[0]), "<message xmlns='jabber:client' to='a@b'><body>1 &lt; 2</body></message>"; got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	if got := string(b.Elements[1]); !strings.HasPrefix(got, "<iq xmlns='jabber:client'><q ") || !strings.Contains(got, "='urn:xmpp:xbosh'") {
		t.Errorf("a prefix that was declared outside is lost: %s", got)
	}
}

func TestParseRefuses(t *testing.T) {
	in := func(attributes, payload string) string {
		return "<body xmlns='" + session.NS + "' " + attributes + ">" + payload + "</body>"
	}
	for name, doc := range map[string]string{
		"nothing":           "",
		"no XML":            "hello",
		"half":              "<body xmlns='" + session.NS + "' rid='1'>",
		"two":               in("rid='1'", "") + in("rid='2'", ""),
		"another namespace": "<body xmlns='jabber:client' rid='1'/>",
		"no namespace":      "<body rid='1'/>",
		"another element":   "<message xmlns='jabber:client'/>",
		"no rid":            in("", ""),
		"rid 0":             in("rid='0'", ""),
		"rid too large":     in("rid='9007199254740992'", ""),
		"rid negative":      in("rid='-1'", ""),
		"empty sid":         in("rid='1' sid=''", ""),
		"text":              in("rid='1'", "text"),
		"comment":           in("rid='1'", "<!-- -->"),
		"instruction":       in("rid='1'", "<?a b?>"),
		"document type":     "<!DOCTYPE body>" + in("rid='1'", ""),
		"entity":            in("rid='1'", "<a>&nbsp;</a>"),
		"half an element":   in("rid='1'", "<a>"),
		"a header smuggled": in("rid='1' content='text/html&#13;&#10;X: y'", ""),
		"version":           in("rid='1' ver='1'", ""),
		"wait":              in("rid='1' wait='x'", ""),
		"key":               in("rid='1' key='"+strings.Repeat("g", 40)+"'", ""),
		"too large":         in("rid='1'", "<a>"+strings.Repeat("x", 4096)+"</a>"),
		"too deep":          in("rid='1'", strings.Repeat("<a>", 100)+strings.Repeat("</a>", 100)),
		"attribute":         in("rid='1' to='"+strings.Repeat("x", 3072)+"'", ""),
	} {
		if _, err := session.Parse([]byte(doc), 4096); !errors.Is(err, session.ErrBadRequest) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("<body xmlns='" + session.NS + "' rid='1' sid='s' xmlns:x='urn:xmpp:xbosh' x:restart='true'><message><body>a</body></message></body>"))
	f.Add([]byte("<?xml version='1.0'?><body xmlns='" + session.NS + "' rid='1' wait='60' hold='1' ver='1.6' content='text/xml' ack='1' key='" + strings.Repeat("a", 40) + "'/>"))
	f.Fuzz(func(t *testing.T, in []byte) {
		b, err := session.Parse(in, 8192)
		if err != nil {
			if !errors.Is(err, session.ErrBadRequest) {
				t.Fatal(err)
			}
			return
		}
		// Whatever is handed on is one element, and a body can be made of it again.
		for _, e := range b.Elements {
			doc := "<body xmlns='" + session.NS + "' rid='1'>" + string(e) + "</body>"
			again, err := session.Parse([]byte(doc), 1<<20)
			if err != nil || len(again.Elements) != 1 || string(again.Elements[0]) != string(e) {
				t.Fatalf("%q: %v, %+v", e, err, again)
			}
		}
	})
}

func FuzzDecode(f *testing.F) {
	w := running(&testing.T{}, "ack='1'")
	w.send(1001, "", hello)
	w.push(answer)
	w.send(1002, "", hello)
	f.Add(w.s.Append(nil))
	f.Fuzz(func(t *testing.T, in []byte) {
		s, err := session.Decode(in, options(), start)
		if err != nil {
			return
		}
		w := &world{t: t, s: s, now: start, answers: map[session.Ticket]session.Answer{}}
		w.send(1003, "", hello)
		w.pass(s.Next().Sub(w.now))
		w.take(s.Closed(nil, "", w.now))
		s.Append(nil)
	})
}
