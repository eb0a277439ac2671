package mam

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/mam"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Entries of an account's preferences. Of one that has the default, which is to keep
// everything, there is none. The second is there where the default of the account is
// its roster: then the kernel has that in memory, too.
const (
	keyPrefs  = "prefs"
	keyRoster = "roster"
)

// Defaults (XEP-0441 2.1.1).
const (
	keepAlways = "always"
	keepNever  = "never"
	keepRoster = "roster"
)

// Bounds of both lists together.
const (
	maxListed      = 1_000
	maxListedBytes = 64 << 10
)

// prefs are what an account wants to be kept (XEP-0441 2.1).
type prefs struct {
	preset        string // what holds for who is in no list
	always, never []string
}

// Signs of the lists, in front of each of their addresses as they are stored: one a
// line, behind a line with the default.
const (
	signAlways = '+'
	signNever  = '-'
)

func (p *prefs) text() string {
	var b strings.Builder
	b.WriteString(p.preset)
	b.WriteByte('\n')
	for _, j := range p.always {
		b.WriteByte(signAlways)
		b.WriteString(j)
		b.WriteByte('\n')
	}
	for _, j := range p.never {
		b.WriteByte(signNever)
		b.WriteString(j)
		b.WriteByte('\n')
	}
	return b.String()
}

func parsePrefs(text string) *prefs {
	p := &prefs{preset: keepAlways}
	for i, line := range strings.Split(text, "\n") {
		switch {
		case i == 0 && line != "":
			p.preset = line
		case line == "":
		case line[0] == signAlways:
			p.always = append(p.always, line[1:])
		case line[0] == signNever:
			p.never = append(p.never, line[1:])
		}
	}
	return p
}

// wants says whether an account wants messages with somebody to be kept (2.1.1, 2.3).
// Who is in both lists is not wanted. The account itself counts as one of its roster.
func wants(ctx context.Context, h *extension.Host, account, with jid.JID) (bool, error) {
	e, ok, err := h.Store.Get(ctx, account, keyPrefs)
	if err != nil || !ok {
		return true, err
	}
	full, bare := with.String(), with.Bare().String()
	preset, list, _ := strings.Cut(string(e.Value), "\n")
	always := false
	for list != "" {
		var line string
		line, list, _ = strings.Cut(list, "\n")
		if line == "" || line[1:] != full && line[1:] != bare {
			continue
		}
		if line[0] == signNever {
			return false, nil
		}
		always = true
	}
	switch {
	case always, preset == keepAlways:
		return true, nil
	case preset == keepRoster && bare == account.String():
		return true, nil
	case preset == keepRoster:
		return h.Rosters.Listed(account, with)
	}
	return false, nil
}

// getPrefs is XEP-0441 2.1, examples 1 and 2.
func getPrefs(ctx context.Context, h *extension.Host, q extension.IQ) (*stanza.Element, error) {
	e, _, err := h.Store.Get(ctx, q.From.Bare(), keyPrefs)
	if err != nil {
		return nil, fmt.Errorf("mam: preferences: %w", err)
	}
	return parsePrefs(string(e.Value)).element(), nil
}

// setPrefs is 2.1, examples 4 and 5.
func setPrefs(_ context.Context, h *extension.Host, q extension.IQ) (*stanza.Element, error) {
	p, failed := readPrefs(q.Payload())
	if failed != nil {
		return nil, failed
	}
	owner := q.From.Bare()
	if p.preset == keepAlways && len(p.never) == 0 && len(p.always) == 0 {
		h.Store.Delete(owner, keyPrefs)
	} else {
		h.Store.Put(owner, keyPrefs, []byte(p.text()))
	}
	if p.preset == keepRoster {
		h.Store.Put(owner, keyRoster, nil)
	} else {
		h.Store.Delete(owner, keyRoster)
	}
	return p.element(), nil
}

// readPrefs reads <prefs/>: a list that is not there is an empty one (2.1.2, 2.1.3).
func readPrefs(e *stanza.Element) (*prefs, *stanza.Error) {
	p := &prefs{preset: e.Attr("default")}
	switch p.preset {
	case keepAlways, keepNever, keepRoster:
	default:
		return nil, stanza.Err(stanza.BadRequest, "the default is always, never or roster")
	}
	n, size := 0, 0
	for name, to := range map[string]*[]string{"always": &p.always, "never": &p.never} {
		list := e.Child("", name)
		if list == nil {
			continue
		}
		for _, item := range list.Elements() {
			if item.Space != mam.NS || item.Local != "jid" {
				continue
			}
			j, err := jid.Parse(strings.TrimSpace(item.Text()))
			if err != nil {
				return nil, stanza.Err(stanza.JIDMalformed, "")
			}
			*to = append(*to, j.String())
			n, size = n+1, size+len(j.String())
		}
		slices.Sort(*to)
		*to = slices.Compact(*to)
	}
	if n > maxListed || size > maxListedBytes {
		return nil, stanza.Err(stanza.ResourceConstraint, fmt.Sprintf("the lists may have %d addresses together, of %d bytes", maxListed, maxListedBytes))
	}
	return p, nil
}

func (p *prefs) element() *stanza.Element {
	e := stanza.El(mam.NS, "prefs", stanza.At("default", p.preset))
	for _, list := range []struct {
		name string
		jids []string
	}{{"always", p.always}, {"never", p.never}} {
		x := stanza.El(mam.NS, list.name)
		for _, j := range list.jids {
			x.Add(stanza.El(mam.NS, "jid").WithText(j))
		}
		e.Add(x)
	}
	return e
}
