package dialback_test

import (
	"testing"

	"github.com/hexmpp/hexmpp/plugins/s2s/dialback"
)

func TestKey(t *testing.T) {
	for _, row := range []struct{ rule, secret, receiving, originating, id, want string }{
		{"XEP-0220 example 1", "s3cr3tf0rd14lb4ck", "montague.example", "capulet.example", "D60000229F", "b4835385f37fe2895af6c196b59097b16862406db80559900d96bf6fa7d23df3"},
		{"XEP-0220 example 13", "d14lb4ck43v3r", "capulet.example", "montague.example", "417GAF25", "225cc5aa6a071133249d25fef42ae516fc7a86c523aa1c6980a7f73e784c972d"},
	} {
		if got := dialback.Key([]byte(row.secret), row.receiving, row.originating, row.id); got != row.want {
			t.Errorf("%s: %s", row.rule, got)
		}
	}
}
