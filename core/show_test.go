package core_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// showing returns an extension that withdraws or announces the asking account, or
// another one: <q xmlns='urn:x'>withdraw PATTERN [ACCOUNT]</q>.
func showing(t *testing.T, granted ...extension.Permission) extension.Registration {
	reg := answering(false, func(_ context.Context, h *extension.Host, q extension.IQ) (*stanza.Element, error) {
		words := append(strings.Fields(q.Payload().Text()), q.From.Bare().String())
		account, patterns := jid.MustParse(words[2]), []jid.JID{jid.MustParse(words[1])}
		show := func() error { return h.Sessions.Announce(account, patterns) }
		if words[0] == "withdraw" {
			show = func() error { return h.Sessions.Withdraw(account, patterns, nil) }
		}
		err := show()
		if len(granted) == 0 && !errors.Is(err, extension.ErrPermission) {
			t.Error("without the permission:", err)
		}
		return nil, err
	})
	reg.Permissions = granted
	return reg
}

// theater is who may be told of juliet: subscribers on two domains, one of them with
// two resources, targets of directed presence, and others. Of her sessions a and b
// are available, c is not. A handler refuses her unavailable presence in Submit:
// that she is withdrawn does not pass there.
type theater struct {
	*world
	juliet map[string]*client
	others map[string]*client
}

func newTheater(t *testing.T) *theater {
	hear := false
	w := newWorld(t, func(o *core.Options, p *core.Ports) {
		quiet := staged(extension.Submit, extension.Decide, func(_ context.Context, _ *extension.Host, e *extension.Envelope) (extension.Verdict, error) {
			if hear && e.Stanza.Type == stanza.Unavailable {
				return extension.Verdict{Action: extension.Drop}, nil
			}
			return extension.Verdict{}, nil
		})
		with(showing(t, extension.TellPresence), quiet)(o, p)
	})
	befriend(w, "juliet@example.test", "romeo@example.test")
	befriend(w, "juliet@example.test", "nurse@example.net")
	j := w.im("juliet@example.test/a") // paris is subscribed, and she not to him
	paris := w.im("paris@example.test/p")
	paris.send("<presence type='subscribe' to='juliet@example.test'/>")
	j.send("<presence type='subscribed' to='paris@example.test'/>")
	rosaline := w.im("rosaline@example.test/r") // she is subscribed to rosaline, and not the other way
	j.send("<presence type='subscribe' to='rosaline@example.test'/>")
	rosaline.send("<presence type='subscribed' to='juliet@example.test'/>")
	th := &theater{w, map[string]*client{"a": j}, map[string]*client{"paris@example.test/p": paris, "rosaline@example.test/r": rosaline}}
	for _, full := range []string{"romeo@example.test/x", "romeo@example.test/y", "nurse@example.net/n", "tybalt@example.test/t", "tybalt@example.test/u"} {
		th.others[full] = w.im(full)
	}
	j.send("<presence><show>away</show></presence>")
	th.juliet["b"], th.juliet["c"] = w.login("juliet@example.test/b", "<presence/>"), w.login("juliet@example.test/c", "")
	j.send("<presence to='tybalt@example.test/t'/><presence to='romeo@example.test/x'/>")
	th.juliet["c"].send("<presence to='romeo@example.test/y'/>")
	th.hush()
	hear = true
	return th
}

// hush forgets what everybody was sent.
func (th *theater) hush() {
	for _, group := range []map[string]*client{th.juliet, th.others} {
		for _, c := range group {
			c.take()
		}
	}
}

// told returns what each of the others was told of which of juliet's sessions.
func (th *theater) told() map[string]string {
	all := map[string]string{}
	for full, c := range th.others {
		var words []string
		for _, p := range strings.SplitAfter(c.take(), ">") {
			switch from, _, _ := strings.Cut(strings.TrimPrefix(p, "<presence from='juliet@example.test/"), "'"); {
			case !strings.HasPrefix(p, "<presence from='juliet@example.test/"):
			case strings.Contains(p, "type='unavailable'"):
				words = append(words, "-"+from)
			default:
				words = append(words, "+"+from)
			}
		}
		if len(words) > 0 {
			all[full] = strings.Join(words, " ")
		}
	}
	return all
}

// answers says whether all of this is presence of others, who were asked for it.
func (th *theater) answers(out string) bool {
	for _, p := range strings.SplitAfter(out, "/>") {
		from, _, _ := strings.Cut(strings.TrimPrefix(p, "<presence from='"), "'")
		if p != "" && th.others[from] == nil {
			return false
		}
	}
	return true
}

