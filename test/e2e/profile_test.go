package e2e

import (
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness/xmppc"
)

const (
	nsVCard   = "vcard-temp"
	nsPrivate = "jabber:iq:private"
)

func TestVCard(t *testing.T) {
	s := server(t)
	const get = "<vCard xmlns='" + nsVCard + "'/>"
	card := func(name string) string { return "<vCard xmlns='" + nsVCard + "'><FN>" + name + "</FN></vCard>" }
	name := func(e *xmppc.Element) string {
		if fn := e.Child(nsVCard, "vCard").Child(nsVCard, "FN"); fn != nil {
			return fn.Text
		}
		return ""
	}

	t.Run("XEP-0054 3.1 the own one: item-not-found or empty at first", func(t *testing.T) {
		c := session(t, s, account(t, s, "romeo"), "")
		for _, to := range []string{"", c.Bare()} {
			e := c.Ask("get", to, get)
			if e.Condition() != "item-not-found" && (e.Attr("type") != "result" || name(e) != "") {
				t.Errorf("got %s", e.Raw)
			}
		}
	})

	t.Run("XEP-0054 3.2 set and get, as a whole", func(t *testing.T) {
		c := session(t, s, account(t, s, "romeo"), "")
		photo := strings.Repeat("QUJD", 8<<10)
		c.IQ("set", "", "<vCard xmlns='"+nsVCard+"'><FN>Romeo &amp; &#x1F339;</FN><PHOTO><TYPE>image/png</TYPE><BINVAL>"+photo+"</BINVAL></PHOTO></vCard>")
		e := c.IQ("get", "", get)
		if name(e) != "Romeo & \U0001F339" || !strings.Contains(e.Raw, photo) {
			t.Errorf("got %.500s", e.Raw)
		}
		c.IQ("set", c.Bare(), card("Montague"))
		if e := c.IQ("get", c.Bare(), get); name(e) != "Montague" || strings.Contains(e.Raw, "PHOTO") {
			t.Errorf("got %.500s", e.Raw)
		}
	})

	t.Run("XEP-0054 3.3 everybody reads it by the bare JID, also while the owner is offline", func(t *testing.T) {
		romeo, juliet := strangers(t, s)
		juliet.IQ("set", "", card("Juliet"))
		if e := romeo.IQ("get", juliet.Bare(), get); name(e) != "Juliet" || e.Attr("from") != juliet.Bare() {
			t.Errorf("got %s", e.Raw)
		}
		juliet.Close()
		if e := romeo.IQ("get", juliet.Bare(), get); name(e) != "Juliet" {
			t.Errorf("got %s", e.Raw)
		}
	})

	t.Run("XEP-0054 3.2 another's can't be set", func(t *testing.T) {
		romeo, juliet := strangers(t, s)
		juliet.IQ("set", "", card("Juliet"))
		for _, to := range []string{juliet.Bare(), "nobody@" + domain} {
			romeo.IQError("set", to, card("Tybalt"), "forbidden")
		}
		if e := juliet.IQ("get", "", get); name(e) != "Juliet" {
			t.Errorf("got %s", e.Raw)
		}
	})

	t.Run("XEP-0054 3.3 no vCard, and no account, are alike", func(t *testing.T) {
		romeo, juliet := strangers(t, s)
		for _, to := range []string{juliet.Bare(), "nobody@" + domain} {
			romeo.IQError("get", to, get, "service-unavailable")
		}
	})

	t.Run("a vCard over the bound is refused, the one before stays", func(t *testing.T) {
		c := session(t, s, account(t, s, "romeo"), "")
		c.IQ("set", "", card("Romeo"))
		if e := c.Ask("set", "", card(strings.Repeat("x", 160<<10))); e.Attr("type") != "error" {
			t.Errorf("got %.200s", e.Raw)
		}
		if e := c.IQ("get", "", get); name(e) != "Romeo" {
			t.Errorf("got %.200s", e.Raw)
		}
	})
}

func TestPrivateXML(t *testing.T) {
	s := server(t)
	private := func(content string) string { return "<query xmlns='" + nsPrivate + "'>" + content + "</query>" }
	const notes = "<notes xmlns='urn:example:notes'/>"

	t.Run("XEP-0049 2.3 nothing was stored: the empty element comes back", func(t *testing.T) {
		c := session(t, s, account(t, s, "romeo"), "")
		e := c.IQ("get", "", private(notes))
		n := e.Child(nsPrivate, "query").Child("urn:example:notes", "notes")
		if n == nil || len(n.Children) > 0 || n.Text != "" {
			t.Errorf("got %s", e.Raw)
		}
	})

	t.Run("XEP-0049 2.3 stored by namespace, returned unchanged, also later", func(t *testing.T) {
		local := account(t, s, "romeo")
		c := session(t, s, local, "")
		c.IQ("set", "", private("<notes xmlns='urn:example:notes' n='1 &lt; 2'>a &amp; b<p:n xmlns:p='urn:example:p' p:x='y'> \U0001F339 </p:n></notes>"))
		c.IQ("set", "", private("<notes xmlns='urn:example:other'>other</notes>"))
		c.Close()
		c = session(t, s, local, "")
		e := c.IQ("get", "", private(notes))
		n := e.Child(nsPrivate, "query").Child("urn:example:notes", "notes")
		inner := n.Child("urn:example:p", "n")
		if n.Attr("n") != "1 < 2" || n.Text != "a & b" || inner.AttrNS("urn:example:p", "x") != "y" || inner.Text != " \U0001F339 " {
			t.Errorf("got %s", e.Raw)
		}
		if e := c.IQ("get", "", private("<notes xmlns='urn:example:other'/>")); !strings.Contains(e.Raw, "other</") {
			t.Errorf("got %s", e.Raw)
		}
	})

	t.Run("XEP-0049 2.3 others' is forbidden, whether or not there is such an account", func(t *testing.T) {
		romeo, juliet := strangers(t, s)
		for _, to := range []string{juliet.Bare(), "nobody@" + domain} {
			romeo.IQError("get", to, private(notes), "forbidden")
			romeo.IQError("set", to, private(notes), "forbidden")
		}
	})

	t.Run("XEP-0049 2.3, 3 what is no element with a namespace of its own is refused", func(t *testing.T) {
		c := session(t, s, account(t, s, "romeo"), "")
		for _, content := range []string{"", "text", "<notes/>", "<notes xmlns=''/>"} {
			for _, typ := range []string{"get", "set"} {
				c.IQError(typ, "", private(content), "not-acceptable", "bad-request")
			}
		}
		c.IQError("get", "", private(notes+"<x xmlns='urn:x'/>"), "bad-request", "not-acceptable")
	})

	t.Run("what is stored has a bound, in bytes and in names", func(t *testing.T) {
		c := session(t, s, account(t, s, "romeo"), "")
		if e := c.Ask("set", "", private("<notes xmlns='urn:example:notes'>"+strings.Repeat("x", 100<<10)+"</notes>")); e.Attr("type") != "error" {
			t.Errorf("got %.200s", e.Raw)
		}
		for range 1000 {
			if e := c.Ask("set", "", private("<n xmlns='urn:"+fresh()+"'>x</n>")); e.Attr("type") == "error" {
				return
			}
		}
		t.Error("1,000 names were stored")
	})
}
