package register_test

import (
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/adapters/extension/register"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// FuzzSet hands in what may stand in a query, before and after login.
func FuzzSet(f *testing.F) {
	for _, query := range []string{
		"", "<remove/>", "<remove/><username/>", "<username>bill</username><password>new</password>",
		"<username>bill@shakespeare.lit</username><password>new</password>", "<username>juliet</username><password> </password>",
		form("FORM_TYPE", "jabber:iq:register", "username", "juliet", "password", "R0m30"),
		form("FORM_TYPE", "jabber:iq:register:changepassword", "username", "bill", "old_password", "x", "password", "R0m30"),
		form("username", "\u00DF\u0130", "password", "\u00A0"), "<x xmlns='jabber:x:data'/><x xmlns='jabber:x:oob'><url>u</url></x>",
	} {
		f.Add(query, true)
		f.Add(query, false)
	}
	owner := jid.MustParse("bill@shakespeare.lit")
	f.Fuzz(func(t *testing.T, query string, loggedIn bool) {
		e, err := stanza.ParseElement("<query xmlns='jabber:iq:register'>"+query+"</query>", "")
		if err != nil {
			return
		}
		h := withBill(t, register.Options{Open: true})
		from := stream
		if loggedIn {
			from = bill
		}
		got := h.IQ(from, stanza.New(stanza.Header{Kind: stanza.IQ, Type: stanza.Set, ID: "1"}, e))
		if got == nil || got.Type != stanza.Result && got.Type != stanza.TypeError || got.ID != "1" {
			t.Fatalf("answer %v", got)
		}
		accounts, err := h.Accounts.List(t.Context(), domain, "", 10)
		if err != nil {
			t.Fatal(err)
		}
		_, gone := h.Accounts.Get(t.Context(), owner)
		kept := gone == nil && h.Accounts.VerifyPassword(t.Context(), owner, "Calliope") == nil
		switch {
		case got.Type == stanza.TypeError && (!kept || len(accounts) != 1):
			t.Errorf("refused, but changed something: %v", accounts)
		case !loggedIn && (!kept || got.Type == stanza.Result && len(accounts) != 2):
			t.Errorf("before login: %v", accounts)
		case loggedIn && gone != nil && !strings.Contains(query, "remove"):
			t.Error("removed without <remove/>")
		case loggedIn && len(accounts) > 1:
			t.Errorf("a session made an account: %v", accounts)
		}
	})
}