func TestWithdrawAndAnnounce(t *testing.T) {
	const romeoX, romeoY, nurse, paris, tybaltT = "romeo@example.test/x", "romeo@example.test/y", "nurse@example.net/n", "paris@example.test/p", "tybalt@example.test/t"
	for _, row := range []struct {
		pattern   string
		withdrawn map[string]string // who is told: of each session that they saw, once
		announced map[string]string // subscribers alone
	}{
		{"romeo@example.test", map[string]string{romeoX: "-a -b", romeoY: "-a -c -b"}, map[string]string{romeoX: "+a +b", romeoY: "+a +b"}},
		{"romeo@example.test/y", map[string]string{romeoY: "-a -b -c"}, map[string]string{romeoY: "+a +b"}},
		{"romeo@example.test/other", nil, nil}, // a resource that is not there
		{"paris@example.test", map[string]string{paris: "-a -b"}, map[string]string{paris: "+a +b"}},
		{"rosaline@example.test", nil, nil}, // sees nothing
		{"tybalt@example.test", map[string]string{tybaltT: "-a"}, nil},
		{"tybalt@example.test/t", map[string]string{tybaltT: "-a"}, nil},
		{"tybalt@example.test/u", nil, nil},
		{"example.net", map[string]string{nurse: "-a -b"}, map[string]string{nurse: "+a +b"}},
		{"example.test", map[string]string{romeoX: "-a -b", romeoY: "-a -b -c", paris: "-a -b", tybaltT: "-a"},
			map[string]string{romeoX: "+a +b", romeoY: "+a +b", paris: "+a +b"}},
		{"example.test/x", nil, nil}, // an address of its own (XEP-0191 6)
		{"far.test", nil, nil},
		{"juliet@example.test", nil, nil}, // an account sees itself all the same
	} {
		th := newTheater(t)
		c := th.juliet["c"]
		for _, step := range []struct {
			does string
			want map[string]string
		}{{"withdraw", row.withdrawn}, {"announce", row.announced}} {
			c.send("<iq type='get' id='1'><q xmlns='urn:x'>" + step.does + " " + row.pattern + "</q></iq>").wantPart("type='result'")
			if got := th.told(); !sameSets(got, step.want) {
				t.Errorf("%s %s: told %v, want %v", step.does, row.pattern, got, step.want)
			}
			for name, j := range th.juliet {
				if out := j.take(); out != "" && (step.does == "withdraw" || !th.answers(out)) {
					t.Errorf("%s %s: juliet/%s was sent %s", step.does, row.pattern, name, out)
				}
			}
		}
	}
}

// sameSets compares lists of words, in any order.
func sameSets(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k := range b {
		x, y := strings.Fields(a[k]), strings.Fields(b[k])
		if len(x) != len(y) {
			return false
		}
		for _, word := range x {
			if strings.Count(" "+b[k]+" ", " "+word+" ") != 1 {
				return false
			}
		}
	}
	return true
}

// Whoever was told by directed presence, and then that the account is offline, is
// not told again at the end.
func TestWithdrawnTargetsAreForgotten(t *testing.T) {
	w := newWorld(t, with(showing(t, extension.TellPresence)))
	tybalt, nurse, juliet := w.im("tybalt@example.test/t"), w.im("nurse@example.test/n"), w.login("juliet@example.test/a", "<presence/>")
	juliet.send("<presence to='tybalt@example.test/t'/><presence to='nurse@example.test'/>")
	juliet.send("<iq type='get' id='1'><q xmlns='urn:x'>withdraw tybalt@example.test</q></iq>")
	tybalt.wantPart("<presence from='juliet@example.test/a' to='tybalt@example.test/t' type='unavailable'/>")
	nurse.take()
	juliet.drop()
	tybalt.want("")
	nurse.wantPart("unavailable")
}

// An account that is offline, or not there, has nothing to show.
func TestShowOfAnOfflineAccount(t *testing.T) {
	w := newWorld(t, with(showing(t, extension.TellPresence)))
	befriend(w, "juliet@example.test", "romeo@example.test")
	romeo := w.im("romeo@example.test/x")
	for _, account := range []string{"juliet@example.test", "nobody@example.test"} {
		for _, does := range []string{"withdraw", "announce"} {
			romeo.send("<iq type='get' id='1'><q xmlns='urn:x'>" + does + " romeo@example.test " + account + "</q></iq>")
			romeo.want("<iq to='romeo@example.test/x' id='1' type='result'/>")
		}
	}
}

func TestShowNeedsThePermission(t *testing.T) {
	w := newWorld(t, with(showing(t)))
	romeo, juliet := w.im("romeo@example.test/x"), w.login("juliet@example.test/a", "<presence/>")
	juliet.send("<presence to='romeo@example.test/x'/>")
	romeo.take()
	for _, does := range []string{"withdraw", "announce"} {
		juliet.send("<iq type='get' id='1'><q xmlns='urn:x'>" + does + " romeo@example.test</q></iq>").wantPart("<internal-server-error ")
		romeo.want("")
	}
}

// A session that becomes unavailable while it is being announced: the contact is
// told so in the end.
func TestAnnounceOfASessionThatGoes(t *testing.T) {
	for _, leave := range []string{"<presence type='unavailable'/>", "</stream:stream>"} {
		synctest.Test(t, func(t *testing.T) {
			goOn, armed := make(chan struct{}), false
			slow := staged(extension.Deliver, extension.Decide, func(_ context.Context, h *extension.Host, e *extension.Envelope) (extension.Verdict, error) {
				if armed && e.Stanza.Kind == stanza.Presence && e.Stanza.Type == "" {
					h.Store.Put(e.Account, "k", nil)
				}
				return extension.Verdict{}, nil
			})
			w := newWorld(t, func(o *core.Options, p *core.Ports) {
				p.Store = &gate{Store: anybody{p.Store}, before: func() { <-goOn }}
				with(showing(t, extension.TellPresence), slow)(o, p)
			})
			befriend(w, "juliet@example.test", "romeo@example.test")
			romeo, a, b := w.im("romeo@example.test/x"), w.im("juliet@example.test/a"), w.im("juliet@example.test/b")
			b.send("<presence type='unavailable'/>")
			romeo.take()
			armed = true
			announced := b.feed("<iq type='get' id='1'><q xmlns='urn:x'>announce romeo@example.test</q></iq>")
			synctest.Wait()
			a.send(leave)
			close(goOn)
			<-announced
			out := romeo.take()
			if last := strings.LastIndex(out, "<presence "); last < 0 || !strings.HasPrefix(out[last:], "<presence from='juliet@example.test/a' to='romeo@example.test' type='unavailable'/>") {
				t.Errorf("%s: romeo is left with %s", leave, out)
			}
		})
	}
}
