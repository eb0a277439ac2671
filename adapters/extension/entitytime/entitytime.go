// Package entitytime tells the server's time (XEP-0202): section 2, for requests
// to a hosted domain, in the formats of XEP-0082 (2.1 for the offset, 3.2 for the
// time). The old form of XEP-0090 is left out: it is obsolete.
package entitytime

import (
	"context"
	"fmt"
	"time"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// NS is the namespace of <time/>, and the feature that stands for it (section 4).
const NS = "urn:xmpp:time"

// Options of the extension.
type Options struct {
	// Zone is the server's time zone as it is told; nil tells UTC, which says
	// nothing about where the server stands (section 6).
	Zone *time.Location
}

// New returns the extension.
func New(o Options) extension.Registration {
	if o.Zone == nil {
		o.Zone = time.UTC
	}
	return extension.Registration{
		Name:       "time",
		Implements: []extension.XEP{{Number: 202, Version: "2.0"}, {Number: 82, Version: "1.1.1", Note: "DateTime and offsets, written only"}},
		Server:     extension.Disco{Features: []string{NS}},
		IQ: []extension.IQHandler{{
			Space: NS, Local: "time", Type: stanza.Get,
			To:     extension.ToServer,
			Inline: true,
			Handle: o.answer,
		}},
	}
}

// answer returns the time at which it is called.
func (o Options) answer(_ context.Context, h *extension.Host, _ extension.IQ) (*stanza.Element, error) {
	now := h.Now()
	_, seconds := now.In(o.Zone).Zone()
	return stanza.El(NS, "time").Add(
		stanza.El(NS, "tzo").WithText(offset(seconds)),
		stanza.El(NS, "utc").WithText(now.UTC().Format("2006-01-02T15:04:05Z")),
	), nil
}

// offset writes seconds east of UTC as (+|-)hh:mm. The seconds that zones had
// before standard time can't be written and are cut off.
func offset(seconds int) string {
	sign, minutes := '+', seconds/60
	if minutes < 0 {
		sign, minutes = '-', -minutes
	}
	return fmt.Sprintf("%c%02d:%02d", sign, minutes/60, minutes%60)
}
