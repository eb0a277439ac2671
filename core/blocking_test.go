package core_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/hexmpp/hexmpp/adapters/extension/blocking"
	"github.com/hexmpp/hexmpp/api/plugin/plugintest"
	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// reads counts what is read of a Map.
type reads struct {
	storage.Store
	n int
}

func (r *reads) Get(ctx context.Context, space string, owner jid.JID, key string) (storage.Entry, error) {
	r.n++
	return r.Store.Get(ctx, space, owner, key)
}

// blockingWorld has the extension blocking, others if need be, and accounts in
// storage.
func blockingWorld(t *testing.T, as plugintest.Way, more ...extension.Registration) (*world, *reads) {
	t.Helper()
	var counted *reads
	w := newWorld(t, func(o *core.Options, p *core.Ports) {
		for _, name := range []string{"juliet", "romeo", "nurse"} {
			if err := p.Store.CreateAccount(t.Context(), storage.Account{User: jid.MustParse(name + "@example.test")}); err != nil {
				t.Fatal(err)
			}
		}
		counted = &reads{Store: p.Store}
		p.Store = counted
		with(append([]extension.Registration{as(t, blocking.New(blocking.Options{}))}, more...)...)(o, p)
	})
	return w, counted
}

func blockXML(jids ...string) string   { return blockingXML("block", jids) }
func unblockXML(jids ...string) string { return blockingXML("unblock", jids) }

func blockingXML(command string, jids []string) string {
	xml := "<iq type='set' id='bl'><" + command + " xmlns='urn:xmpp:blocking'>"
	for _, j := range jids {
		xml += "<item jid='" + j + "'/>"
	}
	return xml + "</" + command + "></iq>"
}

func (c *client) does(command string) {
	c.w.t.Helper()
	c.send(command).wantPart("id='bl' type='result'")
}

// presence is of juliet to romeo.
func presenceXML(resource, more string) string {
	return "<presence from='juliet@example.test/" + resource + "' to='romeo@example.test'" + more
}

const gone = " type='unavailable'/>"

// XEP-0191 3.3, 3.4: what a contact sees of a user who blocks it, and what it does
// not see.
func TestBlockedPresence(t *testing.T) { plugintest.BothWays(t, testBlockedPresence) }

func testBlockedPresence(t *testing.T, as plugintest.Way) {
	synctest.Test(t, func(t *testing.T) { blockedPresence(t, as) })
}

func blockedPresence(t *testing.T, as plugintest.Way) {
	w, _ := blockingWorld(t, as)
	befriend(w, "romeo@example.test", "juliet@example.test")
	juliet, phone, romeo := w.im("juliet@example.test/a"), w.im("juliet@example.test/b"), w.im("romeo@example.test/x")
	juliet.take()
	romeo.take()

	juliet.does(blockXML("romeo@example.test"))
	romeo.want(presenceXML("a", gone) + presenceXML("b", gone))
	juliet.does(blockXML("romeo@example.test", "example.net"))
	juliet.send("<presence><show>away</show></presence>") // a broadcast
	phone.send("<presence type='unavailable'/>")          // logout and login
	phone.drop()
	synctest.Wait()
	phone = w.im("juliet@example.test/b")
	romeo.want("")
	juliet.take()

	romeo.send("<presence><show>dnd</show></presence>").take()
	romeo.drop()
	synctest.Wait()
	romeo = w.login("romeo@example.test/x", "") // a probe: juliet's roster says that romeo is subscribed
	romeo.send("<presence/>")
	romeo.want("<presence from='romeo@example.test/x' to='romeo@example.test'/>")
	romeo.send("<presence to='juliet@example.test/a'/><presence to='juliet@example.test' type='probe'/><presence to='juliet@example.test' type='subscribe'/>").take()
	juliet.want("")
	phone.take()

	phone.does(unblockXML("romeo@example.test"))
	romeo.want(presenceXML("a", "><show>away</show></presence>") + presenceXML("b", "/>"))
	juliet.want("<presence from='romeo@example.test/x' to='juliet@example.test/a'/>") // the answer to a probe
	juliet.send("<presence/>").take()
	romeo.want(presenceXML("a", "/>"))
	romeo.send("<presence/>").take()
	juliet.want("<presence from='romeo@example.test/x' to='juliet@example.test'/>")
	juliet.does(unblockXML())
	romeo.want("")
}

