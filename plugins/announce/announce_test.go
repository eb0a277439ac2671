package announce_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/api/plugin/plugintest"
	"github.com/hexmpp/hexmpp/plugins/announce"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/extension/adhoc"
	"github.com/hexmpp/hexmpp/ports/extension/extensiontest"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

var (
	bard    = extensiontest.Client("bard@example.org/globe")
	romeo   = extensiontest.Client("romeo@example.org/orchard")
	service = jid.JID{} // owner of what the service itself stores
)

// all is an option of each kind.
const all = `{"admins": ["bard@example.org"], "max-bytes": 100, "max-announcements": 3, "message-of-the-day": true}`

func registration(t testing.TB, options string) extension.Registration {
	t.Helper()
	p := announce.New()
	if err := p.Configure([]byte(options)); err != nil {
		t.Fatal(err)
	}
	return p.Registration()
}

func harness(t testing.TB, options string) *extensiontest.Harness {
	h := extensiontest.New(t, registration(t, options), extensiontest.Options{})
	h.Accounts.Add("bard@example.org", "pw")
	h.AddSession(extension.Session{JID: bard.Session})
	return h
}

// user makes an account; with a resource, and a session of it that is available.
func user(h *extensiontest.Harness, address string) jid.JID {
	j := jid.MustParse(address)
	h.Accounts.Add(j.Bare().String(), "pw")
	if !j.IsBare() {
		h.AddSession(extension.Session{JID: j, Available: true})
	}
	return j
}

func TestSuite(t *testing.T) {
	for name, options := range map[string]string{"admins": `{"admins": ["romeo@example.org", "juliet@example.net"], "message-of-the-day": true}`, "nobody": `{}`} {
		t.Run(name, func(t *testing.T) {
			extensiontest.Run(t, func() extension.Registration { return registration(t, options) })
		})
		t.Run(name+", as a process", func(t *testing.T) {
			extensiontest.Run(t, func() extension.Registration { return plugintest.Through(registration(t, options)) })
		})
	}
}

// say sends a message to an address of the service and returns the error, if one comes
// back.
func say(t testing.TB, h *extensiontest.Harness, o extension.Origin, to, content string) *stanza.Stanza {
	t.Helper()
	return h.Component(extension.Envelope{Origin: o, Stanza: extensiontest.Parse(t, "<message to='"+to+"' type='chat' id='m' xml:lang='en'>"+content+"</message>")})
}

// heard lets the clock run until nothing is under way, and returns who was sent what: "to
// type body".
func heard(h *extensiontest.Harness) (list []string) {
	h.Advance(time.Hour)
	for _, e := range h.Effects() {
		if e.Kind == extensiontest.Sent {
			s := e.Stanza
			list = append(list, fmt.Sprintf("%v %s %s", s.To, s.Type, s.Find("", "body").Text()))
		}
	}
	slices.Sort(list)
	return list
}

func expect(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func TestOptions(t *testing.T) {
	for options, want := range map[string]string{
		`{}`:                                  "",
		all:                                   "",
		`{"admins": ["romeo@example.org/x"]}`: "no account",
		`{"admins": ["example.org"]}`:         "no account",
		`{"admins": ["@"]}`:                   "no account",
		`{"admin": []}`:                       "admin",
		`{"max-bytes": 65537}`:                "allowed are 1 to 65536",
		`{"max-bytes": -1}`:                   "allowed",
		`{"max-announcements": 101}`:          "allowed are 1 to 100",
		`{"max-announcements": -1}`:           "allowed",
		`{"message-of-the-day": "yes"}`:       "message-of-the-day",
		``:                                    "EOF",
		`[]`:                                  "array",
	} {
		err := announce.New().Configure([]byte(options))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", options, err)
		}
	}
}

