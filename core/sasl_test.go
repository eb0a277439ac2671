package core_test

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"hash"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/ports/auth"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/observe"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

var b64 = base64.StdEncoding.EncodeToString

func authBy(mechanism, data string) string {
	return "<auth " + nsSASL + " mechanism='" + mechanism + "'>" + data + "</auth>"
}

func response(data string) string { return "<response " + nsSASL + ">" + data + "</response>" }

const emptyChallenge = "<challenge " + nsSASL + "></challenge>"

// source is a source of accounts: romeo's password is "pw".
type source struct {
	open
	fail error
	at   func() // each look-up calls it
}

func (s *source) VerifyPassword(ctx context.Context, user jid.JID, password string) error {
	if s.at != nil {
		s.at()
	}
	if s.fail != nil {
		return s.fail
	}
	return s.open.VerifyPassword(ctx, user, password)
}

func (s *source) SCRAM(_ context.Context, user jid.JID, h auth.Hash) (auth.Keys, error) {
	if s.at != nil {
		s.at()
	}
	if s.fail != nil {
		return auth.Keys{}, s.fail
	}
	password := "pw"
	if user != jid.MustParse("romeo@example.test") {
		password = "decoy"
	}
	n := scramHashes["SCRAM-"+string(h)]
	salted, err := pbkdf2.Key(n, password, []byte("a salt"), 4096, n().Size())
	if err != nil {
		return auth.Keys{}, err
	}
	d := n()
	d.Write(mac(n, salted, "Client Key"))
	return auth.Keys{Salt: []byte("a salt"), Iterations: 4096, StoredKey: d.Sum(nil), ServerKey: mac(n, salted, "Server Key")}, nil
}

var scramHashes = map[string]func() hash.Hash{"SCRAM-SHA-1": sha1.New, "SCRAM-SHA-256": sha256.New, "SCRAM-SHA-512": sha512.New}

