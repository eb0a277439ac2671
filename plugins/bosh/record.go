package bosh

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/hexmpp/hexmpp/plugins/bosh/session"
)

// prefix begins the keys of sessions in memory; the rest is their ID.
const prefix = "session/"

// record is what memory has of a session.
type record struct {
	address string // of the client that began it: limits count by it
	event   uint64 // of its stream, the last that it has taken
	session *session.Session
}

var errRecord = errors.New("bosh: what memory has of a session can't be read")

func (r *record) append() []byte {
	b := binary.AppendUvarint(nil, r.event)
	b = binary.AppendUvarint(b, uint64(len(r.address)))
	b = append(b, r.address...)
	return r.session.Append(b)
}

// readRecord reads what append wrote; b is kept.
func readRecord(b []byte, o session.Options, now time.Time) (*record, error) {
	event, n := binary.Uvarint(b)
	if n <= 0 {
		return nil, errRecord
	}
	b = b[n:]
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return nil, errRecord
	}
	b = b[n:]
	s, err := session.Decode(b[size:], o, now)
	if err != nil {
		return nil, err
	}
	return &record{address: string(b[:size]), event: event, session: s}, nil
}
