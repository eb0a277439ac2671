package codec

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	pluginv1 "github.com/hexmpp/hexmpp/api/proto/hexmpp/plugin/v1"
	"github.com/hexmpp/hexmpp/ports/auth"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// across writes a message and reads it.
func across[M proto.Message](t interface{ Fatal(...any) }, m M) M {
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	out := m.ProtoReflect().New().Interface()
	if err := proto.Unmarshal(b, out); err != nil {
		t.Fatal(err)
	}
	return out.(M)
}

// Values for types whose zero value plus one is not a value.
var known = map[reflect.Type]any{
	reflect.TypeFor[extension.Permission]():         extension.FarDomains,
	reflect.TypeFor[extension.To]():                 extension.ToServer | extension.ToOwnAccount | extension.ToAccount | extension.ToStream,
	reflect.TypeFor[extension.Event]():              extension.BecameUnavailable,
	reflect.TypeFor[extension.Stage]():              extension.Deliver,
	reflect.TypeFor[extension.Class]():              extension.Decide,
	reflect.TypeFor[extension.Policy]():             extension.Open,
	reflect.TypeFor[extension.OrderingKey]():        extension.DomainPair,
	reflect.TypeFor[stanza.Kind]():                  stanza.Presence,
	reflect.TypeFor[time.Duration]():                3 * time.Second,
	reflect.TypeFor[*stanza.Element]():              stanza.El("urn:x", "form").WithText("a<b"),
	reflect.TypeFor[extension.Remote]():             nil,
	reflect.TypeFor[http.Handler]():                 nil,
	reflect.TypeFor[func(string) *stanza.Element](): func(domain string) *stanza.Element { return stanza.El("urn:f", "feature", stanza.At("in", domain)) },
}

// fill sets all fields of a value to something.
func fill(v reflect.Value, path string) {
	if x, ok := known[v.Type()]; ok {
		if x != nil {
			v.Set(reflect.ValueOf(x))
		}
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(path)
		if strings.HasSuffix(path, "IQ.Type") {
			v.SetString(stanza.Get)
		}
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(v.Index(i), path)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), path)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), strings.TrimPrefix(path+"."+v.Type().Field(i).Name, "."))
		}
	case reflect.Func:
		v.Set(reflect.MakeFunc(v.Type(), func([]reflect.Value) []reflect.Value { panic("not called") }))
	default:
		panic(fmt.Sprintf("%s is a %s, which this test does not know", path, v.Type()))
	}
}

// differ lists the fields in which two values differ, but for what functions do.
func differ(a, b reflect.Value, path string) (out []string) {
	switch a.Kind() {
	case reflect.Func:
		if a.IsNil() != b.IsNil() {
			out = append(out, path)
		}
	case reflect.Pointer:
		if _, far := a.Interface().(*extension.Far); far && !a.IsNil() && !b.IsNil() { // it holds a function
			return differ(a.Elem(), b.Elem(), path)
		}
		if !reflect.DeepEqual(a.Interface(), b.Interface()) {
			out = append(out, path)
		}
	case reflect.Struct:
		for i := range a.NumField() {
			out = append(out, differ(a.Field(i), b.Field(i), strings.TrimPrefix(path+"."+a.Type().Field(i).Name, "."))...)
		}
	case reflect.Slice:
		if a.Len() != b.Len() {
			return []string{path}
		}
		for i := range a.Len() {
			out = append(out, differ(a.Index(i), b.Index(i), path)...)
		}
	default:
		if !reflect.DeepEqual(a.Interface(), b.Interface()) {
			out = append(out, path)
		}
	}
	return out
}

// filled is a registration with something in each field.
func filled() extension.Registration {
	var reg extension.Registration
	fill(reflect.ValueOf(&reg).Elem(), "")
	reg.Listeners = []extension.Listener{{Name: "s2s", Network: "tcp", Address: ":5269"}, {Name: "other", Network: "tcp"}} // names have rules
	reg.Permissions = []extension.Permission{extension.FarDomains, extension.ServeHTTP}
	reg.HTTP = []extension.Route{{Path: "/a", Repeatable: true}, {Path: "/b/"}}
	do := func(context.Context, []string, io.Writer) error { return nil }
	reg.Calls = []extension.Call{{Name: "list", Help: "lists", Do: do}, {Name: "probe", Do: do, Args: []extension.CallArg{{Name: "domain"}, {Name: "from", Optional: true}}}}
	return reg
}

