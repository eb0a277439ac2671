package codec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
	"github.com/hexmpp/hexmpp/ports/xmpp/xmlstream"
)

// claims is a registration with one of each handler.
var claims = extension.Registration{
	IQ: make([]extension.IQHandler, 2), Stages: make([]extension.StageHandler, 2), Elements: make([]extension.ElementHandler, 2),
	Components: []extension.Component{{}, {IQ: make([]extension.IQHandler, 2)}},
	Far:        &extension.Far{},
}

var from = extension.Origin{Session: orchard, Fence: 1 << 60, Domain: "montague.example", Addr: netip.MustParseAddr("2001:db8::1"), Secure: true}

func iqOf(s *stanza.Stanza, o extension.Origin) extension.IQ {
	return extension.IQ{Stanza: s, Child: s.Children()[0], Origin: o}
}

// events are one of each kind, with all fields that it uses.
func events() map[string]extension.RemoteEvent {
	list := map[string]extension.RemoteEvent{
		"stanza":      {Kind: extension.ToComponent, Handler: 1, Envelope: extension.Envelope{Stanza: message("x"), Origin: from}},
		"items":       {Kind: extension.ItemsAsked, Handler: 1, IQ: iqOf(ask(), from)},
		"iq":          {Kind: extension.Asked, Handler: 1, Component: -1, IQ: iqOf(ask(), extension.Origin{})},
		"component's": {Kind: extension.Asked, Handler: 1, Component: 1, IQ: iqOf(ask(), from)},
		"stage": {Kind: extension.Staged, Handler: 1, Residents: []extension.Entry{{Key: "r", Value: []byte("v"), Revision: 9}},
			Envelope: extension.Envelope{Stanza: message("x"), Origin: from, Account: romeo, Session: juliet, ArchiveID: "77"}},
		"element":      {Kind: extension.ElementSent, Handler: 1, Session: orchard, Element: stanza.El("urn:e", "active", stanza.At("a", "b"))},
		"reply":        {Kind: extension.Replied, Reply: extension.Reply{Answer: message("x"), State: []byte{1}}},
		"no reply":     {Kind: extension.Replied, Reply: extension.Reply{State: []byte{2}}},
		"timer":        {Kind: extension.Fired, Timer: extension.Timer{Key: "t", State: []byte{3}}},
		"notice":       {Kind: extension.Noticed, Notice: extension.Notice{Event: extension.BecameUnavailable, Session: orchard, At: when, Presence: message("x")}},
		"other notice": {Kind: extension.Noticed, Notice: extension.Notice{Event: extension.BecameAvailable, Session: orchard, At: when}},
		"far":          {Kind: extension.ToFar, Far: &extension.FarEvent{Stanza: toFar(juliet)}},
		"far, copies":  {Kind: extension.ToFar, Far: &extension.FarEvent{Stanza: toFar(jid.JID{}), Recipients: []jid.JID{juliet, juliet.Bare()}}},
	}
	for name, e := range list {
		e.Key, e.At, e.Deadline = "key", when, 250*time.Millisecond
		if e.Kind != extension.Asked {
			e.Component = -1
		}
		if f := e.Far; f != nil {
			e.Key, f.Domain, f.ID, f.Attempt, f.Received = "capulet.example", "capulet.example", 1, 2, when
		}
		list[name] = e
	}
	return list
}

func TestEvents(t *testing.T) {
	for name, e := range events() {
		t.Run(name, func(t *testing.T) {
			m, err := Event(&e)
			if err != nil {
				t.Fatal(err)
			}
			if m.Attempt, m.Epoch = 2, 3; e.Far == nil {
				m.Id = 1
			}
			got, err := RemoteEvent(across(t, m), &claims)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(*got, e) {
				t.Errorf("\n%+v became\n%+v", e, *got)
			}
		})
	}
}

