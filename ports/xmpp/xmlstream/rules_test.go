package xmlstream

import (
	"strings"
	"testing"
)

// rule is what comes of some input. The name is the rule's section.
type rule struct {
	name string
	in   string
	want string // the last event; "" if the input was only a beginning
}

const (
	notWellFormed       = "error not-well-formed"
	restricted          = "error restricted-xml"
	badFormat           = "error bad-format"
	invalidNamespace    = "error invalid-namespace"
	policyViolation     = "error policy-violation"
	unsupportedEncoding = "error unsupported-encoding"

	streams    = `xmlns:stream='http://etherx.jabber.org/streams'`
	justOpened = `open to="" from="" id="" lang="" version="" content=jabber:client`
)

// headerRules are about what comes up to and including the stream header.
var headerRules = []rule{
	{"RFC 6120 4.2 header after an XML declaration", header, `open to="example.org" from="" id="" lang="en" version="1.0" content=jabber:client`},
	{"RFC 6120 4.2 header alone", plainHeader, justOpened},
	{"RFC 6120 4.2 header is not there yet", plainHeader[:40], ""},
	{"RFC 6120 4.7 all attributes", `<stream:stream from='juliet@im.example.com' to="im.example.com" id='++TR84' version = '1.0' xml:lang='de-CH' xmlns='jabber:server' ` + streams + `>`,
		`open to="im.example.com" from="juliet@im.example.com" id="++TR84" lang="de-CH" version="1.0" content=jabber:server`},
	{"RFC 6120 4.7 values are unescaped", `<stream:stream to='a&amp;b&#x3C;&#233;' xmlns='jabber:client' ` + streams + `>`, `open to="a&b<é" from="" id="" lang="" version="" content=jabber:client`},
	{"RFC 6120 4.7 unknown attributes are ignored", `<stream:stream foo='1' x:to='2' xmlns:x='u' xmlns='jabber:client' ` + streams + `>`, justOpened},
	{"RFC 6120 4.8.1 wrong stream namespace", `<stream:stream xmlns='jabber:client' xmlns:stream='http://wrong.namespace.example.org/'>`, invalidNamespace},
	{"RFC 6120 4.8.1 no stream namespace", `<stream xmlns='jabber:client'>`, invalidNamespace},
	{"RFC 6120 4.8.1 no namespace", `<stream>`, invalidNamespace},
	{"RFC 6120 4.8.1 another element of the stream namespace", `<stream:features xmlns='jabber:client' ` + streams + `>`, badFormat},
	{"RFC 6120 4.2 a stanza without a stream", `<message xmlns='jabber:client'>`, badFormat},
	{"RFC 6120 4.8.2 prefix-free canonicalization", `<stream xmlns='http://etherx.jabber.org/streams'>`, justOpened},
	{"RFC 6120 4.8.2 content namespace by a prefix", `<stream xmlns='http://etherx.jabber.org/streams' xmlns:c='jabber:server'>`, strings.Replace(justOpened, "client", "server", 1)},
	{"RFC 6120 4.8.2 no default namespace", `<stream:stream ` + streams + `>`, justOpened},
	{"RFC 6120 4.8.2 another content namespace is the kernel's affair", `<stream:stream xmlns='jabber:component:accept' ` + streams + `>`, strings.Replace(justOpened, "client", "component:accept", 1)},
	{"RFC 6120 4.8.5 another prefix", `<foobar:stream xmlns='jabber:client' xmlns:foobar='http://etherx.jabber.org/streams'>`, justOpened},
	{"RFC 6120 4.8.5 further declarations", `<stream:stream xmlns='jabber:server' xmlns:db='jabber:server:dialback' ` + streams + `>`, strings.Replace(justOpened, "client", "server", 1)},
	{"RFC 6120 4.9.3.13 prefix without declaration", `<stream:stream xmlns='jabber:client'>`, notWellFormed},
	{"RFC 6120 4.4 a stream that ends at once", `<stream:stream xmlns='jabber:client' ` + streams + `/>`, "close"},
	{"XML 1.0 3.1 duplicate attribute in the header", `<stream:stream to='a' to='b' xmlns='jabber:client' ` + streams + `>`, notWellFormed},
	{"RFC 6120 4.9.3.14 too many attributes in the header", `<stream:stream ` + attributes(33) + ` xmlns='jabber:client' ` + streams + `>`, policyViolation},

	{"RFC 6120 11.5 declaration with double quotes", `<?xml version="1.0"?>` + plainHeader, justOpened},
	{"RFC 6120 11.5 declaration with encoding", `<?xml version='1.0' encoding='UTF-8'?>` + plainHeader, justOpened},
	{"RFC 6120 11.5 encoding in small letters", `<?xml version='1.0' encoding='utf-8' ?>` + plainHeader, justOpened},
	{"RFC 6120 11.5 standalone is ignored", `<?xml version='1.0' encoding='utf-8' standalone='no'?>` + plainHeader, justOpened},
	{"RFC 6120 11.5 standalone without encoding", "<?xml version = '1.0'\tstandalone = \"yes\"\n?>\n" + plainHeader, justOpened},
	{"RFC 6120 11.5 is incomplete", `<?xml version='1.0'`, ""},
	{"RFC 6120 11.6 encoding UTF-16", `<?xml version='1.0' encoding='UTF-16'?>`, unsupportedEncoding},
	{"RFC 6120 11.6 encoding ISO-8859-1", `<?xml version="1.0" encoding="ISO-8859-1"?>` + plainHeader, unsupportedEncoding},
	{"RFC 6120 11.8 XML 1.1", `<?xml version='1.1'?>`, badFormat},
	{"XML 1.0 production 23 no version", `<?xml encoding='UTF-8'?>`, notWellFormed},
	{"XML 1.0 production 23 nothing in it", `<?xml ?>`, notWellFormed},
	{"XML 1.0 production 23 wrong order", `<?xml version='1.0' standalone='no' encoding='UTF-8'?>`, notWellFormed},
	{"XML 1.0 production 23 given twice", `<?xml version='1.0' version='1.0'?>`, notWellFormed},
	{"XML 1.0 production 23 without quotes", `<?xml version=1.0?>`, notWellFormed},
	{"XML 1.0 production 23 quotes differ", `<?xml version='1.0"?>`, notWellFormed},
	{"XML 1.0 production 23 no space", `<?xml version='1.0'encoding='UTF-8'?>`, notWellFormed},
	{"XML 1.0 production 23 garbage", `<?xml version='1.0' foo?>`, notWellFormed},
	{"XML 1.0 production 32 standalone", `<?xml version='1.0' standalone='maybe'?>`, notWellFormed},
	{"XML 1.0 2.8 declaration after white space", ` <?xml version='1.0'?>`, restricted},
	{"XML 1.0 2.8 declaration twice", `<?xml version='1.0'?><?xml version='1.0'?>`, restricted},
	{"XML 1.0 2.8 white space before the header", "\r\n\t " + plainHeader, justOpened},
	{"XML 1.0 2.8 white space after the declaration", `<?xml version='1.0'?>` + "\n\n" + plainHeader, justOpened},
	{"RFC 6120 11.1 processing instruction before the header", `<?php echo 1?>`, restricted},
	{"RFC 6120 11.1 a target that only begins with xml", `<?xml-stylesheet href='a'?>`, restricted},
	{"RFC 6120 11.1 comment before the header", `<!-- hello -->` + plainHeader, restricted},
	{"RFC 6120 11.1 document type declaration", `<!DOCTYPE stream [<!ENTITY a "aaaa">]>`, restricted},
	{"XML 1.0 production 1 CDATA before the header", `<![CDATA[a]]>`, notWellFormed},
	{"XML 1.0 production 1 end tag before the header", `</stream:stream>`, notWellFormed},
	{"XML 1.0 production 1 text before the header", `GET / HTTP/1.1`, notWellFormed},
	{"XML 1.0 production 1 a TLS handshake", "\x16\x03\x01\x02\x00", notWellFormed},
	{"RFC 6120 11.6 U+FEFF before the declaration", "\uFEFF" + header, `open to="example.org" from="" id="" lang="en" version="1.0" content=jabber:client`},
	{"RFC 6120 11.6 U+FEFF before the header", "\uFEFF" + plainHeader, justOpened},
	{"RFC 6120 11.6 U+FEFF twice", "\uFEFF\uFEFF" + plainHeader, notWellFormed},
	{"RFC 6120 11.6 UTF-16, big-endian", "\xFE\xFF\x00<", unsupportedEncoding},
	{"RFC 6120 11.6 UTF-16, little-endian", "\xFF\xFE<\x00", unsupportedEncoding},
	{"RFC 6120 11.6 UTF-16BE without a mark", "\x00<\x00?", unsupportedEncoding},
	{"RFC 6120 11.6 UTF-16LE without a mark", "<\x00?\x00", unsupportedEncoding},
	{"RFC 6120 11.6 Latin-1 in the header", "<stream:stream to='\xE9' xmlns='jabber:client' " + streams + ">", unsupportedEncoding},
}