func mac(h func() hash.Hash, key []byte, text string) []byte {
	m := hmac.New(h, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

func accounts(s *source) func(*core.Options, *core.Ports) {
	return func(_ *core.Options, p *core.Ports) { p.Credentials, p.Verifier = s, s }
}

// Each row is sent behind the features of an encrypted stream.
func TestSASL(t *testing.T) {
	denied := failure("not-authorized")
	login := func(s string) string { return authBy("PLAIN", b64([]byte(s))) }
	opened := step{toUs, hello("") + loginOffer}
	for _, row := range []struct {
		rule  string
		steps []step
	}{
		{"RFC 6120 6.4.6 success", []step{{plain("romeo", "pw"), success}}},
		{"RFC 6120 6.5.10 wrong password", []step{{plain("romeo", "no"), denied}, {plain("romeo", "pw"), success}}},
		{"RFC 6120 6.5.10 not a localpart", []step{{plain("a@b", "pw"), denied}, {plain("romeo\u0001", "pw"), denied}, {plain("romeo@example.test", "pw"), denied}}},
		{"RFC 6120 6.3.7 the name is prepared", []step{{plain("RoMeO", "pw"), success}, {toUs, hello("") + bindOffer}, {bindX, boundX}}},
		{"RFC 6120 6.5.1 aborted", []step{{authBy("PLAIN", ""), emptyChallenge}, {"<abort " + nsSASL + "/>", failure("aborted")}, {response(b64([]byte("\x00romeo\x00pw"))),
			strings.Replace(failure("malformed-request"), "</failure>", "<text xml:lang='en'>no exchange is under way</text></failure>", 1)}}},
		{"RFC 6120 6.5.1 aborted, though nothing was begun", []step{{"<abort " + nsSASL + "/>", failure("aborted")}}},
		{"RFC 6120 6.5.5 incorrect encoding", []step{{authBy("PLAIN", "AHJvbWVvAHB3="), failure("incorrect-encoding")}, {authBy("PLAIN", " AHJvbWVvAHB3"), failure("incorrect-encoding")},
			{authBy("PLAIN", "A=B="), failure("incorrect-encoding")}, {authBy("PLAIN", "AHJvbWVvAHB3\n"), failure("incorrect-encoding")}}},
		{"RFC 6120 6.5.5 incorrect encoding of a response", []step{{authBy("PLAIN", ""), emptyChallenge}, {response("%"), failure("incorrect-encoding")}, {plain("romeo", "pw"), success}}},
		{"RFC 6120 6.5.6 a foreign authzid", []step{{login("juliet@example.test\x00romeo\x00pw"), failure("invalid-authzid")}}},
		{"RFC 6120 6.5.6 an authzid that is no bare JID", []step{{login("romeo@example.test/x\x00romeo\x00pw"), failure("invalid-authzid")}, {login("a@@b\x00romeo\x00pw"), failure("invalid-authzid")}}},
		{"RFC 6120 6.5.6 an authzid of another domain", []step{{login("romeo@example.net\x00romeo\x00pw"), failure("invalid-authzid")}}},
		{"RFC 6120 6.5.6 authzid and wrong password", []step{{login("juliet@example.test\x00romeo\x00no"), denied}}},
		{"RFC 6120 6.3.8 the own authzid", []step{{login("romeo@example.test\x00romeo\x00pw"), success}}},
		{"RFC 6120 6.3.8 the own authzid, to be prepared", []step{{login("Romeo@EXAMPLE.test\x00romeo\x00pw"), success}}},
		{"RFC 6120 6.5.7 invalid mechanism", []step{{authBy("EXTERNAL", "="), failure("invalid-mechanism")}, {authBy("plain", ""), failure("invalid-mechanism")},
			{authBy("", ""), failure("invalid-mechanism")}, {"<auth " + nsSASL + "/>", failure("invalid-mechanism")}, {authBy("SCRAM-SHA-1-PLUS", ""), failure("invalid-mechanism")}}},
		{"RFC 6120 6.5.8 a response without an exchange", []step{{response(""),
			strings.Replace(failure("malformed-request"), "</failure>", "<text xml:lang='en'>no exchange is under way</text></failure>", 1)}}},
		{"RFC 6120 6.4.2 an empty initial response", []step{{authBy("PLAIN", "="),
			strings.Replace(failure("malformed-request"), "</failure>", "<text xml:lang='en'>PLAIN: separator is missing</text></failure>", 1)}}},
		{"RFC 6120 6.4.2 no initial response", []step{{authBy("PLAIN", ""), emptyChallenge}, {response(b64([]byte("\x00romeo\x00pw"))), success}}},
		{"RFC 6120 6.4.2 a new auth replaces the exchange", []step{{authBy("SCRAM-SHA-1", ""), emptyChallenge}, {authBy("PLAIN", ""), emptyChallenge}, {response(b64([]byte("\x00romeo\x00pw"))), success}}},
		{"RFC 6120 6.5.10 a failure ends the exchange", []step{{authBy("PLAIN", ""), emptyChallenge}, {response(b64([]byte("\x00romeo\x00no"))), denied}, {response(b64([]byte("\x00romeo\x00pw"))),
			strings.Replace(failure("malformed-request"), "</failure>", "<text xml:lang='en'>no exchange is under way</text></failure>", 1)}}},
		{"RFC 6120 6.4.6 input behind success belongs to the new stream", []step{{plain("romeo", "pw") + " " + toUs + bindX, success + hello("") + bindOffer + boundX}}},
	} {
		(&dialogue{rule: row.rule, peer: overTLS, steps: append([]step{opened}, row.steps...)}).run(t)
	}
	tooMany := faultText("policy-violation", "too many failed logins")
	two := func(o *core.Options, _ *core.Ports) { o.Limits.SASLAttempts = 2; o.Throttle.Disabled = true }
	noThrottle := func(o *core.Options, _ *core.Ports) { o.Throttle.Disabled = true }
	away := &source{fail: errors.New("database is gone")}
	optional := features("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>" + mechanisms(scramOffer))
	runAll(t, []dialogue{
		{rule: "RFC 6120 6.4.5 five retries", peer: overTLS, change: noThrottle, ends: true, steps: concat([]step{opened},
			times(5, step{plain("romeo", "no"), denied}), []step{{plain("romeo", "no"), denied + tooMany}})},
		{rule: "RFC 6120 6.4.5 the last retry may succeed", peer: overTLS, change: noThrottle, steps: concat([]step{opened},
			times(5, step{plain("romeo", "no"), denied}), []step{{plain("romeo", "pw"), success}})},
		{rule: "RFC 6120 6.4.5 as many as the options say", peer: overTLS, change: two, ends: true, steps: concat([]step{opened},
			times(2, step{plain("romeo", "no"), denied}), []step{{plain("romeo", "no") + plain("romeo", "pw"), denied + tooMany}})},
		{rule: "RFC 6120 6.4.5 aborts count", peer: overTLS, change: two, ends: true, steps: concat([]step{opened},
			times(2, step{"<abort " + nsSASL + "/>", failure("aborted")}), []step{{"<abort " + nsSASL + "/>", failure("aborted") + tooMany}})},
		{rule: "RFC 6120 6.5.4 TLS is required", peer: inClear, steps: []step{{toUs, hello("") + mustTLS}, {plain("romeo", "pw"), failure("encryption-required")}, {authBy("SCRAM-SHA-1", ""), failure("encryption-required")}}},
		{rule: "RFC 6120 6.5.4 PLAIN needs TLS, where it is not required", peer: inClear, change: clearAllowed, steps: []step{
			{toUs, hello("") + optional}, {plain("romeo", "pw"), failure("encryption-required")}, {authBy("SCRAM-SHA-1", ""), emptyChallenge}}},
		{rule: "PLAIN on loopback where logins without TLS are allowed", peer: loopback, change: clearAllowed, steps: []step{opened, {plain("romeo", "pw"), success}}},
		{rule: "PLAIN on loopback where TLS is required", peer: loopback, steps: []step{{toUs, hello("") + features("")}, {plain("romeo", "pw"), failure("encryption-required")}}},
		{rule: "RFC 6120 6.5.12 the source of accounts is away", peer: overTLS, change: accounts(away), steps: []step{
			opened, {plain("romeo", "pw"), failure("temporary-auth-failure")}, {authBy("SCRAM-SHA-1", b64([]byte("n,,n=romeo,r=abc"))), failure("temporary-auth-failure")}}},
		{rule: "RFC 6120 6.4.6 from is somebody else's", peer: overTLS, ends: true, steps: []step{
			{header("to='example.test' from='juliet@example.test' version='1.0'"), hello(" to='juliet@example.test'") + loginOffer},
			{plain("romeo", "pw"), strings.Replace(denied, "</failure>", "<text xml:lang='en'>the stream was opened in another name</text></failure>", 1) +
				"<stream:error><not-authorized xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>"}}},
		{rule: "RFC 6120 6.4.6 from is the own", peer: overTLS, steps: []step{
			{header("to='example.test' from='Romeo@example.test/x' version='1.0'"), hello(" to='romeo@example.test'") + loginOffer}, {plain("romeo", "pw"), success}}},
		{rule: "RFC 6120 6.4.6 from in clear does not count", peer: loopback, change: clearAllowed, steps: []step{
			{header("to='example.test' from='juliet@example.test' version='1.0'"), hello(" to='juliet@example.test'") + loginOffer}, {plain("romeo", "pw"), success}}},
		{rule: "RFC 6120 6.3.7 the account is of the stream's domain", peer: overTLS, steps: []step{
			{header("to='example.net' version='1.0'"), strings.Replace(hello(""), "example.test", "example.net", 1) + loginOffer}, {plain("romeo", "pw"), success},
			{header("to='example.net' version='1.0'"), strings.Replace(hello(""), "example.test", "example.net", 1) + bindOffer},
			{bindX, strings.Replace(boundX, "example.test", "example.net", 1)}}},
	})
}

// scram is the client's side, from RFC 5802 3 alone.
type scram struct {
	mechanism, flag, authzid, user, password, binding string
}

// shown matches what XEP-0474 6.1 hashes, in the features as they were sent.
var shown = regexp.MustCompile(`<mechanism>([^<]*)</mechanism>|<channel-binding type='([^']*)'/>`)

// shownHash is the hash that a client computes from the features (XEP-0474 6.2).
func shownHash(h func() hash.Hash, features string) string {
	var mechanisms, bindings []string
	for _, m := range shown.FindAllStringSubmatch(features, -1) {
		if m[1] != "" {
			mechanisms = append(mechanisms, m[1])
		} else {
			bindings = append(bindings, m[2])
		}
	}
	slices.Sort(mechanisms)
	slices.Sort(bindings)
	text := strings.Join(mechanisms, "\x1e")
	if strings.Contains(features, "<sasl-channel-binding ") {
		text += "\x1f" + strings.Join(bindings, "\x1e")
	}
	d := h()
	d.Write([]byte(text))
	return b64(d.Sum(nil))
}

// run logs in and returns the answer to the proof, and whether the server
// proved itself. features are what the stream was shown.
func (x scram) run(t *testing.T, c *wire, features string) (answer string, proved bool) {
	t.Helper()
	const nonce = "fyko+d2lbbFgONRv9qkxdawL"
	head := x.flag + "," + x.authzid + ","
	bare := "n=" + x.user + ",r=" + nonce
	c.send(authBy(x.mechanism, b64([]byte(head+bare))))
	out := c.take()
	text, ok := strings.CutPrefix(out, "<challenge "+nsSASL+">")
	if !ok {
		return out, false
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(text, "</challenge>"))
	if err != nil {
		t.Fatal(err)
	}
	first := string(raw)
	parts := strings.Split(first, ",")
	if len(parts) < 3 {
		t.Fatal(first)
	}
	salt, err1 := base64.StdEncoding.DecodeString(parts[1][2:])
	rounds, err2 := strconv.Atoi(parts[2][2:])
	if err1 != nil || err2 != nil || !strings.HasPrefix(parts[0], "r="+nonce) {
		t.Fatal(first)
	}
	h := scramHashes[strings.TrimSuffix(x.mechanism, "-PLUS")]
	if want := "h=" + shownHash(h, features); len(parts) != 4 || parts[3] != want {
		t.Fatalf("XEP-0474 6.2: %q, want %q at its end, for %s", first, want, features)
	}
	salted, err := pbkdf2.Key(h, x.password, salt, rounds, h().Size())
	if err != nil {
		t.Fatal(err)
	}
	final := "c=" + b64([]byte(head+x.binding)) + "," + parts[0]
	message := bare + "," + first + "," + final
	key := mac(h, salted, "Client Key")
	d := h()
	d.Write(key)
	proof := mac(h, d.Sum(nil), message)
	for i := range proof {
		proof[i] ^= key[i]
	}
	c.send(response(b64([]byte(final + ",p=" + b64(proof)))))
	signature := "v=" + b64(mac(h, mac(h, salted, "Server Key"), message))
	answer = c.take()
	return answer, answer == "<success "+nsSASL+">"+b64([]byte(signature))+"</success>"
}

func TestSCRAM(t *testing.T) {
	const exported, endPoint = "octets of this connection", "hash of the certificate"
	denied := failure("not-authorized")
	why := func(condition, text string) string {
		return strings.Replace(failure(condition), "</failure>", "<text xml:lang='en'>SCRAM: "+text+"</text></failure>", 1)
	}
	rows := []struct {
		rule string
		peer transport.Peer
		x    scram
		want string // "" for success
	}{
		{"RFC 5802 3 success, without TLS", inClear, scram{"SCRAM-SHA-1", "n", "", "romeo", "pw", ""}, ""},
		{"RFC 7677 3 success", overTLS, scram{"SCRAM-SHA-256", "n", "", "romeo", "pw", ""}, ""},
		{"SHA-512 success", overTLS, scram{"SCRAM-SHA-512", "n", "", "romeo", "pw", ""}, ""},
		{"RFC 5802 6 a client that could bind, a server that can't", overTLS, scram{"SCRAM-SHA-256", "y", "", "romeo", "pw", ""}, ""},
		{"RFC 6120 6.3.7 the name is prepared", overTLS, scram{"SCRAM-SHA-256", "n", "", "ROMEO", "pw", ""}, ""},
		{"RFC 5802 5.1 wrong password", overTLS, scram{"SCRAM-SHA-256", "n", "", "romeo", "no", ""}, denied},
		{"RFC 6120 6.5.10 no such account, the same", overTLS, scram{"SCRAM-SHA-256", "n", "", "nobody", "pw", ""}, denied},
		{"RFC 5802 5.1 the own authzid", overTLS, scram{"SCRAM-SHA-256", "n", "a=romeo@example.test", "romeo", "pw", ""}, ""},
		{"RFC 6120 6.5.6 a foreign authzid", overTLS, scram{"SCRAM-SHA-256", "n", "a=juliet@example.test", "romeo", "pw", ""}, failure("invalid-authzid")},
		{"RFC 9266 2 tls-exporter", bindable, scram{"SCRAM-SHA-256-PLUS", "p=tls-exporter", "", "romeo", "pw", exported}, ""},
		{"RFC 5929 4 tls-server-end-point", bindable, scram{"SCRAM-SHA-512-PLUS", "p=tls-server-end-point", "", "romeo", "pw", endPoint}, ""},
		{"RFC 5802 5.1 binding and authzid", bindable, scram{"SCRAM-SHA-1-PLUS", "p=tls-exporter", "a=romeo@example.test", "romeo", "pw", exported}, ""},
		{"RFC 5802 6 another connection's binding", bindable, scram{"SCRAM-SHA-256-PLUS", "p=tls-exporter", "", "romeo", "pw", "octets of the attacker's"}, why("not-authorized", "channel-bindings-dont-match")},
		{"RFC 5802 6 no binding's data", bindable, scram{"SCRAM-SHA-256-PLUS", "p=tls-exporter", "", "romeo", "pw", ""}, why("not-authorized", "channel-bindings-dont-match")},
		{"RFC 5802 6 a type that is not there", bindable, scram{"SCRAM-SHA-256-PLUS", "p=tls-unique", "", "romeo", "pw", exported}, why("not-authorized", "unsupported-channel-binding-type")},
		{"RFC 5802 6 downgrade: the client saw no -PLUS", bindable, scram{"SCRAM-SHA-256", "y", "", "romeo", "pw", ""}, why("not-authorized", "server-does-support-channel-binding")},
		{"RFC 5802 6 a client that can't bind", bindable, scram{"SCRAM-SHA-256", "n", "", "romeo", "pw", ""}, ""},
		{"RFC 5802 6 -PLUS where it is not offered", overTLS, scram{"SCRAM-SHA-256-PLUS", "p=tls-exporter", "", "romeo", "pw", exported}, failure("invalid-mechanism")},
		{"RFC 5802 6 -PLUS without binding", bindable, scram{"SCRAM-SHA-256-PLUS", "n", "", "romeo", "pw", ""}, why("malformed-request", "this mechanism needs a channel binding")},
	}
	for _, row := range rows {
		t.Run(row.rule, func(t *testing.T) {
			var failed []string
			w := newWorld(t, func(o *core.Options, p *core.Ports) {
				o.TLSRequired = false
				accounts(&source{})(o, p)
				p.Observe.LoginFailed = func(condition string) { failed = append(failed, condition) }
			})
			c := w.dial(row.peer)
			answer, proved := row.x.run(t, c, c.send(toUs).take())
			var counted []string
			switch {
			case row.want == "":
			case strings.Contains(row.want, "channel-bindings-dont-match"), strings.Contains(row.want, "unsupported-channel-binding-type"),
				strings.Contains(row.want, "server-does-support-channel-binding"): // no password was guessed
				counted = []string{observe.ChannelBinding}
			default:
				counted = regexp.MustCompile("<([a-z-]+)/>").FindStringSubmatch(row.want)[1:]
			}
			if !slices.Equal(failed, counted) {
				t.Errorf("counted as %q, want %q", failed, counted)
			}
			if row.want != "" && answer != row.want || (row.want == "") != proved {
				t.Fatalf("got %s, proved %v, want %q", answer, proved, row.want)
			}
			if proved {
				c.send(toUs).want(hello("") + bindOffer)
				c.send(bindX).want(boundX)
			}
		})
	}
	t.Run("a failed proof ends the exchange, another may follow", func(t *testing.T) {
		c := newWorld(t, accounts(&source{})).dial(overTLS)
		features := c.send(toUs).take()
		if answer, _ := (scram{"SCRAM-SHA-256", "n", "", "romeo", "no", ""}).run(t, c, features); answer != denied {
			t.Fatal(answer)
		}
		if answer, ok := (scram{"SCRAM-SHA-512", "n", "", "romeo", "pw", ""}).run(t, c, features); !ok {
			t.Fatal(answer)
		}
	})
	t.Run("XEP-0474 6.1 what was offered last counts, not what was offered in clear", func(t *testing.T) {
		c := newWorld(t, func(o *core.Options, p *core.Ports) { clearAllowed(o, p); accounts(&source{})(o, p) }).dial(inClear)
		before := c.send(toUs).take()
		c.send(starttls).want(proceed)
		c.secured(bindable.TLS)
		after := c.send(toUs).take()
		if shownHash(sha256.New, before) == shownHash(sha256.New, after) {
			t.Fatalf("the features are the same: %s", after)
		}
		if answer, ok := (scram{"SCRAM-SHA-256", "n", "", "romeo", "pw", ""}).run(t, c, after); !ok {
			t.Fatal(answer)
		}
	})
	t.Run("the exporter fails", func(t *testing.T) {
		p := bindable
		p.TLS = &transport.TLS{Exporter: func() ([]byte, error) { return nil, errors.New("no") }}
		c := newWorld(t, accounts(&source{})).dial(p)
		features := c.send(toUs).take()
		if answer, _ := (scram{"SCRAM-SHA-256-PLUS", "p=tls-exporter", "", "romeo", "pw", exported}).run(t, c, features); answer != failure("temporary-auth-failure") {
			t.Error(answer)
		}
	})
}

// RFC 6120 13.9.4: the throttle holds answers back, of success and failure
// alike; Tick sends them.
func TestThrottleHoldsTheAnswer(t *testing.T) {
	now := time.Now()
	slow := func(o *core.Options, p *core.Ports) {
		o.Throttle.Free, o.Throttle.First = 1, 4*time.Second
		o.Limits.UnauthenticatedTime = 30 * time.Second
		p.Now = func() time.Time { return now }
	}
	wait := func(w *world) *wire { // the next login of its address is held back
		c := w.dial(overTLS)
		c.send(toUs).take()
		c.send(plain("romeo", "no")).want(failure("not-authorized"))
		c.send(plain("romeo", "no")).want(failure("not-authorized"))
		return c
	}
	for password, want := range map[string]string{"no": failure("not-authorized"), "pw": success} {
		w := newWorld(t, slow)
		c := wait(w)
		c.send(plain("romeo", password)).want("")
		c.tick(now.Add(4*time.Second - 1))
		c.want("")
		next := c.tick(now.Add(time.Second))
		if next.IsZero() || next.After(now.Add(4*time.Second)) {
			t.Errorf("the next tick is wanted %v", next.Sub(now))
		}
		c.tick(now.Add(4 * time.Second))
		c.want(want)
		c.tick(now.Add(5 * time.Second))
		c.want("")
	}
	for rule, row := range map[string]struct{ send, want string }{
		"RFC 6120 6.4.2 input while the answer is held": {plain("romeo", "pw"), faultText("policy-violation", "the answer to the last login is not sent yet")},
		"RFC 6120 4.4 the end while the answer is held": {end, end},
		"RFC 6120 4.9 nonsense meanwhile":               {"\x00", faultText("not-well-formed", "control character")},
		"white space is no input":                       {" ", ""},
	} {
		t.Run(rule, func(t *testing.T) {
			w := newWorld(t, slow)
			c := wait(w)
			c.send(plain("romeo", "pw")).want("")
			c.send(row.send).want(row.want)
			if row.want != "" {
				c.tick(now.Add(time.Minute))
				c.want("") // the held answer is never sent
				w.empty()
			}
		})
	}
	t.Run("SCRAM is held back as well", func(t *testing.T) {
		w := newWorld(t, func(o *core.Options, p *core.Ports) { slow(o, p); accounts(&source{})(o, p) })
		c := wait(w)
		if answer, _ := (scram{"SCRAM-SHA-256", "n", "", "romeo", "pw", ""}).run(t, c, loginOffer); answer != "" {
			t.Error(answer)
		}
		c.tick(now.Add(4 * time.Second))
		c.wantPart("<success ")
		c.send(toUs).want(hello("") + bindOffer)
	})
	t.Run("the time limit holds while an answer is held", func(t *testing.T) {
		w := newWorld(t, func(o *core.Options, p *core.Ports) { slow(o, p); o.Limits.UnauthenticatedTime = 3 * time.Second })
		c := wait(w)
		c.send(plain("romeo", "pw")).want("")
		c.tick(now.Add(3 * time.Second))
		c.want(faultText("connection-timeout", "the login took too long"))
		w.empty()
	})
	t.Run("RFC 6120 6.5.12 too many", func(t *testing.T) {
		tried := 0
		w := newWorld(t, func(o *core.Options, p *core.Ports) {
			slow(o, p)
			o.Throttle.First = 11 * time.Second
			accounts(&source{at: func() { tried++ }})(o, p)
		})
		c := wait(w)
		tried = 0
		c.send(plain("romeo", "pw")).want(strings.Replace(failure("temporary-auth-failure"), "</failure>", "<text xml:lang='en'>too many failed logins, try again later</text></failure>", 1))
		if tried != 0 {
			t.Error("the password was checked all the same")
		}
	})
}

// The end of a connection while its Wait runs on another goroutine.
func TestClosedDuringWait(t *testing.T) {
	for name, in := range map[string]string{
		"PLAIN": plain("romeo", "pw"),
		"SCRAM": authBy("SCRAM-SHA-256", b64([]byte("n,,n=romeo,r=abc"))),
	} {
		for _, end := range []string{"closed", "tick", "shutdown"} {
			t.Run(name+"/"+end, func(t *testing.T) {
				started, goOn := make(chan struct{}), make(chan struct{})
				logins := 0
				w := newWorld(t, func(o *core.Options, p *core.Ports) {
					accounts(&source{at: func() { close(started); <-goOn }})(o, p)
					p.LoggedIn = func(jid.JID, time.Time) { logins++ }
				})
				c := w.dial(overTLS)
				c.send(toUs).take()
				var b transport.Batch
				wait := c.s.Feed(&b, []byte(in))
				if wait == nil {
					t.Fatal("nothing to wait for")
				}
				var done sync.WaitGroup
				done.Go(func() { wait(t.Context()) })
				<-started
				switch end {
				case "closed":
					c.drop()
				case "tick":
					c.tick(time.Now().Add(time.Hour))
					c.want(faultText("connection-timeout", "the login took too long"))
				case "shutdown":
					c.other = &other{make(chan struct{}), make(chan struct{})}
					done.Go(func() {
						if err := w.k.Shutdown(context.Background()); err != nil {
							t.Error(err)
						}
					})
					<-c.other.flushed
				}
				close(goOn)
				if end == "shutdown" {
					c.client.Flush()
					c.drop()
				}
				done.Wait()
				if end != "shutdown" {
					if wait := c.s.Feed(&b, nil); wait != nil { // an adapter that was late
						t.Error("another Wait")
					}
					b.Flush()
				}
				if logins != 0 {
					t.Error("somebody logged in on a stream that is gone")
				}
				w.empty()
			})
		}
	}
}

// An extension answers before login (XEP-0077).
func TestBeforeLogin(t *testing.T) {
	asked := 0
	for _, inline := range []bool{true, false} {
		reg := extension.Registration{
			Name: "register",
			StreamFeatures: []extension.StreamFeature{
				{Before: true, Element: func(string) *stanza.Element { return stanza.El("http://jabber.org/features/iq-register", "register") }},
				{Before: false, Element: func(domain string) *stanza.Element {
					if domain != "example.net" {
						return nil
					}
					return stanza.El("urn:after", "after")
				}},
			},
			IQ: []extension.IQHandler{{Space: "jabber:iq:register", Local: "query", To: extension.ToStream, Inline: inline,
				Handle: func(_ context.Context, _ *extension.Host, q extension.IQ) (*stanza.Element, error) {
					asked++
					if o := q.Origin; o.Domain != "example.test" || o.Addr != overTLS.Addr.Addr() || !o.Secure || !o.Session.IsZero() {
						t.Errorf("origin %+v", o)
					}
					if q.Type == stanza.Set {
						return nil, stanza.Err(stanza.Conflict, "")
					}
					return stanza.El("jabber:iq:register", "query"), nil
				}}},
		}
		offer := strings.Replace(loginOffer, "</stream:features>", "<register xmlns='http://jabber.org/features/iq-register'/></stream:features>", 1)
		opened := step{toUs, hello("") + offer}
		const get = "<iq type='get' id='1'><query xmlns='jabber:iq:register'/></iq>"
		gone := faultText("not-authorized", "log in first")
		runAll(t, []dialogue{
			{rule: "XEP-0077 3.1 an answer", peer: overTLS, change: with(reg), steps: []step{opened, {get, "<iq id='1' type='result'><query xmlns='jabber:iq:register'/></iq>"},
				{strings.Replace(get, "id=", "to='example.test' id=", 1), "<iq from='example.test' id='1' type='result'><query xmlns='jabber:iq:register'/></iq>"}}},
			{rule: "XEP-0077 3.1 an error", peer: overTLS, change: with(reg), steps: []step{opened,
				{strings.Replace(get, "get", "set", 1), "<iq id='1' type='error'><error type='cancel'><conflict xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"}, {plain("romeo", "pw"), success}}},
			{rule: "RFC 6120 4.9.3.12 another payload", peer: overTLS, change: with(reg), ends: true, steps: []step{opened, {"<iq type='get' id='1'><query xmlns='jabber:iq:version'/></iq>", gone}}},
			{rule: "RFC 6120 4.9.3.12 to another domain", peer: overTLS, change: with(reg), ends: true, steps: []step{opened, {strings.Replace(get, "id=", "to='example.net' id=", 1), gone}}},
			{rule: "RFC 6120 8.2.3 no id", peer: overTLS, change: with(reg), ends: true, steps: []step{opened, {strings.Replace(get, " id='1'", "", 1), gone}}},
			{rule: "RFC 6120 8.2.3 a result", peer: overTLS, change: with(reg), ends: true, steps: []step{opened, {strings.Replace(get, "get", "result", 1), gone}}},
			{rule: "RFC 6120 4.9.3.12 in clear", peer: inClear, change: with(reg), ends: true, steps: []step{{toUs, hello("") + mustTLS}, {get, gone}}},
			{rule: "RFC 6120 7.1 once logged in it is no stream's matter", peer: overTLS, change: with(reg), ends: true, steps: []step{opened, {plain("romeo", "pw"), success}, {toUs, hello("") + bindOffer},
				{get, faultText("not-authorized", "bind a resource first")}}},
			{rule: "RFC 6120 4.3.2 features of one domain", peer: overTLS, change: with(reg), steps: []step{
				{header("to='example.net' version='1.0'"), strings.Replace(hello(""), "example.test", "example.net", 1) + offer}, {plain("romeo", "pw"), success},
				{header("to='example.net' version='1.0'"), strings.Replace(hello(""), "example.test", "example.net", 1) + strings.Replace(bindOffer, "</stream:features>", "<after xmlns='urn:after'/></stream:features>", 1)}}},
		})
	}
	if asked != 6 {
		t.Errorf("the extension was asked %d times", asked)
	}
}