// The schema has the options that there are, with the bounds that hold.
func TestSchema(t *testing.T) {
	var schema struct {
		Properties map[string]struct {
			Type             string
			Minimum, Maximum int
		}
	}
	if err := json.Unmarshal([]byte(announce.Schema), &schema); err != nil {
		t.Fatal(err)
	}
	o := reflect.TypeFor[announce.Options]()
	for i := range o.NumField() {
		if _, there := schema.Properties[o.Field(i).Tag.Get("json")]; !there {
			t.Errorf("%s is missing", o.Field(i).Name)
		}
	}
	if len(schema.Properties) != o.NumField() {
		t.Errorf("there are %d options, of %d", len(schema.Properties), o.NumField())
	}
	for name, p := range schema.Properties {
		if p.Type != "integer" {
			continue
		}
		for value, fits := range map[int]bool{p.Minimum: true, p.Maximum: true, p.Maximum + 1: false, -1: false} {
			if err := announce.New().Configure([]byte(fmt.Sprintf(`{%q: %d}`, name, value))); (err == nil) != fits {
				t.Errorf("%s: %d: %v", name, value, err)
			}
		}
	}
}

// What the service is does not depend on options, since a process is asked for it before it
// is given any; but it is not told of logins for nothing.
func TestRegistrationIsTheSame(t *testing.T) {
	a, b := announce.New().Registration(), registration(t, all)
	if len(a.Notices) != len(b.Notices) || len(a.Components) != len(b.Components) || len(a.Components[0].IQ) != len(b.Components[0].IQ) || !slices.Equal(a.Permissions, b.Permissions) {
		t.Errorf("%+v\n%+v", a, b)
	}
	if c := registration(t, `{}`); len(a.Notices) != 1 || len(c.Notices) != 0 || c.Notice != nil || !slices.Equal(a.Permissions, c.Permissions) {
		t.Errorf("%+v", c)
	}
}

func TestMessageToOnlineUsers(t *testing.T) {
	h := harness(t, all)
	user(h, "romeo@example.org/a")
	h.AddSession(extension.Session{JID: jid.MustParse("romeo@example.org/b"), Available: true})
	user(h, "juliet@example.org") // not online
	user(h, "tybalt@example.net/x")
	nurse := user(h, "nurse@example.org")
	h.AddSession(extension.Session{JID: jid.MustParse("nurse@example.org/n"), Available: true, Priority: -1})
	if got := say(t, h, bard, "announce.example.org/online", "<subject>Fire</subject><body>Leave the house</body><x xmlns='urn:x'/>"); got != nil {
		t.Fatal(got)
	}
	h.Advance(time.Hour)
	var sent []*stanza.Stanza
	for _, e := range h.Effects() {
		if e.Kind == extensiontest.Sent {
			sent = append(sent, e.Stanza)
		}
	}
	if len(sent) != 1 || sent[0].ID == "" {
		t.Fatalf("sent %v", sent)
	}
	extensiontest.Expect(t, sent[0], "<message from='announce.example.org' to='romeo@example.org' type='headline' id='"+sent[0].ID+"' xml:lang='en'><subject>Fire</subject><body>Leave the house</body></message>")
	_ = nurse // takes no messages to the account
}

func TestMessageToAll(t *testing.T) {
	h := harness(t, all)
	user(h, "romeo@example.org/a")
	user(h, "juliet@example.org")
	user(h, "tybalt@example.net")
	say(t, h, bard, "announce.example.org/all", "<body>hi</body>")
	expect(t, "everybody", heard(h), "bard@example.org normal hi", "juliet@example.org normal hi", "romeo@example.org normal hi")
	say(t, h, bard, "announce.example.net/all", "<body>hi</body>")
	expect(t, "of the other domain", heard(h), "tybalt@example.net normal hi")
}

// A service with a domain that is below no hosted one speaks to all of them.
func TestServiceOfAllDomains(t *testing.T) {
	reg := registration(t, all)
	reg.Components[0].Domain = "news.example.com"
	h := extensiontest.New(t, reg, extensiontest.Options{Domains: []string{"example.org", "sub.example.org"}})
	user(h, "romeo@example.org")
	user(h, "juliet@sub.example.org")
	say(t, h, bard, "news.example.com/all", "<body>hi</body>")
	expect(t, "all", heard(h), "juliet@sub.example.org normal hi", "romeo@example.org normal hi")

	h = extensiontest.New(t, registration(t, all), extensiontest.Options{Domains: []string{"example.org", "sub.example.org"}})
	user(h, "romeo@example.org")
	user(h, "juliet@sub.example.org")
	say(t, h, bard, "announce.sub.example.org/all", "<body>hi</body>")
	expect(t, "the nearest domain", heard(h), "juliet@sub.example.org normal hi")
}

