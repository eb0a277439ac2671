package plugin

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"

	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/extension"
)

// Options may leave out notices of the manifest, and add none.
func TestUnwantedNotices(t *testing.T) {
	type options struct {
		Events []extension.Event `json:"events"`
	}
	notice := func(context.Context, *extension.Host, extension.Notice) error { return nil }
	p := Of(options{[]extension.Event{extension.BecameAvailable}}, func(o options) (extension.Registration, error) {
		reg := extension.Registration{Name: "x", Notices: o.Events, Permissions: []extension.Permission{extension.SeePresence}}
		if len(o.Events) > 0 {
			reg.Notice = notice
		}
		return reg, nil
	})
	for text, want := range map[string]struct {
		unwanted []pluginv1.NoticeKind
		problem  string
	}{
		`{}`:                 {},
		`{"events": []}`:     {unwanted: []pluginv1.NoticeKind{pluginv1.NoticeKind_NOTICE_KIND_BECAME_AVAILABLE}},
		`{"events": [1, 2]}`: {problem: "claims something else than it described"},
	} {
		s, err := newServer(p, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		a, err := s.Configure(t.Context(), &pluginv1.ConfigureRequest{OptionsJson: []byte(text), Shards: 1})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(a.UnwantedNotices, want.unwanted) {
			t.Errorf("%s: %v", text, a)
		}
		if (want.problem == "") != (len(a.Problems) == 0) || len(a.Problems) > 0 && !strings.Contains(a.Problems[0].Message, want.problem) {
			t.Errorf("%s: %v", text, a.Problems)
		}
	}
}