// streamRules are about what comes after the header.
var streamRules = []rule{
	// Top level.
	{"RFC 6120 4.6.1 white space between stanzas", " \n\t\r <presence/> \n", "<presence/>"},
	{"RFC 6120 4.4 end of the stream", `</stream:stream>`, "close"},
	{"RFC 6120 4.4 end tag with white space", "</stream:stream \n>", "close"},
	{"RFC 6120 4.4 end tag is cut", "</stream:stream", ""},
	{"XML 1.0 3 end tag of another name", `</stream:features>`, notWellFormed},
	{"XML 1.0 3 end tag with another prefix", `</stream>`, notWellFormed},
	{"XML 1.0 3 end tag with a longer name", `</stream:streams>`, notWellFormed},
	{"XML 1.0 3 end tag with an attribute", `</stream:stream a='b'>`, notWellFormed},
	{"XML 1.0 3 end tag with a space before its name", `</ stream:stream>`, notWellFormed},
	{"RFC 6120 4.9.3.1 text between stanzas", "hello", badFormat},
	{"RFC 6120 4.9.3.1 text that is not ASCII between stanzas", "é", badFormat},
	{"RFC 6120 4.9.3.1 reference between stanzas", "&amp;", badFormat},
	{"RFC 6120 4.9.3.1 CDATA between stanzas", "<![CDATA[ ]]>", badFormat},
	{"RFC 6120 11.6 U+FEFF between stanzas is text", "\uFEFF<presence/>", badFormat},
	{"XML 1.0 production 2 control character between stanzas", "\x00", notWellFormed},
	{"RFC 6120 4.9.3.22 no UTF-8 between stanzas", "\xFF", unsupportedEncoding},
	{"RFC 6120 4.9.3.22 continuation byte between stanzas", "\x80", unsupportedEncoding},

	// RFC 6120 11.1.
	{"RFC 6120 11.1 comment between stanzas", `<!-- c -->`, restricted},
	{"RFC 6120 11.1 comment in a stanza", `<message><!--<subject/>--><body/></message>`, restricted},
	{"RFC 6120 11.1 comment in text", `<message><body>a<!-- b --></body></message>`, restricted},
	{"RFC 6120 11.1 processing instruction between stanzas", `<?a b?>`, restricted},
	{"RFC 6120 11.1 processing instruction in a stanza", `<message><?a b?></message>`, restricted},
	{"RFC 6120 11.1 XML declaration in the stream", `<?xml version='1.0'?>`, restricted},
	{"RFC 6120 11.1 XML declaration in a stanza", `<message><?xml version='1.0'?></message>`, restricted},
	{"RFC 6120 11.1 document type in the stream", `<!DOCTYPE a>`, restricted},
	{"RFC 6120 11.1 entity declaration in a stanza", `<message><!ENTITY a 'b'></message>`, restricted},
	{"RFC 6120 11.1 entity reference", `<message><body>&foo;</body></message>`, restricted},
	{"RFC 6120 11.1 entity reference in an attribute", `<message id='&nbsp;'/>`, restricted},
	{"RFC 6120 11.1 entity of a non-ASCII name", `<message>&é;</message>`, restricted},
	{"RFC 6120 11.1 predefined entities are case-sensitive", `<message>&AMP;</message>`, restricted},
	{"RFC 6120 11.1 the predefined entities", `<message><body>&lt;&gt;&amp;&apos;&quot;</body></message>`, `<message><body>&lt;&gt;&amp;&apos;&quot;</body></message>`},
	{"XML 1.0 production 15 unknown markup", `<message><!></message>`, notWellFormed},
	{"XML 1.0 production 19 malformed CDATA", `<message><![CDAT[a]]></message>`, notWellFormed},

	// Tags (XML 1.0 3, 3.1).
	{"XML 1.0 3 tags match", `<message><a><b></b></a></message>`, `<message><a><b></b></a></message>`},
	{"XML 1.0 3 mismatch", `<message><body>No closing tag!</message>`, notWellFormed},
	{"XML 1.0 3 crossed", `<message><a><b></a></b></message>`, notWellFormed},
	{"XML 1.0 3 case counts", `<message></Message>`, notWellFormed},
	{"XML 1.0 3 a shorter end tag", `<message></mess>`, notWellFormed},
	{"XML 1.0 3 a longer end tag", `<message></messages>`, notWellFormed},
	{"XML 1.0 3 an end tag without a name", `<message></>`, notWellFormed},
	{"XML 1.0 3 prefixes of tags match literally", `<message><a:x xmlns:a='u' xmlns:b='u'></b:x></message>`, notWellFormed},
	{"XML 1.0 3.1 white space in an end tag", "<message></message \t>", "<message/>"},
	{"XML 1.0 3.1 white space in an empty tag", "<presence />", "<presence/>"},
	{"XML 1.0 3.1 no white space after the slash", "<presence/ >", notWellFormed},
	{"XML 1.0 3.1 white space after '<'", "< presence/>", notWellFormed},
	{"XML 1.0 3.1 an empty name", "<>", notWellFormed},
	{"XML 1.0 3.1 a digit first", "<1a/>", notWellFormed},
	{"XML 1.0 3.1 '<' in a tag", "<message <a/>", notWellFormed},
	{"XML 1.0 3.1 '<' in a name", "<mess<age/>", notWellFormed},
	{"XML 1.0 3.1 slash in an end tag", "<message></message/>", notWellFormed},

	// Attributes.
	{"XML 1.0 production 10 both quotes", `<iq id="a'b" type='x"y'/>`, `<iq id='a&apos;b' type='x&quot;y'/>`},
	{"XML 1.0 production 10 '>' is allowed", `<iq id='a>b'/>`, `<iq id='a&gt;b'/>`},
	{"XML 1.0 production 25 space around '='", "<iq id\n=\t'a'/>", `<iq id='a'/>`},
	{"XML 1.0 3.1 no quotes", `<iq id=a/>`, notWellFormed},
	{"XML 1.0 3.1 no value", `<iq id/>`, notWellFormed},
	{"XML 1.0 3.1 no value and more", `<iq id type='get'/>`, notWellFormed},
	{"XML 1.0 3.1 quotes differ", `<iq id='a"/><iq/>`, notWellFormed},
	{"XML 1.0 3.1 no space between attributes", `<iq id='a'type='get'/>`, notWellFormed},
	{"XML 1.0 3.1 no space after the name", `<iq"a"/>`, notWellFormed},
	{"XML 1.0 3.1 '<' in a value", `<iq id='a<b'/>`, notWellFormed},
	{"XML 1.0 3.1 given twice", `<iq id='a' type='get' id='a'/>`, notWellFormed},
	{"XML 1.0 3.1 given twice, in a child", `<iq><a b='1' c='2' b='3'/></iq>`, notWellFormed},
	{"XML 1.0 3.1 names that hash alike are not the same", `<iq><a ab='1' bc='2' cd='3' a-b='4' a_b='5' a.b='6'/></iq>`, `<iq><a ab='1' bc='2' cd='3' a-b='4' a_b='5' a.b='6'/></iq>`},
	{"XML 1.0 3.3.3 white space in a value", "<iq id='a\tb\nc\r\nd\re'/>", "<iq id='a b c d e'/>"},
	{"XML 1.0 3.3.3 white space by reference stays", "<iq id='&#9;&#xA;&#13;'/>", "<iq id='&#x9;&#xA;&#xD;'/>"},
	{"XML 1.0 3.3.3 spaces are not collapsed", "<iq id=' a  b '/>", "<iq id=' a  b '/>"},
	{"XML 1.0 production 2 control character in a value", "<iq id='\x01'/>", notWellFormed},
	{"XML 1.0 production 2 U+FFFE in a value", "<iq id='\uFFFE'/>", notWellFormed},
	{"RFC 6120 11.6 no UTF-8 in a value", "<iq id='a\xC3'/>", unsupportedEncoding},

	// Names.
	{"XML 1.0 production 4 ASCII", `<message><_a.B-9/></message>`, `<message><_a.B-9/></message>`},
	{"XML 1.0 production 4 non-ASCII", `<message><имя 属性='1'/></message>`, `<message><имя 属性='1'/></message>`},
	{"XML 1.0 production 4 astral", "<message><\U00010000\U000EFFFF/></message>", "<message><\U00010000\U000EFFFF/></message>"},
	{"XML 1.0 production 4a inside a name only", "<message><a\u00B7\u0300\u203F/></message>", "<message><a\u00B7\u0300\u203F/></message>"},
	{"XML 1.0 production 4a not at the start", "<message><\u0300a/></message>", notWellFormed},
	{"XML 1.0 production 4 multiplication sign", "<message><a\u00D7/></message>", notWellFormed},
	{"XML 1.0 production 4 not in a name", "<message><a\u2028/></message>", notWellFormed},
	{"XML 1.0 production 4 above the planes of names", "<message><a\U000F0000/></message>", notWellFormed},
	{"XML 1.0 production 4 other ASCII", `<message><a+b/></message>`, notWellFormed},
	{"RFC 6120 11.6 no UTF-8 in a name", "<message><a\xE9/></message>", unsupportedEncoding},
	{"RFC 6120 11.6 overlong in a name", "<message><\xC0\xAFa/></message>", unsupportedEncoding},
	{"XML 1.0 production 2 control character in a name", "<mess\x01age/>", notWellFormed},

	// Namespaces.
	{"XML Names 3 prefix declared on the element", `<message><x:a xmlns:x='u'/></message>`, `<message><x:a xmlns:x='u'/></message>`},
	{"XML Names 3 prefix declared further out", `<message><x:a xmlns:x='u'><b xmlns='v'><x:c/></b></x:a></message>`, `<message><x:a xmlns:x='u'><b xmlns='v'><x:c/></b></x:a></message>`},
	{"XML Names 5 prefix without declaration", `<message><foo:body>What is this foo?</foo:body></message>`, notWellFormed},
	{"XML Names 5 attribute prefix without declaration", `<message><a x:b='c'/></message>`, notWellFormed},
	{"XML Names 6.1 scope ends with the element", `<message><x:a xmlns:x='u'/><x:a/></message>`, notWellFormed},
	{"XML Names 6.1 scope ends with the stanza", `<message xmlns:x='u'/><x:a/>`, notWellFormed},
	{"XML Names 6.3 same expanded name", `<message><a xmlns:x='u' xmlns:y='u' x:b='1' y:b='2'/></message>`, notWellFormed},
	{"XML Names 6.3 same namespace, written in two ways", `<message><a xmlns:x='u' xmlns:y='&#x75;' x:b='1' y:b='2'/></message>`, notWellFormed},
	{"XML Names 6.3 same prefix and name", `<message><a xmlns:x='u' x:b='1' x:b='2'/></message>`, notWellFormed},
	{"XML Names 6.3 same local name, other namespace", `<message><a xmlns:x='u' xmlns:y='v' x:b='1' y:b='2' b='3'/></message>`, `<message><a xmlns:x='u' xmlns:y='v' x:b='1' y:b='2' b='3'/></message>`},
	{"XML Names 6.3 the stream's prefix and one's own", `<message><a xmlns:y='http://etherx.jabber.org/streams' stream:b='1' y:b='2'/></message>`, notWellFormed},
	{"XML Names 2.2 prefix without a name", `<message><x: xmlns:x='u'/></message>`, notWellFormed},
	{"XML Names 2.2 name without a prefix", `<message><:x/></message>`, notWellFormed},
	{"XML Names 2.2 two colons", `<message><x:y:z xmlns:x='u'/></message>`, notWellFormed},
	{"XML Names 2.2 digit after the colon", `<message><x:1 xmlns:x='u'/></message>`, notWellFormed},
	{"XML Names 2.2 colon ends an attribute", `<message a:='b'/>`, notWellFormed},
	{"XML Names 2.2 declaration without a prefix", `<message xmlns:='b'/>`, notWellFormed},
	{"XML Names 2.2 declared with two colons", `<message xmlns:a:b='b'/>`, notWellFormed},
	{"XML Names 2.2 a prefix for no namespace", `<message><x:a xmlns:x=''/></message>`, notWellFormed},
	{"XML Names 2.2 the same prefix twice", `<message><a xmlns:x='u' xmlns:x='v'/></message>`, notWellFormed},
	{"XML Names 2.2 the default namespace twice", `<message><a xmlns='u' xmlns='v'/></message>`, notWellFormed},
	{"XML Names 3 prefix xml, as it is", `<message><a xmlns:xml='http://www.w3.org/XML/1998/namespace' xml:lang='de'/></message>`, `<message><a xmlns:xml='http://www.w3.org/XML/1998/namespace' xml:lang='de'/></message>`},
	{"XML Names 3 prefix xml for another", `<message xmlns:xml='u'/>`, notWellFormed},
	{"XML Names 3 another prefix for xml", `<message xmlns:x='http://www.w3.org/XML/1998/namespace'/>`, notWellFormed},
	{"XML Names 3 xml as the default", `<message><a xmlns='http://www.w3.org/XML/1998/namespace'/></message>`, notWellFormed},
	{"XML Names 3 prefix xmlns", `<message xmlns:xmlns='http://www.w3.org/2000/xmlns/'/>`, notWellFormed},
	{"XML Names 3 prefix for xmlns", `<message xmlns:x='http://www.w3.org/2000/xmlns/'/>`, notWellFormed},
	{"XML Names 3 xmlns as the default", `<message><a xmlns='http://www.w3.org/2000/xmlns/'/></message>`, notWellFormed},
	{"XML Names 3 an element with the prefix xmlns", `<message><xmlns:a/></message>`, notWellFormed},
	{"XML Names 3 the prefix xml needs no declaration", `<message xml:base='u'><a xml:space='preserve'/></message>`, `<message xml:base='u'><a xml:space='preserve'/></message>`},
	{"RFC 6120 4.9.3.2 an element with the prefix xml", `<message><xml:a/></message>`, "error bad-namespace-prefix"},
	{"XML Names 3 xmlsomething is an ordinary prefix", `<message><xmlx:a xmlns:xmlx='u'/></message>`, `<message><xmlx:a xmlns:xmlx='u'/></message>`},

	// Text.
	{"XML 1.0 production 14 ']]>' in text", `<message><body>a]]>b</body></message>`, notWellFormed},
	{"XML 1.0 production 14 ']]]>' in text", `<message>]]]></message>`, notWellFormed},
	{"XML 1.0 production 14 ']>' and ']]' in text", `<message><body>]> ]] &gt;]]&gt;></body></message>`, `<message><body>]> ]] &gt;]]&gt;></body></message>`},
	{"XML 1.0 production 14 '>' in text", `<message>></message>`, `<message>></message>`},
	{"XML 1.0 production 2 tab, line feed, carriage return", "<message>\t\n\r</message>", "<message>\t\n\r</message>"},
	{"XML 1.0 production 2 NUL", "<message>\x00</message>", notWellFormed},
	{"XML 1.0 production 2 U+001F", "<message>abcdefghij\x1F</message>", notWellFormed},
	{"XML 1.0 production 2 DEL and C1 are allowed", "<message>\x7F\u0080\u009F</message>", "<message>\x7F\u0080\u009F</message>"},
	{"XML 1.0 production 2 U+FFFD is allowed", "<message>\uFFFD</message>", "<message>\uFFFD</message>"},
	{"XML 1.0 production 2 U+FFFE", "<message>\uFFFE</message>", notWellFormed},
	{"XML 1.0 production 2 U+FFFF", "<message>abc\uFFFF</message>", notWellFormed},
	{"XML 1.0 production 2 U+10FFFF is allowed", "<message>\U0010FFFF\U0001FFFE</message>", "<message>\U0010FFFF\U0001FFFE</message>"},
	{"RFC 6120 11.6 U+FEFF in text", "<message>\uFEFF</message>", "<message>\uFEFF</message>"},
	{"RFC 3629 3 surrogate", "<message>\xED\xA0\x80</message>", unsupportedEncoding},
	{"RFC 3629 3 last before the surrogates", "<message>\xED\x9F\xBF\xEE\x80\x80</message>", "<message>\uD7FF\uE000</message>"},
	{"RFC 3629 3 overlong, 2 bytes", "<message>\xC0\xAF</message>", unsupportedEncoding},
	{"RFC 3629 3 overlong, C1", "<message>\xC1\xBF</message>", unsupportedEncoding},
	{"RFC 3629 3 overlong, 3 bytes", "<message>\xE0\x9F\xBF</message>", unsupportedEncoding},
	{"RFC 3629 3 overlong, 4 bytes", "<message>\xF0\x8F\xBF\xBF</message>", unsupportedEncoding},
	{"RFC 3629 3 above U+10FFFF", "<message>\xF4\x90\x80\x80</message>", unsupportedEncoding},
	{"RFC 3629 3 five bytes", "<message>\xF8\x88\x80\x80\x80</message>", unsupportedEncoding},
	{"RFC 3629 3 a continuation byte alone", "<message>\x80</message>", unsupportedEncoding},
	{"RFC 3629 3 cut by markup", "<message>\xE2\x82</message>", unsupportedEncoding},
	{"RFC 3629 3 of all lengths", "<message>aé€\U0001F600z</message>", "<message>aé€\U0001F600z</message>"},

	// References.
	{"XML 1.0 4.1 character references", `<message>&#65;&#x42;&#x1F600;&#xa;</message>`, `<message>&#65;&#x42;&#x1F600;&#xa;</message>`},
	{"XML 1.0 4.1 in an attribute", `<iq id='&#65;&#x42;&lt;&apos;'/>`, `<iq id='AB&lt;&apos;'/>`},
	{"XML 1.0 4.1 some leading zeros", `<iq id='&#00000065;'/>`, `<iq id='A'/>`},
	{"XML 1.0 4.1 NUL", `<message>&#0;</message>`, notWellFormed},
	{"XML 1.0 4.1 control character", `<message>&#x1;</message>`, notWellFormed},
	{"XML 1.0 4.1 surrogate", `<message>&#xD800;</message>`, notWellFormed},
	{"XML 1.0 4.1 U+FFFF", `<message>&#xFFFF;</message>`, notWellFormed},
	{"XML 1.0 4.1 above U+10FFFF", `<message>&#x110000;</message>`, notWellFormed},
	{"XML 1.0 4.1 far above", `<message>&#99999999999999;</message>`, notWellFormed},
	{"XML 1.0 4.1 X is not x", `<message>&#X41;</message>`, notWellFormed},
	{"XML 1.0 4.1 no digits", `<message>&#;</message>`, notWellFormed},
	{"XML 1.0 4.1 no hex digits", `<message>&#x;</message>`, notWellFormed},
	{"XML 1.0 4.1 wrong digits", `<message>&#1a;</message>`, notWellFormed},
	{"XML 1.0 4.1 no semicolon", `<message>&amp </message>`, notWellFormed},
	{"XML 1.0 4.1 no semicolon before a tag", `<message>&amp</message>`, notWellFormed},
	{"XML 1.0 4.1 nothing", `<message>&;</message>`, notWellFormed},
	{"XML 1.0 4.1 ampersand alone", `<message>a & b</message>`, notWellFormed},
	{"XML 1.0 4.1 a name can't start so", `<message>&1;</message>`, notWellFormed},
	{"XML 1.0 4.1 ampersand alone in an attribute", `<iq id='a&b'/>`, notWellFormed},
	{"RFC 6120 11.6 no UTF-8 in a reference", "<message>&a\xFF;</message>", unsupportedEncoding},
	{"RFC 6120 4.9.3.14 thousands of zeros", `<message>&#` + strings.Repeat("0", 100) + `65;</message>`, policyViolation},

	// CDATA sections.
	{"XML 1.0 2.7 CDATA", `<message><body><![CDATA[<a>&b;]]</b>]]></body></message>`, `<message><body><![CDATA[<a>&b;]]</b>]]></body></message>`},
	{"XML 1.0 2.7 empty CDATA", `<message><![CDATA[]]></message>`, `<message><![CDATA[]]></message>`},
	{"XML 1.0 2.7 brackets at the end", `<message><![CDATA[]]]]]></message>`, `<message><![CDATA[]]]]]></message>`},
	{"XML 1.0 2.7 brackets before", `<message>]]<![CDATA[>]]>></message>`, `<message>]]<![CDATA[>]]>></message>`},
	{"XML 1.0 2.7 CDATA does not end at ']>'", `<message><![CDATA[]>]]></message>`, `<message><![CDATA[]>]]></message>`},
	{"XML 1.0 2.7 no nesting", `<message><![CDATA[<![CDATA[a]]>]]></message>`, notWellFormed},
	{"XML 1.0 2.7 control character in CDATA", "<message><![CDATA[\x02]]></message>", notWellFormed},
	{"RFC 6120 11.6 no UTF-8 in CDATA", "<message><![CDATA[\xE9]]></message>", unsupportedEncoding},
	{"XML 1.0 2.7 CDATA is cut", "<message><![CDATA[<]]", ""},

	// What becomes of an element.
	{"RFC 6120 4.1 three stanzas", `<message/><presence/><iq/>`, "<iq/>"},
	{"RFC 6120 4.1 other elements in the content namespace", `<foo a='1'><bar/></foo>`, "{content}<foo a='1'><bar/></foo>"},
	{"RFC 6120 4.8.3 the other content namespace", `<message xmlns='jabber:server'/>`, "{jabber:server}<message/>"},
	{"RFC 6120 4.8.4 a stanza's name in another namespace", `<message xmlns='http://example.org/ns2'/>`, "{http://example.org/ns2}<message xmlns='http://example.org/ns2'/>"},
	{"RFC 6120 4.8.4 other namespaces", `<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGEAYg==</auth>`, "{urn:ietf:params:xml:ns:xmpp-sasl}<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGEAYg==</auth>"},
	{"RFC 6120 4.9.2 stream error by the stream's prefix", `<stream:error><host-gone xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>`, "{http://etherx.jabber.org/streams}<error xmlns='http://etherx.jabber.org/streams'><host-gone xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></error>"},
	{"RFC 6120 8.1.1 to", `<message to='Romeo@Montague.EXAMPLE/Orchard'/>`, `<message to='romeo@montague.example/Orchard'/>`},
	{"RFC 6120 8.1.1 to is no JID", `<message to='@example.org' from='a@b'/>`, `<message from='a@b'/> malformed to`},
	{"RFC 6120 8.1.1 to is empty", `<message to=''/>`, `<message/> malformed to`},
	{"RFC 6120 8.1.2 from is no JID", `<message to='a@b' from='@'/>`, `<message to='a@b'/> malformed from`},
	{"RFC 6120 8.1.1 to by references", `<message to='a@b/&lt;c&gt;'/>`, `<message to='a@b/&lt;c&gt;'/>`},
	{"RFC 6120 8.1.4 type as sent", `<iq type='subscribe'/>`, `<iq type='subscribe'/>`},
	{"RFC 6120 8.1.5 xml:lang", `<message xml:lang='cs'/>`, `<message xml:lang='cs'/>`},
	{"RFC 6120 8.4 extension attributes", `<message a='1' x:b='&lt;' xmlns:x='u"&apos;'/>`, `<message xmlns:x='u&quot;&apos;' a='1' x:b='&lt;'/>`},

	// Limits (RFC 6120 13.12).
	{"RFC 6120 4.9.3.14 as many attributes as allowed", `<a ` + attributes(32) + `/>`, "{content}<a " + attributes(32) + "/>"},
	{"RFC 6120 4.9.3.14 one attribute too many", `<a ` + attributes(33), policyViolation},
	{"RFC 6120 4.9.3.14 declarations are attributes", `<a xmlns='u' ` + attributes(32), policyViolation},
	{"RFC 6120 4.9.3.14 as deep as allowed", strings.Repeat("<a>", 64) + strings.Repeat("</a>", 64), "{content}" + strings.Repeat("<a>", 63) + "<a/>" + strings.Repeat("</a>", 63)},
	{"RFC 6120 4.9.3.14 too deep", strings.Repeat("<a>", 65), policyViolation},
	{"RFC 6120 4.9.3.14 a namespace with a name of 1024 bytes", `<message><a xmlns='` + strings.Repeat("u", 1024) + `'/></message>`, `<message><a xmlns='` + strings.Repeat("u", 1024) + `'/></message>`},
	{"RFC 6120 4.9.3.14 a namespace with a longer name", `<message><a xmlns='` + strings.Repeat("u", 1025) + `'/></message>`, policyViolation},
	{"RFC 6120 4.9.3.14 the same for a prefix", `<message><a xmlns:p='` + strings.Repeat("u", 1020) + `&amp;'/></message>`, policyViolation},
	{"RFC 6120 4.9.3.14 too many declarations in force", strings.Repeat(`<a xmlns:a='1' xmlns:b='2' xmlns:c='3'>`, 43), policyViolation},
}

func attributes(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(" a" + string(rune('a'+i/26)) + string(rune('a'+i%26)) + "='" + string(rune('0'+i%10)) + "'")
	}
	return b.String()[1:]
}

func TestHeaderRules(t *testing.T) {
	for _, c := range headerRules {
		t.Run(c.name, func(t *testing.T) {
			var want []string
			switch c.want {
			case "":
			case "close":
				want = []string{justOpened, "close"}
			default:
				want = []string{c.want}
			}
			checkSplits(t, c.in, Limits{}, want)
		})
	}
}

func TestStreamRules(t *testing.T) {
	for _, c := range streamRules {
		t.Run(c.name, func(t *testing.T) {
			in := plainHeader + c.in
			got := read(t, NewReader(Limits{}), in)
			last := ""
			if len(got) > 1 {
				last = got[len(got)-1]
			}
			if last != c.want {
				t.Fatalf("read %q\n got %q\nwant %q", c.in, last, c.want)
			}
			checkSplits(t, in, Limits{}, got)
		})
	}
}
