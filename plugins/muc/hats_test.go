package muc_test

import (
	"fmt"
	"strings"
	"testing"
)

// hatCommand runs a command about hats, with a form of pairs of a field's name and its value if there are some.
func hatCommand(name string, pairs ...string) string {
	var b strings.Builder
	if len(pairs) > 0 {
		b.WriteString("<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>urn:xmpp:hats:commands</value></field>")
		for i := 0; i < len(pairs); i += 2 {
			b.WriteString("<field var='hats#" + pairs[i] + "'><value>" + pairs[i+1] + "</value></field>")
		}
		b.WriteString("</x>")
	}
	return "<iq type='set' id='h' to='" + coven + "'><command xmlns='http://jabber.org/protocol/commands' action='execute' node='urn:xmpp:hats:commands:" + name + "'>" + b.String() + "</command></iq>"
}

// XEP-0317
func TestHats(t *testing.T) {
	w := witches(t, persistent)
	w.want("no hats", w.says(hag, info("")), hag+": | var='urn:xmpp:hats:0' | !hats#hash")
	w.error("for admins", hag, hatCommand("create"), "forbidden")
	w.error("no such command", crone, hatCommand("wash"), "item-not-found")
	w.want("examples 4, 5", w.says(crone, hatCommand("create")), crone+": | status='executing' | sessionid= | hats#title | hats#uri | <required/>")
	w.want("cancelled", w.says(crone, strings.Replace(hatCommand("create"), "execute", "cancel", 1)), crone+": | status='canceled'")
	for _, wrong := range [][]string{{"title", "T"}, {"title", "T", "uri", "u", "hue", "361"}, {"title", "T", "uri", "u", "hue", "NaN"}, {"title", "T", "uri", "u", "unknown", "x"}} {
		w.error(fmt.Sprint(wrong), crone, hatCommand("create", wrong...), "bad-request")
	}
	w.error("too long", crone, hatCommand("create", "title", strings.Repeat("t", 201), "uri", "u"), "policy-violation")
	w.want("examples 6 to 8", w.says(crone, hatCommand("create", "title", "Assistant", "uri", "urn:x:assistant", "hue", "327.255249")),
		crone+": | status='completed'", crone+": | 104", hag+": | 104", wicca+": | 104")
	w.want("example 2", w.says(hag, info("")), hag+": | hats#hash")
	w.want("examples 13, 14", w.says(hag, hatCommand("list")), hag+": | completed | <reported> | <value>urn:x:assistant | <value>Assistant | <value>327.255249")
	w.error("no such hat", crone, hatCommand("assign", "jid", "hag66@example.org", "uri", "urn:x:none"), "bad-request")
	w.error("no account", crone, hatCommand("assign", "jid", "example.org", "uri", "urn:x:assistant"), "jid-malformed")
	const worn = "<hats xmlns='urn:xmpp:hats:0'><hat title='Assistant' uri='urn:x:assistant' hue='327.255249'/></hats>"
	w.want("examples 15 to 18", w.says(crone, hatCommand("assign", "jid", "hag66@example.org", "uri", "urn:x:assistant")),
		crone+": | completed", crone+": | /thirdwitch' | "+worn, wicca+": | "+worn, hag+": | 110 | "+worn)
	w.want("examples 21, 22", w.says(crone, hatCommand("list-assigned")), crone+": | <value>hag66@example.org")
	w.error("not for others", hag, hatCommand("list-assigned"), "forbidden")
	w.service.Forget(coven)
	out := w.joins("x@example.org/x", "x")
	if !strings.Contains(strings.Join(out, ""), worn) {
		t.Errorf("who enters: %q", out)
	}
	w.says("x@example.org/x", "<presence type='unavailable' to='"+coven+"/x'/>")
	w.want("occupants can't put one on", w.says(wicca, "<presence to='"+coven+"/secondwitch'>"+worn+"</presence>"), crone+": | !<hat", hag+": | !<hat", wicca+": | !<hat")
	w.want("changed", w.says(crone, hatCommand("create", "title", "Helper", "uri", "urn:x:assistant")), crone+": | completed",
		crone+": | title='Helper'", wicca+": | Helper", hag+": | Helper", crone+": | 104", hag+": | 104", wicca+": | 104")
	w.error("not worn", crone, hatCommand("unassign", "jid", "wiccarocks@example.net", "uri", "urn:x:assistant"), "item-not-found")
	w.want("examples 19, 20", w.says(crone, hatCommand("unassign", "jid", "hag66@example.org", "uri", "urn:x:assistant")), crone+": | completed", crone+": | /thirdwitch | !<hat", wicca+": ", hag+": | !<hat")
	w.says(crone, hatCommand("assign", "jid", "hag66@example.org", "uri", "urn:x:assistant"))
	out = w.says(crone, hatCommand("destroy", "uri", "urn:x:assistant"))
	w.want("examples 11, 12", out, crone+": | completed", crone+": | /thirdwitch | !<hat", wicca+": | /thirdwitch | !<hat", hag+": | 110 | !<hat", crone+": | 104", hag+": | 104", wicca+": | 104")
	w.want("it is gone", w.says(hag, hatCommand("list")), hag+": | !<item>")
	for i := range 51 {
		out := w.says(crone, hatCommand("create", "title", "T", "uri", fmt.Sprint("u", i)))
		if strings.Contains(out[0], "resource-constraint") != (i == 50) {
			t.Errorf("%d: %q", i, out)
		}
	}
	items := strings.Replace(strings.Replace(info("http://jabber.org/protocol/commands"), "#info", "#items", 1), "id='i'", "id='c'", 1)
	w.want("XEP-0050 2.2", w.says(crone, items), crone+": | commands:create | commands:list-assigned")
	w.want("XEP-0050 2.2: others", w.says(hag, items), hag+": | commands:list' | !commands:create")
	w.want("a command", w.says(crone, info("urn:xmpp:hats:commands:create")), crone+": | automation | command-node")
}
