// Package adhoc is ad-hoc commands (XEP-0050) of a component: Commands makes its iq
// handlers, which list commands (2.2), tell of each (2.2, example 6), and run them (2.4).
// A command is done at once, or behind one form that is filled in: there is no other
// stage, so prev and next are refused with bad-action.
//
// A session (3.3) is an entry of the extension's Store, so that it outlives the process,
// and ends once: whoever sends the same completed form twice is told session-expired. Its
// id has a code in it, made with a secret of the extension, that binds it to who began it
// and to the command: what is not of this make is bad-sessionid, and needs no look-up.
//
// Texts are English. A <command/> that asks for another language by an xml:lang of its own
// is refused with bad-locale (3.7). One that the whole stanza has, as all do that a client
// sends in the language of its stream, is not: nobody could run anything else.
//
// Left out are announcing commands by messages (2.3), and payloads but forms.
package adhoc

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/form"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// NS is the namespace of commands, the feature that stands for them, and the node that
// lists them (2.1, 2.2).
const NS = "http://jabber.org/protocol/commands"

// Service discovery (XEP-0030).
const (
	nsInfo  = "http://jabber.org/protocol/disco#info"
	nsItems = "http://jabber.org/protocol/disco#items"
)

// Actions (4.1).
const (
	execute  = "execute"
	complete = "complete"
	cancel   = "cancel"
	prev     = "prev"
	next     = "next"
)

// Bounds of sessions.
const (
	sessionTime = 15 * time.Minute
	maxSessions = 10 // of one account; one more ends the oldest
)

// Commands are the commands of a component. Its handlers call the functions of it and of
// its commands like any handler: each is within a transaction.
type Commands struct {
	// Disco is what disco#info of the component says, without what this package adds.
	Disco extension.Disco
	// May says whether an account (bare JID) may see and run the commands.
	May  func(account jid.JID) bool
	List []Command
}

// Command is one of them.
type Command struct {
	Node, Name string // Node is unique
	// Form returns what is to be filled in; nil: the command is done at once.
	Form func(ctx context.Context, h *extension.Host, r Request) (*form.Form, error)
	// Do does it, with what was filled in, and returns a note for the one who asked. An
	// error ends nothing: the same session can be tried again.
	Do func(ctx context.Context, h *extension.Host, r Request, v form.Values) (note string, err error)
}

// Request says who runs a command, and where.
type Request struct {
	From jid.JID
	To   jid.JID // the domain of the component
	Lang string  // of the stanza, "" if it has none
}

// Handlers returns the iq handlers of the component.
func (c *Commands) Handlers() []extension.IQHandler {
	return []extension.IQHandler{
		{Space: nsInfo, Local: "query", Type: stanza.Get, Inline: true, Handle: c.info},
		{Space: nsItems, Local: "query", Type: stanza.Get, Inline: true, Handle: c.items},
		{Space: NS, Local: "command", Type: stanza.Set, Handle: c.command},
	}
}

// find returns the command of a node, nil if there is none.
func (c *Commands) find(node string) *Command {
	i := slices.IndexFunc(c.List, func(x Command) bool { return x.Node == node })
	if i < 0 {
		return nil
	}
	return &c.List[i]
}

// info answers disco#info of the component, of the list, and of a command.
func (c *Commands) info(_ context.Context, _ *extension.Host, q extension.IQ) (*stanza.Element, error) {
	node := q.Attr("node")
	d := c.Disco
	switch cmd := c.find(node); {
	case node == "":
	case node == NS:
		d = extension.Disco{Identities: []extension.Identity{{Category: "automation", Type: "command-list", Name: "Commands"}}}
	case cmd == nil:
		return nil, stanza.Err(stanza.ItemNotFound, "no such node")
	case !c.May(q.From.Bare()):
		return nil, stanza.Err(stanza.Forbidden, "")
	default:
		d = extension.Disco{Features: []string{form.NS}, Identities: []extension.Identity{{Category: "automation", Type: "command-node", Name: cmd.Name}}}
	}
	return answer(d, node), nil
}

// answer is disco#info with what this package itself can do.
func answer(d extension.Disco, node string) *stanza.Element {
	e := query(nsInfo, node)
	for _, id := range d.Identities {
		e.Add(stanza.El(nsInfo, "identity", stanza.At("category", id.Category), stanza.At("type", id.Type), stanza.At("name", id.Name)))
	}
	features := append([]string{nsInfo, nsItems, NS}, d.Features...)
	slices.Sort(features)
	for _, f := range slices.Compact(features) {
		e.Add(stanza.El(nsInfo, "feature", stanza.At("var", f)))
	}
	return e.Add(d.Forms...)
}

func query(space, node string) *stanza.Element {
	e := stanza.El(space, "query")
	if node != "" {
		e.Attrs = append(e.Attrs, stanza.At("node", node))
	}
	return e
}

// items lists the commands, for those who may run them (2.2).
func (c *Commands) items(_ context.Context, _ *extension.Host, q extension.IQ) (*stanza.Element, error) {
	node := q.Attr("node")
	out := query(nsItems, node)
	switch {
	case node == NS && c.May(q.From.Bare()):
		for _, cmd := range c.List {
			out.Add(stanza.El(nsItems, "item", stanza.At("jid", q.To.String()), stanza.At("node", cmd.Node), stanza.At("name", cmd.Name)))
		}
	case node != "" && node != NS && c.find(node) == nil:
		return nil, stanza.Err(stanza.ItemNotFound, "no such node")
	}
	return out, nil
}