// A field that was added to what events hold must be in events above.
func TestEventsHaveAllFields(t *testing.T) {
	set := map[string]bool{}
	var walk func(v reflect.Value, path string)
	walk = func(v reflect.Value, path string) {
		if !v.IsZero() {
			set[path] = true
		}
		switch v.Type() {
		case reflect.TypeFor[extension.RemoteEvent](), reflect.TypeFor[extension.Envelope](), reflect.TypeFor[extension.IQ](),
			reflect.TypeFor[extension.Origin](), reflect.TypeFor[extension.Reply](), reflect.TypeFor[extension.Timer](), reflect.TypeFor[extension.Notice](), reflect.TypeFor[extension.FarEvent]():
			for i := range v.NumField() {
				walk(v.Field(i), path+"."+v.Type().Field(i).Name)
				if _, known := set[path+"."+v.Type().Field(i).Name]; !known {
					set[path+"."+v.Type().Field(i).Name] = false
				}
			}
		}
	}
	for _, e := range events() {
		walk(reflect.ValueOf(e), "")
		if e.Far != nil {
			walk(reflect.ValueOf(*e.Far), ".Far")
		}
	}
	without := map[string]string{
		".Observed": "the plugin has its registration", ".AtOnce": "it is the kernel's affair", ".Owner": "it is the kernel's", ".Far.Done": "the plugin makes it",
	}
	for path, is := range set {
		if !is && without[path] == "" {
			t.Errorf("no event of this test has a %s", path)
		}
	}
}

func outcomes() map[string]struct {
	kind extension.EventKind
	o    extension.Outcome
} {
	type c = struct {
		kind extension.EventKind
		o    extension.Outcome
	}
	v := func(v extension.Verdict) c { return c{extension.Staged, extension.Outcome{Verdict: v}} }
	told := stanza.Err(stanza.Redirect, "no")
	told.Data, told.By, told.Lang, told.App, told.Type = "xmpp:a", "b", "it", stanza.El("urn:app", "x"), stanza.WaitType
	return map[string]c{
		"pass":           v(extension.Verdict{}),
		"pass with ID":   v(extension.Verdict{ArchiveID: "5"}),
		"pass with copy": v(extension.Verdict{Copy: &extension.Copy{Mark: "m", Stanza: message("copy")}}),
		"drop":           v(extension.Verdict{Action: extension.Drop}),
		"refuse":         v(extension.Verdict{Action: extension.Refuse, Error: told}),
		"replace":        v(extension.Verdict{Action: extension.Replace, Stanza: message("other")}),
		"patch": v(extension.Verdict{Action: extension.Patch, Remove: []extension.Name{{Space: "urn:x"}, {Local: "body"}},
			Append: []*stanza.Element{stanza.El("", "body").WithText("<"), stanza.El("urn:z", "z")}}),
		"handled": v(extension.Verdict{Action: extension.Handled}),
		"hold":    v(extension.Verdict{Action: extension.Hold, Key: "k"}),
		"result":  {extension.Asked, extension.Outcome{Result: stanza.El("urn:r", "r").Add(stanza.El("urn:r", "in"))}},
		"empty":   {extension.Asked, extension.Outcome{}},
		"items":   {extension.ItemsAsked, extension.Outcome{Items: []extension.Item{{JID: room, Node: "n", Name: "N"}, {JID: romeo}}}},
		"told":    {extension.Asked, extension.Outcome{Err: told}},
		"failed":  {extension.Asked, extension.Outcome{Err: errors.New("broken")}},
	}
}

func TestOutcomes(t *testing.T) {
	for name, c := range outcomes() {
		t.Run(name, func(t *testing.T) {
			m, err := Outcome(&c.o, c.kind, new(Effects))
			if err != nil {
				t.Fatal(err)
			}
			got, err := new(Limits).Outcome(across(t, m), c.kind)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(*got, c.o) {
				t.Errorf("\n%+v became\n%+v", c.o, *got)
			}
		})
	}
}

func TestVerdictsHaveAllFields(t *testing.T) {
	set := map[string]bool{}
	for _, c := range outcomes() {
		for _, v := range []reflect.Value{reflect.ValueOf(c.o), reflect.ValueOf(c.o.Verdict)} {
			for i := range v.NumField() {
				f := v.Type().Name() + "." + v.Type().Field(i).Name
				set[f] = set[f] || !v.Field(i).IsZero()
			}
		}
	}
	for f, is := range set {
		if !is && f != "Outcome.Effects" { // see TestEachCallOfAHostHasATwin
			t.Errorf("no outcome of this test has a %s", f)
		}
	}
}

