package storage

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

func TestFilterMatches(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678_901_000, time.UTC)
	juliet, balcony := jid.MustParse("juliet@example.org"), jid.MustParse("juliet@example.org/balcony")
	row := Row{ID: 7, Stamp: at, With: balcony}
	for _, c := range []struct {
		name string
		f    Filter
		want bool
	}{
		{"nothing asked", Filter{}, true},
		{"bare JID", Filter{With: juliet}, true},
		{"full JID", Filter{With: balcony}, true},
		{"another resource", Filter{With: jid.MustParse("juliet@example.org/Balcony")}, false},
		{"another person", Filter{With: jid.MustParse("romeo@example.org")}, false},
		{"the domain", Filter{With: jid.MustParse("example.org")}, false},
		{"start is included", Filter{Start: at}, true},
		{"start within the microsecond", Filter{Start: at.Add(999)}, true},
		{"start later", Filter{Start: at.Add(1000)}, false},
		{"end is included", Filter{End: at}, true},
		{"end earlier", Filter{End: at.Add(-1)}, false},
		{"after", Filter{After: 6}, true},
		{"after is excluded", Filter{After: 7}, false},
		{"before", Filter{Before: 8}, true},
		{"before is excluded", Filter{Before: 7}, false},
		{"one of the IDs", Filter{IDs: []uint64{1, 7}}, true},
		{"none of the IDs", Filter{IDs: []uint64{1}}, false},
		{"no IDs", Filter{IDs: []uint64{}}, false},
		{"all of it", Filter{With: juliet, Start: at, End: at, After: 6, Before: 8, IDs: []uint64{7}}, true},
		{"all but one", Filter{With: juliet, Start: at, End: at, After: 7, Before: 8, IDs: []uint64{7}}, false},
	} {
		if got := c.f.Matches(&row); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
	if f := (Filter{With: balcony}); f.Matches(&Row{ID: 1, With: juliet}) {
		t.Error("a full JID matches the bare one")
	}
}

func TestCheckRows(t *testing.T) {
	romeo, juliet := jid.MustParse("romeo@example.org"), jid.MustParse("juliet@example.org")
	row := func(owner jid.JID, id uint64) Row {
		return Row{Space: "a", Owner: owner, ID: id, With: juliet, XML: "x"}
	}
	for name, c := range map[string]struct {
		rows []Row
		ok   bool
	}{
		"no rows":                       {nil, true},
		"in order":                      {[]Row{row(romeo, 1), row(romeo, 2), row(romeo, MaxID)}, true},
		"out of order":                  {[]Row{row(romeo, 2), row(romeo, 1)}, false},
		"an ID twice":                   {[]Row{row(romeo, 2), row(romeo, 2)}, false},
		"two archives":                  {[]Row{row(romeo, 2), row(juliet, 1), row(romeo, 3), row(juliet, 2)}, true},
		"two spaces":                    {[]Row{row(romeo, 2), {Space: "b", Owner: romeo, ID: 1, With: juliet, XML: "x"}}, true},
		"out of order, others between":  {[]Row{row(romeo, 2), row(juliet, 3), row(romeo, 1)}, false},
		"a message at the bound":        {[]Row{{Space: "a", Owner: romeo, ID: 1, With: juliet, XML: strings.Repeat("x", MaxValue)}}, true},
		"a message over the bound":      {[]Row{{Space: "a", Owner: romeo, ID: 1, With: juliet, XML: strings.Repeat("x", MaxValue+1)}}, false},
		"an owner that is no account":   {[]Row{row(jid.MustParse("example.org"), 1)}, false},
		"an owner with a resourcepart":  {[]Row{row(jid.MustParse("romeo@example.org/x"), 1)}, false},
		"the zero row":                  {[]Row{{}}, false},
		"an ID of more than 63 bits":    {[]Row{row(romeo, MaxID+1)}, false},
		"a message that has a NUL":      {[]Row{{Space: "a", Owner: romeo, ID: 1, With: juliet, XML: "\x00"}}, false},
		"a message that is not UTF-8":   {[]Row{{Space: "a", Owner: romeo, ID: 1, With: juliet, XML: "\xff"}}, false},
		"a message exchanged with none": {[]Row{{Space: "a", Owner: romeo, ID: 1, XML: "x"}}, false},
	} {
		if err := CheckRows(c.rows); c.ok && err != nil || !c.ok && !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: got %v, ok should be %t", name, err, c.ok)
		}
	}
}

func TestCheckFilter(t *testing.T) {
	if err := CheckFilter(&Filter{IDs: make([]uint64, MaxIDs)}); err != nil {
		t.Error(err)
	}
	if err := CheckFilter(&Filter{IDs: make([]uint64, MaxIDs+1)}); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
}