// XEP-0191 3.3, 6: who is blocked by one item hears nothing of another that comes
// or goes.
func TestBlockedTwice(t *testing.T) { plugintest.BothWays(t, testBlockedTwice) }

func testBlockedTwice(t *testing.T, as plugintest.Way) {
	w, _ := blockingWorld(t, as)
	befriend(w, "romeo@example.test", "juliet@example.test")
	befriend(w, "nurse@example.test", "juliet@example.test")
	juliet, romeo, nurse := w.im("juliet@example.test/a"), w.im("romeo@example.test/x"), w.im("nurse@example.test/x")
	juliet.take()
	romeo.take()
	step := func(command, seen, seenByNurse string) {
		t.Helper()
		juliet.does(command)
		romeo.want(seen)
		nurse.want(seenByNurse)
	}
	gone, back := presenceXML("a", gone), presenceXML("a", "/>")
	atNurse := strings.NewReplacer("romeo@", "nurse@")
	step(blockXML("romeo@example.test"), gone, "")
	step(blockXML("example.test"), "", atNurse.Replace(gone))
	step(blockXML("nurse@example.test"), "", "")
	step(unblockXML("example.test"), "", "")
	step(unblockXML("romeo@example.test"), back, "")
	step(blockXML("romeo@example.test", "example.test"), gone, "")
	step(unblockXML("romeo@example.test", "nurse@example.test"), "", "")
	step(unblockXML(), back, atNurse.Replace(back))
	step(blockXML("romeo@example.test/x"), strings.Replace(gone, "romeo@example.test", "romeo@example.test/x", 1), "")
	step(blockXML("romeo@example.test"), gone, "")
}

// XEP-0191 3.3: whoever was sent directed presence is told, once, and no more.
func TestBlockedDirectedPresence(t *testing.T) { plugintest.BothWays(t, testBlockedDirectedPresence) }

func testBlockedDirectedPresence(t *testing.T, as plugintest.Way) {
	w, _ := blockingWorld(t, as)
	befriend(w, "romeo@example.test", "juliet@example.test")
	juliet, romeo := w.im("juliet@example.test/a"), w.im("romeo@example.test/x")
	nurse := w.login("nurse@example.test/n", "<presence/>")
	juliet.send("<presence to='nurse@example.test/n'/><presence to='romeo@example.test'/><presence to='romeo@example.test/x'/>").take()
	nurse.take()
	romeo.take()
	juliet.does(blockXML("romeo@example.test", "nurse@example.test"))
	nurse.want("<presence from='juliet@example.test/a' to='nurse@example.test/n'" + gone)
	romeo.want(presenceXML("a", gone))
	juliet.send("<presence to='nurse@example.test/n'/>").wantPart("<blocked xmlns='urn:xmpp:blocking:errors'/>")
	juliet.drop()
	nurse.want("")
	romeo.want("")
}

// XEP-0191 3.3: a request that waited does not come while its sender is blocked.
func TestBlockedRequest(t *testing.T) { plugintest.BothWays(t, testBlockedRequest) }

func testBlockedRequest(t *testing.T, as plugintest.Way) {
	w, _ := blockingWorld(t, as)
	romeo := w.im("romeo@example.test/x")
	romeo.send("<presence to='juliet@example.test' type='subscribe'/>")
	const request = "<presence from='romeo@example.test' to='juliet@example.test' type='subscribe'/>"
	for command, comes := range map[string]bool{blockXML("romeo@example.test"): false, unblockXML(): true} {
		juliet := w.login("juliet@example.test/a", "")
		juliet.does(command)
		juliet.send("<presence/>")
		if out := juliet.take(); strings.Contains(out, request) != comes {
			t.Errorf("%s: %s", command, out)
		}
		juliet.drop()
	}
}

// XEP-0191 3.3 for what the server answers on behalf of an account: as if there
// were no such account.
func TestBlockedRequestsToTheAccount(t *testing.T) {
	plugintest.BothWays(t, testBlockedRequestsToTheAccount)
}

