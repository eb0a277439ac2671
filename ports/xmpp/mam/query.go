package mam

import (
	"errors"
	"fmt"
	"time"

	"github.com/hexmpp/hexmpp/ports/xmpp/form"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/rsm"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// MaxIDs is how many IDs one query may name, MaxID how many bytes its own may have,
// which each result repeats.
const (
	MaxIDs = 200
	MaxID  = 1024
)

// Query is what <query/> of type set asks for. What is zero restricts nothing.
type Query struct {
	ID   string // queryid, which results have, too (4.2)
	Node string // of pubsub archives (6.1.3)

	With              jid.JID   // 4.1.1
	Start, End        time.Time // 4.1.2; both included
	AfterID, BeforeID string    // 4.1.3; both excluded
	IDs               []string  // 4.1.3; each of them once
	// Groupchat says whether messages of rooms are wanted of a user's archive
	// (4.1.4), if GroupchatGiven.
	Groupchat, GroupchatGiven bool

	Set  rsm.Request // 4.3
	Flip bool        // 4.3.4
}

// Fields of the form (4.1).
const (
	fieldWith      = "with"
	fieldStart     = "start"
	fieldEnd       = "end"
	fieldBefore    = "before-id"
	fieldAfter     = "after-id"
	fieldIDs       = "ids"
	fieldGroupchat = "include-groupchat"
)

// fields is the form of a query (4.1.5).
var fields = form.Form{Type: form.Ask, Purpose: NS, Fields: []form.Field{
	{Var: fieldWith, Type: form.JIDSingle},
	{Var: fieldStart, Type: form.TextSingle},
	{Var: fieldEnd, Type: form.TextSingle},
	{Var: fieldBefore, Type: form.TextSingle},
	{Var: fieldAfter, Type: form.TextSingle},
	{Var: fieldIDs, Type: form.ListMulti, Open: true},
	{Var: fieldGroupchat, Type: form.Boolean},
}}

// Form is the answer to who asks for the fields of queries (4.1.5).
func Form() *stanza.Element { return stanza.El(NS, "query").Add(fields.Element()) }

// ParseQuery reads a <query/> of type set. An unknown field is
// feature-not-implemented (4.1.5), what is over a bound policy-violation, and everything
// else that is wrong bad-request.
func ParseQuery(e *stanza.Element) (*Query, *stanza.Error) {
	q := &Query{ID: e.Attr("queryid"), Node: e.Attr("node"), Flip: e.Child("", "flip-page") != nil}
	if len(q.ID) > MaxID {
		return nil, stanza.Err(stanza.PolicyViolation, fmt.Sprintf("a queryid may have %d bytes", MaxID))
	}
	var failed *stanza.Error
	if q.Set, failed = rsm.Parse(e.Child(rsm.NS, "set")); failed != nil {
		return nil, failed
	}
	x := e.Child(form.NS, "x")
	if x == nil {
		return q, nil
	}
	values, err := form.Read(x, &fields)
	switch {
	case errors.Is(err, form.ErrUnknown):
		return nil, stanza.Err(stanza.FeatureNotImplemented, err.Error())
	case err != nil:
		return nil, stanza.Err(stanza.BadRequest, err.Error())
	}
	if failed := q.take(values); failed != nil {
		return nil, failed
	}
	return q, nil
}

// take takes the values of the form.
func (q *Query) take(v form.Values) *stanza.Error {
	if with := v.Get(fieldWith); with != "" {
		var err error
		if q.With, err = jid.Parse(with); err != nil {
			return stanza.Err(stanza.BadRequest, err.Error())
		}
	}
	for name, to := range map[string]*time.Time{fieldStart: &q.Start, fieldEnd: &q.End} {
		s := v.Get(name)
		if s == "" {
			continue
		}
		t, ok := parseTime(s)
		if !ok {
			return stanza.Err(stanza.BadRequest, fmt.Sprintf("the field %q is no time, such as 2010-08-07T00:00:00Z", name))
		}
		if t.IsZero() { // Go's word for no bound
			t = t.Add(time.Microsecond)
		}
		*to = t
	}
	q.BeforeID, q.AfterID = v.Get(fieldBefore), v.Get(fieldAfter)
	seen := map[string]bool{}
	for _, id := range v[fieldIDs] {
		if seen[id] {
			continue
		}
		if len(q.IDs) == MaxIDs {
			return stanza.Err(stanza.PolicyViolation, fmt.Sprintf("a query may name %d ids", MaxIDs))
		}
		seen[id] = true
		q.IDs = append(q.IDs, id)
	}
	q.Groupchat, q.GroupchatGiven = v.Bool(fieldGroupchat)
	return nil
}
