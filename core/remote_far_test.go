package core_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/xmlstream"
)

// others is an extension that claims far domains.
func others(x extension.Remote) extension.Registration {
	return extension.Registration{Name: "others", Remote: x, Permissions: []extension.Permission{extension.FarDomains}, Far: &extension.Far{}}
}

// goes returns what has gone to far domains since the last call, one line each, and answers it.
func (x *elsewhere) goes(t *testing.T) (all []string) {
	t.Helper()
	x.mu.Lock()
	list := x.waiting
	x.waiting = nil
	x.mu.Unlock()
	for _, e := range list {
		all = append(all, farLine(t, e))
		if err := apply(e, &extension.Outcome{}); err != nil {
			t.Error(err)
		}
	}
	return all
}

// farLine is "KEY: STANZA", and the recipients of copies.
func farLine(t *testing.T, e *extension.RemoteEvent) string {
	t.Helper()
	if e.Kind != extension.ToFar || e.Far.ID == 0 || e.Key != e.Far.Domain || e.At.IsZero() {
		t.Errorf("%+v", e)
	}
	line := e.Key + ": " + vers.ReplaceAllString(string(e.Far.Stanza.Append(nil, e.Far.Stanza.To, xmpp.NSClient)), "")
	line = strings.Replace(line, " xmlns='jabber:client'", "", 1)
	for _, to := range e.Far.Recipients {
		line += " " + to.String()
	}
	return line
}