func TestEachFieldOfARegistrationHasATwin(t *testing.T) {
	reg := filled()
	m, err := Manifest(&reg)
	if err != nil {
		t.Fatal(err)
	}
	back, err := Registration(across(t, m))
	if err != nil {
		t.Fatal(err)
	}
	if err := SetFeatures(back, Features(reg.StreamFeatures, []string{"a.example", "b.example"})); err != nil {
		t.Fatal(err)
	}
	// Without a twin, and why.
	without := map[string]string{
		"IQ.Inline":            "elsewhere nothing runs inline",
		"Components.IQ.Inline": "elsewhere nothing runs inline",
		"Forget":               "Reset",
		"Start":                "Activate",
		"Stop":                 "Shutdown",
	}
	seen := map[string]bool{}
	for _, path := range differ(reflect.ValueOf(reg), reflect.ValueOf(*back), "") {
		seen[path] = true
		if without[path] == "" {
			t.Errorf("%s has no twin in Manifest, or it is not converted", path)
		}
	}
	for path := range without {
		if !seen[path] {
			t.Errorf("%s has a twin by now", path)
		}
	}
	if e := back.StreamFeatures[1].Element("b.example"); e == nil || e.Attr("in") != "b.example" {
		t.Errorf("feature %v", e)
	}
	if e := back.StreamFeatures[0].Element("c.example"); e != nil {
		t.Errorf("a feature where there is none: %v", e)
	}

	var none extension.Registration
	if m, err = Manifest(&none); err != nil {
		t.Fatal(err)
	}
	if back, err = Registration(across(t, m)); err != nil {
		t.Fatal(err)
	}
	back.Reply, back.Timer = nil, nil // they are always there
	if d := differ(reflect.ValueOf(none), reflect.ValueOf(*back), ""); d != nil {
		t.Errorf("of an empty registration: %v", d)
	}
}

var (
	romeo   = jid.MustParse("romeo@montague.example")
	orchard = jid.MustParse("romeo@montague.example/orchard \U0001F339")
	juliet  = jid.MustParse("juliet@capulet.example/balcony")
	room    = jid.MustParse("garden@conference.montague.example")
)

func message(text string) *stanza.Stanza {
	return stanza.New(stanza.Header{Kind: stanza.Message, Type: stanza.Chat, ID: "i<1>", Lang: "it", From: room, To: orchard},
		stanza.El("", "body").WithText(text), stanza.El("urn:x", "x", stanza.Attr{Space: "urn:y", Local: "a", Value: "'"}).Add(stanza.El("urn:x", "y")))
}

func ask() *stanza.Stanza {
	return stanza.New(stanza.Header{Kind: stanza.IQ, Type: stanza.Get, ID: "q", From: room, To: orchard}, stanza.El("urn:xmpp:ping", "ping"))
}

// at is a time as the contract keeps it.
var when = time.Date(2026, 11, 26, 7, 0, 0, 123456000, time.UTC)

