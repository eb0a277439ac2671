package peerstream

import (
	"testing"

	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

func TestFailureReason(t *testing.T) {
	for text, want := range map[string]string{
		"<failure/>":                                        "no reason is given",
		"<failure><not-authorized/></failure>":              "not-authorized",
		"<failure><aborted/><text>no\nway</text></failure>": `aborted ("no\nway")`,
		"<failure><text>x</text><aborted/></failure>":       `aborted ("x")`,
	} {
		e, err := stanza.ParseElement(text, "")
		if err != nil {
			t.Fatal(err)
		}
		if got := failureReason(e); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}
