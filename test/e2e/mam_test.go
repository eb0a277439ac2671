package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/test/harness"
	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

const (
	nsMAM = "urn:xmpp:mam:2"
	nsSID = "urn:xmpp:sid:0"
	nsRSM = "http://jabber.org/protocol/rsm"
)

// archived is a message of an archive, as a result tells it.
type archived struct {
	id, queryID, stamp string
	message            *xmppc.Element
}

// page is the answer to a query.
type page struct {
	results            []archived
	complete           bool
	first, last, count string
}

// archiveQuery is <query/> with fields of its form, as name=value, and what else is in it.
func archiveQuery(rest string, fields ...string) string {
	form := ""
	if len(fields) > 0 {
		form = "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>" + nsMAM + "</value></field>"
		for _, f := range fields {
			name, values, _ := strings.Cut(f, "=")
			form += "<field var='" + name + "'>"
			for _, v := range strings.Split(values, "|") {
				form += "<value>" + xmppc.Escape(v) + "</value>"
			}
			form += "</field>"
		}
		form += "</x>"
	}
	return "<query xmlns='" + nsMAM + "' queryid='q'>" + form + rest + "</query>"
}

func pageSet(content string) string { return "<set xmlns='" + nsRSM + "'>" + content + "</set>" }

// asks sends a query, and returns its results and what ended it.
func asks(t *testing.T, c *xmppc.Conn, payload string) (p page) {
	t.Helper()
	c.Sendf("<iq type='set' id='asks'>%s</iq>", payload)
	for {
		e := c.Next()
		switch {
		case e.Is(xmppc.NSClient, "presence"):
		case e.Is(xmppc.NSClient, "message"):
			r := e.Child(nsMAM, "result")
			f := r.Child(nsForward, "forwarded")
			if r == nil || f == nil || e.Attr("to") != c.JID || e.Attr("from") != c.Bare() {
				t.Fatalf("no result: %s", e.Raw)
			}
			p.results = append(p.results, archived{r.Attr("id"), r.Attr("queryid"), f.Child(nsDelay, "delay").Attr("stamp"), f.Child(xmppc.NSClient, "message")})
		default:
			fin := e.Child(nsMAM, "fin")
			if !e.Is(xmppc.NSClient, "iq") || e.Attr("type") != "result" || fin == nil {
				t.Fatalf("no end of a query: %s", e.Raw)
			}
			set := fin.Child(nsRSM, "set")
			text := func(name string) string {
				if x := set.Child(nsRSM, name); x != nil {
					return x.Text
				}
				return ""
			}
			p.complete, p.first, p.last, p.count = fin.Attr("complete") == "true", text("first"), text("last"), text("count")
			return p
		}
	}
}

// bodies are those of the results.
func (p *page) bodies() (list []string) {
	for _, r := range p.results {
		list = append(list, r.message.Body())
	}
	return list
}

func (p *page) is(t *testing.T, complete bool, bodies ...string) {
	t.Helper()
	if !slices.Equal(p.bodies(), bodies) || p.complete != complete {
		t.Errorf("got %q, complete %v, want %q, %v", p.bodies(), p.complete, bodies, complete)
	}
	if n := len(p.results); n > 0 && (p.first != p.results[0].id || p.last != p.results[n-1].id) {
		t.Errorf("first %s, last %s of %+v", p.first, p.last, p.results)
	}
}

// stanzaIDs are those in the name of an address.
func stanzaIDs(e *xmppc.Element, by string) (ids []string) {
	for _, c := range e.All(nsSID, "stanza-id") {
		if c.Attr("by") == by {
			ids = append(ids, c.Attr("id"))
		}
	}
	return ids
}

// everything is a query without restrictions.
var everything = archiveQuery("")

