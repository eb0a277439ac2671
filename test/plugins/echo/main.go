// Command echo is a plugin for tests: a component that answers, counts and fans out, in
// a way that shows whether each event was handled once and whether in order. Its argument is
// its name, and it answers for NAME.$domain.
//
//   - A message comes back with its content and <n/>: the how manyth it is from its sender's
//     account to that address, and the process that answered. The count is kept in memory of
//     the kernel; of an address store@ it is kept in storage, of both@ in memory by
//     a handler that also writes to storage.
//   - A message with <join/> makes its sender a member of the group of the address, one with
//     <cast/> goes to all its members with <n/>, and has no answer.
//   - A message with <relay/> is sent on, twice, to the address that it names, until its hops
//     are used up. It has no answer.
//   - <count/> in an iq of type get is answered with a count of such requests.
//
// test/chaos and others start it; it is no example of how a plugin is written.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/hexmpp/hexmpp/api/plugin"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// ns is of all that the test plugins say.
const ns = "urn:hexmpp:test"

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: echo NAME")
		os.Exit(2)
	}
	p := plugin.Of(struct{}{}, func(struct{}) (extension.Registration, error) { return registration(os.Args[1]), nil })
	p.Version = "test"
	os.Exit(plugin.Main(p, os.Args[2:]))
}

func registration(name string) extension.Registration {
	return extension.Registration{
		Name: name,
		Components: []extension.Component{{
			Domain: name + ".$domain",
			Key:    extension.Pair,
			IQ:     []extension.IQHandler{{Space: ns, Local: "count", Type: stanza.Get, Handle: count}},
			Handle: handle,
		}},
	}
}

// count answers a request.
func count(ctx context.Context, h *extension.Host, q extension.IQ) (*stanza.Element, error) {
	n, err := inMemory(ctx, h, "iq "+q.From.Bare().String())
	return numbered("count", n), err
}

func handle(ctx context.Context, h *extension.Host, e *extension.Envelope) error {
	s := e.Stanza
	switch {
	case s.Kind == stanza.IQ && (s.Type == stanza.Get || s.Type == stanza.Set):
		return stanza.Err(stanza.ServiceUnavailable, "")
	case s.Kind != stanza.Message || s.Type == stanza.TypeError:
		return nil
	}
	if c, ok := s.Child(ns, "relay"); ok {
		return relay(h, s, c)
	}
	pair := s.From.Bare().String() + " " + s.To.Bare().String()
	n, err := next(ctx, h, s.To.Local(), pair)
	if err != nil {
		return err
	}
	if _, ok := s.Child(ns, "cast"); ok {
		return h.Groups.Send(s.To.Local(), extension.Cast{Stanza: answer(s, stanza.Headline, n)})
	}
	if _, ok := s.Child(ns, "join"); ok {
		if err := h.Groups.Join(s.To.Local(), extension.Member{JID: s.From}); err != nil {
			return err
		}
	}
	return h.Stanzas.Send(answer(s, s.Type, n))
}

// answer is a stanza with the content of s, and its number.
func answer(s *stanza.Stanza, typ string, n int) *stanza.Stanza {
	return s.With(s.Reply(typ)).Patch(nil, numbered("n", n))
}

// numbered is an element that says the number, and which process did.
func numbered(local string, n int) *stanza.Element {
	return stanza.El(ns, local, stanza.At("n", strconv.Itoa(n)), stanza.At("pid", strconv.Itoa(os.Getpid())))
}

// next counts one more, where the address says.
func next(ctx context.Context, h *extension.Host, local, pair string) (int, error) {
	switch local {
	case "store":
		return inStore(ctx, h, pair)
	case "both":
		n, err := inMemory(ctx, h, "n "+pair)
		h.Store.Put(jid.JID{}, "last "+pair, []byte(strconv.Itoa(n)))
		return n, err
	}
	return inMemory(ctx, h, "n "+pair)
}

func inMemory(ctx context.Context, h *extension.Host, key string) (int, error) {
	e, _, err := h.Memory.Get(ctx, key)
	if err != nil {
		return 0, err
	}
	n, err := increment(e.Value)
	return n, errors.Join(err, h.Memory.Put(key, []byte(strconv.Itoa(n))))
}

func inStore(ctx context.Context, h *extension.Host, key string) (int, error) {
	e, _, err := h.Store.Get(ctx, jid.JID{}, key)
	if err != nil {
		return 0, err
	}
	n, err := increment(e.Value)
	h.Store.Swap(jid.JID{}, key, []byte(strconv.Itoa(n)), e.Revision)
	return n, err
}

// increment reads a number, 0 if there is none, and adds one.
func increment(text []byte) (int, error) {
	if len(text) == 0 {
		return 1, nil
	}
	n, err := strconv.Atoi(string(text))
	return n + 1, err
}

// relay sends a message on.
func relay(h *extension.Host, s *stanza.Stanza, c stanza.Child) error {
	text, _ := s.ChildAttr(c, "hops")
	hops, err := strconv.Atoi(text)
	if err != nil || hops <= 0 {
		return err
	}
	text, _ = s.ChildAttr(c, "to")
	to, err := jid.Parse(text)
	if err != nil {
		return err
	}
	again := stanza.El(ns, "relay", stanza.At("hops", strconv.Itoa(hops-1)), stanza.At("to", s.To.String()))
	for range 2 {
		if err := h.Stanzas.Send(stanza.New(stanza.Header{Kind: stanza.Message, From: s.To, To: to, ID: s.ID}, again)); err != nil {
			return err
		}
	}
	return nil
}
