package e2e

import (
	"crypto/sha1"
	"crypto/sha256"
	"hash"
	"slices"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness"
	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

func infoOf(node string) string {
	return "<query xmlns='" + nsInfo + "' node='" + xmppc.Escape(node) + "'/>"
}

// TestServerCaps is what the server says of itself (XEP-0115 6.2, 6.3, 7).
func TestServerCaps(t *testing.T) {
	withContact := "extensions: {contact: {options: {abuse: 'mailto:abuse@example.test', admin: ['xmpp:a@example.test', 'mailto:b@example.test']}}}\n"
	for _, conf := range []struct {
		name string
		with harness.Config
	}{
		{"as it comes", harness.Config{Domains: []string{domain, second}, Registration: "open"}},
		{"with a form", harness.Config{Domains: []string{domain, second}, Registration: "open", Extra: withContact}},
	} {
		t.Run(conf.name, func(t *testing.T) {
			s := harness.Start(t, conf.with)
			for _, at := range []string{domain, second} {
				c := direct(t, s, at)
				c.Open(at)
				if c.Features.Child(xmppc.NSCaps, "c") != nil {
					t.Errorf("before login: %s", c.Features.Raw)
				}
				c = direct(t, s, at)
				c.Open(at)
				c.Login(accountAt(t, s, at, "romeo"), secret)
				caps := c.Features.Child(xmppc.NSCaps, "c")
				if caps.Attr("hash") != "sha-1" || caps.Attr("node") == "" {
					t.Fatalf("after login: %s", c.Features.Raw)
				}
				c.Bind("")
				plain := c.IQ("get", at, query(nsInfo))
				if ver := xmppc.Ver(plain.Child(nsInfo, "query"), sha1.New()); caps.Attr("ver") != ver {
					t.Errorf("ver is %q, and disco#info has %q: %s", caps.Attr("ver"), ver, plain.Raw)
				}
				if !slices.Contains(features(plain), xmppc.NSCaps) {
					t.Errorf("XEP-0115 7: %s", plain.Raw)
				}
				node := caps.Attr("node") + "#" + caps.Attr("ver")
				asked := c.IQ("get", at, infoOf(node)).Child(nsInfo, "query")
				if asked.Attr("node") != node || xmppc.Ver(asked, sha1.New()) != caps.Attr("ver") {
					t.Errorf("XEP-0115 6.2: under the node %q: %s", node, asked.Names())
				}
				for _, other := range []string{caps.Attr("node"), node + "x", "#" + caps.Attr("ver")} {
					c.IQError("get", at, infoOf(other), "item-not-found")
				}
				c.IQError("get", c.Bare(), infoOf(node), "item-not-found")
				c.IQError("get", at, "<query xmlns='"+nsItems+"' node='"+node+"'/>", "item-not-found")
			}
		})
	}
}

// capable is a client's software: what it answers to disco#info.
type capable struct{ content, hash, ver string }

// software is software that no test has used before.
func software(t *testing.T, features ...string) capable {
	t.Helper()
	content := "<identity category='client' type='pc' name='" + fresh() + "'/>"
	for _, f := range features {
		content += "<feature var='" + f + "'/>"
	}
	return capable{content: content}.by(t, "sha-1", sha1.New())
}

// by is the software with another hash in its presence.
func (s capable) by(t *testing.T, name string, h hash.Hash) capable {
	t.Helper()
	ver, err := xmppc.VerOf(s.content, h)
	if err != nil {
		t.Fatal(err)
	}
	return capable{s.content, name, ver}
}

// with is the software with more in its answers.
func (s capable) with(t *testing.T, more string) capable {
	t.Helper()
	return capable{content: s.content + more}.by(t, "sha-1", sha1.New())
}

func (s capable) presence() string {
	return "<presence><c xmlns='" + xmppc.NSCaps + "' hash='" + s.hash + "' node='http://example.org' ver='" + xmppc.Escape(s.ver) + "'/></presence>"
}

// user is a new account's session that advertises the software.
func (s capable) user(t *testing.T, srv *harness.Server) *xmppc.Conn {
	t.Helper()
	c := session(t, srv, account(t, srv, "user"), "")
	c.Send(s.presence())
	return c
}

// asked returns the id of the server's question, "" if a client was asked
// nothing.
func (s capable) asked(t *testing.T, c *xmppc.Conn) (id string) {
	t.Helper()
	for _, e := range c.Collect() {
		if !e.Is(xmppc.NSClient, "iq") || e.Attr("type") != "get" {
			continue
		}
		q := e.Child(nsInfo, "query")
		if id != "" || e.Attr("from") != domain || e.Attr("to") != c.JID || q.Attr("node") != "http://example.org#"+s.ver {
			t.Errorf("%s is asked %s", c.JID, e.Raw)
		}
		id = e.Attr("id")
	}
	return id
}

func answerInfo(c *xmppc.Conn, id, content string) {
	c.Sendf("<iq type='result' to='%s' id='%s'><query xmlns='%s'>%s</query></iq>", domain, xmppc.Escape(id), nsInfo, content)
	c.Sync("presence")
}

// known checks that the server has verified the software, or has not: a new
// client of it is asked, and leaves without an answer.
func (s capable) known(t *testing.T, srv *harness.Server, want bool) {
	t.Helper()
	c := s.user(t, srv)
	if got := s.asked(t, c) == ""; got != want {
		t.Errorf("the server knows what %s is: %v, want %v", s.ver, got, want)
	}
	c.Close()
}

func TestClientCaps(t *testing.T) {
	s := server(t)

	t.Run("XEP-0115 5.4, 8.2 one client is asked, from the server, and answers for all", func(t *testing.T) {
		soft := software(t, "urn:b", "urn:a")
		c := soft.user(t, s)
		answerInfo(c, soft.asked(t, c), soft.content)
		soft.known(t, s, true)
		c.Send(soft.presence())
		if soft.asked(t, c) != "" {
			t.Error("it is asked again")
		}
	})

	t.Run("XEP-0115 5.3 a form, two languages, in any order", func(t *testing.T) {
		soft := software(t, "urn:xmpp:time").with(t, "<identity xml:lang='el' category='client' name='Ψ 0.11' type='pc'/><identity xml:lang='en' category='client' name='Psi 0.11' type='pc'/>"+
			"<x xmlns='jabber:x:data' type='result'><field var='os'><value>Mac</value></field><field var='FORM_TYPE' type='hidden'><value>urn:xmpp:dataforms:softwareinfo</value></field>"+
			"<field var='ip_version'><value>ipv6</value><value>ipv4</value></field></x><feature var='urn:a'/>")
		c := soft.user(t, s)
		answerInfo(c, soft.asked(t, c), soft.content)
		soft.known(t, s, true)
	})

	t.Run("XEP-0115 8.1 other hashes than the mandatory one", func(t *testing.T) {
		soft := software(t, "urn:a").by(t, "sha-256", sha256.New())
		c := soft.user(t, s)
		answerInfo(c, soft.asked(t, c), soft.content)
		soft.known(t, s, true)
	})

	form := func(fields string) string { return "<x xmlns='jabber:x:data' type='result'>" + fields + "</x>" }
	typed := func(typ string) string {
		return "<field var='FORM_TYPE' type='hidden'><value>" + typ + "</value></field>"
	}
	for _, row := range []struct {
		rule string
		more string // of an answer whose hash is right all the same
	}{
		{"XEP-0115 5.4 step 3.3 an identity twice", "<identity category='client' type='pc'/><identity category='client' type='pc'/>"},
		{"XEP-0115 5.4 step 3.4 a feature twice", "<feature var='urn:a'/>"},
		{"XEP-0115 5.4 step 3.5 a form twice", form(typed("f")) + form(typed("f"))},
		{"XEP-0115 5.4 step 3.5 a form of two types", form("<field var='FORM_TYPE' type='hidden'><value>f</value><value>g</value></field>")},
		{"XEP-0115 9.3 features that might be hidden in a form", form(typed("urn:b") + "<field var='urn:c'/>")},
	} {
		t.Run(row.rule+" is not shared", func(t *testing.T) {
			soft := software(t, "urn:a").with(t, row.more)
			c := soft.user(t, s)
			answerInfo(c, soft.asked(t, c), soft.content)
			soft.known(t, s, false)
		})
	}

	t.Run("XEP-0115 5.4 step 3.9 a client that lies is not believed, and the next one is asked", func(t *testing.T) {
		soft := software(t, "urn:a")
		for _, lie := range []string{"", "<feature var='urn:a'/>", software(t, "urn:a").content, soft.content + "<feature var='urn:b'/>"} {
			liar := soft.user(t, s)
			answerInfo(liar, soft.asked(t, liar), lie)
			liar.Send(soft.presence())
			if soft.asked(t, liar) != "" {
				t.Errorf("asked again after %q", lie)
			}
		}
		c := soft.user(t, s)
		answerInfo(c, soft.asked(t, c), soft.content)
		soft.known(t, s, true)
	})

	t.Run("only the client that was asked can answer, and only what it was asked", func(t *testing.T) {
		soft := software(t, "urn:a")
		c, forger := soft.user(t, s), session(t, s, account(t, s, "forger"), "")
		id := soft.asked(t, c)
		answerInfo(forger, id, soft.content)
		answerInfo(c, "x"+id, soft.content)
		c.Sendf("<iq type='result' id='%s'><query xmlns='%s'>%s</query></iq>", id, nsInfo, soft.content)
		c.Sendf("<iq type='result' to='%s' id='%s'><query xmlns='%s'>%s</query></iq>", second, id, nsInfo, soft.content)
		other := soft.user(t, s)
		if soft.asked(t, other) != "" {
			t.Error("two are asked")
		}
		c.Close()
		if soft.asked(t, other) == "" {
			t.Error("it was taken")
		}
	})

	t.Run("one question at a time; who leaves, and who refuses, is followed by another", func(t *testing.T) {
		soft := software(t, "urn:a")
		var waiting []*xmppc.Conn
		for range 6 {
			waiting = append(waiting, soft.user(t, s))
		}
		for i, end := range []func(c *xmppc.Conn, id string){
			func(c *xmppc.Conn, _ string) { c.Close() },
			func(c *xmppc.Conn, id string) {
				c.Sendf("<iq type='error' to='%s' id='%s'><error type='cancel'><feature-not-implemented xmlns='%s'/></error></iq>", domain, id, xmppc.NSStanza)
				c.Sync("presence")
			},
			func(c *xmppc.Conn, _ string) { c.Send("<presence type='unavailable'/>"); c.Sync("presence") },
			func(c *xmppc.Conn, id string) { answerInfo(c, id, "") },
			func(c *xmppc.Conn, id string) { answerInfo(c, id, soft.content) },
			nil,
		} {
			var who *xmppc.Conn
			var id string
			waiting = slices.DeleteFunc(waiting, func(c *xmppc.Conn) bool {
				asked := soft.asked(t, c)
				if asked == "" {
					return false
				}
				if who != nil {
					t.Errorf("turn %d: %s and %s are asked", i, who.JID, c.JID)
				}
				who, id = c, asked
				return true
			})
			if (who == nil) != (end == nil) {
				t.Fatalf("turn %d: asked is %v", i, who)
			}
			if end != nil {
				end(who, id)
			}
		}
	})

	t.Run("XEP-0115 5.4 step 2 a hash that the server can't check: each client is asked, once", func(t *testing.T) {
		soft := capable{software(t, "urn:a").content, "md5", fresh()}
		for range 2 {
			c := soft.user(t, s)
			answerInfo(c, soft.asked(t, c), soft.content)
			c.Send(soft.presence())
			if soft.asked(t, c) != "" {
				t.Error("it is asked again")
			}
		}
	})

	t.Run("no capabilities, or none that can be verified: nobody is asked", func(t *testing.T) {
		c := session(t, s, account(t, s, "user"), "")
		for _, caps := range []string{
			"", "<c xmlns='" + xmppc.NSCaps + "' node='http://example.org' ver='0.9' ext='a b'/>", // 13
			"<c xmlns='" + xmppc.NSCaps + "' hash='sha-1' node='http://example.org' ver='short'/>",
			"<c xmlns='" + xmppc.NSCaps + "' hash='sha-1' ver='QgayPKawpkPSDYmwT/WM94uAlu0='/>",
			"<c xmlns='" + xmppc.NSCaps + "'/>", "<c xmlns='urn:x' hash='sha-1' node='n' ver='QgayPKawpkPSDYmwT/WM94uAlu0='/>",
		} {
			c.Send("<presence>" + caps + "</presence>")
		}
		c.Send("<presence type='unavailable'><c xmlns='" + xmppc.NSCaps + "' hash='sha-1' node='n' ver='QgayPKawpkPSDYmwT/WM94uAlu0='/></presence>")
		for _, e := range c.Collect() {
			if !e.Is(xmppc.NSClient, "presence") {
				t.Errorf("got %s", e.Raw)
			}
		}
	})

	t.Run("XEP-0198 5 a question that was lost with a connection comes again, and a resumed session is asked no more", func(t *testing.T) {
		soft := software(t, "urn:a")
		local := account(t, s, "user")
		c := session(t, s, local, "")
		sm := c.Enable()
		c.Send(soft.presence())
		if soft.asked(t, c) == "" {
			t.Fatal("it is not asked")
		}
		resume := func(h uint32) {
			t.Helper()
			full := c.JID
			c.Hangup()
			c = authenticated(t, s, local)
			if e := c.Resume(sm, h, full); !e.Is(xmppc.NSSM, "resumed") {
				t.Fatalf("got %s", e.Raw)
			}
		}
		resume(0)
		answerInfo(c, soft.asked(t, c), soft.content)
		resume(c.Handled)
		c.Send(soft.presence())
		if soft.asked(t, c) != "" {
			t.Error("it is asked again")
		}
		soft.known(t, s, true)
	})
}

// TestCapsFlood: a client that says that it is another one with each presence,
// and always lies, costs a bounded number of questions; others are served.
func TestCapsFlood(t *testing.T) {
	s := harness.Start(t, harness.Config{Registration: "open", Rates: true})
	local := account(t, s, "flood")
	asked := 0
	for _, resource := range []string{"a", "b"} {
		c := session(t, s, local, resource)
		for range 40 {
			soft := software(t, "urn:a")
			c.Send(soft.presence())
			if id := soft.asked(t, c); id != "" {
				asked++
				answerInfo(c, id, "<identity category='client' type='pc'/>")
			}
		}
	}
	if asked < 10 || asked > 40 {
		t.Errorf("%d questions to one account", asked)
	}
	soft := software(t, "urn:a")
	c := soft.user(t, s)
	answerInfo(c, soft.asked(t, c), soft.content)
	soft.known(t, s, true)
}