func TestArchive(t *testing.T) {
	s := server(t)

	t.Run("XEP-0313 7, XEP-0359 5 the account tells of it, the server does not", func(t *testing.T) {
		c := session(t, s, account(t, s, "romeo"), "")
		own, all := features(c.IQ("get", c.Bare(), query(nsInfo))), features(c.IQ("get", domain, query(nsInfo)))
		for _, f := range []string{nsMAM, nsMAM + "#extended", nsMAM + "#groupchat-field", nsSID} {
			if !slices.Contains(own, f) || slices.Contains(all, f) {
				t.Errorf("%s: account %v, server %v", f, slices.Contains(own, f), slices.Contains(all, f))
			}
		}
		if slices.Contains(own, nsMAM+"#groupchat-available") {
			t.Error("groupchat is not in archives")
		}
	})

	t.Run("XEP-0313 3.5, 4.2 both have it, and the recipient is told its ID", func(t *testing.T) {
		romeo, juliet := strangers(t, s)
		romeo.Sendf("<message to='%s' type='chat' id='a&amp;1' xml:lang='it'><body>ciao</body><x xmlns='urn:example:x'><y/></x>"+
			"<stanza-id xmlns='"+nsSID+"' by='%s' id='forged'/><stanza-id xmlns='"+nsSID+"' by='room@far.test' id='kept'/></message>", juliet.JID, juliet.Bare())
		m := juliet.Message("ciao")
		ids := stanzaIDs(m, juliet.Bare())
		if len(ids) != 1 || ids[0] == "forged" || len(stanzaIDs(m, romeo.Bare())) != 0 || len(stanzaIDs(m, "room@far.test")) != 1 {
			t.Fatalf("got %s", m.Raw)
		}
		for _, c := range []*xmppc.Conn{juliet, romeo} {
			p := asks(t, c, everything)
			p.is(t, true, "ciao")
			r := p.results[0]
			at, err := time.Parse(time.RFC3339, r.stamp)
			if r.queryID != "q" || err != nil || time.Since(at) > time.Minute || r.message.Attr("from") != romeo.JID || r.message.Attr("to") != juliet.JID ||
				r.message.Attr("id") != "a&1" || r.message.Attr("type") != "chat" || r.message.Lang() != "it" || r.message.Child("urn:example:x", "x") == nil {
				t.Errorf("got %+v %v", r, err)
			}
			if own := r.id == ids[0]; own != (c == juliet) {
				t.Errorf("%s has the ID %q, juliet was told %q", c.JID, r.id, ids[0])
			}
		}
	})

	t.Run("XEP-0313 6.1.1 what is kept, and what is not", func(t *testing.T) {
		romeo, juliet := strangers(t, s)
		for i, m := range []struct{ typ, content string }{
			{"chat", "<body>1</body>"}, {"normal", "<body>2</body>"}, {"headline", "<body>no</body>"},
			{"chat", "<composing xmlns='http://jabber.org/protocol/chatstates'/>"}, {"chat", "<received xmlns='urn:xmpp:receipts' id='1'/><body/>"},
			{"chat", "<body>no</body><no-store xmlns='urn:xmpp:hints'/>"}, {"chat", "<body>no</body><no-permanent-store xmlns='urn:xmpp:hints'/>"},
			{"chat", "<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>"}, {"chat", "<store xmlns='urn:xmpp:hints'/>"},
		} {
			romeo.Sendf("<message to='%s' type='%s' id='%d'>%s</message>", juliet.JID, m.typ, i, m.content)
		}
		romeo.Sync()
		got := juliet.Collect()
		if len(got) != 9 {
			t.Errorf("%d of 9 came", len(got))
		}
		for _, c := range []*xmppc.Conn{juliet, romeo} {
			p := asks(t, c, everything)
			p.is(t, true, "1", "2", "", "", "")
		}
	})

	t.Run("XEP-0313 6.1.1 a message to oneself is there once", func(t *testing.T) {
		c := im(t, s, account(t, s, "romeo"), "orchard")
		for _, to := range []string{"", " to='" + c.Bare() + "'", " to='" + c.JID + "'"} {
			c.Sendf("<message type='chat'%s><body>note</body></message>", to)
			if m := c.Message("note"); len(stanzaIDs(m, c.Bare())) != 1 {
				t.Errorf("got %s", m.Raw)
			}
		}
		p := asks(t, c, everything)
		p.is(t, true, "note", "note", "note")
	})

	t.Run("XEP-0313 4.1.1 with oneself: only what is from and to the account", func(t *testing.T) {
		romeo, juliet := strangers(t, s)
		chat(romeo, juliet.JID, 1)
		juliet.Collect()
		romeo.Sendf("<message type='chat' to='%s'><body>note</body></message>", romeo.Bare())
		romeo.Message("note")
		p := asks(t, romeo, archiveQuery("", "with="+romeo.Bare()))
		p.is(t, true, "note")
	})

	t.Run("XEP-0313 3.5, XEP-0280 carbon copies have the ID of their account", func(t *testing.T) {
		romeo, juliet := strangers(t, s)
		sent, received := carboned(t, s, local(romeo), "phone"), carboned(t, s, local(juliet), "phone")
		romeo.Collect()
		juliet.Collect()
		romeo.Sendf("<message to='%s' type='chat' id='c'><body>hi</body></message>", juliet.JID)
		m := juliet.Message("hi")
		in, out := carbon(t, received, "received"), carbon(t, sent, "sent")
		if !slices.Equal(stanzaIDs(in, juliet.Bare()), stanzaIDs(m, juliet.Bare())) || len(stanzaIDs(in, juliet.Bare())) != 1 {
			t.Errorf("received: %+v", in)
		}
		p := asks(t, sent, everything)
		if ids := stanzaIDs(out, romeo.Bare()); len(ids) != 1 || ids[0] != p.results[0].id || len(stanzaIDs(out, juliet.Bare())) != 0 {
			t.Errorf("sent: %q, the archive has %+v", ids, p.results)
		}
		q := asks(t, received, everything)
		q.is(t, true, "hi") // once, however many copies there were
	})

	t.Run("XEP-0313 3.3.1, 8.1 the archive of another is forbidden, whether there or not", func(t *testing.T) {
		romeo, juliet := strangers(t, s)
		for _, to := range []string{juliet.Bare(), "nobody@" + domain} {
			romeo.IQError("set", to, everything, "forbidden")
			romeo.IQError("get", to, "<query xmlns='"+nsMAM+"'/>", "forbidden")
			romeo.IQError("get", to, "<metadata xmlns='"+nsMAM+"'/>", "forbidden")
			romeo.IQError("get", to, "<prefs xmlns='"+nsMAM+"'/>", "forbidden")
			romeo.IQError("set", to, "<prefs xmlns='"+nsMAM+"' default='never'/>", "forbidden")
		}
		romeo.IQ("get", romeo.Bare(), "<metadata xmlns='"+nsMAM+"'/>")
	})

	t.Run("XEP-0191 3.3, XEP-0313 6.1 what is blocked is in no archive", func(t *testing.T) {
		romeo, juliet := strangers(t, s)
		juliet.IQ("set", "", "<block xmlns='urn:xmpp:blocking'><item jid='"+romeo.Bare()+"'/></block>")
		juliet.Collect()
		romeo.Sendf("<message to='%s' type='chat' id='b'><body>in</body></message>", juliet.JID)
		romeo.StanzaErrorAmong("message", "b", "service-unavailable")
		juliet.Sendf("<message to='%s' type='chat' id='b'><body>out</body></message>", romeo.JID)
		juliet.StanzaErrorAmong("message", "b", "not-acceptable")
		p := asks(t, juliet, everything)
		p.is(t, true)
		q := asks(t, romeo, everything)
		q.is(t, true, "in") // it was sent
	})

	t.Run("XEP-0160 a message to somebody who is offline has its ID when it comes", func(t *testing.T) {
		romeo, name := absent(t, s)
		leave(romeo, name, 1, 3)
		juliet := session(t, s, name, "balcony")
		juliet.Send("<presence/>")
		var told []string
		for n := 1; n <= 3; n++ {
			told = append(told, stanzaIDs(juliet.Message(fmt.Sprint(n)), juliet.Bare())...)
		}
		juliet.Collect()
		p := asks(t, juliet, everything)
		p.is(t, true, "1", "2", "3")
		for i, r := range p.results {
			if i >= len(told) || told[i] != r.id {
				t.Errorf("told %q, %d is %q", told, i, r.id)
			}
		}
	})

	t.Run("XEP-0313 6.1 normal to a resource that is gone comes back, and did not come", func(t *testing.T) {
		romeo, juliet := strangers(t, s)
		romeo.Sendf("<message to='%s/gone' id='g'><body>gone</body></message>", juliet.Bare())
		romeo.StanzaErrorAmong("message", "g", "service-unavailable")
		p := asks(t, juliet, everything)
		p.is(t, true)
	})

	t.Run("XEP-0313 3.2, XEP-0077 3.2 a new account of the same name has a new archive", func(t *testing.T) {
		romeo, juliet := strangers(t, s)
		chat(romeo, juliet.JID, 1)
		juliet.Collect()
		name := local(juliet)
		juliet.Send("<iq type='set' id='bye'><query xmlns='jabber:iq:register'><remove/></query></iq>")
		juliet.Answer("bye")
		c := direct(t, s, domain)
		c.Open(domain)
		c.IQ("set", "", register(name, secret))
		c.Close()
		again := im(t, s, name, "balcony")
		p := asks(t, again, everything)
		p.is(t, true)
	})
}