func TestMessagesThatAreRefused(t *testing.T) {
	far := extensiontest.Far()
	for _, row := range []struct {
		rule    string
		by      extension.Origin
		from    string
		to      string
		content string
		want    stanza.Condition // "" for none
	}{
		{"not an administrator", romeo, "", "announce.example.org/online", "<body>x</body>", stanza.Forbidden},
		{"neither in another domain", extensiontest.Client("bard@example.net/x"), "", "announce.example.org/online", "<body>x</body>", stanza.Forbidden},
		{"nor from far away", far, "nurse@far.example/x", "announce.example.org/online", "<body>x</body>", stanza.Forbidden},
		{"strangers don't learn what there is", romeo, "", "announce.example.org/x", "<body>x</body>", stanza.Forbidden},
		{"no such address", bard, "", "announce.example.org/x", "<body>x</body>", stanza.ItemNotFound},
		{"no address", bard, "", "announce.example.org", "<body>x</body>", stanza.ItemNotFound},
		{"an account of the service", bard, "", "x@announce.example.org/online", "<body>x</body>", stanza.ItemNotFound},
		{"too long", bard, "", "announce.example.org/online", "<body>" + strings.Repeat("x", 101) + "</body>", stanza.NotAcceptable},
		{"with its subject", bard, "", "announce.example.org/online", "<subject>y</subject><body>" + strings.Repeat("x", 100) + "</body>", stanza.NotAcceptable},
		{"no text", bard, "", "announce.example.org/online", "<body> </body>", stanza.NotAcceptable},
		{"typing is no text", bard, "", "announce.example.org/online", "<composing xmlns='http://jabber.org/protocol/chatstates'/>", ""},
		{"typing of others", romeo, "", "announce.example.org/online", "<composing xmlns='http://jabber.org/protocol/chatstates'/>", ""},
	} {
		h := harness(t, all)
		s := extensiontest.Parse(t, "<message to='"+row.to+"' id='1'>"+row.content+"</message>")
		if row.from != "" {
			head := s.Header
			head.From = jid.MustParse(row.from)
			s = s.With(head)
		}
		got := h.Component(extension.Envelope{Origin: row.by, Stanza: s})
		if (got == nil) != (row.want == "") || got != nil && stanza.ParseError(got).Condition != row.want {
			t.Errorf("%s: %v", row.rule, got)
		}
		expect(t, row.rule, heard(h))
	}
}

