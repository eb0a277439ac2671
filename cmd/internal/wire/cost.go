//go:build cost

package wire

import (
	"context"
	"os"
	"runtime/pprof"
	"time"

	"github.com/hexmpp/hexmpp/api/plugin"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// A server that is built with -tags cost has one plugin more, by which test/load
// measures what plugins cost, inside the server and as a process: see
// docs/performance.md. It does the least that there is to do:
//
//   - the message that a client sends with <observe/> is seen, and with <decide/> waits
//     for a verdict, which is to let it pass;
//   - a message to cost.DOMAIN with <own to='JID'/> is sent on to that address;
//   - one to GROUP@cost.DOMAIN with <join/> makes its sender a member, and with <cast/>
//     goes to all members.
//
// All names are of the namespace urn:hexmpp:cost. A message with <profile path='FILE'
// seconds='N'/> is answered with nothing; a profile of the CPU time of the process that
// the plugin runs in is written meanwhile.
func init() {
	served["cost"] = plugin.Of(struct{}{}, func(struct{}) (extension.Registration, error) { return cost(), nil })
}

const nsCost = "urn:hexmpp:cost"

func cost() extension.Registration {
	pass := func(context.Context, *extension.Host, *extension.Envelope) (v extension.Verdict, err error) {
		return v, nil
	}
	with := func(local string) extension.Match {
		return extension.Match{Kinds: []stanza.Kind{stanza.Message}, Child: &extension.Name{Space: nsCost, Local: local}}
	}
	return extension.Registration{
		Name:        "cost",
		Permissions: []extension.Permission{extension.SeeStanzas},
		Stages: []extension.StageHandler{
			{Stage: extension.Submit, Class: extension.Observe, Match: with("observe"), Handle: pass},
			{Stage: extension.Submit, Class: extension.Decide, Match: with("decide"), Deadline: 5 * time.Second, Handle: pass},
		},
		Components: []extension.Component{{Domain: "cost.$domain", Key: extension.Pair, Handle: ownCost}},
	}
}

func ownCost(_ context.Context, h *extension.Host, e *extension.Envelope) error {
	s := e.Stanza
	if s.Kind != stanza.Message || s.Type == stanza.TypeError {
		return nil
	}
	if c, ok := s.Child(nsCost, "own"); ok {
		text, _ := s.ChildAttr(c, "to")
		to, err := jid.Parse(text)
		if err != nil {
			return stanza.Err(stanza.JIDMalformed, "")
		}
		header := s.Header
		header.From, header.To = s.To, to
		return h.Stanzas.Send(s.With(header))
	}
	if _, ok := s.Child(nsCost, "join"); ok {
		return h.Groups.Join(s.To.Local(), extension.Member{JID: s.From})
	}
	if _, ok := s.Child(nsCost, "cast"); ok {
		header := s.Header
		header.From, header.To = s.To, jid.JID{}
		return h.Groups.Send(s.To.Local(), extension.Cast{Stanza: s.With(header)})
	}
	if c, ok := s.Child(nsCost, "profile"); ok {
		path, _ := s.ChildAttr(c, "path")
		text, _ := s.ChildAttr(c, "seconds")
		length, err := time.ParseDuration(text + "s")
		if err != nil {
			return err
		}
		f, err := os.Create(path)
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		time.AfterFunc(length, func() {
			pprof.StopCPUProfile()
			f.Close()
		})
	}
	return nil
}