// command runs a command, or goes on with one (2.4).
func (c *Commands) command(ctx context.Context, h *extension.Host, q extension.IQ) (*stanza.Element, error) {
	if !c.May(q.From.Bare()) {
		return nil, &stanza.Error{Type: stanza.Cancel, Condition: stanza.Forbidden} // the type is of 4.4
	}
	p := q.Payload()
	node, id, action := p.Attr("node"), p.Attr("sessionid"), p.Attr("action")
	if node == "" {
		return nil, stanza.Err(stanza.BadRequest, "A command has a node.")
	}
	cmd := c.find(node)
	if cmd == nil {
		return nil, stanza.Err(stanza.ItemNotFound, "There is no such command.")
	}
	switch action {
	case "", execute, complete, cancel, prev, next:
	default:
		return nil, refuse("malformed-action", "There is no such action.")
	}
	if !english(p) {
		return nil, refuse("bad-locale", "Texts are in English only.")
	}
	run := running{cmd: cmd, request: Request{From: q.From, To: q.To, Lang: q.Lang}}
	if id == "" {
		if action != "" && action != execute {
			return nil, refuse("bad-action", "The command is not being executed: it has no sessionid.")
		}
		return run.begin(ctx, h)
	}
	return run.goOn(ctx, h, id, action, p)
}

// english says whether texts of ours are what a command wants.
func english(p *stanza.Element) bool {
	for _, a := range p.Attrs {
		if a.Space == xmpp.NSXML && a.Local == "lang" {
			tag, _, _ := strings.Cut(strings.ToLower(a.Value), "-")
			return tag == "en" || tag == "i" || tag == "" // i-default: RFC 2277 4.5
		}
	}
	return true
}

// BadPayload is what Do returns for a form whose values it can't use.
func BadPayload(text string) *stanza.Error { return refuse("bad-payload", text) }

// refuse is an error of 4.4.
func refuse(condition, text string) *stanza.Error {
	e := stanza.Err(stanza.BadRequest, text)
	if condition == "session-expired" {
		e = stanza.Err(stanza.NotAllowed, text)
	}
	e.App = stanza.El(NS, condition)
	return e
}

// running is a command that somebody runs.
type running struct {
	cmd     *Command
	request Request
}

// begin does a command without a form, or asks for the form to be filled in.
func (r *running) begin(ctx context.Context, h *extension.Host) (*stanza.Element, error) {
	s, err := r.newSession(ctx, h)
	if err != nil {
		return nil, err
	}
	if r.cmd.Form == nil {
		note, err := r.cmd.Do(ctx, h, r.request, nil)
		if err != nil {
			return nil, err
		}
		return r.status(s.id, "completed", note), nil
	}
	f, err := r.cmd.Form(ctx, h, r.request)
	if err != nil {
		return nil, err
	}
	if err := s.open(ctx, h); err != nil {
		return nil, err
	}
	actions := stanza.El(NS, "actions", stanza.At("execute", complete)).Add(stanza.El(NS, complete))
	return r.status(s.id, "executing", "").Add(actions, f.Element()), nil
}

// goOn ends a session: with what was filled in, or without.
func (r *running) goOn(ctx context.Context, h *extension.Host, id, action string, p *stanza.Element) (*stanza.Element, error) {
	s, err := r.session(ctx, h, id)
	if err != nil {
		return nil, err
	}
	switch action {
	case cancel:
		s.end(h)
		return r.status(id, "canceled", ""), nil
	case prev, next:
		return nil, refuse("bad-action", "There is one stage only.")
	}
	if r.cmd.Form == nil { // it had one when the session began
		return nil, refuse("session-expired", "")
	}
	x := p.Child(form.NS, "x")
	if x == nil {
		return nil, BadPayload("Fill in the form.")
	}
	if x.Attr("type") == form.Cancel { // counts as submitted (3.5.1)
		x = &stanza.Element{Space: x.Space, Local: x.Local, Attrs: []stanza.Attr{stanza.At("type", form.Submit)}, Nodes: x.Nodes}
	}
	asked, err := r.cmd.Form(ctx, h, r.request)
	if err != nil {
		return nil, err
	}
	values, err := form.Read(x, asked)
	if err != nil {
		return nil, BadPayload(err.Error())
	}
	note, err := r.cmd.Do(ctx, h, r.request, values)
	if err != nil {
		return nil, err
	}
	s.end(h)
	return r.status(id, "completed", note), nil
}

// status is an answer: where the command is.
func (r *running) status(id, status, note string) *stanza.Element {
	e := stanza.El(NS, "command", stanza.At("node", r.cmd.Node), stanza.At("sessionid", id), stanza.At("status", status),
		stanza.Attr{Space: xmpp.NSXML, Local: "lang", Value: "en"})
	if note != "" {
		e.Add(stanza.El(NS, "note", stanza.At("type", "info")).WithText(note))
	}
	return e
}