// What a handler answers that can't be told fails the handler, not the session.
func TestWhatNoMessageCanHold(t *testing.T) {
	bad := stanza.New(stanza.Header{Kind: stanza.Message, ID: "\xff", To: romeo})
	for name, o := range map[string]extension.Outcome{
		"refuse without error":   {Verdict: extension.Verdict{Action: extension.Refuse}},
		"replace without stanza": {Verdict: extension.Verdict{Action: extension.Replace}},
		"replace, no text":       {Verdict: extension.Verdict{Action: extension.Replace, Stanza: bad}},
		"copy of nothing":        {Verdict: extension.Verdict{Copy: &extension.Copy{}}},
		"hold key":               {Verdict: extension.Verdict{Action: extension.Hold, Key: "\xff"}},
		"no action":              {Verdict: extension.Verdict{Action: 99}},
		"name":                   {Verdict: extension.Verdict{Action: extension.Patch, Remove: []extension.Name{{Local: "\xff"}}}},
	} {
		if m, err := Outcome(&o, extension.Staged, new(Effects)); err == nil {
			t.Errorf("%s became %v", name, m)
		}
	}
	x := new(Effects)
	for name, err := range map[string]error{
		"send": x.Send(bad), "send nothing": x.Send(nil), "timer": x.Set("\xff", 1, nil), "memory": x.Remember("\xff", nil),
		"join": x.Join("\xff", extension.Member{JID: romeo}), "join nobody": x.Join("g", extension.Member{}), "mark": x.Mark(orchard, "\xff", true),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	x.Put(romeo, "\xff", nil)
	if list, err := x.List(); err == nil || len(list) > 0 {
		t.Errorf("%v, %v", list, err)
	}
	for _, err := range []error{errors.New(""), errors.New("\xff"), stanza.Err("", "\xff"), &stanza.Error{}} {
		m := across(t, Failure(err))
		if o, e := new(Limits).Outcome(m, extension.Asked); e != nil || o.Err == nil {
			t.Errorf("%q became %v, %v", err, o, e)
		}
	}
}

func TestEchoOfAnError(t *testing.T) {
	e := stanza.Err(stanza.Conflict, "no")
	e.Echo = stanza.El("urn:x", "x")
	o, err := new(Limits).Outcome(across(t, Failure(e)), extension.Asked)
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := errors.AsType[*stanza.Error](o.Err); !ok || got.Echo == nil || got.Echo.Space != "urn:x" {
		t.Errorf("%+v", o.Err)
	}
}

func TestErrorsNameTheField(t *testing.T) {
	ok := &pluginv1.Stanza{Kind: pluginv1.Kind_KIND_MESSAGE, To: "a@b"}
	effect := func(e *pluginv1.Effect) *pluginv1.Outcome {
		return &pluginv1.Outcome{Effects: []*pluginv1.Effect{{What: &pluginv1.Effect_CancelTimer{}}, e}}
	}
	send := func(s *pluginv1.Stanza) *pluginv1.Outcome {
		return effect(&pluginv1.Effect{What: &pluginv1.Effect_Send{Send: &pluginv1.Send{Stanza: s}}})
	}
	with := func(change func(s *pluginv1.Stanza)) *pluginv1.Outcome {
		s := proto.Clone(ok).(*pluginv1.Stanza)
		change(s)
		return send(s)
	}
	content := func(xml string) *pluginv1.Outcome { return with(func(s *pluginv1.Stanza) { s.Content = []byte(xml) }) }
	for name, c := range map[string]struct {
		m     *pluginv1.Outcome
		field string
	}{
		"nothing":       {effect(&pluginv1.Effect{}), "outcome.effects[1]"},
		"nil":           {effect(nil), "outcome.effects[1]"},
		"no stanza":     {send(nil), "outcome.effects[1].send.stanza"},
		"no kind":       {with(func(s *pluginv1.Stanza) { s.Kind = 0 }), "outcome.effects[1].send.stanza.kind"},
		"address":       {with(func(s *pluginv1.Stanza) { s.To = "a@b@c/" }), "outcome.effects[1].send.stanza.to"},
		"sender":        {with(func(s *pluginv1.Stanza) { s.From = "@" }), "outcome.effects[1].send.stanza.from"},
		"language":      {with(func(s *pluginv1.Stanza) { s.Lang = strings.Repeat("x", 100) }), "outcome.effects[1].send.stanza.content"},
		"cut":           {content("<body>"), "outcome.effects[1].send.stanza.content"},
		"ends early":    {content("</message><message>"), "outcome.effects[1].send.stanza.content"},
		"comment":       {content("<!-- -->"), "outcome.effects[1].send.stanza.content"},
		"entity":        {content("&x;"), "outcome.effects[1].send.stanza.content"},
		"no UTF-8":      {content("\xff"), "outcome.effects[1].send.stanza.content"},
		"deep":          {content(strings.Repeat("<a>", 100) + strings.Repeat("</a>", 100)), "outcome.effects[1].send.stanza.content"},
		"attributes":    {with(func(s *pluginv1.Stanza) { s.Attrs = " a='1' a='2'" }), "outcome.effects[1].send.stanza.content"},
		"second type":   {with(func(s *pluginv1.Stanza) { s.Type, s.Attrs = "chat", " type='error'" }), "outcome.effects[1].send.stanza.content"},
		"row":           {effect(&pluginv1.Effect{What: &pluginv1.Effect_Append{Append: &pluginv1.ArchiveRow{Owner: "a@b", With: "c@d", Xml: []byte("<x/>")}}}), "outcome.effects[1].append.xml"},
		"row of nobody": {effect(&pluginv1.Effect{What: &pluginv1.Effect_Append{}}), "outcome.effects[1].append.owner"},
		"archive":       {effect(&pluginv1.Effect{What: &pluginv1.Effect_ArchiveRemove{}}), "outcome.effects[1].archive_remove"},
		"an edit":       {effect(&pluginv1.Effect{What: &pluginv1.Effect_ArchiveEdit{}}), "outcome.effects[1].archive_edit.owner"},
		"long":          {effect(&pluginv1.Effect{What: &pluginv1.Effect_SetTimer{SetTimer: &pluginv1.SetTimer{AfterMs: 1 << 63}}}), "outcome.effects[1].set_timer.after_ms"},
		"except":        {effect(&pluginv1.Effect{What: &pluginv1.Effect_GroupSend{GroupSend: &pluginv1.GroupSend{Except: []string{"a", ""}}}}), "outcome.effects[1].group_send.except[1]"},
		"variant":       {effect(&pluginv1.Effect{What: &pluginv1.Effect_GroupSend{GroupSend: &pluginv1.GroupSend{Variants: []*pluginv1.GroupVariant{{Stanza: &pluginv1.Stanza{}}}}}}), "outcome.effects[1].group_send.variants[0].stanza.kind"},
		"stream":        {effect(&pluginv1.Effect{What: &pluginv1.Effect_Stream{}}), "outcome.effects[1].stream"},
		"result":        {&pluginv1.Outcome{Result: []byte("text")}, "outcome.result"},
		"two results":   {&pluginv1.Outcome{Result: []byte("<a/><b/>")}, "outcome.result"},
		"error":         {&pluginv1.Outcome{Error: &pluginv1.StanzaError{}}, "outcome.error.condition"},
		"error's app":   {&pluginv1.Outcome{Error: &pluginv1.StanzaError{Condition: "gone", App: []byte("<")}}, "outcome.error.app"},
		"error's echo":  {&pluginv1.Outcome{Error: &pluginv1.StanzaError{Condition: "gone", Echo: []byte("<")}}, "outcome.error.echo"},
		"no outcome":    {nil, "outcome"},
	} {
		o, err := new(Limits).Outcome(c.m, extension.Asked)
		var e *Error
		if !errors.As(err, &e) || e.Field != c.field || o != nil {
			t.Errorf("%s: %v, want an error of %s", name, err, c.field)
		}
	}
}

// What the start tag says stays in it, whatever is in the fields.
func TestFieldsOfAStanzaAreNoMarkup(t *testing.T) {
	m := &pluginv1.Stanza{
		Kind: pluginv1.Kind_KIND_MESSAGE, Id: "'><evil/><x a='", Type: "chat' to='x@y", To: "a@b/'c", Content: []byte("<body>x</body>"),
	}
	s, err := new(Limits).Stanza(m)
	if err != nil {
		t.Fatal(err)
	}
	if s.ID != m.Id || s.Type != m.Type || s.To.String() != m.To || len(s.Children()) != 1 {
		t.Errorf("%s", s)
	}
}

func TestManifestsThatAreRefused(t *testing.T) {
	for field, m := range map[string]*pluginv1.Manifest{
		"manifest.name":                     {Name: strings.Repeat("x", maxText+1)},
		"manifest.permissions[1]":           {Permissions: []string{"send-as-account", "everything"}},
		"manifest.iq[0].type":               {Iq: []*pluginv1.IqHandler{{Payload: &pluginv1.Name{Local: "x"}, Type: "result"}}},
		"manifest.iq[0].payload.local":      {Iq: []*pluginv1.IqHandler{{}}},
		"manifest.iq[0].targets[0]":         {Iq: []*pluginv1.IqHandler{{Payload: &pluginv1.Name{Local: "x"}, Targets: []pluginv1.IqTarget{99}}}},
		"manifest.stages[0].stage":          {Stages: []*pluginv1.StageHandler{{}}},
		"manifest.stages[0].class":          {Stages: []*pluginv1.StageHandler{{Stage: 1}}},
		"manifest.stages[0].policy":         {Stages: []*pluginv1.StageHandler{{Stage: 1, Class: 1, Policy: 9}}},
		"manifest.stages[0].match.kinds[0]": {Stages: []*pluginv1.StageHandler{{Stage: 1, Class: 1, Match: &pluginv1.Match{Kinds: []pluginv1.Kind{0}}}}},
		"manifest.components[0].domain":     {Components: []*pluginv1.Component{{}}},
		"manifest.components[0].key":        {Components: []*pluginv1.Component{{Domain: "x", Key: 17}}},
		"manifest.server.forms[0]":          {Server: &pluginv1.Disco{Forms: [][]byte{[]byte("<x>")}}},
		"manifest.account.identities[0]":    {Account: &pluginv1.Disco{Identities: []*pluginv1.Identity{{}}}},
		"manifest.notices[0]":               {Notices: []pluginv1.NoticeKind{pluginv1.NoticeKind_NOTICE_KIND_ACCOUNT_CREATED}},
		"manifest.elements[0].name.local":   {Elements: []*pluginv1.ElementHandler{{}}},
		"manifest.marks[0].name":            {Marks: []*pluginv1.Mark{{}}},
		"manifest.far_domains":              {FarDomains: true},
		"manifest.commands":                 {Commands: []*pluginv1.Command{{}}},
		"manifest.residents":                {Residents: make([]string, maxClaims+1)},
		"manifest.listeners[0].name":        {Listeners: []*pluginv1.Listener{{Network: "tcp"}}},
		"manifest.listeners[1].name":        {Listeners: []*pluginv1.Listener{{Name: "a", Network: "tcp"}, {Name: "a", Network: "tcp"}}},
		"manifest.listeners[2].name":        {Listeners: []*pluginv1.Listener{{Name: "a", Network: "tcp"}, {Name: "b", Network: "tcp"}, {Name: "c:d", Network: "tcp"}}},
		"manifest.listeners[0].network":     {Listeners: []*pluginv1.Listener{{Name: "stun", Network: "udp"}}},
		"manifest.listeners[1].network":     {Listeners: []*pluginv1.Listener{{Name: "a", Network: "tcp"}, {Name: "b", Network: "unix"}}},
		"manifest":                          nil,
	} {
		_, err := Registration(m)
		var e *Error
		if !errors.As(err, &e) || e.Field != field {
			t.Errorf("%v, want an error of %s", err, field)
		}
	}
}

// Canonical stanzas arrive as they were sent, in both directions.
func TestStanzasArrive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[a-z <>&'"\r\n\t\x{e9}\x{1F600}]{0,20}`)
		element := func(depth int) *stanza.Element { return drawElement(t, text, depth) }
		s := stanza.New(stanza.Header{
			Kind: stanza.Kind(rapid.IntRange(1, 3).Draw(t, "kind")), Type: rapid.SampledFrom([]string{"", "chat", "error", "strange <"}).Draw(t, "type"),
			ID: text.Draw(t, "id"), Lang: rapid.SampledFrom([]string{"", "en", "de-AT"}).Draw(t, "lang"),
			To: rapid.SampledFrom([]jid.JID{{}, orchard, room}).Draw(t, "to"), From: rapid.SampledFrom([]jid.JID{{}, orchard, room}).Draw(t, "from"),
		}, element(3), element(2), element(1))
		if s.ID == "" {
			s.Header.ID = "i"
		}
		m, err := Stanza(s)
		if err != nil {
			t.Fatal(err)
		}
		m = across(t, m)
		trusted, err := TrustedStanza(m)
		if err != nil || !reflect.DeepEqual(trusted, s) {
			t.Fatalf("%v\n%s became\n%s", err, s, trusted)
		}
		scanned, err := new(Limits).Stanza(m)
		if err != nil || scanned.String() != s.String() || !reflect.DeepEqual(scanned.Children(), s.Children()) {
			t.Fatalf("%v\n%s was read as\n%s", err, s, scanned)
		}
	})
}

