package s2s

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
)

func TestComplaints(t *testing.T) {
	var c complaints
	now := time.Unix(1e9, 0)
	if !c.may("a", now) || c.may("a", now.Add(complaintTime-1)) || !c.may("b", now) {
		t.Error("each peer is told of once, within the time")
	}
	if !c.may("a", now.Add(complaintTime)) {
		t.Error("it is told of again later")
	}
	now = now.Add(2 * complaintTime)
	told := 0
	for i := range 3 * maxComplaints {
		if c.may(fmt.Sprint(i), now) {
			told++
		}
	}
	if told < maxComplaints-2 || told > maxComplaints || len(c.told) > maxComplaints {
		t.Errorf("%d were told of, %d are known", told, len(c.told))
	}
	if !c.may("z", now.Add(complaintTime)) {
		t.Error("nobody is told of any more")
	}
}

func TestMisbehaves(t *testing.T) {
	for err, want := range map[error]bool{
		stream.Err(stream.InvalidFrom, ""):                                true,
		fmt.Errorf("around: %w", stream.Err(stream.RestrictedXML, "DTD")): true,
		stream.Err(stream.SystemShutdown, ""):                             false,
		stream.Err(stream.ConnectionTimeout, ""):                          false,
		stream.Err(stream.HostUnknown, ""):                                false,
		errors.New("reset"):                                               false,
	} {
		if got := misbehaves(err); got != want {
			t.Errorf("%v: %v", err, got)
		}
	}
	if misbehaves(nil) {
		t.Error("nil")
	}
}
