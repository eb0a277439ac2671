// Package rsm is Result Set Management (XEP-0059): what a <set/> asks for, and
// what it says of the page that is given. Which items there are, and in which
// order, is the affair of who has them.
//
// A page by index (2.6) is parsed and left to the caller, who may answer
// feature-not-implemented.
package rsm

import (
	"math"
	"strconv"
	"strings"

	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// NS is the namespace of <set/>, and the feature that stands for it (section 4).
const NS = "http://jabber.org/protocol/rsm"

// None stands for a number that is not there.
const None = -1

// Request is what a <set/> asks for.
type Request struct {
	Max   int    // items at most (2.1); None: not said. More than an int32 counts as the largest one
	Index int    // place of the first item (2.6); None: not said
	After string // the item in front of the page (2.2), if HasAfter
	// Before is the item behind the page (2.3), if HasBefore; "" asks for the last
	// page (2.5).
	Before              string
	HasAfter, HasBefore bool
}

// Parse reads the <set/> of a request; nil asks for nothing. What the schema does
// not have is an error: a number that is none or negative, an element that is there
// twice. An empty <after/> is none, as some clients send it for the first page. Elements that have no meaning in a request are ignored.
func Parse(set *stanza.Element) (Request, *stanza.Error) {
	r := Request{Max: None, Index: None}
	if set == nil {
		return r, nil
	}
	seen := map[string]bool{}
	for _, e := range set.Elements() {
		if e.Space != NS {
			continue
		}
		if seen[e.Local] {
			return r, bad("<" + e.Local + "/> is there twice")
		}
		seen[e.Local] = true
		ok := true
		switch e.Local {
		case "max":
			r.Max, ok = number(e.Text())
		case "index":
			r.Index, ok = number(e.Text())
		case "after":
			r.After = e.Text()
			r.HasAfter = r.After != ""
		case "before":
			r.Before, r.HasBefore = e.Text(), true
		}
		if !ok {
			return r, bad("<" + e.Local + "/> has no such value")
		}
	}
	return r, nil
}

func bad(text string) *stanza.Error { return stanza.Err(stanza.BadRequest, "set: "+text) }

// number reads an xs:int that is not negative.
func number(s string) (n int, ok bool) {
	s = strings.Trim(s, " \t\r\n")
	s = strings.TrimPrefix(s, "+")
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return None, false
	}
	n, err := strconv.Atoi(s)
	if err != nil || n > math.MaxInt32 { // so large that nobody has as much
		n = math.MaxInt32
	}
	return n, true
}

// Element writes a request: the reverse of Parse.
func (r *Request) Element() *stanza.Element {
	set := stanza.El(NS, "set")
	number := func(name string, n int) {
		if n != None {
			set.Add(stanza.El(NS, name).WithText(strconv.Itoa(n)))
		}
	}
	number("max", r.Max)
	number("index", r.Index)
	if r.HasAfter {
		set.Add(stanza.El(NS, "after").WithText(r.After))
	}
	if r.HasBefore {
		set.Add(stanza.El(NS, "before").WithText(r.Before))
	}
	return set
}

// Page says which page was given.
type Page struct {
	First, Last string // its first and its last item; "" for an empty page
	Index       int    // place of the first one in the whole set; None: not told
	Count       int    // items of the whole set; None: not told
}

// Element is the <set/> of an answer (2.2).
func (p *Page) Element() *stanza.Element {
	set := stanza.El(NS, "set")
	if p.First != "" {
		first := stanza.El(NS, "first").WithText(p.First)
		if p.Index != None {
			first.Attrs = append(first.Attrs, stanza.At("index", strconv.Itoa(p.Index)))
		}
		set.Add(first, stanza.El(NS, "last").WithText(p.Last))
	}
	if p.Count != None {
		set.Add(stanza.El(NS, "count").WithText(strconv.Itoa(p.Count)))
	}
	return set
}
