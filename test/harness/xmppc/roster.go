package xmppc

// Roster asks for the roster (RFC 6121 2.1.3), which also makes the session
// interested in its changes, and returns the items.
func (c *Conn) Roster() []*Element {
	c.t.Helper()
	res := c.IQ("get", "", "<query xmlns='"+NSRoster+"'/>")
	if from := res.Attr("from"); from != "" && from != c.Bare() {
		c.t.Fatalf("%s: the roster is from %s (RFC 6121 2.1.4)", c.name(), from)
	}
	return res.Child(NSRoster, "query").All(NSRoster, "item")
}

// Collect makes a round trip to the server and returns all that came before
// the answer, so also what sessions that were synchronized before have caused.
// Roster pushes are answered (RFC 6121 2.1.6).
func (c *Conn) Collect() (all []*Element) {
	c.t.Helper()
	id := nextID()
	c.Sendf("<iq type='get' id='%s' to='%s'><ping xmlns='%s'/></iq>", id, c.Domain, NSPing)
	for {
		e := c.Next()
		if e.Is(NSClient, "iq") && e.Attr("id") == id {
			return all
		}
		if e.Pushed() != nil {
			c.Sendf("<iq type='result' id='%s'/>", Escape(e.Attr("id")))
		}
		all = append(all, e)
	}
}

// Pushed is the item of a roster push, nil if the element is none.
func (e *Element) Pushed() *Element {
	if !e.Is(NSClient, "iq") || e.Attr("type") != "set" {
		return nil
	}
	return e.Child(NSRoster, "query").Child(NSRoster, "item")
}