func wantFar(t *testing.T, x *elsewhere, want ...string) {
	t.Helper()
	if got := x.goes(t); !slices.Equal(got, want) {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// RFC 6120 10.4: what is neither hosted nor claimed goes to whoever claims far domains, in order, and
// nobody waits for it. A subdomain of a hosted domain goes nowhere.
func TestFarDomains(t *testing.T) {
	x, room := &elsewhere{}, &elsewhere{}
	w := newWorld(t, with(others(x), rooms(room)))
	defer x.close()
	defer room.close()
	romeo := w.login("romeo@example.test/x", "")
	romeo.send("<message id='1' to='juliet@far.test/b' type='chat'><body>1</body></message><iq type='get' id='2' to='far.test'><q xmlns='urn:x'/></iq>" +
		"<message id='3' to='nurse@else.where'><body>3</body></message><presence to='juliet@far.test/b'/>" +
		"<iq type='result' id='4' to='juliet@far.test/b'/><message to='juliet@far.test' type='error' id='5'/>")
	var last uint64
	for _, e := range x.waiting {
		if e.Far.ID <= last {
			t.Errorf("%d behind %d", e.Far.ID, last)
		}
		last = e.Far.ID
	}
	romeo.want("")
	wantFar(t, x,
		"far.test: <message from='romeo@example.test/x' to='juliet@far.test/b' id='1' type='chat'><body>1</body></message>",
		"far.test: <iq from='romeo@example.test/x' to='far.test' id='2' type='get'><q xmlns='urn:x'/></iq>",
		"else.where: <message from='romeo@example.test/x' to='nurse@else.where' id='3'><body>3</body></message>",
		"far.test: <presence from='romeo@example.test/x' to='juliet@far.test/b'/>",
		"far.test: <iq from='romeo@example.test/x' to='juliet@far.test/b' id='4' type='result'/>",
		"far.test: <message from='romeo@example.test/x' to='juliet@far.test' id='5' type='error'/>")
	romeo.want("")
	for _, near := range []string{"sub.example.test", "a@b.sub.example.net/x"} {
		romeo.send("<message id='1' to='" + near + "'><body>1</body></message>").wantPart("<remote-server-not-found")
	}
	romeo.send("<message id='1' to='x@rooms.example.test'><body>1</body></message>").want("")
	wantFar(t, x)
}

// RFC 6120 8.3.1, 10.4: messages, and iq of type get and set, are answered; nothing else is.
func TestFarErrors(t *testing.T) {
	gone := stanza.Err(stanza.RemoteServerNotFound, "no such server")
	for _, row := range []struct {
		name   string
		refuse error // of Dispatch
		end    func(e *extension.RemoteEvent)
		want   string // a part of the answer to those that have one
	}{
		{"full", extension.ErrFull, nil, "<error type='wait'><resource-constraint"},
		{"down", extension.ErrDown, nil, "<error type='wait'><remote-server-timeout"},
		{"down for the grace time", nil, func(e *extension.RemoteEvent) { fail(e, extension.ErrDown) }, "<error type='wait'><remote-server-timeout"},
		{"no such server", nil, func(e *extension.RemoteEvent) { _ = apply(e, &extension.Outcome{Err: gone}) }, "<error type='cancel'><remote-server-not-found"},
		{"another error", nil, func(e *extension.RemoteEvent) { _ = apply(e, &extension.Outcome{Err: errors.New("secret")}) }, "<internal-server-error"},
	} {
		for kind, one := range map[string]struct {
			xml      string
			answered bool
		}{
			"message":  {"<message id='1' to='juliet@far.test' type='chat'><body>1</body></message>", true},
			"headline": {"<message id='1' to='juliet@far.test' type='headline'><body>1</body></message>", true},
			"error":    {"<message id='1' to='juliet@far.test' type='error'/>", false},
			"get":      {"<iq id='1' to='juliet@far.test' type='get'><q xmlns='urn:x'/></iq>", true},
			"set":      {"<iq id='1' to='juliet@far.test/x' type='set'><q xmlns='urn:x'/></iq>", true},
			"result":   {"<iq id='1' to='juliet@far.test/x' type='result'/>", false},
			"iq error": {"<iq id='1' to='juliet@far.test/x' type='error'/>", false},
			"presence": {"<presence id='1' to='juliet@far.test/x'/>", false},
			"request":  {"<presence id='1' to='juliet@far.test' type='subscribe'/>", false},
		} {
			t.Run(row.name+", "+kind, func(t *testing.T) {
				x := &elsewhere{}
				w := newWorld(t, with(others(x)))
				defer x.close()
				romeo := w.login("romeo@example.test/x", "")
				x.refuses(row.refuse)
				romeo.send(one.xml)
				if row.end != nil {
					row.end(x.next(t))
				}
				out := romeo.take()
				if one.answered == (out == "") || one.answered && !strings.Contains(out, row.want) || strings.Contains(out, "secret") || strings.Count(out, "type='error'") > 1 {
					t.Error(out)
				}
			})
		}
	}
}

// A domain whose server is away is in nobody's way: it has a bound of its own, and there is room for others.
func TestFarBounds(t *testing.T) {
	x := &elsewhere{}
	w := newWorld(t, with(others(x)))
	defer x.close()
	romeo := w.login("romeo@example.test/x", "")
	fill := func(domain string) (n int) {
		for {
			for range 100 {
				romeo.input("<message to='a@" + domain + "'><body>1</body></message>")
			}
			n += 100
			if strings.Contains(romeo.take(), "type='wait'><resource-constraint") {
				return n
			}
		}
	}
	if n := fill("away.test"); n < 5000 || n > 8300 {
		t.Errorf("%d for one domain", n)
	}
	romeo.send("<message id='1' to='a@there.test'><body>1</body></message><presence to='a@away.test'/>").want("")
	for i := range 8 {
		fill(fmt.Sprintf("away%d.test", i))
	}
	romeo.send("<message id='1' to='a@there.test'><body>1</body></message>").want("")
	for len(x.waiting) > 0 { // what has an end makes room
		fail(x.next(t), stanza.Err(stanza.RemoteServerTimeout, ""))
	}
	romeo.take()
	romeo.send("<message id='1' to='a@away.test'><body>1</body></message>").want("")
}

// RFC 6121 3, 4: presence goes to contacts at far domains as to those that are here, and comes from them.
func TestFarPresence(t *testing.T) {
	x := &elsewhere{}
	w := newWorld(t, with(others(x)))
	comes := func(xml string) { w.comes(x, xml) }
	romeo := w.im("romeo@example.test/x")
	romeo.send("<presence type='subscribe' to='juliet@far.test/b'/>").take()
	wantFar(t, x, "far.test: <presence from='romeo@example.test' to='juliet@far.test' type='subscribe'/>")
	comes("<presence type='subscribed' from='juliet@far.test/b' to='romeo@example.test/x'/><presence from='juliet@far.test/b' to='romeo@example.test'/>")
	romeo.wantIM("<presence from='juliet@far.test' to='romeo@example.test' type='subscribed'/>" + push("romeo@example.test/x", "<item jid='juliet@far.test' subscription='to'/>") +
		"<presence from='juliet@far.test/b' to='romeo@example.test'/>")
	comes("<presence type='subscribe' from='juliet@far.test' to='romeo@example.test'/>")
	romeo.wantIM("<presence from='juliet@far.test' to='romeo@example.test' type='subscribe'/>")
	romeo.send("<presence type='subscribed' to='juliet@far.test'/>").take()
	wantFar(t, x,
		"far.test: <presence from='romeo@example.test' to='juliet@far.test' type='subscribed'/>",
		"far.test: <presence from='romeo@example.test/x' to='juliet@far.test'/>")
	comes("<presence type='probe' from='juliet@far.test' to='romeo@example.test'/>")
	wantFar(t, x, "far.test: <presence from='romeo@example.test/x' to='juliet@far.test'/>")
	comes("<presence type='probe' from='nurse@far.test' to='romeo@example.test'/>")
	romeo.send("<presence to='nurse@else.where/n'/><presence><show>away</show></presence>").take()
	wantFar(t, x, "else.where: <presence from='romeo@example.test/x' to='nurse@else.where/n'/>",
		"far.test: <presence from='romeo@example.test/x' to='juliet@far.test'><show>away</show></presence>")
	other := w.login("romeo@example.test/y", "<presence/>")
	wantFar(t, x, "far.test: <presence from='romeo@example.test/y' to='juliet@far.test'/>", "far.test: <presence from='romeo@example.test/y' to='juliet@far.test' type='probe'/>")
	romeo.drop()
	wantFar(t, x, "far.test: <presence from='romeo@example.test/x' to='juliet@far.test' type='unavailable'/>",
		"else.where: <presence from='romeo@example.test/x' to='nurse@else.where/n' type='unavailable'/>")
	other.take()
	comes("<presence type='unsubscribe' from='juliet@far.test' to='romeo@example.test'/><presence type='unsubscribed' from='juliet@far.test' to='romeo@example.test'/>")
	wantFar(t, x, "far.test: <presence from='romeo@example.test/y' to='juliet@far.test' type='unavailable'/>",
		"far.test: <presence from='romeo@example.test' to='juliet@far.test' type='unsubscribed'/>")
	other.wantPart("<presence from='juliet@far.test' to='romeo@example.test' type='unsubscribed'/>")
}

// sendsXML asks for stanzas to be sent.
func sendsXML(t *testing.T, xml string) func(h *extension.Host) error {
	t.Helper()
	var all []*stanza.Stanza
	tree, err := stanza.ParseElement("<all xmlns='jabber:client'>"+xml+"</all>", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range tree.Elements() {
		st, err := xmlstream.ParseStanza(e.Append(nil, ""), xmpp.NSClient, xmlstream.Limits{})
		if err != nil {
			t.Fatalf("%v: %s", err, e.Append(nil, ""))
		}
		all = append(all, st)
	}
	return func(h *extension.Host) error {
		for _, st := range all {
			if err := h.Stanzas.Send(st); err != nil {
				return err
			}
		}
		return nil
	}
}

// comes has stanzas come from far domains, and waits until they are applied.
func (w *world) comes(x *elsewhere, xml string) {
	w.t.Helper()
	if err := w.sends(x, xml); err != nil {
		w.t.Errorf("%s: %v", xml, err)
	}
}

func (w *world) sends(x *elsewhere, xml string) error {
	w.t.Helper()
	var b transport.Batch
	done := make(chan error, 1)
	x.kernel.Apply(&b, "in far.test", sendsXML(w.t, xml), func(err error) { done <- err })
	b.Flush()
	return <-done
}

// What comes from a far domain is from there, to somebody here, and asserts no more than others may. It goes
// the way of what others send: Deliver sees it, not Submit.
func TestFromFarDomains(t *testing.T) {
	x := &elsewhere{}
	var staged []string
	sees := extension.Registration{Name: "sees", Permissions: []extension.Permission{extension.SeeStanzas}}
	for _, stage := range []extension.Stage{extension.Submit, extension.Deliver} {
		sees.Stages = append(sees.Stages, extension.StageHandler{Stage: stage, Class: extension.Observe, Match: extension.Match{Kinds: []stanza.Kind{stanza.Message}},
			Handle: func(_ context.Context, _ *extension.Host, e *extension.Envelope) (extension.Verdict, error) {
				staged = append(staged, fmt.Sprint(stage, " ", e.Stanza.From, " ", e.Account))
				return extension.Verdict{}, nil
			}})
	}
	room := &elsewhere{}
	w := newWorld(t, with(others(x), sees, rooms(room)))
	defer x.close()
	defer room.close()
	romeo := w.im("romeo@example.test/x")
	romeo.take()
	w.comes(x, "<message from='juliet@far.test/b' to='romeo@example.test' id='1' type='chat'><body>1</body><stanza-id xmlns='urn:xmpp:sid:0' id='1' by='romeo@example.test'/>"+
		"<delay xmlns='urn:xmpp:delay' from='example.test' stamp='2026-01-01T00:00:00Z'/></message>")
	romeo.want("<message from='juliet@far.test/b' to='romeo@example.test' id='1' type='chat'><body>1</body></message>")
	if want := []string{fmt.Sprint(extension.Deliver, " juliet@far.test/b romeo@example.test")}; !slices.Equal(staged, want) {
		t.Errorf("%q", staged)
	}
	w.comes(x, "<message from='juliet@far.test/b' to='romeo@example.test/x' id='2'><body>2</body></message><iq from='juliet@far.test/b' to='romeo@example.test/x' id='3' type='get'><q xmlns='urn:x'/></iq>"+
		"<message from='nurse@else.where/n' to='romeo@example.test/x' id='4'><body>4</body></message>")
	romeo.want("<message from='juliet@far.test/b' to='romeo@example.test/x' id='2'><body>2</body></message><iq from='juliet@far.test/b' to='romeo@example.test/x' id='3' type='get'><q xmlns='urn:x'/></iq>" +
		"<message from='nurse@else.where/n' to='romeo@example.test/x' id='4'><body>4</body></message>")
	wantFar(t, x)
	// Answers go back.
	w.comes(x, "<iq from='juliet@far.test/b' to='example.test' id='5' type='get'><query xmlns='http://jabber.org/protocol/disco#items'/></iq><iq from='juliet@far.test/b' to='example.test' id='6' type='get'><q xmlns='urn:x'/></iq>"+
		"<iq from='juliet@far.test/b' to='example.test' id='7' type='error'/>")
	if got := x.goes(t); len(got) != 2 || !strings.Contains(got[0], " id='5' type='result'") || !strings.Contains(got[1], " id='6' type='error'") {
		t.Errorf("%q", got)
	}
	w.comes(x, "<presence from='juliet@far.test/b' to='room@rooms.example.test/juliet'/>")
	e := room.next(t)
	if e.Kind != extension.ToComponent || e.Stanza().From.String() != "juliet@far.test/b" {
		t.Errorf("%+v", e)
	}
	fail(e, extension.ErrDown)
	for _, bad := range []string{
		"<message from='juliet@example.test' to='romeo@example.test'/>", "<message from='example.test' to='romeo@example.test'/>",
		"<message from='romeo@example.test' to='romeo@example.test'/>", "<message from='a@rooms.example.test' to='romeo@example.test'/>",
		"<message from='sub.example.test' to='romeo@example.test'/>", "<message to='romeo@example.test'/>",
		"<message from='juliet@far.test' to='nurse@far.test'/>", "<message from='juliet@far.test' to='nurse@else.where'/>",
		"<message from='juliet@far.test' to='sub.example.test'/>", "<message from='juliet@far.test'/>",
	} {
		if err := w.sends(x, "<message from='juliet@far.test' to='romeo@example.test'/>"+bad); !errors.Is(err, extension.ErrPermission) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	romeo.want("")
	wantFar(t, x)
	var b transport.Batch
	done := make(chan error, 1)
	x.kernel.Apply(&b, "in", func(h *extension.Host) error {
		return h.Stanzas.Request(stanza.New(stanza.Header{Kind: stanza.IQ, Type: stanza.Get, From: jid.MustParse("far.test"), To: jid.MustParse("example.test")}, stanza.El("urn:x", "q")), 1e9, nil)
	}, func(err error) { done <- err })
	if err := <-done; !errors.Is(err, extension.ErrPermission) {
		t.Error(err)
	}
}

// Copies for those of a far domain are one event, in order with all else that goes there.
func TestFarCopies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &elsewhere{}
		w, r := newRooms(t, others(x))
		romeo := w.enters("romeo@example.test/x", "room@rooms.example.test/romeo")
		for _, far := range []string{"a@far.test/1", "b@else.where", "c@far.test/2", "d@sub.example.test"} {
			romeo.adds(far)
		}
		w.comes(x, "<presence from='e@far.test/m' to='room@rooms.example.test/moderator'/>")
		synctest.Wait()
		x.goes(t)
		romeo.take()
		const notFound = " remote-server-not-found"
		r.wantErrors(t, "d@sub.example.test room@rooms.example.test/moderator"+notFound)
		romeo.send(sayInRoom("groupchat", "1") + "<message to='a@far.test/1' id='2'><body>2</body></message>" + sayInRoom("groupchat", "3"))
		synctest.Wait()
		body := func(n string) string {
			return "<message from='room@rooms.example.test/romeo' id='" + n + "' type='groupchat'><body>" + n + "</body></message> a@far.test/1 c@far.test/2 e@far.test/m"
		}
		one := func(n string) string {
			return "else.where: <message from='room@rooms.example.test/romeo' to='b@else.where' id='" + n + "' type='groupchat'><body>" + n + "</body></message>"
		}
		got := x.goes(t)
		ofFar := slices.DeleteFunc(slices.Clone(got), func(s string) bool { return strings.HasPrefix(s, "else.where") })
		ofElse := slices.DeleteFunc(slices.Clone(got), func(s string) bool { return !strings.HasPrefix(s, "else.where") })
		// The room has its turn of its own, beside the stream.
		slices.SortFunc(ofFar, func(a, b string) int {
			return strings.Compare(a[strings.Index(a, " id="):], b[strings.Index(b, " id="):])
		})
		if want := []string{"far.test: " + body("1"), "far.test: <message from='romeo@example.test/x' to='a@far.test/1' id='2'><body>2</body></message>", "far.test: " + body("3")}; !slices.Equal(ofFar, want) {
			t.Errorf("%q", got)
		}
		if want := []string{one("1"), one("3")}; !slices.Equal(ofElse, want) {
			t.Errorf("%q", got)
		}
		const lost = "d@sub.example.test room@rooms.example.test/romeo" + notFound
		r.wantErrors(t, lost, lost)
		// Each of them is answered for.
		romeo.take()
		romeo.send(sayInRoom("groupchat", "4"))
		synctest.Wait()
		for len(x.waiting) > 0 {
			_ = apply(x.next(t), &extension.Outcome{Err: stanza.Err(stanza.RemoteServerTimeout, "")})
		}
		const late = " room@rooms.example.test/romeo remote-server-timeout"
		r.wantErrors(t, "a@far.test/1"+late, "b@else.where"+late, "c@far.test/2"+late, lost, "e@far.test/m"+late)
		// Who gets something else has an event of its own, and so has who leaves no other.
		romeo.send("<presence to='room@rooms.example.test/mod'/>")
		synctest.Wait()
		want := []string{"far.test: <presence from='room@rooms.example.test/mod'/> a@far.test/1 c@far.test/2",
			"else.where: <presence from='room@rooms.example.test/mod' to='b@else.where'/>",
			"far.test: <presence from='room@rooms.example.test/mod' to='e@far.test/m'><seen xmlns='urn:x'>romeo@example.test/x</seen></presence>"}
		if got := x.goes(t); !slices.Equal(got, want) {
			t.Errorf("got:\n%s", strings.Join(got, "\n"))
		}
	})
}

// One registration may claim far domains, and has to say so.
func TestFarClaims(t *testing.T) {
	second := others(&elsewhere{})
	second.Name = "second"
	silent := others(&elsewhere{})
	silent.Permissions = nil
	for name, row := range map[string]struct {
		regs []extension.Registration
		want string
	}{
		"two":            {[]extension.Registration{others(&elsewhere{}), second}, "others and second both claim far domains"},
		"no permission":  {[]extension.Registration{silent}, `"far-domains"`},
		"not in process": {[]extension.Registration{others(nil)}, "others claims far domains: that takes a process"},
	} {
		o := core.Options{Domains: []string{"example.test"}}
		var p core.Ports
		newPorts(&p)
		with(row.regs...)(&o, &p)
		if _, err := core.New(o, p); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
