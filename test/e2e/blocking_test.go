package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness"
	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

const (
	nsBlocking       = "urn:xmpp:blocking"
	nsBlockingErrors = "urn:xmpp:blocking:errors"
)

// blockCommand is block or unblock with items.
func blockCommand(name string, jids ...string) string {
	content := ""
	for _, j := range jids {
		content += "<item jid='" + xmppc.Escape(j) + "'/>"
	}
	return "<" + name + " xmlns='" + nsBlocking + "'>" + content + "</" + name + ">"
}

// blocks sends a command, and waits until all that follows from it is done.
func blocks(t *testing.T, c *xmppc.Conn, name string, jids ...string) {
	t.Helper()
	const id = "block-command"
	c.Sendf("<iq type='set' id='%s'>%s</iq>", id, blockCommand(name, jids...))
	if e := c.Answer(id, "presence", "iq"); e.Attr("type") != "result" || len(e.Children) > 0 {
		t.Fatalf("%s %.200q: %s", name, jids, e.Raw)
	}
	c.Sync("presence", "iq")
}

// blocklist asks for the list (XEP-0191 3.2).
func blocklist(c *xmppc.Conn) []string {
	return listed(c.IQ("get", "", "<blocklist xmlns='"+nsBlocking+"'/>").Child(nsBlocking, "blocklist"))
}

func listed(e *xmppc.Element) (jids []string) {
	for _, item := range e.All(nsBlocking, "item") {
		jids = append(jids, item.Attr("jid"))
	}
	slices.Sort(jids)
	return jids
}

// pushedBlocks are the pushes that have come to a session since, in words, which it
// answers. They come from nobody or from the account, with ids of their own.
func pushedBlocks(t *testing.T, c *xmppc.Conn) (pushes []string) {
	t.Helper()
	ids := map[string]bool{}
	for _, e := range c.Collect() {
		if !e.Is(xmppc.NSClient, "iq") || e.Attr("type") != "set" {
			continue
		}
		id, from := e.Attr("id"), e.Attr("from")
		if id == "" || ids[id] || from != "" && from != c.Bare() || len(e.Children) != 1 {
			t.Errorf("push %s", e.Raw)
		}
		ids[id] = true
		command := e.Children[0]
		pushes = append(pushes, strings.TrimSpace(command.Local+" "+strings.Join(listed(command), " ")))
		c.Sendf("<iq type='result' id='%s'/>", xmppc.Escape(id))
	}
	return pushes
}

// notAcceptable says whether e is the error of XEP-0191, example 9.
func notAcceptable(e *xmppc.Element) bool {
	failure := e.Child(xmppc.NSClient, "error")
	return e.Attr("type") == "error" && e.Condition() == "not-acceptable" && failure.Child(nsBlockingErrors, "blocked") != nil
}

