// Command filter is a plugin for tests: it marks messages on their way, in a way that shows
// whether each was seen once.
//
//   - Messages of type chat with a body that clients hand in (Submit) get <mark/>: the how manyth
//     it is of the account, and the process that said so. None passes without it: the policy is closed.
//   - Messages of type normal with a body that go to an account (Deliver) get <seen/>, if a
//     process says so in time: the policy is open.
//
// test/chaos and others start it; it is no example of how a plugin is written.
package main

import (
	"context"
	"os"
	"strconv"
	"time"

	"github.com/hexmpp/hexmpp/api/plugin"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// ns is of all that the test plugins say.
const ns = "urn:hexmpp:test"

func main() {
	p := plugin.Of(struct{}{}, func(struct{}) (extension.Registration, error) { return registration(), nil })
	p.Version = "test"
	plugin.Serve(p)
}

// deadline is the longest that there is: what is tested is not how fast the machine is.
const deadline = 5 * time.Second

func registration() extension.Registration {
	return extension.Registration{
		Name:        "filter",
		Permissions: []extension.Permission{extension.SeeStanzas},
		Stages: []extension.StageHandler{
			{Stage: extension.Submit, Class: extension.Decide, Policy: extension.Closed, Deadline: deadline, Match: of(stanza.Chat), Handle: mark},
			{Stage: extension.Deliver, Class: extension.Decide, Policy: extension.Open, Deadline: deadline, Match: of(stanza.Normal), Handle: seen},
		},
	}
}

func of(typ string) extension.Match {
	return extension.Match{Kinds: []stanza.Kind{stanza.Message}, Types: []string{typ}, Child: &extension.Name{Local: "body"}}
}

func mark(ctx context.Context, h *extension.Host, e *extension.Envelope) (v extension.Verdict, err error) {
	key := "n " + e.Account.String()
	entry, there, err := h.Memory.Get(ctx, key)
	if err != nil {
		return v, err
	}
	n := 0
	if there {
		if n, err = strconv.Atoi(string(entry.Value)); err != nil {
			return v, err
		}
	}
	n++
	if err := h.Memory.Put(key, []byte(strconv.Itoa(n))); err != nil {
		return v, err
	}
	return patch("mark", stanza.At("n", strconv.Itoa(n))), nil
}

func seen(context.Context, *extension.Host, *extension.Envelope) (extension.Verdict, error) {
	return patch("seen"), nil
}

// patch appends an element that also says which process this is.
func patch(local string, attrs ...stanza.Attr) extension.Verdict {
	attrs = append(attrs, stanza.At("pid", strconv.Itoa(os.Getpid())))
	return extension.Verdict{Action: extension.Patch, Append: []*stanza.Element{stanza.El(ns, local, attrs...)}}
}