func drawElement(t *rapid.T, text *rapid.Generator[string], depth int) *stanza.Element {
	e := stanza.El(rapid.SampledFrom([]string{"", "urn:a", "urn:b"}).Draw(t, "space"), rapid.SampledFrom([]string{"a", "b"}).Draw(t, "name"))
	if rapid.Bool().Draw(t, "attr") {
		e.Attrs = append(e.Attrs, stanza.Attr{Space: rapid.SampledFrom([]string{"", "urn:c"}).Draw(t, "attr's"), Local: "x", Value: text.Draw(t, "value")})
	}
	for range rapid.IntRange(0, depth).Draw(t, "children") {
		e.Add(drawElement(t, text, depth-1))
	}
	return e.WithText(text.Draw(t, "text"))
}

func FuzzOutcome(f *testing.F) {
	for _, c := range outcomes() {
		m, err := Outcome(&c.o, c.kind, new(Effects))
		if err != nil {
			f.Fatal(err)
		}
		b, _ := proto.Marshal(m)
		f.Add(b, uint8(c.kind))
	}
	for _, call := range calls {
		x := new(Effects)
		if err := call(throughMessages(x, Reads{})); err != nil {
			f.Fatal(err)
		}
		list, _ := x.List()
		b, _ := proto.Marshal(&pluginv1.Outcome{Effects: list})
		f.Add(b, uint8(extension.Fired))
	}
	f.Fuzz(func(t *testing.T, b []byte, kind uint8) {
		m := new(pluginv1.Outcome)
		if proto.Unmarshal(b, m) != nil {
			return
		}
		o, err := new(Limits).Outcome(m, extension.EventKind(kind))
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Field == "" {
				t.Errorf("%v names no field", err)
			}
			return
		}
		r := new(recorder)
		if o.Effects != nil {
			if err := o.Effects(r.host()); err != nil {
				t.Error(err)
			}
		}
		for _, c := range append(r.calls, fmt.Sprint(o.Result, o.Verdict)) {
			if len(c) > 100*len(b)+1000 {
				t.Errorf("%d bytes became %d", len(b), len(c))
			}
		}
	})
}