func TestBlockList(t *testing.T) {
	s := server(t)

	t.Run("XEP-0191 3.1 the server has the feature", func(t *testing.T) {
		c := session(t, s, account(t, s, "juliet"), "")
		if vars := features(c.IQ("get", domain, query(nsInfo))); !slices.Contains(vars, nsBlocking) {
			t.Errorf("features %q", vars)
		}
	})

	t.Run("XEP-0191 3.2 to 3.5 block, unblock, unblock all; addresses come prepared", func(t *testing.T) {
		c := session(t, s, account(t, s, "juliet"), "")
		want := func(jids ...string) {
			t.Helper()
			if got := blocklist(c); !slices.Equal(got, jids) {
				t.Errorf("got %q, want %q", got, jids)
			}
		}
		want()
		blocks(t, c, "block", "Romeo@Montague.EXAMPLE", "montague.example/Balcony")
		blocks(t, c, "block", "shakespeare.example", "romeo@montague.example")
		want("montague.example/Balcony", "romeo@montague.example", "shakespeare.example")
		blocks(t, c, "unblock", "SHAKESPEARE.example")
		want("montague.example/Balcony", "romeo@montague.example")
		blocks(t, c, "unblock")
		want()
	})

	t.Run("XEP-0191 3.3 an empty block, and what is no address, get bad-request", func(t *testing.T) {
		c := session(t, s, account(t, s, "juliet"), "")
		for _, payload := range []string{
			blockCommand("block"), blockCommand("block", "a@b@c"), blockCommand("block", "romeo@montague.example", ""),
			"<block xmlns='" + nsBlocking + "'><item/></block>", blockCommand("unblock", "@"),
		} {
			c.IQError("set", "", payload, "bad-request", "jid-malformed")
		}
		if got := blocklist(c); len(got) > 0 {
			t.Errorf("blocked: %q", got)
		}
	})

	t.Run("XEP-0191 3.3 to 3.5 pushes, to the sessions that have asked for the list", func(t *testing.T) {
		local := account(t, s, "juliet")
		one, two, quiet := session(t, s, local, "one"), session(t, s, local, "two"), session(t, s, local, "quiet")
		blocklist(one)
		blocklist(two)
		blocks(t, quiet, "block", "romeo@montague.example", "Iago@shakespeare.example")
		blocks(t, quiet, "unblock", "iago@shakespeare.example")
		blocks(t, quiet, "unblock")
		want := []string{"block iago@shakespeare.example romeo@montague.example", "unblock iago@shakespeare.example", "unblock"}
		for _, c := range []*xmppc.Conn{one, two} {
			if got := pushedBlocks(t, c); !slices.Equal(got, want) {
				t.Errorf("%s was pushed %q, want %q", c.JID, got, want)
			}
		}
		if got := pushedBlocks(t, quiet); len(got) > 0 {
			t.Errorf("who has not asked was pushed %q", got)
		}
	})

	t.Run("XEP-0191 3.3, XEP-0198 5 a resumed session still gets pushes, and those of meanwhile", func(t *testing.T) {
		local := account(t, s, "juliet")
		one, two := session(t, s, local, "one"), session(t, s, local, "two")
		id := one.Enable()
		blocklist(one)
		one.Reset()
		blocks(t, two, "block", "romeo@montague.example")
		again := authenticated(t, s, local)
		again.Resume(id, 1, one.JID)
		again.JID = one.JID
		blocks(t, two, "block", "shakespeare.example")
		if got := pushedBlocks(t, again); !slices.Equal(got, []string{"block romeo@montague.example", "block shakespeare.example"}) {
			t.Errorf("got %q", got)
		}
	})

	t.Run("XEP-0191 3.2 others can neither see nor change it", func(t *testing.T) {
		romeo, juliet := strangers(t, s)
		blocks(t, juliet, "block", "shakespeare.example")
		for _, to := range []string{juliet.Bare(), "nobody@" + domain} {
			romeo.IQError("get", to, "<blocklist xmlns='"+nsBlocking+"'/>", "service-unavailable", "forbidden", "not-allowed")
			romeo.IQError("set", to, blockCommand("unblock"), "service-unavailable", "forbidden", "not-allowed")
			romeo.IQError("set", to, blockCommand("block", romeo.Bare()), "service-unavailable", "forbidden", "not-allowed")
		}
		if got := blocklist(juliet); !slices.Equal(got, []string{"shakespeare.example"}) {
			t.Errorf("got %q", got)
		}
	})

	t.Run("a list has a bound", func(t *testing.T) {
		c := session(t, s, account(t, s, "juliet"), "")
		var many []string
		for i := range 1000 {
			many = append(many, fmt.Sprintf("romeo%03d@montague.example", i))
		}
		blocks(t, c, "block", many...)
		c.IQError("set", "", blockCommand("block", "shakespeare.example"), "resource-constraint", "not-allowed", "policy-violation")
		if got := blocklist(c); !slices.Equal(got, many) {
			t.Errorf("%d are listed", len(got))
		}
	})
}