func testBlockedRequestsToTheAccount(t *testing.T, as plugintest.Way) {
	w, _ := blockingWorld(t, as, extension.Registration{Name: "card", IQ: []extension.IQHandler{{
		Space: "urn:card", Local: "card", Type: stanza.Get, To: extension.ToAccount,
		Handle: func(context.Context, *extension.Host, extension.IQ) (*stanza.Element, error) {
			return stanza.El("urn:card", "card"), nil
		},
	}}})
	romeo, juliet := w.login("romeo@example.test/x", ""), w.login("juliet@example.test/a", "<presence/>")
	ask := func(to, space string) string {
		romeo.send("<iq type='get' id='1' to='" + to + "'><card xmlns='" + space + "'/></iq>")
		return romeo.take()
	}
	if out := ask("juliet@example.test", "urn:card"); !strings.Contains(out, "<card ") {
		t.Error(out)
	}
	juliet.does(blockXML("romeo@example.test"))
	blocked, missing := ask("juliet@example.test", "urn:card"), ask("juliet@example.test", "urn:unknown")
	if blocked != missing || !strings.Contains(blocked, "<service-unavailable ") {
		t.Errorf("%s\nand without a handler:\n%s", blocked, missing)
	}
	if full, offline := ask("juliet@example.test/a", "urn:card"), ask("juliet@example.test/z", "urn:card"); strings.ReplaceAll(full, "/a'", "/z'") != offline {
		t.Errorf("%s\nand without that session:\n%s", full, offline)
	}
}

// The server tells the session that has sent what a stage refuses, also what is
// from the bare JID, and though a stage keeps the other's stanzas away.
func TestRefusalInSubmit(t *testing.T) { plugintest.BothWays(t, testRefusalInSubmit) }

func testRefusalInSubmit(t *testing.T, as plugintest.Way) {
	w, _ := blockingWorld(t, as)
	juliet, other := w.login("juliet@example.test/a", ""), w.login("juliet@example.test/b", "<presence/>")
	juliet.does(blockXML("romeo@example.test"))
	const e = "><error type='cancel'><not-acceptable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><blocked xmlns='urn:xmpp:blocking:errors'/></error></"
	for sent, kind := range map[string]string{
		"<message id='1' to='romeo@example.test'><body>hi</body></message>":           "message",
		"<iq id='1' type='get' to='romeo@example.test'><q xmlns='urn:x'/></iq>":       "iq",
		"<presence id='1' to='romeo@example.test' type='subscribe'/>":                 "presence",
		"<presence id='1' to='romeo@example.test'/>":                                  "presence",
		"<presence id='1' to='romeo@example.test' type='error'/>":                     "",
		"<iq id='1' type='result' to='romeo@example.test'/>":                          "",
		"<iq id='1' type='get' to='juliet@example.test/b'><q xmlns='urn:x'/></iq>":    "", // the own resource
		"<message id='1' to='juliet@example.test/b' type='chat'><body/></message>":    "",
		"<message id='1' to='example.test' type='error'><error xmlns='x'/></message>": "",
	} {
		want := ""
		if kind != "" {
			want = "<" + kind + " from='romeo@example.test' to='juliet@example.test/a' id='1' type='error'" + e + kind + ">"
		}
		juliet.send(sent).want(want)
	}
	other.wantPart("<message from='juliet@example.test/a' to='juliet@example.test/b' id='1' type='chat'>")
}

// Presence that is on its way while its account withdraws it does not stay.
func TestBlockDuringPresence(t *testing.T) { plugintest.BothWays(t, testBlockDuringPresence) }

func testBlockDuringPresence(t *testing.T, as plugintest.Way) {
	for name, show := range map[string]func(juliet, romeo *client){
		"broadcast": func(juliet, _ *client) { juliet.send("<presence/>") },
		"directed":  func(juliet, _ *client) { juliet.send("<presence to='romeo@example.test'/>") },
		"probe":     func(_, romeo *client) { romeo.send("<presence type='unavailable'/><presence/>") },
	} {
		t.Run(name, func(t *testing.T) {
			var during func()
			w, _ := blockingWorld(t, as, staged(extension.Deliver, extension.Observe, func(_ context.Context, _ *extension.Host, e *extension.Envelope) (extension.Verdict, error) {
				if e.Stanza.Kind == stanza.Presence && e.Stanza.Type == "" && e.Account.Local() == "romeo" && during != nil && e.Stanza.From.Local() == "juliet" {
					f := during
					during = nil
					f()
				}
				return extension.Verdict{}, nil
			}))
			befriend(w, "romeo@example.test", "juliet@example.test")
			juliet, phone, romeo := w.im("juliet@example.test/a"), w.login("juliet@example.test/b", ""), w.im("romeo@example.test/x")
			romeo.take()
			during = func() { phone.does(blockXML("romeo@example.test")) }
			show(juliet, romeo)
			out := romeo.take()
			if last := out[strings.LastIndex(out, "<presence"):]; during != nil || !strings.Contains(last, "from='juliet@example.test/a'") || !strings.HasSuffix(last, gone) {
				t.Errorf("the last that romeo hears: %s", out)
			}
		})
	}
}

