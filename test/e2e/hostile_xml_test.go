package e2e

import (
	"fmt"
	"strings"

	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

// rows makes one badInput of each pair of a rule and an input.
func rows(from stage, want answer, pairs ...string) (table []badInput) {
	for i := 0; i < len(pairs); i += 2 {
		table = append(table, badInput{pairs[i], from, []string{pairs[i+1]}, want})
	}
	return table
}

func join(tables ...[]badInput) (all []badInput) {
	for _, t := range tables {
		all = append(all, t...)
	}
	return all
}

const goodHeader = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='" + domain + "' version='1.0'>"

const billionLaughs = `<?xml version='1.0'?>
<!DOCTYPE lolz [
 <!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">
 <!ENTITY d "&c;&c;&c;&c;&c;&c;&c;&c;&c;&c;"><!ENTITY e "&d;&d;&d;&d;&d;&d;&d;&d;&d;&d;"><!ENTITY f "&e;&e;&e;&e;&e;&e;&e;&e;&e;&e;">
]>`

// badXML breaks the rules of XML and of RFC 6120 section 11.
var badXML = join(
	rows(bound, streamError("restricted-xml"),
		"RFC 6120 11.1 a comment in a stanza", "<message><!-- hist --><body>x</body></message>",
		"RFC 6120 11.1 a comment between stanzas", "<!-- hist -->",
		"RFC 6120 11.1 a processing instruction in a stanza", "<message><?php echo 1 ?></message>",
		"RFC 6120 11.1 a processing instruction between stanzas", "<?target data?>",
		"RFC 6120 11.1 an XML declaration in mid-stream", "<?xml version='1.0'?><message/>",
		"RFC 6120 11.1 a DOCTYPE in mid-stream", "<!DOCTYPE message [<!ENTITY x 'y'>]>",
		"RFC 6120 11.1 an entity that nobody defined, in text", "<message><body>&nbsp;</body></message>",
		"RFC 6120 11.1 an entity that nobody defined, in an attribute", "<message id='&lol;'/>",
	),
	rows(inClear, headerThenError("restricted-xml"),
		"RFC 6120 11.1 a DTD before the header", "<?xml version='1.0'?><!DOCTYPE stream SYSTEM 'x.dtd'>"+goodHeader,
		"RFC 6120 11.1 billion laughs", billionLaughs+goodHeader+"<auth>&f;</auth>",
		"RFC 6120 11.1 an external entity", "<!DOCTYPE s [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>"+goodHeader,
		"RFC 6120 11.1 a comment before the header", "<!-- x -->"+goodHeader,
	),
	rows(bound, streamError("not-well-formed"),
		"RFC 6120 11.3 an end tag that doesn't match", "<message><body>x</boby></message>",
		"RFC 6120 11.3 overlapping elements", "<message><b><i></b></i></message>",
		"RFC 6120 11.3 an end tag that nobody opened", "</message>",
		"RFC 6120 11.3 an attribute given twice", "<message id='1' id='2'/>",
		"XML Names 6.3 an attribute given twice by two prefixes", "<message xmlns:a='urn:x' xmlns:b='urn:x' a:i='1' b:i='2'/>",
		"RFC 6120 4.9.3.13 an undeclared prefix on an element", "<message><foo:body>x</foo:body></message>",
		"RFC 6120 4.9.3.13 an undeclared prefix on an attribute", "<message foo:id='1'/>",
		"RFC 6120 11.3 a prefix out of scope", "<message><a xmlns:p='urn:p'/><p:b/></message>",
		"RFC 6120 11.3 quotes that close too late", "<message id='1 to=\"x\"><body>it's</body></message>",
		"RFC 6120 11.3 a value without quotes", "<message id=1/>",
		"RFC 6120 11.3 an attribute without a value", "<message id/>",
		"RFC 6120 11.3 no space between attributes", "<message id='1'to='x'/>",
		"RFC 6120 11.3 '<' in an attribute", "<message id='<'/>",
		"RFC 6120 11.3 a bare '&'", "<message><body>a & b</body></message>",
		"RFC 6120 11.3 ']]>' in text", "<message><body>]]></body></message>",
		"RFC 6120 11.3 a name that starts with a digit", "<message><1a/></message>",
		"RFC 6120 11.3 a space before a name", "< message/>",
		"RFC 6120 11.3 '/' in the middle of a tag", "<message / id='1'>",
		"XML Names 3 a prefix bound to nothing", "<message xmlns:p=''/>",
		"XML Names 3 the prefix xmlns declared", "<message xmlns:xmlns='urn:x'/>",
		"XML Names 3 the prefix xml bound elsewhere", "<message xmlns:xml='urn:x'/>",
		"XML Names 4 two colons in a name", "<a:b:c xmlns:a='urn:a'/>",
		"XML 4.1 a reference to NUL", "<message><body>&#0;</body></message>",
		"XML 4.1 a reference to a control character", "<message><body>&#x1;</body></message>",
		"XML 4.1 a reference to U+FFFE", "<message><body>&#xFFFE;</body></message>",
		"XML 4.1 a reference to a surrogate", "<message><body>&#xD800;</body></message>",
		"XML 4.1 a reference beyond Unicode", "<message><body>&#x110000;</body></message>",
		"XML 4.1 a reference without digits", "<message><body>&#x;</body></message>",
		"XML 2.7 an unknown marked section", "<message><![INCLUDE[x]]></message>",
	),
	rows(bound, streamError("bad-format", "not-well-formed"),
		"RFC 6120 4.9.3.1 text between stanzas", "wherefore art thou",
		"RFC 6120 4.9.3.1 CDATA between stanzas", "<![CDATA[x]]>",
		"RFC 6120 4.9.3.1 a reference between stanzas", "&#65;",
	),
)

// badBytes is what isn't UTF-8, or not XML's characters.
var badBytes = join(
	rows(bound, streamError("unsupported-encoding"),
		"RFC 6120 11.6 a byte that UTF-8 never has", "<message><body>\xff</body></message>",
		"RFC 6120 11.6 an overlong slash", "<message><body>\xc0\xaf</body></message>",
		"RFC 6120 11.6 an overlong NUL", "<message><body>\xc0\x80</body></message>",
		"RFC 6120 11.6 a surrogate in UTF-8", "<message><body>\xed\xa0\x80</body></message>",
		"RFC 6120 11.6 beyond U+10FFFF", "<message><body>\xf4\x90\x80\x80</body></message>",
		"RFC 6120 11.6 a stray continuation byte", "<message><body>\x80</body></message>",
		"RFC 6120 11.6 bad UTF-8 in an attribute", "<message id='\xe2\x28\xa1'/>",
		"RFC 6120 11.6 a sequence cut short by markup", "<message><body>\xe2\x82</body></message>",
	),
	rows(bound, streamError("not-well-formed"),
		"XML 2.2 NUL", "<message><body>a\x00b</body></message>",
		"XML 2.2 a control character", "<message><body>\x07</body></message>",
		"XML 2.2 U+FFFF", "<message><body>\uffff</body></message>",
		"XML 2.2 NUL between stanzas", "\x00",
	),
	rows(inClear, headerThenError("unsupported-encoding"),
		"RFC 6120 4.9.3.22 a declaration of UTF-16", "<?xml version='1.0' encoding='UTF-16'?>"+goodHeader,
		"RFC 6120 4.9.3.22 a declaration of ISO-8859-1", "<?xml version='1.0' encoding='ISO-8859-1'?>"+goodHeader,
		"RFC 6120 11.6 UTF-16 with a byte order mark", "\xff\xfe"+wide(goodHeader),
		"RFC 6120 11.6 UTF-16 without one", wide(goodHeader),
	),
	[]badInput{
		{"RFC 6120 11.6 bad UTF-8 cut across reads", bound,
			[]string{"<message><body>\xf0", "\x9f", "\x8c", "\x28</body></message>"}, streamError("unsupported-encoding")},
		{"RFC 6120 11.6 an overlong sequence cut across reads", bound,
			[]string{"<message><body>\xe0", "\x80\x80</body></message>"}, streamError("unsupported-encoding")},
		{"RFC 6120 11.3 a reference cut across reads", bound,
			[]string{"<message><body>&#", "x", "FF", "FE", ";</body></message>"}, streamError("not-well-formed")},
		{"RFC 6120 11.1 a comment cut across reads", bound,
			[]string{"<", "!", "-", "- x --", ">"}, streamError("restricted-xml")},
	},
)

// badSizes exceed a limit (RFC 6120 13.12).
var badSizes = join(
	rows(bound, streamError("policy-violation"),
		"RFC 6120 13.12 a stanza over the limit", "<message><body>"+strings.Repeat("x", stanzaLimit)+"</body></message>",
		"RFC 6120 13.12 a stanza that never ends", "<message><body>"+strings.Repeat("x", 32*stanzaLimit),
		"RFC 6120 13.12 an attribute over the limit", "<message id='"+strings.Repeat("x", 2*stanzaLimit),
		"RFC 6120 13.12 a name over the limit", "<"+strings.Repeat("x", 2*stanzaLimit),
		"RFC 6120 13.12 a namespace over the limit", "<message xmlns:a='"+strings.Repeat("x", 2*stanzaLimit),
		"RFC 6120 13.12 elements nested too deep", "<message>"+strings.Repeat("<a>", 5000),
		"RFC 6120 13.12 a tag with too many attributes", "<message "+numbered("a%d='1' ", 4000)+"/>",
		"RFC 6120 13.12 too many namespaces in force", "<message>"+numbered("<a xmlns:n%d='urn:n'>", 2000),
		"RFC 6120 13.12 a stanza of empty elements over the limit", "<message>"+strings.Repeat("<a/>", stanzaLimit/2),
		"RFC 6120 13.12 a stanza that references make long", "<message><body>"+strings.Repeat("&#x1F339;", stanzaLimit/4),
		"RFC 6120 13.12 CDATA that never ends", "<message><body><![CDATA["+strings.Repeat("x", 8*stanzaLimit),
		"RFC 6120 13.12 white space in a tag that never ends", "<message "+strings.Repeat(" ", 8*stanzaLimit),
	),
	rows(inClear, headerThenError("policy-violation"),
		"RFC 6120 13.12 a header over the limit", "<stream:stream xmlns='jabber:client' to='"+strings.Repeat("x", 1<<20),
		"RFC 6120 13.12 a header with too many attributes", "<stream:stream "+numbered("a%d='1' ", 4000),
	),
	rows(openedInClear, streamError("policy-violation"),
		"RFC 6120 13.12 too many bytes before TLS", "<starttls xmlns='"+xmppc.NSTLS+"'>"+strings.Repeat("<a/>", 1<<20),
	),
	rows(openedInTLS, streamError("policy-violation"),
		"RFC 6120 13.12 too many bytes before login", "<auth xmlns='"+xmppc.NSSASL+"' mechanism='PLAIN'>"+strings.Repeat("A", 1<<20),
	),
)

// wide is text in UTF-16, little end first; ASCII only.
func wide(s string) string {
	var b strings.Builder
	for i := range len(s) {
		b.WriteByte(s[i])
		b.WriteByte(0)
	}
	return b.String()
}

func numbered(format string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}