// calls are those of a Host that are effects.
var calls = map[string]func(h *extension.Host) error{
	"Stanzas.Send":    func(h *extension.Host) error { return h.Stanzas.Send(message("hello")) },
	"Stanzas.Precede": func(h *extension.Host) error { return h.Stanzas.Precede(message("before")) },
	"Stanzas.SendAs":  func(h *extension.Host) error { return h.Stanzas.SendAs(romeo, message("as")) },
	"Stanzas.Request": func(h *extension.Host) error { return h.Stanzas.Request(ask(), 30*time.Second, []byte{0, 1}) },
	"Store.Put":       func(h *extension.Host) error { h.Store.Put(romeo, "k", []byte{0xff}); return nil },
	"Store.Delete":    func(h *extension.Host) error { h.Store.Delete(jid.JID{}, "k"); return nil },
	"Store.Swap":      func(h *extension.Host) error { h.Store.Swap(romeo, "k", []byte("v"), 0); return nil },
	"Archive.Append": func(h *extension.Host) error {
		h.Archive.Append(storage.Row{Owner: romeo, ID: 9, Stamp: when, With: juliet, XML: message("kept").XML("jabber:client")})
		return nil
	},
	"Archive.Remove": func(h *extension.Host) error { h.Archive.Remove(room); return nil },
	"Archive.Replace": func(h *extension.Host) error {
		h.Archive.Replace(room, 7, "<message xmlns='jabber:client'/>")
		return nil
	},
	"Timers.Set": func(h *extension.Host) error { return h.Timers.Set("t", 1500*time.Millisecond, []byte("s")) },
	"Timers.SetFor": func(h *extension.Host) error {
		return h.Timers.SetFor("room", "t", 1500*time.Millisecond, []byte("s"))
	},
	"Stanzas.RequestFor": func(h *extension.Host) error {
		return h.Stanzas.RequestFor("room", ask(), 30*time.Second, []byte{0, 1})
	},
	"Timers.Cancel": func(h *extension.Host) error { h.Timers.Cancel("t"); return nil },
	"Memory.Put":    func(h *extension.Host) error { return h.Memory.Put("m", []byte("v")) },
	"Memory.Delete": func(h *extension.Host) error { h.Memory.Delete("m"); return nil },
	"Groups.Join": func(h *extension.Host) error {
		return h.Groups.Join("g", extension.Member{JID: orchard, From: room, Classes: []string{"a", "b"}})
	},
	"Groups.Leave":  func(h *extension.Host) error { h.Groups.Leave("g", orchard); return nil },
	"Groups.Remove": func(h *extension.Host) error { h.Groups.Remove("g"); return nil },
	"Groups.Send": func(h *extension.Host) error {
		return h.Groups.Send("g", extension.Cast{Stanza: message("all"), Except: []jid.JID{juliet}, Only: "a", Variants: []extension.Variant{{Class: "b", Stanza: message("some")}, {Class: "c"}}})
	},
	"Sessions.End":     func(h *extension.Host) error { return h.Sessions.End(romeo, "policy-violation", "bye") },
	"Sessions.Mark":    func(h *extension.Host) error { return h.Sessions.Mark(orchard, "on", true) },
	"Sessions.Release": func(h *extension.Host) error { h.Sessions.Release(orchard); return nil },
	"Sessions.Withdraw": func(h *extension.Host) error {
		return h.Sessions.Withdraw(romeo, []jid.JID{juliet, room}, []jid.JID{room})
	},
	"Sessions.Announce": func(h *extension.Host) error { return h.Sessions.Announce(romeo, []jid.JID{juliet}) },
}

func mark(err error) string { return fmt.Sprint(err) }