// Nor does the absence stay of presence that was taken back, when the block is undone
// while that is on its way.
func TestUnblockDuringAbsence(t *testing.T) { plugintest.BothWays(t, testUnblockDuringAbsence) }

func testUnblockDuringAbsence(t *testing.T, as plugintest.Way) {
	for name, show := range map[string]func(juliet, romeo *client){
		"broadcast": func(juliet, _ *client) { juliet.send("<presence/>") },
		"directed":  func(juliet, _ *client) { juliet.send("<presence to='romeo@example.test/x'/>") },
		"probe":     func(_, romeo *client) { romeo.send("<presence type='unavailable'/><presence/>") },
	} {
		t.Run(name, func(t *testing.T) {
			next := map[string]func(){} // by type of presence
			w, _ := blockingWorld(t, as, staged(extension.Deliver, extension.Observe, func(_ context.Context, _ *extension.Host, e *extension.Envelope) (extension.Verdict, error) {
				if f := next[e.Stanza.Type]; e.Stanza.Kind == stanza.Presence && e.Account.Local() == "romeo" && f != nil && e.Stanza.From.Local() == "juliet" {
					delete(next, e.Stanza.Type)
					f()
				}
				return extension.Verdict{}, nil
			}))
			befriend(w, "romeo@example.test", "juliet@example.test")
			juliet, phone, romeo := w.im("juliet@example.test/a"), w.login("juliet@example.test/b", ""), w.im("romeo@example.test/x")
			romeo.take()
			next[""] = func() {
				phone.does(blockXML("romeo@example.test"))
				next[stanza.Unavailable] = func() { phone.does(unblockXML()) }
			}
			show(juliet, romeo)
			out := romeo.take()
			last := out[strings.LastIndex(out, "<presence from='juliet@example.test/a'"):]
			if last, _, _ = strings.Cut(last, ">"); len(next) > 0 || strings.Contains(last, "unavailable") {
				t.Errorf("the last that romeo hears: %s\nof %s", last, out)
			}
		})
	}
}

// A presence that changes while it is announced: the contact has the last one.
func TestAnnounceDuringPresence(t *testing.T) { plugintest.BothWays(t, testAnnounceDuringPresence) }

func testAnnounceDuringPresence(t *testing.T, as plugintest.Way) {
	for after, last := range map[string]string{
		"<presence><show>away</show></presence>": presenceXML("a", "><show>away</show></presence>"),
		"<presence type='unavailable'/>":         presenceXML("a", gone),
	} {
		var during func()
		w, _ := blockingWorld(t, as, staged(extension.Deliver, extension.Observe, func(_ context.Context, _ *extension.Host, e *extension.Envelope) (extension.Verdict, error) {
			if e.Stanza.Kind == stanza.Presence && e.Account.Local() == "romeo" && during != nil {
				f := during
				during = nil
				f()
			}
			return extension.Verdict{}, nil
		}))
		befriend(w, "romeo@example.test", "juliet@example.test")
		juliet, phone, romeo := w.im("juliet@example.test/a"), w.login("juliet@example.test/b", ""), w.im("romeo@example.test/x")
		phone.does(blockXML("romeo@example.test"))
		romeo.take()
		during = func() { juliet.send(after) }
		phone.does(unblockXML())
		if out := romeo.take(); during != nil || !strings.HasSuffix(out, last) {
			t.Errorf("%s: romeo hears %s", after, out)
		}
	}
}

// A user blocks and unblocks a contact, and both go on meanwhile: the last word
// counts, for presence, and for messages both ways.
func TestBlockRaces(t *testing.T) { plugintest.BothWays(t, testBlockRaces) }