func TestArchivePages(t *testing.T) {
	s := server(t)
	romeo, juliet := strangers(t, s)
	nurse := im(t, s, account(t, s, "nurse"), "house")
	const n = 60
	for i := 1; i <= n; i++ {
		from := romeo
		if i%10 == 0 {
			from = nurse
		}
		from.Sendf("<message to='%s' type='chat'><body>%d</body></message>", juliet.JID, i)
		juliet.Message(fmt.Sprint(i))
	}
	whole := asks(t, juliet, archiveQuery(pageSet("<max>250</max>")))
	whole.is(t, true, numbers(1, n)...)
	at := func(i int) archived { return whole.results[i-1] }
	for _, c := range []struct {
		name, query string
		complete    bool
		want        []string
		count       string
	}{
		{"XEP-0313 4.3.1 a page has an end that the server chooses", everything, false, numbers(1, 50), "60"},
		{"XEP-0059 2.1 max", archiveQuery(pageSet("<max>3</max>")), false, numbers(1, 3), "60"},
		{"XEP-0059 2.2 after", archiveQuery(pageSet("<max>3</max><after>" + at(3).id + "</after>")), false, numbers(4, 6), "60"},
		{"XEP-0313 4.3.2 complete, on the last page", archiveQuery(pageSet("<max>3</max><after>" + at(57).id + "</after>")), true, numbers(58, 60), "60"},
		{"XEP-0059 2.2 behind the last", archiveQuery(pageSet("<after>" + at(60).id + "</after>")), true, nil, "60"},
		{"XEP-0313 4.3.3 the last page, in order", archiveQuery(pageSet("<max>3</max><before/>")), false, numbers(58, 60), "60"},
		{"XEP-0059 2.3 before", archiveQuery(pageSet("<max>3</max><before>" + at(58).id + "</before>")), false, numbers(55, 57), "60"},
		{"XEP-0059 2.3 the first page backwards", archiveQuery(pageSet("<max>3</max><before>" + at(4).id + "</before>")), true, numbers(1, 3), "60"},
		{"XEP-0059 2.7 the count alone", archiveQuery(pageSet("<max>0</max>")), false, nil, "60"},
		{"XEP-0313 4.1.1 with a bare JID", archiveQuery("", "with="+nurse.Bare()), true, []string{"10", "20", "30", "40", "50", "60"}, "6"},
		{"XEP-0313 4.1.1 with a full JID", archiveQuery("", "with="+nurse.JID), true, []string{"10", "20", "30", "40", "50", "60"}, "6"},
		{"XEP-0313 4.1.1 with another resource", archiveQuery("", "with="+nurse.Bare()+"/other"), true, nil, "0"},
		{"XEP-0313 4.1.1 with a page of it", archiveQuery(pageSet("<max>2</max><before/>"), "with="+nurse.Bare()), false, []string{"50", "60"}, "6"},
		{"XEP-0313 4.1.2 end in the past", archiveQuery("", "end=2010-06-07T00:00:00Z"), true, nil, "0"},
		{"XEP-0313 4.1.2 start in the past, end in the future", archiveQuery(pageSet("<max>1</max>"), "start=2010-06-07T00:00:00Z", "end=2090-01-01T00:00:00+02:00"), false, numbers(1, 1), "60"},
		{"XEP-0313 4.1.2 from the stamp of a message, with whom", archiveQuery(pageSet("<before/><max>1</max>"), "start="+at(60).stamp, "with="+nurse.Bare()), true, numbers(60, 60), "1"},
		{"XEP-0313 4.1.3 after-id and before-id", archiveQuery("", "after-id="+at(10).id, "before-id="+at(14).id), true, numbers(11, 13), "3"},
		{"XEP-0313 4.1.3 ids", archiveQuery("", "ids="+at(40).id+"|"+at(7).id), true, []string{"7", "40"}, "2"},
		{"XEP-0313 4.1.4 include-groupchat", archiveQuery(pageSet("<max>1</max>"), "include-groupchat=true"), false, numbers(1, 1), "60"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := asks(t, juliet, c.query)
			p.is(t, c.complete, c.want...)
			if p.count != c.count {
				t.Errorf("count %q, want %q", p.count, c.count)
			}
		})
	}

	t.Run("XEP-0313 4.3.4 a page that is flipped", func(t *testing.T) {
		p := asks(t, juliet, archiveQuery(pageSet("<max>3</max><after>"+at(3).id+"</after>")+"<flip-page/>"))
		if !slices.Equal(p.bodies(), []string{"6", "5", "4"}) || p.first != at(4).id || p.last != at(6).id {
			t.Errorf("%q, %s to %s", p.bodies(), p.first, p.last)
		}
	})

	t.Run("XEP-0313 4.3, XEP-0059 2.2 paging while others write neither skips nor repeats", func(t *testing.T) {
		var got []string
		after := ""
		for i := 0; i < 100; i++ {
			p := asks(t, juliet, archiveQuery(pageSet("<max>7</max>"+after), "with="+romeo.Bare()))
			got = append(got, p.bodies()...)
			if p.complete {
				break
			}
			after = "<after>" + p.last + "</after>"
			if i < 5 {
				romeo.Sendf("<message to='%s' type='chat'><body>new %d</body></message>", juliet.JID, i)
				juliet.Message(fmt.Sprint("new ", i))
			}
		}
		want := slices.DeleteFunc(numbers(1, n), func(s string) bool { return strings.HasSuffix(s, "0") })
		for i := range 5 {
			want = append(want, fmt.Sprint("new ", i))
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})

	t.Run("XEP-0313 5 metadata", func(t *testing.T) {
		m := juliet.IQ("get", "", "<metadata xmlns='"+nsMAM+"'/>").Child(nsMAM, "metadata")
		start, end := m.Child(nsMAM, "start"), m.Child(nsMAM, "end")
		if start.Attr("id") != at(1).id || start.Attr("timestamp") != at(1).stamp || end.Attr("id") == "" {
			t.Errorf("start %+v, end %+v", start, end)
		}
		if m = nurseless(t, s).IQ("get", "", "<metadata xmlns='"+nsMAM+"'/>").Child(nsMAM, "metadata"); m == nil || len(m.Children) != 0 {
			t.Errorf("of an empty archive: %+v", m)
		}
	})

	t.Run("XEP-0313 4.1.5 the form", func(t *testing.T) {
		x := juliet.IQ("get", "", "<query xmlns='"+nsMAM+"'/>").Child(nsMAM, "query").Child("jabber:x:data", "x")
		var fields []string
		for _, f := range x.All("jabber:x:data", "field") {
			fields = append(fields, f.Attr("var"))
		}
		if want := []string{"FORM_TYPE", "with", "start", "end", "before-id", "after-id", "ids", "include-groupchat"}; !slices.Equal(fields, want) {
			t.Errorf("%q", fields)
		}
	})

	for _, c := range []struct{ name, query, want string }{
		{"XEP-0313 4.3.2 after something unknown", archiveQuery(pageSet("<after>28482-98726-73623</after>")), "item-not-found"},
		{"XEP-0313 4.3.2 before something unknown", archiveQuery(pageSet("<before>x</before>")), "item-not-found"},
		{"XEP-0313 4.1.3 after-id of something unknown", archiveQuery("", "after-id=x"), "item-not-found"},
		{"XEP-0313 4.1.3 before-id of something unknown", archiveQuery("", "before-id=x"), "item-not-found"},
		{"XEP-0313 4.1.3 ids, one of them unknown", archiveQuery("", "ids="+at(1).id+"|x"), "item-not-found"},
		{"XEP-0313 4.1.5 an unknown field", archiveQuery("", "{http://example.com/}free-text-search=x"), "feature-not-implemented"},
		{"XEP-0313 4.1.2 a bad date", archiveQuery("", "start=yesterday"), "bad-request"},
		{"XEP-0313 4.1.1 a bad JID", archiveQuery("", "with=a@b@c"), "bad-request"},
		{"XEP-0059 2.1 a bad max", archiveQuery(pageSet("<max>x</max>")), "bad-request"},
		{"XEP-0059 2.6 by index", archiveQuery(pageSet("<index>3</index>")), "feature-not-implemented"},
	} {
		t.Run(c.name, func(t *testing.T) { juliet.IQError("set", "", c.query, c.want) })
	}

	t.Run("XEP-0313 4.1.3 an ID of another archive is unknown", func(t *testing.T) {
		romeo.IQError("set", "", archiveQuery(pageSet("<after>"+at(1).id+"</after>")), "item-not-found")
	})
}

