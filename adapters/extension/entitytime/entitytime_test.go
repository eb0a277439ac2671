package entitytime_test

import (
	"slices"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/adapters/extension/entitytime"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/extension/extensiontest"
)

func TestSuite(t *testing.T) {
	extensiontest.Run(t, func() extension.Registration { return entitytime.New(entitytime.Options{}) })
}

func TestTime(t *testing.T) {
	zone := func(seconds int) *time.Location { return time.FixedZone("", seconds) }
	now := time.Date(2006, 12, 19, 17, 58, 35, 999_000_000, time.UTC)
	tests := []struct {
		name     string
		zone     *time.Location
		now      time.Time
		tzo, utc string
	}{
		{"XEP-0202 3 example 2", zone(-6 * 3600), now, "-06:00", "2006-12-19T17:58:35Z"},
		{"XEP-0202 6 UTC unless another zone is wanted", nil, now, "+00:00", "2006-12-19T17:58:35Z"},
		{"XEP-0202 2 utc is in UTC whatever the clock says", nil, now.In(zone(9 * 3600)), "+00:00", "2006-12-19T17:58:35Z"},
		{"XEP-0082 2.1 minutes", zone(5*3600 + 45*60), now, "+05:45", "2006-12-19T17:58:35Z"},
		{"XEP-0082 2.1 minutes west", zone(-(3*3600 + 30*60)), now, "-03:30", "2006-12-19T17:58:35Z"},
		{"less than an hour west", zone(-30 * 60), now, "-00:30", "2006-12-19T17:58:35Z"},
		{"seconds can't be written", zone(53*60 + 28), now, "+00:53", "2006-12-19T17:58:35Z"},
		{"seconds west can't be written", zone(-30), now, "+00:00", "2006-12-19T17:58:35Z"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := extensiontest.New(t, entitytime.New(entitytime.Options{Zone: tt.zone}),
				extensiontest.Options{Domains: []string{"capulet.example"}, Now: tt.now})
			got := h.IQ(extensiontest.Client("romeo@capulet.example/orchard"),
				extensiontest.Parse(t, `<iq type='get' to='capulet.example' id='time_1'><time xmlns='urn:xmpp:time'/></iq>`))
			extensiontest.Expect(t, got, `<iq type='result' from='capulet.example' to='romeo@capulet.example/orchard' id='time_1'>
				<time xmlns='urn:xmpp:time'><tzo>`+tt.tzo+`</tzo><utc>`+tt.utc+`</utc></time></iq>`)
		})
	}
}

// The offset is that of the moment: summer time counts.
func TestSummerTime(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip(err)
	}
	h := extensiontest.New(t, entitytime.New(entitytime.Options{Zone: berlin}),
		extensiontest.Options{Now: time.Date(2026, 3, 29, 0, 59, 59, 0, time.UTC)})
	for _, want := range []string{"<tzo>+01:00</tzo><utc>2026-03-29T00:59:59Z</utc>", "<tzo>+02:00</tzo><utc>2026-03-29T01:00:00Z</utc>"} {
		got := h.IQ(extensiontest.Far(), extensiontest.Parse(t,
			`<iq type='get' from='a@b.example/c' to='example.org' id='1'><time xmlns='urn:xmpp:time'/></iq>`))
		extensiontest.Expect(t, got, `<iq type='result' to='a@b.example/c' from='example.org' id='1'><time xmlns='urn:xmpp:time'>`+want+`</time></iq>`)
		h.Advance(time.Second)
	}
}

func TestFeature(t *testing.T) { // XEP-0202 4
	if d := entitytime.New(entitytime.Options{}).Server; !slices.Equal(d.Features, []string{"urn:xmpp:time"}) {
		t.Errorf("features %q", d.Features)
	}
}