// reads are those that read, or take effect at once. What they return is written as text.
var reads = map[string]func(ctx context.Context, h *extension.Host) string{
	"Store.Get": func(ctx context.Context, h *extension.Host) string {
		e, ok, err := h.Store.Get(ctx, romeo, "k2")
		return fmt.Sprint(e, ok, mark(err))
	},
	"Store.Scan": func(ctx context.Context, h *extension.Host) string {
		l, err := h.Store.Scan(ctx, jid.JID{}, "k", "k1", 5000)
		return fmt.Sprint(l, mark(err))
	},
	"Archive.NewID": func(_ context.Context, h *extension.Host) string { return fmt.Sprint(h.Archive.NewID()) },
	"Archive.Rows": func(ctx context.Context, h *extension.Host) string {
		l, more, err := h.Archive.Rows(ctx, romeo, storage.Filter{After: 3}, storage.Page{Limit: 3000})
		return fmt.Sprint(l, more, mark(err))
	},
	"Archive.Count": func(ctx context.Context, h *extension.Host) string {
		n, all, err := h.Archive.Count(ctx, romeo, storage.Filter{With: juliet, Start: when, Before: 4}, 100)
		return fmt.Sprint(n, all, mark(err))
	},
	"Archive.Between": func(_ context.Context, h *extension.Host) string {
		a, b := h.Archive.Between(when, time.Time{})
		return fmt.Sprint(a, b)
	},
	"Archive.Expire": func(ctx context.Context, h *extension.Host) string {
		n, err := h.Archive.Expire(ctx, when, 20_000)
		return fmt.Sprint(n, mark(err))
	},
	"Memory.Get": func(ctx context.Context, h *extension.Host) string {
		e, ok, err := h.Memory.Get(ctx, "none")
		return fmt.Sprint(e, ok, mark(err))
	},
	"Memory.Scan": func(ctx context.Context, h *extension.Host) string {
		l, err := h.Memory.Scan(ctx, "k", "", 2)
		return fmt.Sprint(l, mark(err))
	},
	"Groups.Members": func(ctx context.Context, h *extension.Host) string {
		l, err := h.Groups.Members(ctx, "g", jid.JID{}, 5000)
		return fmt.Sprint(l, mark(err))
	},
	"Groups.Size": func(ctx context.Context, h *extension.Host) string {
		n, err := h.Groups.Size(ctx, "g")
		return fmt.Sprint(n, mark(err))
	},
	"Sessions.Of":   func(_ context.Context, h *extension.Host) string { return fmt.Sprintf("%+v", h.Sessions.Of(romeo)) },
	"Sessions.Room": func(_ context.Context, h *extension.Host) string { return fmt.Sprint(h.Sessions.Room(orchard)) },
	"Rosters.Subscribed": func(ctx context.Context, h *extension.Host) string {
		b, err := h.Rosters.Subscribed(ctx, romeo, juliet)
		return fmt.Sprint(b, mark(err))
	},
	"Rosters.Known": func(_ context.Context, h *extension.Host) string {
		b, err := h.Rosters.Known(romeo, juliet)
		return fmt.Sprint(b, mark(err))
	},
	"Rosters.Listed": func(_ context.Context, h *extension.Host) string {
		b, err := h.Rosters.Listed(romeo, juliet)
		return fmt.Sprint(b, mark(err))
	},
	"Secrets.Secret": func(ctx context.Context, h *extension.Host) string {
		b, err := h.Secrets.Secret(ctx, "s")
		return fmt.Sprint(b, mark(err))
	},
	"Certificates.Certificate": func(ctx context.Context, h *extension.Host) string {
		c, err := h.Certificates.Certificate(ctx, "example.org")
		if err != nil {
			return mark(err)
		}
		return fmt.Sprint(len(c.Certificate), c.Leaf.DNSNames, c.PrivateKey.(*ecdsa.PrivateKey).Equal(recCertificate().PrivateKey))
	},
	"Accounts.VerifyPassword": func(ctx context.Context, h *extension.Host) string {
		return mark(h.Accounts.VerifyPassword(ctx, romeo, "pw"))
	},
	"Accounts.Create": func(ctx context.Context, h *extension.Host) string { return mark(h.Accounts.Create(ctx, romeo, "pw")) },
	"Accounts.SetPassword": func(ctx context.Context, h *extension.Host) string {
		return mark(h.Accounts.SetPassword(ctx, romeo, "pw"))
	},
	"Accounts.Remove": func(ctx context.Context, h *extension.Host) string { return mark(h.Accounts.Remove(ctx, romeo)) },
	"Accounts.Get": func(ctx context.Context, h *extension.Host) string {
		a, err := h.Accounts.Get(ctx, romeo)
		return fmt.Sprint(a, mark(err))
	},
	"Accounts.List": func(ctx context.Context, h *extension.Host) string {
		l, err := h.Accounts.List(ctx, "montague.example", "", 5000)
		return fmt.Sprint(l, mark(err))
	},
}

func TestEachCallOfAHostHasATwin(t *testing.T) {
	host := reflect.TypeFor[extension.Host]()
	for i := range host.NumField() {
		f := host.Field(i)
		if f.Type.Kind() != reflect.Interface {
			continue
		}
		for k := range f.Type.NumMethod() {
			name := f.Name + "." + f.Type.Method(k).Name
			if name == "Listeners.Get" { // of what the process inherited: nothing is asked for
				continue
			}
			if calls[name] == nil && reads[name] == nil {
				t.Errorf("%s is not in the tables of this test", name)
			}
		}
	}
	used := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(calls)) {
		t.Run(name, func(t *testing.T) {
			var direct, replayed recorder
			if err := calls[name](direct.host()); err != nil {
				t.Fatal(err)
			}
			x := new(Effects)
			if err := calls[name](throughMessages(x, Reads{})); err != nil {
				t.Fatal(err)
			}
			list, err := x.List()
			if err != nil || len(list) != 1 {
				t.Fatal(list, err)
			}
			m := across(t, &pluginv1.Outcome{Effects: list})
			used[string(m.Effects[0].ProtoReflect().WhichOneof(effectOneof).Name())] = true
			o, err := new(Limits).Outcome(m, extension.Fired)
			if err != nil {
				t.Fatal(err)
			}
			if err := o.Effects(replayed.host()); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(direct.calls, replayed.calls) {
				t.Errorf("\n%q became\n%q", direct.calls, replayed.calls)
			}
		})
	}
	for i := range effectOneof.Fields().Len() {
		if name := string(effectOneof.Fields().Get(i).Name()); !used[name] && name != "stream" {
			t.Errorf("nothing makes the effect %s", name)
		}
	}
}