// nurseless is a client of an account that nothing came to.
func nurseless(t *testing.T, s *harness.Server) *xmppc.Conn {
	t.Helper()
	return session(t, s, account(t, s, "paris"), "")
}

func TestArchivePreferences(t *testing.T) {
	s := server(t)
	const open = "<prefs xmlns='" + nsMAM + "' default='%s'><always>%s</always><never>%s</never></prefs>"
	jids := func(list ...string) (xml string) {
		for _, j := range list {
			xml += "<jid>" + j + "</jid>"
		}
		return xml
	}
	// shown is prefs as "default: always / never".
	shown := func(e *xmppc.Element) string {
		p := e.Child(nsMAM, "prefs")
		text := func(name string) string {
			var all []string
			for _, j := range p.Child(nsMAM, name).All(nsMAM, "jid") {
				all = append(all, j.Text)
			}
			return strings.Join(all, " ")
		}
		return p.Attr("default") + ": " + text("always") + " / " + text("never")
	}

	t.Run("XEP-0441 2.1 they are told, set and kept", func(t *testing.T) {
		c := session(t, s, account(t, s, "romeo"), "")
		if got := shown(c.IQ("get", "", "<prefs xmlns='"+nsMAM+"'/>")); got != "always:  / " {
			t.Errorf("at first %q", got)
		}
		const want = "roster: a.example / b@b.example"
		if got := shown(c.IQ("set", "", fmt.Sprintf(open, "roster", jids("a.example"), jids("B@b.example")))); got != want {
			t.Errorf("the answer is %q", got)
		}
		other := session(t, s, local(c), "")
		if got := shown(other.IQ("get", other.Bare(), "<prefs xmlns='"+nsMAM+"'/>")); got != want {
			t.Errorf("later %q", got)
		}
		c.IQError("set", "", "<prefs xmlns='"+nsMAM+"'/>", "bad-request")
		c.IQError("set", "", fmt.Sprintf(open, "always", jids("a@b@c"), ""), "jid-malformed")
	})

	for _, c := range []struct {
		name, preset  string
		always, never bool // romeo is in that list
		want          bool
	}{
		{"XEP-0441 2.1.1 always", "always", false, false, true},
		{"XEP-0441 2.1.1 never", "never", false, false, false},
		{"XEP-0441 2.1.1 roster, a stranger", "roster", false, false, false},
		{"XEP-0441 2.1.2 always, in the list", "never", true, false, true},
		{"XEP-0441 2.1.3 never, in the list", "always", false, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			romeo, juliet := strangers(t, s)
			list := func(in bool) string {
				if in {
					return jids(romeo.Bare())
				}
				return ""
			}
			juliet.IQ("set", "", fmt.Sprintf(open, c.preset, list(c.always), list(c.never)))
			chat(romeo, juliet.JID, 1)
			m := juliet.Message("1")
			chat(juliet, romeo.JID, 1)
			if (len(stanzaIDs(m, juliet.Bare())) == 1) != c.want {
				t.Errorf("got %s", m.Raw)
			}
			p := asks(t, juliet, everything)
			if n := len(p.results); n != 0 && !c.want || n != 2 && c.want {
				t.Errorf("%d are kept", n)
			}
			romeo.Collect()
			if p = asks(t, romeo, everything); len(p.results) != 2 { // who has other preferences
				t.Errorf("%d are kept by the other one", len(p.results))
			}
		})
	}

	t.Run("XEP-0441 2.1.1 roster: by the roster as it is, also of who is offline", func(t *testing.T) {
		romeo, juliet := strangers(t, s)
		juliet.IQ("set", "", fmt.Sprintf(open, "roster", "", ""))
		chat(romeo, juliet.JID, 1)
		juliet.Collect()
		juliet.Sendf("<iq type='set' id='r'><query xmlns='jabber:iq:roster'><item jid='%s'/></query></iq>", romeo.Bare())
		juliet.Collect()
		chat(romeo, juliet.JID, 1)
		juliet.Collect()
		name := local(juliet)
		juliet.Close()
		leave(romeo, name, 3, 3)
		juliet = session(t, s, name, "balcony")
		juliet.Send("<presence/>")
		juliet.Collect()
		juliet.Sendf("<iq type='set' id='r'><query xmlns='jabber:iq:roster'><item jid='%s' subscription='remove'/></query></iq>", romeo.Bare())
		juliet.Collect()
		chat(romeo, juliet.Bare(), 1)
		juliet.Collect()
		p := asks(t, juliet, everything)
		if len(p.results) != 2 {
			t.Errorf("kept %q, want those of when romeo was in the roster", p.bodies())
		}
	})
}

