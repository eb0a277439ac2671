package codec

import (
	"context"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Handlers of registrations that run in another process: the kernel does not call
// them, and looks only whether they are there.

func replyElsewhere(context.Context, *extension.Host, extension.Reply) error   { return errElsewhere }
func timerElsewhere(context.Context, *extension.Host, extension.Timer) error   { return errElsewhere }
func noticeElsewhere(context.Context, *extension.Host, extension.Notice) error { return errElsewhere }

func iqElsewhere(context.Context, *extension.Host, extension.IQ) (*stanza.Element, error) {
	return nil, errElsewhere
}

func itemsElsewhere(context.Context, *extension.Host, extension.IQ) ([]extension.Item, error) {
	return nil, errElsewhere
}

func stageElsewhere(context.Context, *extension.Host, *extension.Envelope) (extension.Verdict, error) {
	return extension.Verdict{}, errElsewhere
}

func stanzaElsewhere(context.Context, *extension.Host, *extension.Envelope) error {
	return errElsewhere
}

func elementElsewhere(context.Context, *extension.Host, jid.JID, *stanza.Element) error {
	return errElsewhere
}

func takeElsewhere(_ context.Context, e *extension.FarEvent) { e.Done(errElsewhere) }

func notOffered(string) *stanza.Element { return nil }
