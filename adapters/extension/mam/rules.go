package mam

import (
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// messages of types that may be kept (6.1.1): errors and groupchat never are.
var messages = extension.Match{
	Kinds: []stanza.Kind{stanza.Message},
	Types: []string{stanza.Normal, stanza.Chat, stanza.Headline},
}