func FuzzManifest(f *testing.F) {
	reg := filled()
	m, err := Manifest(&reg)
	if err != nil {
		f.Fatal(err)
	}
	if _, err := Registration(m); err != nil {
		f.Fatal(err) // it would say nothing as a seed
	}
	b, _ := proto.Marshal(m)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		m := new(pluginv1.Manifest)
		if proto.Unmarshal(b, m) != nil {
			return
		}
		r, err := Registration(m)
		if err != nil {
			return
		}
		again, err := Manifest(r)
		if err != nil {
			t.Fatalf("a registration of a manifest makes none: %v", err)
		}
		back, err := Registration(again)
		if err != nil {
			t.Fatal(err)
		}
		if d := differ(reflect.ValueOf(*r), reflect.ValueOf(*back), ""); d != nil {
			t.Errorf("%v differ", d)
		}
	})
}

func FuzzRequest(f *testing.F) {
	for _, read := range reads {
		func() {
			defer func() { _ = recover() }() // of calls that can't tell an error
			read(f.Context(), throughMessages(new(Effects), Reads{func(_ context.Context, q *pluginv1.Request) (*pluginv1.Response, error) {
				b, _ := proto.Marshal(q)
				f.Add(b)
				return nil, errors.New("seen")
			}}))
		}()
	}
	h := full().host()
	f.Fuzz(func(t *testing.T, b []byte) {
		q := new(pluginv1.Request)
		if proto.Unmarshal(b, q) != nil {
			return
		}
		p := Answer(t.Context(), h, func(n int) []uint64 { return make([]uint64, n) }, q)
		if p.Id != q.Id {
			t.Errorf("id %d of request %d", p.Id, q.Id)
		}
		if _, err := proto.Marshal(p); err != nil {
			t.Error(err)
		}
	})
}