var effectOneof = new(pluginv1.Effect).ProtoReflect().Descriptor().Oneofs().ByName("what")

func full() *recorder {
	r := &recorder{
		sessions: []extension.Session{
			{JID: orchard, Available: true, Priority: -3, Marks: []string{"a"}, Features: []string{"urn:f"}},
			{JID: juliet, Features: []string{}}, {JID: juliet},
		},
	}
	for i := range 1200 {
		r.entries = append(r.entries, extension.Entry{Key: fmt.Sprintf("k%04d", i), Value: []byte(strings.Repeat("v", i%3*1000)), Revision: uint64(i)})
		r.rows = append(r.rows, storage.Row{Owner: romeo, ID: uint64(i + 1), Stamp: when, With: juliet, XML: "<message>" + strings.Repeat("x", i)})
	}
	r.entries = append(r.entries, extension.Entry{Key: "k2", Value: []byte("x"), Revision: 4})
	for i := range 2100 {
		r.members = append(r.members, extension.Member{JID: jid.MustParse(fmt.Sprintf("u%04d@example/r", i)), Classes: []string{"c"}})
		r.accounts = append(r.accounts, auth.Account{User: jid.MustParse(fmt.Sprintf("u%04d@example", i)), Created: when, Disabled: i%2 == 0})
	}
	return r
}

func TestEachReadIsAnsweredAsInProcess(t *testing.T) {
	for _, failing := range []error{nil, fmt.Errorf("test: %w", extension.ErrPermission)} {
		for name, read := range reads {
			t.Run(fmt.Sprintf("%s, %v", name, failing), func(t *testing.T) {
				direct, asked := full(), full()
				direct.err, asked.err = failing, failing
				want := read(t.Context(), direct.host())
				h := asked.host()
				got := read(t.Context(), throughMessages(new(Effects), Reads{func(ctx context.Context, q *pluginv1.Request) (*pluginv1.Response, error) {
					q.Id = 5
					p := Answer(ctx, h, func(n int) []uint64 { return slices.Repeat([]uint64{77}, n) }, across(t, q))
					if p.Id != 5 {
						t.Errorf("id %d", p.Id)
					}
					if n := proto.Size(p); n > 3<<20 {
						t.Errorf("a response of %d bytes", n)
					}
					return across(t, p), nil
				}}))
				if failing == nil || name == "Archive.NewID" || name == "Archive.Between" || strings.HasPrefix(name, "Sessions") {
					if got != want {
						t.Errorf("\n%.2000s, want\n%.2000s", got, want)
					}
					if !slices.Equal(slices.Compact(asked.calls), direct.calls) {
						t.Errorf("asked for %q, want %q", asked.calls, direct.calls)
					}
				} else if !strings.HasSuffix(got, failing.Error()) {
					t.Errorf("%.2000s, want the error", got)
				}
			})
		}
	}
}

func TestErrorsKeepTheirKind(t *testing.T) {
	for _, k := range kinds {
		r := &recorder{err: fmt.Errorf("wrapped: %w", k.err), accounts: make([]auth.Account, 1)}
		a := Accounts{Reads{func(ctx context.Context, q *pluginv1.Request) (*pluginv1.Response, error) {
			return across(t, Answer(ctx, r.host(), nil, q)), nil
		}}}
		if _, err := a.Get(t.Context(), romeo); !errors.Is(err, k.err) || err.Error() != r.err.Error() {
			t.Errorf("%v became %v", r.err, err)
		}
	}
	p := Answer(t.Context(), new(recorder).host(), nil, &pluginv1.Request{Id: 3})
	if p.ErrorKind != pluginv1.ErrorKind_ERROR_KIND_UNKNOWN_REQUEST || p.Id != 3 {
		t.Errorf("an unknown request: %v", p)
	}
}
