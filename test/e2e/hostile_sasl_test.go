package e2e

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

func auth(mechanism, content string) string {
	return "<auth xmlns='" + xmppc.NSSASL + "' mechanism='" + mechanism + "'>" + content + "</auth>"
}

func response(content string) string {
	return "<response xmlns='" + xmppc.NSSASL + "'>" + content + "</response>"
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// badSASL is what a client may do wrong on its way to a login.
var badSASL = join(
	rows(openedInTLS, failure("invalid-mechanism"),
		"RFC 6120 6.5.7 an unknown mechanism", auth("CRAM-MD5", ""),
		"RFC 6120 6.5.7 no mechanism", "<auth xmlns='"+xmppc.NSSASL+"'/>",
		"RFC 6120 6.5.7 a mechanism in small letters", auth("plain", b64("\x00romeo\x00"+secret)),
		"RFC 6120 6.5.7 EXTERNAL without a certificate", auth("EXTERNAL", "="),
		"RFC 6120 6.5.7 ANONYMOUS where it isn't offered", auth("ANONYMOUS", ""),
	),
	rows(openedInTLS, failure("incorrect-encoding"),
		"RFC 6120 6.5.5 no base64", auth("PLAIN", "!!!not base64!!!"),
		"RFC 6120 6.5.5 base64 cut short", auth("PLAIN", "AHJvbWV"),
		"RFC 6120 6.5.5 '=' in the middle", auth("PLAIN", "AHJv=bWVv"),
		"RFC 6120 6.5.5 more than '='", auth("PLAIN", "===="),
	),
	rows(openedInTLS, failure("aborted"),
		"RFC 6120 6.5.1 abort before any auth", "<abort xmlns='"+xmppc.NSSASL+"'/>",
	),
	rows(openedInTLS, failure("malformed-request", "not-authorized"),
		"RFC 4616 2 an empty message", auth("PLAIN", "="),
		"RFC 4616 2 no NUL", auth("PLAIN", b64("romeo")),
		"RFC 4616 2 one NUL", auth("PLAIN", b64("romeo\x00"+secret)),
		"RFC 4616 2 three NULs", auth("PLAIN", b64("\x00romeo\x00"+secret+"\x00")),
		"RFC 4616 2 no user", auth("PLAIN", b64("\x00\x00"+secret)),
		"RFC 4616 2 no password", auth("PLAIN", b64("\x00romeo\x00")),
		"RFC 4616 2 no UTF-8", auth("PLAIN", b64("\x00romeo\xff\x00"+secret)),
		"RFC 4616 2 a user that is no localpart", auth("PLAIN", b64("\x00romeo@"+domain+"/x\x00"+secret)),
		"RFC 5802 7 an empty client-first", auth("SCRAM-SHA-256", "="),
		"RFC 5802 7 no gs2 header", auth("SCRAM-SHA-256", b64("n=romeo,r=abcdefgh")),
		"RFC 5802 7 an unknown gs2 flag", auth("SCRAM-SHA-256", b64("z,,n=romeo,r=abcdefgh")),
		"RFC 5802 7 no nonce", auth("SCRAM-SHA-256", b64("n,,n=romeo")),
		"RFC 5802 7 an empty nonce", auth("SCRAM-SHA-256", b64("n,,n=romeo,r=")),
		"RFC 5802 7 fields in another order", auth("SCRAM-SHA-256", b64("n,,r=abcdefgh,n=romeo")),
		"RFC 5802 5.1 a bad '=' escape", auth("SCRAM-SHA-256", b64("n,,n=rom=eo,r=abcdefgh")),
		"RFC 5802 5.1 no UTF-8", auth("SCRAM-SHA-256", b64("n,,n=\xff\xfe,r=abcdefgh")),
		"RFC 5802 6 a binding without -PLUS", auth("SCRAM-SHA-256", b64("p=tls-exporter,,n=romeo,r=abcdefgh")),
		"RFC 5802 6 -PLUS without a binding", auth("SCRAM-SHA-256-PLUS", b64("n,,n=romeo,r=abcdefgh")),
		"RFC 5802 6 an unknown binding", auth("SCRAM-SHA-256-PLUS", b64("p=tls-telepathy,,n=romeo,r=abcdefgh")),
	),
	rows(openedInTLS, failure("malformed-request", "not-authorized", "other-error", "invalid-mechanism"),
		"RFC 5802 5.1 a mandatory extension that nobody knows", auth("SCRAM-SHA-256", b64("n,,m=x,n=romeo,r=abcdefgh")),
	),
	rows(openedInTLS, failure("invalid-authzid", "not-authorized"),
		"RFC 6120 6.5.6 PLAIN as somebody else", auth("PLAIN", b64("juliet@"+domain+"\x00romeo\x00"+secret)),
		"RFC 6120 6.5.6 PLAIN as the same name of another domain", auth("PLAIN", b64("romeo@elsewhere.test\x00romeo\x00"+secret)),
		"RFC 6120 6.5.6 PLAIN as no JID", auth("PLAIN", b64("@@\x00romeo\x00"+secret)),
	),
	rows(openedInTLS, failureOrError("malformed-request", "not-authorized", "unsupported-stanza-type", "policy-violation", "bad-format"),
		"RFC 6120 6.4.3 a response without auth", response(b64("x")),
		"RFC 6120 6.4 an unknown element of SASL", "<attack xmlns='"+xmppc.NSSASL+"'/>",
		"RFC 6120 6.4 a client that says success", "<success xmlns='"+xmppc.NSSASL+"'/>",
	),
	rows(openedInTLS, failureOrError("malformed-request", "not-authorized", "incorrect-encoding", "policy-violation"),
		"RFC 6120 6.4.2 a huge initial response", auth("PLAIN", b64(strings.Repeat("x", 24<<10))),
		"RFC 5802 5.1 a huge nonce", auth("SCRAM-SHA-256", b64("n,,n=romeo,r="+strings.Repeat("x", 24<<10))),
	),
	scramLies,
)

// scramLies begin well.
var scramLies = []badInput{
	{"RFC 6120 6.4.4 abort in the middle", midScram, []string{"<abort xmlns='" + xmppc.NSSASL + "'/>"}, failure("aborted")},
	{"RFC 6120 6.5.5 a response that is no base64", midScram, []string{response("%%%")}, failure("incorrect-encoding")},
	{"RFC 5802 7 an empty client-final", midScram, []string{response("")}, failure("malformed-request", "not-authorized")},
	{"RFC 5802 7 a client-final of another exchange", midScram,
		[]string{response(b64("c=biws,r=abcdefgh,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="))}, failure("malformed-request", "not-authorized")},
	{"RFC 5802 3 a bad proof", openedInTLS, nil, lie(func(final string) string {
		at := strings.LastIndex(final, ",p=") + 3
		return final[:at] + b64(strings.Repeat("\x00", 32))
	})},
	{"RFC 5802 7 a proof of another length", openedInTLS, nil, lie(func(final string) string {
		return final[:strings.LastIndex(final, ",p=")+3] + b64("short")
	})},
	{"RFC 5802 7 no proof", openedInTLS, nil, lie(func(final string) string {
		return final[:strings.LastIndex(final, ",p=")]
	})},
	{"RFC 5802 5.1 another nonce", openedInTLS, nil, lie(func(final string) string {
		return strings.Replace(final, ",r=", ",r=x", 1)
	})},
	{"RFC 5802 5.1 only the client's part of the nonce", openedInTLS, nil, lie(func(final string) string {
		at := strings.Index(final, ",r=") + 3
		return final[:at+26] + final[strings.LastIndex(final, ",p="):] // rand.Text is 26 letters long
	})},
	{"RFC 5802 6 another gs2 header in c=", openedInTLS, nil, lie(func(final string) string {
		return strings.Replace(final, "c=biws", "c=eSws", 1) // y,,
	})},
	{"RFC 5802 6 binding data that wasn't announced", openedInTLS, nil, lie(func(final string) string {
		return strings.Replace(final, "c=biws", "c="+b64("n,,data"), 1)
	})},
}

// midScram has a challenge to answer.
func midScram(t *testing.T, h *hostile) *xmppc.Conn {
	c := openedInTLS(t, h)
	c.Auth("SCRAM-SHA-256", "n,,n="+h.user+",r=abcdefghijkl")
	c.Expect(xmppc.NSSASL, "challenge")
	return c
}

// lie answers the challenge with a changed client-final-message, and wants no success.
func lie(alter func(string) string) answer {
	return func(t *testing.T, c *xmppc.Conn) {
		t.Helper()
		e := c.TryScram(&xmppc.Scram{Mechanism: "SCRAM-SHA-256", User: "romeo", Password: secret, AlterFinal: alter})
		if cond := e.Condition(); cond != "not-authorized" && cond != "malformed-request" {
			t.Errorf("answer %s", e.Raw)
		}
		c.LoginPlain("romeo", secret) // the stream goes on
	}
}

// guessing tries passwords until the server has enough: after 3 to 6 tries by
// RFC 6120 6.4.5, that is 2 to 5 retries.
func guessing(t *testing.T, h *hostile) {
	try := map[string]func(c *xmppc.Conn) *xmppc.Element{
		"PLAIN": func(c *xmppc.Conn) *xmppc.Element { return c.TryPlain("", h.user, "wrong") },
		"PLAIN for an account that isn't there": func(c *xmppc.Conn) *xmppc.Element {
			return c.TryPlain("", "nobody", "wrong")
		},
		"SCRAM": func(c *xmppc.Conn) *xmppc.Element {
			return c.TryScram(&xmppc.Scram{Mechanism: "SCRAM-SHA-256", User: h.user, Password: "wrong"})
		},
		"SCRAM for an account that isn't there": func(c *xmppc.Conn) *xmppc.Element {
			return c.TryScram(&xmppc.Scram{Mechanism: "SCRAM-SHA-256", User: "nobody", Password: "wrong"})
		},
		"unknown mechanisms": func(c *xmppc.Conn) *xmppc.Element {
			c.Auth("CRAM-MD5", "")
			return c.Next()
		},
	}
	for name, attempt := range try {
		t.Run("RFC 6120 6.4.5 "+name, func(t *testing.T) {
			c := openedInTLS(t, h)
			for tries := 1; ; tries++ {
				e := attempt(c)
				if e.Is(xmppc.NSStream, "error") {
					if cond := e.Condition(); cond != "policy-violation" && cond != "not-authorized" {
						t.Errorf("the stream ends with %s", e.Raw)
					}
					c.ExpectEnd()
					if tries < 3 {
						t.Errorf("the stream ended at try %d", tries)
					}
					return
				}
				if !e.Is(xmppc.NSSASL, "failure") {
					t.Fatalf("try %d: %s", tries, e.Raw)
				}
				// What no password was looked at for is no guess, and may have a bound
				// of its own: clients go down their list of mechanisms.
				if most := map[bool]int{true: 20, false: 6}[name == "unknown mechanisms"]; tries > most {
					t.Fatalf("the server lets one try more than %d times", most)
				}
			}
		})
	}
}
