package core

import "github.com/hexmpp/hexmpp/ports/extension"

// Underway has tests told of messages that extensions elsewhere are given.
func (k *Kernel) Underway(f func(e *extension.Envelope) (over func())) { k.router.Underway = f }