// Read bytes of the kernel don't panic either: a plugin reads what it is sent.
func FuzzEvent(f *testing.F) {
	for _, e := range events() {
		m, err := Event(&e)
		if err != nil {
			f.Fatal(err)
		}
		b, _ := proto.Marshal(m)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := new(pluginv1.Event)
		if proto.Unmarshal(b, m) == nil {
			_, _ = RemoteEvent(m, &claims)
		}
	})
}

func chat() *stanza.Stanza {
	s, err := xmlstream.ParseStanza([]byte(`<message type='chat' id='`+strings.Repeat("i", 20)+`' from='romeo@montague.example/orchard' to='juliet@capulet.example'>`+
		`<body>`+strings.Repeat("Neither, fair saint, if either thee dislike. ", 3)+`</body><active xmlns='http://jabber.org/protocol/chatstates'/><request xmlns='urn:xmpp:receipts'/></message>`), "jabber:client", xmlstream.Limits{})
	if err != nil {
		panic(err)
	}
	return s
}

// What a message that is shown to a plugin costs, without the socket.
func BenchmarkStagedMessage(b *testing.B) {
	e := &extension.RemoteEvent{Kind: extension.Staged, Component: -1, Key: "romeo@montague.example", At: when,
		Envelope: extension.Envelope{Stanza: chat(), Origin: from, Account: jid.MustParse("romeo@montague.example")}}
	var event, outcome []byte
	b.Run("kernel, event", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			m, _ := Event(e)
			event, _ = proto.MarshalOptions{}.MarshalAppend(event[:0], m)
		}
	})
	b.Run("plugin", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			m := new(pluginv1.Event)
			_ = proto.Unmarshal(event, m)
			got, _ := RemoteEvent(m, &claims)
			if got.Envelope.Stanza == nil {
				b.Fatal("nothing")
			}
			o, _ := Outcome(&extension.Outcome{Verdict: extension.Verdict{Action: extension.Drop}}, got.Kind, new(Effects))
			outcome, _ = proto.MarshalOptions{}.MarshalAppend(outcome[:0], o)
		}
	})
	b.Run("kernel, outcome", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			m := new(pluginv1.Outcome)
			_ = proto.Unmarshal(outcome, m)
			if o, _ := new(Limits).Outcome(m, extension.Staged); o.Verdict.Action != extension.Drop {
				b.Fatal("nothing")
			}
		}
	})
}

// A message to a room, and the cast that it becomes.
func BenchmarkSentMessage(b *testing.B) {
	s := chat()
	var outcome []byte
	b.Run("plugin", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			x := new(Effects)
			_ = x.Send(s)
			o, _ := Outcome(&extension.Outcome{}, extension.ToComponent, x)
			outcome, _ = proto.MarshalOptions{}.MarshalAppend(outcome[:0], o)
		}
	})
	b.Run("kernel", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			m := new(pluginv1.Outcome)
			_ = proto.Unmarshal(outcome, m)
			if o, _ := new(Limits).Outcome(m, extension.ToComponent); o.Effects == nil {
				b.Fatal("nothing")
			}
		}
	})
	if !bytes.Contains(outcome, []byte("saint")) {
		b.Fatal("nothing")
	}
}
