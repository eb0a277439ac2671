package muc

import (
	"crypto/sha1" //nolint:gosec // XEP-0153 names pictures by it
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// Bounds of a room's vCard.
const (
	maxCard   = 64 << 10 // bytes
	maxPhotos = 5
)

func cardKey(room jid.JID) string { return "v/" + room.String() }

// card takes requests for the vCard of a room, by which it has an avatar (XEP-0486).
func (t *turn) card(x *stanza.Element) error {
	if err := t.mayLook(); err != nil {
		return err
	}
	if t.in.Type == stanza.Get {
		b, err := t.get(cardKey(t.addr))
		if err != nil {
			return err
		}
		answer := stanza.El(nsVCard, "vCard")
		if b != nil {
			if answer, err = stanza.ParseElement(string(b), ""); err != nil {
				return fmt.Errorf("muc: the vCard of a room is damaged: %w", err)
			}
		}
		return t.result(answer)
	}
	if t.r.affiliationOf(t.in.From) != Owner {
		return t.fail(stanza.Forbidden, "Only owners give a room an avatar.")
	}
	xml := x.Append(nil, "")
	if len(xml) > maxCard {
		return t.failAs(stanza.Modify, stanza.PolicyViolation, fmt.Sprintf("A room's vCard may have %d bytes.", maxCard))
	}
	var hashes []string
	for _, photo := range x.Elements() {
		if photo.Local != "PHOTO" {
			continue
		}
		hash, ok := pictureHash(photo)
		if !ok || len(hashes) == maxPhotos {
			return t.failAs(stanza.Modify, stanza.NotAcceptable, "This is no picture, or there are too many.")
		}
		hashes = append(hashes, hash)
	}
	t.r.dirty = true
	if t.r.Avatar = hashes; len(x.Elements()) == 0 {
		t.delete(cardKey(t.addr))
	} else if err := t.putBytes(cardKey(t.addr), xml); err != nil {
		return err
	}
	if err := t.saveRoom(); err != nil {
		return err
	}
	if err := t.result(nil); err != nil {
		return err
	}
	return t.tellAll(stanza.New(stanza.Header{Kind: stanza.Message, Type: stanza.GroupChat, From: t.addr}, stanza.El(nsUser, "x").Add(statusElement(statusConfig))))
}

// pictureHash is how XEP-0153 names a picture; ok is false if it is none.
func pictureHash(photo *stanza.Element) (hash string, ok bool) {
	e := photo.Child(nsVCard, "BINVAL")
	if e == nil {
		return "", false
	}
	picture, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(e.Text()), ""))
	if err != nil || len(picture) == 0 {
		return "", false
	}
	sum := sha1.Sum(picture) //nolint:gosec // see the import
	return hex.EncodeToString(sum[:]), true
}

// get reads an entry of the room, nil if it is not there.
func (t *turn) get(key string) ([]byte, error) {
	var e extension.Entry
	var err error
	if t.r.Config.Persistent {
		e, _, err = t.Store.Get(t, jid.JID{}, key)
	} else {
		e, _, err = t.Memory.Get(t, key)
	}
	if err != nil {
		return nil, fmt.Errorf("muc: read an entry of a room: %w", err)
	}
	return e.Value, nil
}