func TestOtherStanzas(t *testing.T) {
	for text, want := range map[string]stanza.Condition{
		"<presence to='announce.example.org'/>":                                      "",
		"<presence to='announce.example.org' type='probe'/>":                         "",
		"<presence to='announce.example.org' type='subscribe'/>":                     stanza.ServiceUnavailable,
		"<message to='announce.example.org' type='error'><body>x</body></message>":   "",
		"<iq to='announce.example.org' type='get' id='1'><x xmlns='urn:x'/></iq>":    stanza.ServiceUnavailable,
		"<iq to='announce.example.org/online' type='set' id='1'><x xmlns='u'/></iq>": stanza.ServiceUnavailable,
	} {
		got := harness(t, all).Component(extension.Envelope{Origin: bard, Stanza: extensiontest.Parse(t, text)})
		if (got == nil) != (want == "") || got != nil && stanza.ParseError(got).Condition != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

// Many accounts are dealt with in batches, each account once.
func TestBatches(t *testing.T) {
	h := harness(t, all)
	var want []string
	for i := range 450 {
		j := user(h, fmt.Sprintf("u%03d@example.org", i))
		want = append(want, j.String()+" normal hi")
	}
	want = append(want, "bard@example.org normal hi")
	slices.Sort(want)
	say(t, h, bard, "announce.example.org/all", "<body>hi</body>")
	expect(t, "all", heard(h), want...)
	if n := len(h.Entries(service, "job/")); n != 0 {
		t.Errorf("%d jobs are left", n)
	}
}

// Storage that fails in the middle neither leaves out nor repeats anybody, nor does a
// process that ends there: the next one goes on where it was.
func TestNobodyTwice(t *testing.T) {
	for how, interrupt := range map[string]func(h *extensiontest.Harness){
		"storage": func(h *extensiontest.Harness) {
			h.FailStore(errors.New("disk"))
			h.Advance(time.Minute)
			if len(h.Errors()) == 0 {
				t.Error("nothing failed")
			}
			h.FailStore(nil)
		},
		"accounts": func(h *extensiontest.Harness) {
			h.Accounts.Fail(errors.New("ldap"))
			h.Advance(time.Minute)
			h.Errors()
			h.Accounts.Fail(nil)
		},
		"somebody wrote in between": func(h *extensiontest.Harness) {
			h.BeforeCommit(func() { h.Advance(0) })
		},
	} {
		h := harness(t, all)
		var want []string
		for i := range 500 {
			want = append(want, user(h, fmt.Sprintf("u%03d@example.org", i)).String()+" normal hi")
		}
		want = append(want, "bard@example.org normal hi")
		slices.Sort(want)
		say(t, h, bard, "announce.example.org/all", "<body>hi</body>")
		interrupt(h)
		expect(t, how, heard(h), want...)
	}
}

// What an earlier process left is gone on with at the start.
func TestStartGoesOn(t *testing.T) {
	h := harness(t, all)
	say(t, h, bard, "announce.example.org/all", "<body>hi</body>") // the first process ends here
	var left []byte
	for _, e := range h.Entries(service, "job/") {
		left = e.Value
	}
	next := harness(t, all)
	user(next, "romeo@example.org")
	next.Put(service, "job/1", left)
	expect(t, "the next process", heard(next), "bard@example.org normal hi", "romeo@example.org normal hi")
	heard(h)

	next = harness(t, all)
	next.Put(service, "job/1", []byte("{")) // of a version that nobody knows
	expect(t, "what can't be read", heard(next))
	if n := len(next.Entries(service, "job/")); n != 0 {
		t.Error("it is still there")
	}
}

// Announcements follow one another in the order in which they were made, and only so
// many may be under way.
func TestOrderAndBound(t *testing.T) {
	h := harness(t, all)
	for i := range 3 {
		if got := say(t, h, bard, "announce.example.org/all", fmt.Sprintf("<body>%d</body>", i)); got != nil {
			t.Fatal(got)
		}
	}
	if got := say(t, h, bard, "announce.example.org/all", "<body>4</body>"); got == nil || stanza.ParseError(got).Condition != stanza.ResourceConstraint {
		t.Errorf("one too many: %v", got)
	}
	h.Effects()
	h.Advance(time.Hour)
	var got []string
	for _, e := range h.Effects() {
		got = append(got, e.Stanza.Find("", "body").Text())
	}
	expect(t, "in order", got, "0", "1", "2")
	if got := say(t, h, bard, "announce.example.org/all", "<body>5</body>"); got != nil {
		t.Errorf("there is room again, but %v", got)
	}
	heard(h)
}

// Two that are made at once are two.
func TestTwoAtOnce(t *testing.T) {
	h := harness(t, all)
	h.BeforeCommit(func() { say(t, h, bard, "announce.example.org/all", "<body>1</body>") })
	say(t, h, bard, "announce.example.org/all", "<body>2</body>")
	expect(t, "both", heard(h), "bard@example.org normal 1", "bard@example.org normal 2")
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func run(t testing.TB, h *extensiontest.Harness, o extension.Origin, attrs, content string) *stanza.Stanza {
	t.Helper()
	return h.IQ(o, extensiontest.Parse(t, "<iq type='set' id='1' to='announce.example.org' xml:lang='en'><command xmlns='http://jabber.org/protocol/commands' "+attrs+">"+content+"</command></iq>"))
}

const admin = "http://jabber.org/protocol/admin"

// fill runs a command and fills in its form, with a value for each line.
func fill(t testing.TB, h *extensiontest.Harness, node, field string, lines ...string) *stanza.Stanza {
	t.Helper()
	asked := run(t, h, bard, "node='"+admin+"#"+node+"'", "").Find(adhoc.NS, "command")
	if asked == nil || asked.Attr("status") != "executing" {
		t.Fatalf("%s: %v", node, asked)
	}
	values := ""
	for _, l := range lines {
		values += "<value>" + l + "</value>"
	}
	return run(t, h, bard, "node='"+admin+"#"+node+"' sessionid='"+asked.Attr("sessionid")+"'",
		"<x xmlns='jabber:x:data' type='submit'><field type='hidden' var='FORM_TYPE'><value>"+admin+"</value></field><field var='"+field+"'>"+values+"</field></x>")
}

func completed(t testing.TB, s *stanza.Stanza) {
	t.Helper()
	if c := s.Find(adhoc.NS, "command"); s.Type != stanza.Result || c == nil || c.Attr("status") != "completed" {
		t.Errorf("not completed: %v", s)
	}
}

// XEP-0133 4.23, and section 3: what there is can be found.
func TestAnnounceCommand(t *testing.T) {
	h := harness(t, all)
	user(h, "romeo@example.org/a")
	user(h, "juliet@example.org")
	form := run(t, h, bard, "node='"+admin+"#announce' action='execute'", "").Find(adhoc.NS, "command").Child("jabber:x:data", "x")
	if got := string(form.Append(nil, adhoc.NS)); !strings.Contains(got, "<field var='FORM_TYPE' type='hidden'><value>"+admin+"</value></field><field var='announcement' type='text-multi' label='Announcement'><required/></field>") {
		t.Error(got)
	}
	completed(t, fill(t, h, "announce", "announcement", "Attention!", "", "We go down."))
	expect(t, "online users", heard(h), "romeo@example.org headline Attention!\n\nWe go down.")

	for name, options := range map[string]string{"announce": `{"admins": ["bard@example.org"]}`, "announce set-motd edit-motd delete-motd": all} {
		got := harness(t, options).IQ(bard, extensiontest.Parse(t, "<iq type='get' id='1' to='announce.example.org'><query xmlns='http://jabber.org/protocol/disco#items' node='http://jabber.org/protocol/commands'/></iq>"))
		var nodes []string
		for _, item := range got.Find("http://jabber.org/protocol/disco#items", "query").Elements() {
			nodes = append(nodes, strings.TrimPrefix(item.Attr("node"), admin+"#"))
		}
		if strings.Join(nodes, " ") != name {
			t.Errorf("commands %q, want %q", nodes, name)
		}
	}
}

func TestCommandsThatAreRefused(t *testing.T) {
	h := harness(t, all)
	if got := run(t, h, romeo, "node='"+admin+"#announce'", ""); stanza.ParseError(got).Condition != stanza.Forbidden {
		t.Errorf("not an administrator: %v", got)
	}
	for what, text := range map[string]string{"too long": strings.Repeat("x", 101), "blank": " "} {
		got := fill(t, h, "announce", "announcement", text)
		if e := stanza.ParseError(got); e.Condition != stanza.BadRequest || e.App == nil || e.App.Local != "bad-payload" {
			t.Errorf("%s: %v", what, got)
		}
	}
	for _, node := range []string{"set-motd", "edit-motd", "delete-motd"} {
		if got := run(t, harness(t, `{"admins": ["bard@example.org"]}`), bard, "node='"+admin+"#"+node+"'", ""); stanza.ParseError(got).Condition != stanza.ItemNotFound {
			t.Errorf("%s, without a message of the day: %v", node, got)
		}
	}
	if got := run(t, h, bard, "node='"+admin+"#set-welcome'", ""); stanza.ParseError(got).Condition != stanza.ItemNotFound {
		t.Errorf("XEP-0133 4.27 is left out: %v", got)
	}
	for range 3 {
		completed(t, fill(t, h, "announce", "announcement", "x"))
	}
	if got := fill(t, h, "announce", "announcement", "x"); stanza.ParseError(got).Condition != stanza.ResourceConstraint {
		t.Errorf("one too many: %v", got)
	}
}
