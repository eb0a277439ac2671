// Package mam has the words of Message Archive Management (XEP-0313 1.1.3): what a
// query asks for, results, the end of a page, metadata, and archive IDs as clients
// see them. What is in an archive, and who may ask, is the affair of who keeps it.
package mam

import (
	"strings"
	"time"

	"github.com/hexmpp/hexmpp/ports/xmpp/forward"
	"github.com/hexmpp/hexmpp/ports/xmpp/rsm"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// NS is the namespace, and the feature of who answers queries (section 7). The
// others are features of who knows the further fields, flipped pages and metadata;
// and the field include-groupchat.
const (
	NS               = "urn:xmpp:mam:2"
	FeatureExtended  = NS + "#extended"
	FeatureGroupchat = NS + "#groupchat-field"
)

// NSIDs is the namespace of <stanza-id/> (XEP-0359), by which whoever gets a message
// learns what an archive calls it (3.5).
const NSIDs = "urn:xmpp:sid:0"

// StanzaID is <stanza-id/>, of the archive with this address.
func StanzaID(by, id string) *stanza.Element {
	return stanza.El(NSIDs, "stanza-id", stanza.At("by", by), stanza.At("id", id))
}

// Result is a message that was found (4.2): xml is how stanza.Stanza.Append wrote
// it, with jabber:client declared, and at when it was sent or received.
func Result(h stanza.Header, queryID, id, xml string, at time.Time) *stanza.Stanza {
	wrapper := stanza.El(NS, "result", stanza.At("id", id))
	if queryID != "" {
		wrapper.Attrs = append(wrapper.Attrs, stanza.At("queryid", queryID))
	}
	return forward.WrapXML(h, wrapper, xml, at)
}

// Fin says which page was given (4.3).
type Fin struct {
	Complete bool // nothing is left in the direction of the page (4.3.2)
	rsm.Page
}

// Element is <fin/>, the payload of the result of a query.
func (f *Fin) Element() *stanza.Element {
	fin := stanza.El(NS, "fin")
	if f.Complete {
		fin.Attrs = append(fin.Attrs, stanza.At("complete", "true"))
	}
	return fin.Add(f.Page.Element())
}

// Entry is a message of an archive, as metadata tells of it (section 5).
type Entry struct {
	ID string
	At time.Time
}

// Metadata is <metadata/> of an archive with this first and last entry; nil for an
// empty one.
func Metadata(first, last *Entry) *stanza.Element {
	m := stanza.El(NS, "metadata")
	if first == nil || last == nil {
		return m
	}
	entry := func(name string, e *Entry) *stanza.Element {
		return stanza.El(NS, name, stanza.At("id", e.ID), stanza.At("timestamp", e.At.UTC().Format(dateTime)))
	}
	return m.Add(entry("start", first), entry("end", last))
}

// dateTime is how times are written (XEP-0082 3.2).
const dateTime = "2006-01-02T15:04:05.000Z"

// parseTime reads a DateTime (XEP-0082 3.2).
func parseTime(s string) (time.Time, bool) {
	if strings.ContainsRune(s, ',') { // which package time takes for a point
		return time.Time{}, false
	}
	t, err := time.Parse(time.RFC3339, s)
	return t, err == nil
}
