package jid

import "golang.org/x/text/secure/precis"

// PrepareNick returns a nickname as it is shown (RFC 8266 2.3); an error if it can't be
// one. It may be another resourcepart than what was given: spaces are taken off.
func PrepareNick(nick string) (string, error) { return precis.Nickname.String(nick) }

// NickKey is that by which nicknames are the same (RFC 8266 2.4): case and width don't
// count.
func NickKey(nick string) (string, error) { return precis.Nickname.CompareKey(nick) }
