package muc

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"

	"github.com/hexmpp/hexmpp/ports/xmpp/form"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Bounds of the hats of a room.
const (
	maxHats     = 50
	maxHatText  = 200 // bytes of a title, or of a URI
	maxWearers  = 500 // accounts that wear some
	maxHatsEach = 10
)

// hat is a mark that occupants wear (XEP-0317).
type hat struct {
	URI   string
	Title string
	Hue   string `json:",omitempty"` // an angle (XEP-0392), as it was written
}

// wearer is an account, and the hats that it wears, by their URIs.
type wearer struct {
	JID  string // bare
	Hats []string
}

// Commands (3.2 to 3.7), and fields of their forms (3.8).
const (
	hatsCreate   = nsHatForms + ":create"
	hatsDestroy  = nsHatForms + ":destroy"
	hatsList     = nsHatForms + ":list"
	hatsAssign   = nsHatForms + ":assign"
	hatsUnassign = nsHatForms + ":unassign"
	hatsWorn     = nsHatForms + ":list-assigned"

	fieldHatTitle = "hats#title"
	fieldHatURI   = "hats#uri"
	fieldHatHue   = "hats#hue"
	fieldHatJID   = "hats#jid"
)

// hatCommands are the commands, with their names for people.
var hatCommands = []struct{ node, name string }{
	{hatsCreate, "Create or change a hat"}, {hatsDestroy, "Destroy a hat"}, {hatsList, "List hats"},
	{hatsAssign, "Assign a hat"}, {hatsUnassign, "Remove a hat"}, {hatsWorn, "List assigned hats"},
}

// hatOf returns the hat with a URI, nil if there is none.
func (r *room) hatOf(uri string) *hat {
	i := slices.IndexFunc(r.Hats, func(h hat) bool { return h.URI == uri })
	if i < 0 {
		return nil
	}
	return &r.Hats[i]
}

// worn returns <hats/> of an account for its presence (3.1), nil if it wears none.
func (r *room) worn(account jid.JID) *stanza.Element {
	if len(r.Wearers) == 0 {
		return nil
	}
	i := slices.IndexFunc(r.Wearers, func(w wearer) bool { return w.JID == account.String() })
	if i < 0 {
		return nil
	}
	all := stanza.El(nsHats, "hats")
	for _, uri := range r.Wearers[i].Hats {
		if h := r.hatOf(uri); h != nil {
			e := stanza.El(nsHats, "hat", stanza.At("title", h.Title), stanza.At("uri", h.URI))
			if h.Hue != "" {
				e.Attrs = append(e.Attrs, stanza.At("hue", h.Hue))
			}
			all.Add(e)
		}
	}
	return all
}

// hatsHash stands for the list of hats (2): another list has another one.
func (r *room) hatsHash() string {
	sum := sha256.New()
	for _, h := range r.Hats {
		fmt.Fprintf(sum, "%q %q %q\n", h.URI, h.Title, h.Hue)
	}
	return hex.EncodeToString(sum.Sum(nil)[:20])
}

// hatForm asks for what a command needs; nil: for nothing.
func (t *turn) hatForm(node string) *form.Form {
	choice := form.Field{Var: fieldHatURI, Type: form.ListSingle, Label: "The hat", Required: true}
	for _, h := range t.r.Hats {
		choice.Options = append(choice.Options, form.Option{Label: h.Title, Value: h.URI})
	}
	who := form.Field{Var: fieldHatJID, Type: form.JIDSingle, Label: "Address of who wears it", Required: true}
	f := &form.Form{Type: form.Ask, Purpose: nsHatForms}
	switch node {
	case hatsCreate:
		f.Title = "Creating a hat"
		f.Fields = []form.Field{{Var: fieldHatTitle, Type: form.TextSingle, Label: "Title", Required: true},
			{Var: fieldHatURI, Type: form.TextSingle, Label: "URI", Required: true}, {Var: fieldHatHue, Type: form.TextSingle, Label: "Hue angle"}}
	case hatsDestroy:
		f.Title, f.Fields = "Destroying a hat", []form.Field{choice}
	case hatsAssign:
		f.Title, f.Fields = "Assigning a hat", []form.Field{who, choice}
	case hatsUnassign:
		f.Title, f.Fields = "Removing a hat", []form.Field{who, choice}
	default:
		return nil
	}
	return f
}