// TestBlockedStanzas is XEP-0191 3.3 and 6, both ways, between accounts of one
// server.
func TestBlockedStanzas(t *testing.T) {
	s := server(t)
	for _, form := range []struct {
		form    string
		pattern func(romeo *xmppc.Conn) string
	}{
		{"user@domain", (*xmppc.Conn).Bare},
		{"user@domain/resource", func(romeo *xmppc.Conn) string { return romeo.JID }},
		{"domain", func(*xmppc.Conn) string { return second }},
	} {
		t.Run("XEP-0191 3.3, 6 "+form.form, func(t *testing.T) {
			romeo := imAt(t, s, second, "romeo", "orchard")
			nurse := im(t, s, account(t, s, "nurse"), "kitchen")
			juliet := im(t, s, account(t, s, "juliet"), "balcony")
			blocks(t, juliet, "block", form.pattern(romeo))

			romeo.Sendf("<message to='%s' type='chat' id='bare'><body>hi</body></message>", juliet.Bare())
			romeo.StanzaError("message", "bare", "service-unavailable")
			romeo.Sendf("<message to='%s' id='full'><body>hi</body></message>", juliet.JID)
			romeo.StanzaError("message", "full", "service-unavailable")
			romeo.IQError("get", juliet.JID, ping, "service-unavailable")
			romeo.IQError("set", juliet.JID, "<q xmlns='urn:x'/>", "service-unavailable")
			romeo.Sendf("<iq type='result' id='r' to='%[1]s'/><message to='%[1]s' type='error'><error/></message><presence to='%[1]s'/><presence to='%[1]s' type='unavailable'/>", juliet.JID)
			silent(t, romeo)
			if heard := juliet.Collect(); len(heard) > 0 {
				t.Errorf("juliet hears %s", heard[0].Raw)
			}

			for _, sent := range []string{"<message id='out' to='%s'><body>hi</body></message>", "<iq id='out' type='get' to='%s'>" + ping + "</iq>", "<presence id='out' to='%s'/>"} {
				juliet.Sendf(sent, romeo.JID)
				if e := juliet.Next(); !notAcceptable(e) || e.Attr("from") != romeo.JID || e.Attr("id") != "out" {
					t.Errorf("got %s", e.Raw)
				}
			}
			juliet.Sendf("<iq id='out' type='result' to='%s'/>", romeo.JID)
			silent(t, juliet)
			hears(t, romeo)

			// Others are not blocked, and unblocked neither is he.
			nurse.Sendf("<message to='%s'><body>madam</body></message>", juliet.JID)
			juliet.Message("madam")
			blocks(t, juliet, "unblock", form.pattern(romeo))
			romeo.Sendf("<message to='%s'><body>at last</body></message>", juliet.JID)
			juliet.Message("at last")
			juliet.Sendf("<message to='%s'><body>at last</body></message>", romeo.JID)
			romeo.Message("at last")
		})
	}

	t.Run("XEP-0191 6 an item with a resource is for that resource", func(t *testing.T) {
		romeo, juliet := strangers(t, s)
		local, _, _ := strings.Cut(romeo.Bare(), "@")
		street := im(t, s, local, "street")
		blocks(t, juliet, "block", romeo.JID, second+"/x")
		street.Sendf("<message to='%s'><body>it is I</body></message>", juliet.JID)
		juliet.Message("it is I")
		juliet.Sendf("<message to='%s'><body>come up</body></message>", street.JID)
		street.Message("come up")
		romeo.Sendf("<message to='%s' id='1'><body>it is I</body></message>", juliet.JID)
		romeo.StanzaErrorAmong("message", "1", "service-unavailable")
		juliet.IQ("get", second, query(nsInfo)) // the domain itself is not its resource
		juliet.Sendf("<iq type='get' id='2' to='%s/x'>%s</iq>", second, query(nsInfo))
		if e := juliet.Answer("2"); !notAcceptable(e) {
			t.Errorf("got %s", e.Raw)
		}
	})

	t.Run("XEP-0191 3.3 what the account is asked, too: as if there were no such account", func(t *testing.T) {
		romeo, juliet := strangers(t, s)
		const card = "<vCard xmlns='" + nsVCard + "'/>"
		juliet.IQ("set", "", "<vCard xmlns='"+nsVCard+"'><FN>Juliet</FN></vCard>")
		romeo.IQ("get", juliet.Bare(), card)
		blocks(t, juliet, "block", romeo.Bare())
		for _, payload := range []string{card, query(nsInfo), ping} {
			blocked, nobody := romeo.Ask("get", juliet.Bare(), payload), romeo.Ask("get", "nobody@"+domain, payload)
			if blocked.Child(xmppc.NSClient, "error").Names() != nobody.Child(xmppc.NSClient, "error").Names() || blocked.Condition() != "service-unavailable" {
				t.Errorf("got %s\nand of nobody %s", blocked.Raw, nobody.Raw)
			}
		}
	})

	t.Run("XEP-0191 3.3 the answer is that of an account that is not online", func(t *testing.T) {
		romeo, juliet := strangers(t, s)
		answers := func() (all []string) {
			for _, to := range []string{juliet.Bare(), juliet.JID} {
				for _, typ := range []string{"groupchat", "headline"} {
					romeo.Sendf("<message id='1' to='%s' type='%s'><body>hi</body></message>", to, typ)
				}
				romeo.Sendf("<iq id='1' to='%s' type='get'>%s</iq>", to, ping)
			}
			for _, e := range romeo.Collect() {
				all = append(all, e.Raw)
			}
			return all
		}
		blocks(t, juliet, "block", romeo.Bare())
		blocked := answers()
		juliet.Close()
		if offline := answers(); !slices.Equal(blocked, offline) {
			t.Errorf("blocked:\n%s\noffline:\n%s", strings.Join(blocked, "\n"), strings.Join(offline, "\n"))
		}
	})

	t.Run("XEP-0191 3.3, XEP-0280 of what is blocked there are no copies", func(t *testing.T) {
		romeo, juliet := strangers(t, s)
		phone := carboned(t, s, local(juliet), "phone")
		juliet.Collect()
		phone.Collect()
		blocks(t, juliet, "block", romeo.Bare())
		for _, to := range []string{juliet.JID, juliet.Bare()} {
			romeo.Sendf("<message to='%s' type='chat' id='in'><body>hi</body></message>", to)
			romeo.StanzaError("message", "in", "service-unavailable")
		}
		juliet.Sendf("<message to='%s' type='chat' id='out'><body>hi</body></message>", romeo.JID)
		if e := juliet.Next(); !notAcceptable(e) {
			t.Errorf("got %s", e.Raw)
		}
		hears(t, juliet)
		hears(t, phone)
		blocks(t, phone, "unblock")
		juliet.Sendf("<message to='%s' type='chat'><body>hi</body></message>", romeo.JID)
		carbon(t, phone, "sent")
	})

	t.Run("XEP-0191 5, 6 the own account and the own server can't be shut out", func(t *testing.T) {
		local := account(t, s, "juliet")
		one, two := im(t, s, local, "one"), im(t, s, local, "two")
		nurse := im(t, s, account(t, s, "nurse"), "kitchen")
		for _, item := range []string{one.Bare(), two.JID, domain + "/x"} {
			one.Ask("set", "", blockCommand("block", item)) // refused, or without effect
		}
		blocks(t, one, "block", domain)
		one.Collect()
		two.Collect()
		one.IQ("get", domain, query(nsInfo))
		one.IQ("get", "", query(nsInfo))
		one.Sendf("<message to='%s' type='chat'><body>to myself</body></message><presence to='%s'/>", two.JID, two.JID)
		one.Collect()
		hears(t, two, "message to myself from "+one.JID, "available from "+one.JID)
		two.Sendf("<iq type='get' id='p' to='%s'>%s</iq>", one.JID, ping)
		if e := one.Next(); !e.Is(xmppc.NSClient, "iq") || e.Attr("id") != "p" {
			t.Errorf("got %s", e.Raw)
		}
		nurse.Sendf("<message to='%s' id='1'><body>madam</body></message>", one.JID)
		nurse.StanzaError("message", "1", "service-unavailable")
	})
}

