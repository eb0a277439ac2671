package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness"
)

// Archives and preferences outlive the server, and a kill of it; IDs stay what they
// are, and new ones come behind them (XEP-0313 3, 3.1, 6.2).
func TestArchiveLasts(t *testing.T) {
	s := harness.Start(t, harness.Config{Registration: "open"})
	r, j, nurse := account(t, s, "romeo"), account(t, s, "juliet"), "nurse@"+domain
	var told []string
	for round := range 3 {
		romeo, juliet := im(t, s, r, "orchard"), im(t, s, j, "balcony")
		if round == 0 {
			juliet.IQ("set", "", fmt.Sprintf("<prefs xmlns='"+nsMAM+"' default='always'><never><jid>%s</jid></never></prefs>", nurse))
		}
		prefs := juliet.IQ("get", "", "<prefs xmlns='"+nsMAM+"'/>").Child(nsMAM, "prefs")
		if never := prefs.Child(nsMAM, "never").All(nsMAM, "jid"); len(never) != 1 || never[0].Text != nurse {
			t.Errorf("round %d: preferences are not kept", round)
		}
		romeo.Sendf("<message to='%s' type='chat'><body>%d</body></message>", juliet.JID, round)
		told = append(told, stanzaIDs(juliet.Message(fmt.Sprint(round)), juliet.Bare())...)
		p := asks(t, juliet, everything)
		p.is(t, true, numbers(0, round)...)
		var ids []string
		for _, x := range p.results {
			ids = append(ids, x.id)
		}
		if !slices.Equal(ids, told) {
			t.Errorf("round %d: messages came with the IDs %q, the archive has %q", round, told, ids)
		}
		after := asks(t, juliet, archiveQuery(pageSet("<after>"+told[0]+"</after>")))
		after.is(t, true, numbers(1, round)...)
		switch round {
		case 0:
			if err := s.Stop(); err != nil {
				t.Fatal(err)
			}
		case 1:
			s.Kill()
		case 2:
			return
		}
		if err := s.Run(); err != nil {
			t.Fatal(err)
		}
	}
}

// A server without archives tells of none, and keeps forged IDs out all the same.
func TestWithoutArchive(t *testing.T) {
	s := harness.Start(t, harness.Config{Registration: "open", Extra: "extensions: {mam: {enabled: false}}\n"})
	romeo, juliet := strangers(t, s)
	if vars := features(romeo.IQ("get", romeo.Bare(), query(nsInfo))); slices.ContainsFunc(vars, func(f string) bool { return strings.HasPrefix(f, nsMAM) }) {
		t.Errorf("features %q", vars)
	}
	romeo.IQError("set", "", everything, "service-unavailable")
	romeo.IQError("get", "", "<prefs xmlns='"+nsMAM+"'/>", "service-unavailable")
	romeo.Sendf("<message to='%s' type='chat'><body>1</body>%s</message>", juliet.JID, idBy(juliet.Bare()))
	if m := juliet.Message("1"); len(m.All(nsSID, "stanza-id")) != 0 {
		t.Errorf("got %s", m.Raw)
	}
}

// A page has as many messages as the configuration says.
func TestArchiveOptions(t *testing.T) {
	s := harness.Start(t, harness.Config{Registration: "open", Extra: "extensions: {mam: {options: {max-page: 3, retention: 1h}}}\n"})
	romeo, juliet := strangers(t, s)
	for i := range 5 {
		romeo.Sendf("<message to='%s' type='chat'><body>%d</body></message>", juliet.JID, i)
		juliet.Message(fmt.Sprint(i))
	}
	for _, q := range []string{everything, archiveQuery(pageSet("<max>250</max>"))} {
		p := asks(t, juliet, q)
		p.is(t, false, numbers(0, 2)...)
	}
}