// command takes ad-hoc commands (XEP-0050) of a room: those about hats, which are for its admins; a list of
// hats is for everybody in the room. Each is done at once, or behind a form; nothing is kept between the two.
func (t *turn) command(c *stanza.Element) error {
	if err := t.mayLook(); err != nil {
		return err
	}
	node, by := c.Attr("node"), t.actor()
	known := slices.ContainsFunc(hatCommands, func(k struct{ node, name string }) bool { return k.node == node })
	switch action := c.Attr("action"); {
	case !known:
		return t.fail(stanza.ItemNotFound, "There is no such command.")
	case by.affiliation < Admin && (node != hatsList || by.session == nil):
		return t.fail(stanza.Forbidden, "This is for admins of the room.")
	case action == "cancel":
		return t.result(t.commandStatus(c, "canceled"))
	case action != "" && action != "execute" && action != "complete":
		return t.fail(stanza.BadRequest, "")
	}
	asked := t.hatForm(node)
	x := c.Child(form.NS, "x")
	switch {
	case node == hatsList:
		return t.result(t.commandStatus(c, "completed").Add(t.hatTable(false)))
	case node == hatsWorn:
		return t.result(t.commandStatus(c, "completed").Add(t.hatTable(true)))
	case x == nil:
		return t.result(t.commandStatus(c, "executing").Add(stanza.El(nsCommands, "actions", stanza.At("execute", "complete")).Add(stanza.El(nsCommands, "complete")), asked.Element()))
	}
	v, err := form.Read(x, asked)
	if err != nil {
		return t.failAs(stanza.Modify, stanza.BadRequest, err.Error())
	}
	wore := t.r.wearersOf(v.Get(fieldHatURI))
	if err := t.changeHats(node, v); err != nil {
		return err
	}
	if err := t.saveRoom(); err != nil {
		return err
	}
	if err := t.result(t.commandStatus(c, "completed")); err != nil {
		return err
	}
	return t.hatsChanged(node, v, wore)
}

// changeHats does what a form asks for.
func (t *turn) changeHats(node string, v form.Values) error {
	uri := v.Get(fieldHatURI)
	h := t.r.hatOf(uri)
	if node != hatsCreate && h == nil {
		return t.fail(stanza.ItemNotFound, "There is no such hat.")
	}
	switch node {
	case hatsCreate:
		next := hat{URI: uri, Title: v.Get(fieldHatTitle), Hue: v.Get(fieldHatHue)}
		if hue, err := strconv.ParseFloat(next.Hue, 64); next.Hue != "" && (err != nil || !(hue >= 0 && hue <= 360)) {
			return t.failAs(stanza.Modify, stanza.BadRequest, "A hue is an angle from 0 to 360.")
		}
		if max(len(uri), len(next.Title), len(next.Hue)) > maxHatText {
			return t.failAs(stanza.Modify, stanza.PolicyViolation, fmt.Sprintf("Titles and URIs may have %d bytes.", maxHatText))
		}
		t.r.dirty = true
		if h != nil {
			*h = next
			return nil
		}
		if len(t.r.Hats) >= maxHats {
			return t.failAs(stanza.WaitType, stanza.ResourceConstraint, fmt.Sprintf("A room has %d hats at most.", maxHats))
		}
		t.r.Hats = append(t.r.Hats, next)
	case hatsDestroy:
		t.r.dirty = true
		t.r.Hats = slices.DeleteFunc(t.r.Hats, func(h hat) bool { return h.URI == uri })
		for i := range t.r.Wearers {
			t.r.Wearers[i].Hats = slices.DeleteFunc(t.r.Wearers[i].Hats, func(u string) bool { return u == uri })
		}
	case hatsAssign, hatsUnassign:
		who, err := jid.Parse(v.Get(fieldHatJID))
		if err != nil || who.Local() == "" {
			return t.fail(stanza.JIDMalformed, "")
		}
		t.r.dirty = true
		if err := t.wear(who.Bare(), uri, node == hatsAssign); err != nil {
			return err
		}
	}
	t.r.Wearers = slices.DeleteFunc(t.r.Wearers, func(w wearer) bool { return len(w.Hats) == 0 })
	return nil
}

// wear gives an account a hat, or takes it.
func (t *turn) wear(who jid.JID, uri string, on bool) error {
	i := slices.IndexFunc(t.r.Wearers, func(w wearer) bool { return w.JID == who.String() })
	if i < 0 {
		if !on {
			return t.fail(stanza.ItemNotFound, "This hat is not worn by "+who.String()+".")
		}
		if len(t.r.Wearers) >= maxWearers {
			return t.failAs(stanza.WaitType, stanza.ResourceConstraint, "Too many wear hats in this room.")
		}
		t.r.Wearers = append(t.r.Wearers, wearer{JID: who.String()})
		i = len(t.r.Wearers) - 1
	}
	w := &t.r.Wearers[i]
	switch there := slices.Contains(w.Hats, uri); {
	case on && !there && len(w.Hats) >= maxHatsEach:
		return t.failAs(stanza.WaitType, stanza.ResourceConstraint, fmt.Sprintf("Nobody wears more than %d hats.", maxHatsEach))
	case on && !there:
		w.Hats = append(w.Hats, uri)
	case !on && !there:
		return t.fail(stanza.ItemNotFound, "This hat is not worn by "+who.String()+".")
	case !on:
		w.Hats = slices.DeleteFunc(w.Hats, func(u string) bool { return u == uri })
	}
	return nil
}