func TestBlockedContacts(t *testing.T) {
	s := server(t)

	t.Run("XEP-0191 3.3, 3.4 a contact sees the user leave, hears nothing, and sees the user come back", func(t *testing.T) {
		romeo, juliet := friends(t, s)
		local, _, _ := strings.Cut(romeo.Bare(), "@")
		blocks(t, juliet, "block", romeo.Bare())
		hears(t, romeo, "unavailable from "+juliet.JID)
		juliet.Send("<presence><show>away</show></presence>")
		juliet.Collect()
		hears(t, romeo)
		romeo.Send("<presence><show>dnd</show></presence>")
		romeo.Collect()
		hears(t, juliet)

		phone := session(t, s, local, "phone")
		phone.Roster()
		phone.Send("<presence/>") // probes
		hears(t, phone, "available from "+phone.JID, "available from "+romeo.JID+" dnd")
		romeo.Collect()
		hears(t, juliet)

		blocks(t, juliet, "unblock", romeo.Bare())
		hears(t, romeo, "available from "+juliet.JID+" away")
		hears(t, phone, "available from "+juliet.JID+" away")
		juliet.Send("<presence/>")
		juliet.Collect()
		hears(t, romeo, "available from "+juliet.JID)
		if got := entry(juliet, romeo.Bare()); got != "both" { // section 4: polite blocking
			t.Errorf("the subscription is %q", got)
		}
	})

	t.Run("XEP-0191 3.3 login and logout of the user do not show", func(t *testing.T) {
		romeo, juliet := friends(t, s)
		local, _, _ := strings.Cut(juliet.Bare(), "@")
		blocks(t, juliet, "block", romeo.Bare())
		romeo.Collect()
		juliet.Close()
		juliet = im(t, s, local, "balcony")
		juliet.Collect()
		juliet.Send("<presence type='unavailable'/>")
		juliet.Collect()
		hears(t, romeo)
	})

	t.Run("XEP-0191 3.4 the user sees the presence of who is unblocked", func(t *testing.T) {
		romeo, juliet := friends(t, s)
		blocks(t, juliet, "block", romeo.Bare())
		romeo.Send("<presence><show>xa</show></presence>")
		romeo.Collect()
		hears(t, juliet)
		juliet.Send("<iq type='set' id='u'>" + blockCommand("unblock") + "</iq>")
		juliet.Answer("u", "presence")
		romeo.Collect()
		hears(t, juliet, "available from "+romeo.JID+" xa")
	})

	t.Run("XEP-0191 3.3 subscriptions of the blocked are not delivered, and not answered", func(t *testing.T) {
		romeo, juliet := strangers(t, s)
		local, _, _ := strings.Cut(juliet.Bare(), "@")
		tell(romeo, juliet, "subscribe")
		hears(t, juliet, "subscribe from "+romeo.Bare())
		blocks(t, juliet, "block", romeo.Bare())
		phone := session(t, s, local, "phone")
		phone.Roster()
		phone.Send("<presence/>") // the request would come again
		hears(t, phone, "available from "+phone.JID, "available from "+juliet.JID)
		juliet.Collect()
		tell(romeo, juliet, "unsubscribe")
		tell(romeo, juliet, "subscribe")
		hears(t, juliet)
		romeo.Collect()
		juliet.Sendf("<presence to='%s' type='subscribed' id='out'/>", romeo.Bare())
		if e := juliet.Next(); !notAcceptable(e) {
			t.Errorf("got %s", e.Raw)
		}
		hears(t, romeo)
	})

	t.Run("XEP-0191 3.3, RFC 6121 4.6 who was sent directed presence is told, once", func(t *testing.T) {
		romeo, juliet := strangers(t, s)
		juliet.Sendf("<presence to='%s'/>", romeo.JID)
		juliet.Collect()
		hears(t, romeo, "available from "+juliet.JID)
		blocks(t, juliet, "block", romeo.Bare())
		hears(t, romeo, "unavailable from "+juliet.JID)
		juliet.Reset()
		hears(t, romeo)
	})
}

