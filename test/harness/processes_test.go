package harness

import "testing"

func TestElsewhere(t *testing.T) {
	const lines = "extensions:\n  ping: {run: process}\n  vcard: {run: process}\n"
	for _, row := range []struct{ names, extra, want string }{
		{"", "admins: []\n", "admins: []\n"},
		{"ping,vcard", "", lines},
		{"ping,vcard", "admins: []\n", lines + "admins: []\n"},
		{"ping,vcard", "a: 1\nextensions: {mam: {enabled: false}}\nb: 1\n", "a: 1\nextensions: {ping: {run: process}, vcard: {run: process}, mam: {enabled: false}}\nb: 1\n"},
		{"ping,vcard", "extensions:\n  mam: {enabled: false}\n", lines + "  mam: {enabled: false}\n"},
		{"ping,vcard", "extensions: {vcard: {run: inside}}\n", "extensions: {ping: {run: process}, vcard: {run: inside}}\n"},
	} {
		if got := elsewhere(row.extra, row.names); got != row.want {
			t.Errorf("%s, %q: %q, want %q", row.names, row.extra, got, row.want)
		}
	}
}

func TestWithoutRooms(t *testing.T) {
	for extra, want := range map[string]string{
		"":                               "plugins:\n  muc: {enabled: false}\n",
		"plugins: {muc: {}}\n":           "plugins: {muc: {}}\n",
		"plugins: {announce: {}}\n":      "plugins: {muc: {enabled: false}, announce: {}}\n",
		"plugins:\n  x: {command: /x}\n": "plugins:\n  muc: {enabled: false}\n  x: {command: /x}\n",
	} {
		if got := withoutRooms(extra); got != want {
			t.Errorf("%q: %q, want %q", extra, got, want)
		}
	}
}