// wearersOf returns the accounts that wear a hat.
func (r *room) wearersOf(uri string) map[string]bool {
	all := map[string]bool{}
	for _, w := range r.Wearers {
		if slices.Contains(w.Hats, uri) {
			all[w.JID] = true
		}
	}
	return all
}

// hatsChanged tells everybody: that the list is another one (3.2), and what those wear from now on who wore
// the hat, or whom it was given.
func (t *turn) hatsChanged(node string, v form.Values, wore map[string]bool) error {
	if node == hatsAssign || node == hatsUnassign {
		who, _ := jid.Parse(v.Get(fieldHatJID))
		wore = map[string]bool{who.Bare().String(): true}
	}
	for _, o := range t.r.inOrder() {
		if !wore[o.account.String()] {
			continue
		}
		s := o.shown()
		if err := t.announce(s, s.show, t.r.factsOf(o)); err != nil {
			return err
		}
	}
	if node == hatsAssign || node == hatsUnassign {
		return nil
	}
	return t.tellAll(stanza.New(stanza.Header{Kind: stanza.Message, Type: stanza.GroupChat, From: t.addr}, stanza.El(nsUser, "x").Add(statusElement(statusConfig))))
}

// commandStatus begins the answer to a command.
func (t *turn) commandStatus(c *stanza.Element, status string) *stanza.Element {
	id := c.Attr("sessionid")
	if id == "" {
		id = rand.Text()
	}
	return stanza.El(nsCommands, "command", stanza.At("node", c.Attr("node")), stanza.At("sessionid", id), stanza.At("status", status))
}

// hatTable lists hats, with those who wear them, or without (3.4, 3.7).
func (t *turn) hatTable(worn bool) *stanza.Element {
	field := func(name string, values ...string) *stanza.Element {
		e := stanza.El(form.NS, "field", stanza.At("var", name))
		for _, v := range values {
			e.Add(stanza.El(form.NS, "value").WithText(v))
		}
		return e
	}
	x := stanza.El(form.NS, "x", stanza.At("type", form.Result))
	reported := stanza.El(form.NS, "reported")
	if worn {
		reported.Add(field(fieldHatJID))
	}
	x.Add(reported.Add(field(fieldHatURI), field(fieldHatTitle), field(fieldHatHue)))
	item := func(h *hat) *stanza.Element {
		return stanza.El(form.NS, "item").Add(field(fieldHatURI, h.URI), field(fieldHatTitle, h.Title), field(fieldHatHue, h.Hue))
	}
	if !worn {
		for i := range t.r.Hats {
			x.Add(item(&t.r.Hats[i]))
		}
		return x
	}
	for _, w := range t.r.Wearers {
		for _, uri := range w.Hats {
			if h := t.r.hatOf(uri); h != nil {
				x.Add(item(h).Add(field(fieldHatJID, w.JID)))
			}
		}
	}
	return x
}

// commandItems lists the commands for those who may run them (XEP-0050 2.2).
func (t *turn) commandItems() error {
	answer := stanza.El(nsDiscoItems, "query", stanza.At("node", nsCommands))
	by := t.actor()
	for _, c := range hatCommands {
		if by.affiliation >= Admin || c.node == hatsList && by.session != nil {
			answer.Add(stanza.El(nsDiscoItems, "item", stanza.At("jid", t.addr.String()), stanza.At("node", c.node), stanza.At("name", c.name)))
		}
	}
	return t.result(answer)
}

// commandInfo answers what a command is.
func (t *turn) commandInfo(node string) error {
	i := slices.IndexFunc(hatCommands, func(k struct{ node, name string }) bool { return k.node == node })
	if i < 0 {
		return t.fail(stanza.ItemNotFound, "")
	}
	return t.result(stanza.El(nsDiscoInfo, "query", stanza.At("node", node)).Add(
		stanza.El(nsDiscoInfo, "identity", stanza.At("category", "automation"), stanza.At("type", "command-node"), stanza.At("name", hatCommands[i].name)),
		stanza.El(nsDiscoInfo, "feature", stanza.At("var", nsCommands)), stanza.El(nsDiscoInfo, "feature", stanza.At("var", form.NS))))
}
