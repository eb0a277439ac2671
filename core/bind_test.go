package core_test

import (
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/core"
)

const nsBind = "xmlns='urn:ietf:params:xml:ns:xmpp-bind'"

func bind(resource string) string {
	return "<iq type='set' id='b'><bind " + nsBind + "><resource>" + resource + "</resource></bind></iq>"
}

// refusal is a stanza error as the answer to an iq with the id b.
func refusal(typ, condition, text string) string {
	if text != "" {
		text = "<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='en'>" + text + "</text>"
	}
	return "<iq id='b' type='error'><error type='" + typ + "'><" + condition + " xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>" + text + "</error></iq>"
}

// Each row is sent behind the features that follow SASL.
func TestBind(t *testing.T) {
	first := []step{{toUs, hello("") + loginOffer}, {plain("romeo", "pw"), success}, {toUs, hello("") + bindOffer}}
	bound := func(escaped string) string { return strings.Replace(boundX, "/x<", "/"+escaped+"<", 1) }
	noBind := faultText("not-authorized", "bind a resource first")
	bad := refusal("modify", "bad-request", "not a resource")
	for _, row := range []struct {
		rule  string
		steps []step
		ends  bool
	}{
		{"RFC 6120 7.7.1 the resource that was asked for", []step{{bindX, boundX}}, false},
		{"RFC 6120 7.7.1 to the server", []step{{strings.Replace(bindX, " id=", " to='example.test' id=", 1), strings.Replace(boundX, "<iq ", "<iq from='example.test' ", 1)}}, false},
		{"RFC 7622 3.4 it is prepared, and escaped", []step{{bind("a&lt;b'&#xC5;"), bound("a&lt;b'\u00c5")}}, false},
		{"RFC 6120 7.7.2.1 a resource that is none", []step{{bind("a\u0009b"), bad}, {bind(strings.Repeat("x", 1024)), bad}, {bindX, boundX}}, false},
		{"RFC 6120 7.7.2.1 not of type set", []step{{strings.Replace(bindX, "set", "get", 1), refusal("modify", "bad-request", "a resource is bound by an iq of type set")}}, false},
		{"RFC 6120 8.2.3 of no type", []step{{strings.Replace(bindX, "set", "x", 1), refusal("modify", "bad-request", "an iq is of type get, set, result or error")}}, false},
		{"RFC 6120 8.2.3 two payloads", []step{{strings.Replace(bindX, "</iq>", "<bind "+nsBind+"/></iq>", 1), refusal("modify", "bad-request", "an iq of type get or set has exactly one child")}}, false},
		{"RFC 6120 8.2.3 a result is not answered", []step{{strings.Replace(bindX, "set", "result", 1), ""}, {strings.Replace(bindX, "set", "error", 1), ""}, {bindX, boundX}}, false},
		{"RFC 6120 7.7.3 ten refusals", concat(times(9, step{bind("\u0009"), bad}), []step{{bind("\u0009"), bad + faultText("policy-violation", "too many refused resources")}}), true},
		{"RFC 6120 7.7.3 nine refusals", concat(times(9, step{bind("\u0009"), bad}), []step{{bindX, boundX}}), false},
		{"RFC 6120 7.1 a message first", []step{{chatBadly, noBind}}, true},
		{"RFC 6120 7.1 presence first", []step{{"<presence/>", noBind}}, true},
		{"RFC 6120 7.1 another iq first", []step{{"<iq type='get' id='1'><query xmlns='jabber:iq:roster'/></iq>", noBind}}, true},
		{"RFC 3921 3 a session before bind", []step{{"<iq type='set' id='1'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>", noBind}}, true},
		{"RFC 6120 7.1 a message with the payload", []step{{"<message><bind " + nsBind + "/></message>", noBind}}, true},
		{"RFC 6120 7.1 a second bind", []step{{bindX, boundX}, {bind("y"),
			strings.Replace(refusal("cancel", "not-allowed", "a resource is bound already"), "<iq ", "<iq to='romeo@example.test/x' ", 1)}}, false},
		{"RFC 3921 3 a session is a no-op", []step{{bindX, boundX}, {"<iq type='set' id='s'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>",
			"<iq to='romeo@example.test/x' id='s' type='result'/>"}}, false},
		{"RFC 3921 3 a session of the server", []step{{bindX, boundX}, {"<iq type='set' id='s' to='example.test'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>",
			"<iq from='example.test' to='romeo@example.test/x' id='s' type='result'/>"}}, false},
	} {
		(&dialogue{rule: row.rule, peer: overTLS, steps: concat(first, row.steps), ends: row.ends}).run(t)
	}
}

// RFC 6120 7.6, 13.9: what the server makes can't be guessed.
func TestGeneratedResource(t *testing.T) {
	w := newWorld(t, nil)
	got := regexp.MustCompile("<jid>romeo@example.test/([A-Za-z0-9_-]{24})</jid>")
	seen := map[string]bool{}
	for _, request := range []string{"<bind " + nsBind + "/>", "<bind " + nsBind + "><resource/></bind>", "<bind " + nsBind + "><resource></resource></bind>",
		"<bind " + nsBind + "/>", "<bind " + nsBind + "><tag xmlns='urn:x'>t</tag></bind>"} {
		c := w.reach(state{peer: overTLS, sent: []string{toUs, plain("romeo", "pw"), toUs}})
		c.send("<iq type='set' id='b'>" + request + "</iq>")
		out := c.take()
		m := got.FindStringSubmatch(out)
		if m == nil || seen[m[1]] {
			t.Fatalf("%s: %s", request, out)
		}
		seen[m[1]] = true
	}
}

// RFC 6120 7.7.2.2: the new session takes the resource.
func TestBindConflict(t *testing.T) {
	w := newWorld(t, func(o *core.Options, _ *core.Ports) { o.Limits.SessionsPerAccount = 2 })
	old := w.login("romeo@example.test/x", "<presence/>")
	c := w.login("romeo@example.test/x", "")
	old.want(faultText("conflict", "replaced by a new session"))
	old.reap()
	c.send("<iq type='get' id='1' to='romeo@example.test/x'><q xmlns='urn:x'/></iq>").wantPart("<q xmlns='urn:x'/>")

	w.login("romeo@example.test/y", "") // 7.6.2.1: a bound on sessions
	third := w.reach(state{peer: overTLS, sent: []string{toUs, plain("romeo", "pw"), toUs}})
	third.send(bind("z")).want(refusal("wait", "resource-constraint", "too many sessions of this account"))
	third.send(bind("y")).wantPart("<jid>romeo@example.test/y</jid>") // a replacement is no further one
	w.login("juliet@example.test/z", "")
	third.drop()
	fourth := w.reach(state{peer: overTLS, sent: []string{toUs, plain("romeo", "pw"), toUs}})
	fourth.send(bind("z")).wantPart("<jid>romeo@example.test/z</jid>")
}

// A client that asks and does not read ends its own session, and is not left
// without an answer silently.
func TestAnswersAreBounded(t *testing.T) {
	w := newWorld(t, func(o *core.Options, _ *core.Ports) { o.Limits.OutboxBytes = 20_000 })
	c := w.login("romeo@example.test/x", "")
	c.stuck = true
	sent := 0
	for ; !c.closing && sent < 1000; sent++ {
		c.send("<iq type='set' id='" + strconv.Itoa(sent) + "'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>")
	}
	if sent == 1000 {
		t.Fatal("no bound")
	}
	w.empty()
}