// What the blocked send while the user is away is not there when the user comes
// back, nor is what they had sent before the block.
func TestBlockedOffline(t *testing.T) {
	s := server(t)
	romeo, juliet := strangers(t, s)
	local, _, _ := strings.Cut(juliet.Bare(), "@")
	blocks(t, juliet, "block", romeo.Bare())
	juliet.Close()
	romeo.Sendf("<message to='%s' type='chat' id='away'><body>blocked</body></message>", juliet.Bare())
	romeo.StanzaError("message", "away", "service-unavailable")
	juliet = session(t, s, local, "balcony")
	blocks(t, juliet, "unblock")
	juliet.Available(0)
	for _, e := range juliet.Collect() {
		if e.Is(xmppc.NSClient, "message") {
			t.Errorf("kept: %s", e.Raw)
		}
	}
	juliet.Close()

	romeo.Sendf("<message to='%s' type='chat' id='before'><body>before the block</body></message>", juliet.Bare())
	romeo.Collect() // an error, where no message waits for anybody
	juliet = session(t, s, local, "balcony")
	blocks(t, juliet, "block", romeo.Bare())
	juliet.Available(0)
	for _, e := range juliet.Collect() {
		if e.Is(xmppc.NSClient, "message") {
			t.Errorf("delivered: %s", e.Raw)
		}
	}
}