// Whoever asks for many pages at once, and reads them, gets them; the outbox of a
// session is not filled by its own queries.
func TestArchiveManyPagesAtOnce(t *testing.T) {
	s := server(t)
	romeo, juliet := strangers(t, s)
	text := strings.Repeat("x", 50_000)
	for i := range 30 {
		romeo.Sendf("<message to='%s' type='chat' id='%d'><body>%s</body></message>", juliet.JID, i, text)
		juliet.Next()
	}
	juliet.Enable()
	const queries = 60 // of 250 KB each, more than an outbox holds
	for i := range queries {
		juliet.Sendf("<iq type='set' id='many%d'>%s</iq>", i, archiveQuery(pageSet("<max>250</max>")))
	}
	for i := 0; i < queries; {
		e := juliet.Next()
		switch {
		case e.Is(xmppc.NSClient, "message") && e.Child(nsMAM, "result") != nil:
		case e.Is(xmppc.NSClient, "iq") && e.Attr("id") == fmt.Sprint("many", i):
			if e.Attr("type") != "result" && e.Condition() != "resource-constraint" {
				t.Fatalf("got %s", e.Raw)
			}
			i++
		case e.Is(xmppc.NSSM, "r"):
			juliet.Ack(juliet.Handled)
		default:
			t.Fatalf("got %.300s", e.Raw)
		}
	}
	juliet.Sync()
}