func testBlockRaces(t *testing.T, as plugintest.Way) {
	w, _ := blockingWorld(t, as)
	befriend(w, "romeo@example.test", "juliet@example.test")
	juliet, phone := w.im("juliet@example.test/a"), w.im("juliet@example.test/b")
	romeo, other := w.im("romeo@example.test/x"), w.im("romeo@example.test/y")
	for round := range 20 {
		var all sync.WaitGroup
		all.Go(func() {
			for i := range 10 {
				juliet.send(fmt.Sprintf("<presence><status>%d</status></presence><presence to='romeo@example.test/x'/>", i))
			}
		})
		all.Go(func() {
			for range 10 {
				other.send("<presence type='unavailable'/><presence/><message to='juliet@example.test' type='chat'/>") // probes
			}
		})
		all.Go(func() {
			for i := range 10 + round%2 {
				phone.send([]string{blockXML("romeo@example.test"), unblockXML()}[i%2])
			}
		})
		all.Wait()
		blocked := round%2 == 1
		for resource, out := 'a', romeo.take(); resource <= 'b'; resource++ {
			i := strings.LastIndex(out, fmt.Sprintf("<presence from='juliet@example.test/%c'", resource))
			if i < 0 {
				t.Errorf("round %d: romeo heard nothing of juliet/%c", round, resource)
				continue
			}
			last, _, _ := strings.Cut(out[i:], ">")
			if strings.Contains(last, "type='unavailable'") != blocked {
				t.Errorf("round %d, blocked %v: of juliet/%c romeo heard last %s", round, blocked, resource, last)
			}
		}
		juliet.take()
		phone.take()
		romeo.send("<message to='juliet@example.test/a' id='1'/>")
		juliet.send("<message to='romeo@example.test/x' id='2'/>")
		if got := strings.Contains(romeo.take(), "<service-unavailable "); got != blocked {
			t.Errorf("round %d, blocked %v: romeo's message was refused: %v", round, blocked, got)
		}
		if got := strings.Contains(juliet.take(), "<blocked "); got != blocked {
			t.Errorf("round %d, blocked %v: juliet's message was refused: %v", round, blocked, got)
		}
	}
}

// A login reads nothing of contacts that are not there.
func TestResidentsOfAbsentContacts(t *testing.T) {
	plugintest.BothWays(t, testResidentsOfAbsentContacts)
}

func testResidentsOfAbsentContacts(t *testing.T, as plugintest.Way) {
	w, reads := blockingWorld(t, as)
	var r storage.Roster
	for i := range 5 {
		r.Items = append(r.Items, storage.RosterItem{Contact: jid.MustParse(fmt.Sprintf("c%d@example.test", i)), Subscription: storage.SubBoth})
	}
	reads.Store.(*rosters).m[jid.MustParse("juliet@example.test")] = r
	juliet := w.im("juliet@example.test/a")
	juliet.send("<presence><show>away</show></presence>").wantPart("<show>away</show>")
	juliet.drop()
	if reads.n != 1 {
		t.Errorf("%d entries were read, want juliet's", reads.n)
	}
}

func BenchmarkChatBlocking(b *testing.B) {
	benchChat(b, "juliet@example.test/balcony", blocking.New(blocking.Options{}))
}

func BenchmarkPresenceContactsBlocking(b *testing.B) {
	benchPresenceContacts(b, blocking.New(blocking.Options{}))
}

// XEP-0191 3.3: what a session left when it ended does not come to another one,
// nor into storage, if its sender was blocked meanwhile.
func TestBlockedMessageThatWasLeft(t *testing.T) {
	plugintest.BothWays(t, testBlockedMessageThatWasLeft)
}

func testBlockedMessageThatWasLeft(t *testing.T, as plugintest.Way) {
	synctest.Test(t, func(t *testing.T) { blockedMessageThatWasLeft(t, as) })
}

func blockedMessageThatWasLeft(t *testing.T, as plugintest.Way) {
	w, _ := blockingWorld(t, as)
	romeo := w.login("romeo@example.test/x", "")
	phone, laptop := w.login("juliet@example.test/phone", "<presence/>"), w.login("juliet@example.test/laptop", "<presence/>")
	phone.manage()
	phone.cut()
	romeo.send("<message to='juliet@example.test/phone' type='chat' id='1'><body>before</body></message>").take()
	laptop.take()
	laptop.send(blockXML("romeo@example.test")).wantPart("type='result'")
	w.login("juliet@example.test/phone", "") // the name is taken: the session that waits ends
	synctest.Wait()
	if got := laptop.take(); strings.Contains(got, "before") {
		t.Error(got)
	}
	laptop.send("<iq type='set' id='u'><unblock xmlns='urn:xmpp:blocking'/></iq>").take()
	romeo.send("<message to='juliet@example.test' type='chat' id='2'><body>after</body></message>")
	if got := laptop.take(); strings.Contains(got, "before") || !strings.Contains(got, "after") {
		t.Error(got)
	}
}
