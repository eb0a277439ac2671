package caps

import (
	"crypto"
	"slices"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/xmlstream"
)

// FuzzAnswer hands in what may stand in an answer to disco#info. What parses has
// the same hash in any order and when it is read again, and each feature once.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		simple, languages + features + software, "", "<identity category='a' type='b' name='&lt;'/>", "<feature var='a'/><feature var='a'/>",
		formXML(fieldXML("FORM_TYPE", "a"), fieldXML("a", "1", "0")) + formXML(fieldXML("FORM_TYPE", "a")), formXML("<field><value/></field>"),
		"<x xmlns='jabber:x:data'><field var='FORM_TYPE' type='hidden'><value>a<b/>c</value></field></x>text<feature xmlns='urn:x' var='y'/>",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, content string) {
		st, err := xmlstream.ParseStanza([]byte("<iq type='result' id='1'><query xmlns='http://jabber.org/protocol/disco#info'>"+content+"</query></iq>"), xmpp.NSClient, xmlstream.Limits{})
		if err != nil {
			return
		}
		q := st.Find(nsInfo, "query")
		a, err := Parse(q)
		if err != nil {
			return
		}
		if !slices.IsSorted(a.features) || len(slices.Compact(slices.Clone(a.features))) != len(a.features) {
			t.Fatalf("features %q", a.features)
		}
		if strings.Count(string(a.appendTo(nil)), "<") < len(a.identities)+len(a.features)+len(a.forms) {
			t.Fatalf("a part is missing: %s", a.appendTo(nil))
		}
		again, err := stanza.ParseElement(string(q.Append(nil, "")), "")
		if err != nil {
			t.Fatal(err)
		}
		slices.Reverse(again.Nodes)
		b, err := Parse(again)
		if err != nil || b.Ver(crypto.SHA1) != a.Ver(crypto.SHA1) {
			t.Fatalf("%v: %s, then %s", err, a.appendTo(nil), b.appendTo(nil))
		}
	})
}

// FuzzC hands in attributes of <c/>. One that is taken can be asked for, and is
// written and read back as the same.
func FuzzC(f *testing.F) {
	f.Add("sha-1", "http://psi-im.org", complexVer)
	f.Add("md5", "n'", "<&>")
	f.Add("sha-512", "", strings.Repeat("=", 88))
	f.Add("", "", "' xmlns='urn:x'/><c hash='")
	f.Fuzz(func(t *testing.T, hash, node, ver string) {
		c := C{hash, node, ver}
		st := stanza.New(stanza.Header{Kind: stanza.Presence}, c.Element())
		got, ok := read(Of(st))
		if !ok {
			return
		}
		if len(got.Query()) > maxNode+1+maxVer || len(got.Hash) > maxHash {
			t.Fatalf("%d bytes are asked for", len(got.Query()))
		}
		if again, ok := read(got.xml()); !ok || again != got {
			t.Fatalf("%v became %v, %v", got, again, ok)
		}
	})
}