func TestBlockListLasts(t *testing.T) {
	s := harness.Start(t, harness.Config{Registration: "open"})
	romeo, juliet := friends(t, s)
	r, _, _ := strings.Cut(romeo.Bare(), "@")
	j, _, _ := strings.Cut(juliet.Bare(), "@")
	bare := juliet.Bare()
	blocks(t, juliet, "block", romeo.Bare(), "montague.example")

	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := s.Run(); err != nil {
		t.Fatal(err)
	}
	romeo, juliet = im(t, s, r, "orchard"), im(t, s, j, "balcony")
	romeo.Sendf("<message to='%s' id='1'><body>hi</body></message>", juliet.JID)
	romeo.StanzaErrorAmong("message", "1", "service-unavailable")
	if got := blocklist(juliet); !slices.Equal(got, []string{"montague.example", romeo.Bare()}) {
		t.Errorf("after a restart: %q", got)
	}
	for _, e := range romeo.Collect() {
		if e.Attr("from") == juliet.JID {
			t.Errorf("romeo hears %s", e.Raw)
		}
	}

	if out := s.CLI(t, "user", "remove", bare); out.Code != 0 {
		t.Fatalf("%s%s", out.Stdout, out.Stderr)
	}
	c := direct(t, s, domain)
	c.Open(domain)
	c.IQ("set", "", register(j, secret))
	c.Close()
	juliet = im(t, s, j, "balcony")
	if got := blocklist(juliet); len(got) > 0 {
		t.Errorf("the list outlives its account: %q", got)
	}
	romeo.Sendf("<message to='%s'><body>a new account</body></message>", juliet.JID)
	juliet.Message("a new account")
}

// imAt is im on another domain, with a new account.
func imAt(t *testing.T, s *harness.Server, at, name, resource string) *xmppc.Conn {
	t.Helper()
	local := accountAt(t, s, at, name)
	c := direct(t, s, at)
	c.Open(at)
	c.Login(local, secret)
	c.Bind(resource)
	c.Roster()
	c.Available(0)
	return c
}
