package s2s

import (
	"errors"
	"sync"
	"time"

	"github.com/hexmpp/hexmpp/ports/xmpp/stream"
)

// Bounds of what the log says of peers that misbehave: anybody can make as much of it as they like.
const (
	complaintTime = time.Minute // of one peer, between two lines
	maxComplaints = 1000        // peers that are told of within that time
)

// complaints says of which peers the log has told lately.
type complaints struct {
	mu   sync.Mutex // guards what follows
	told map[string]time.Time
}

// may says whether the log should tell of a peer now.
func (c *complaints) may(peer string, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.told == nil {
		c.told = map[string]time.Time{}
	}
	if at, there := c.told[peer]; there && now.Sub(at) < complaintTime {
		return false
	}
	if len(c.told) >= maxComplaints {
		for name, at := range c.told {
			if now.Sub(at) >= complaintTime {
				delete(c.told, name)
			}
		}
		if len(c.told) >= maxComplaints {
			return false
		}
	}
	c.told[peer] = now
	return true
}

// misbehaves says whether a stream was ended for something that no server does by mistake of its administrator
// or the network.
func misbehaves(err error) bool {
	var e *stream.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Condition {
	case stream.InvalidFrom, stream.NotAuthorized, stream.PolicyViolation, stream.RestrictedXML, stream.NotWellFormed, stream.InvalidXML, stream.BadFormat,
		stream.InvalidNamespace, stream.UnsupportedStanzaType, stream.ImproperAddressing, stream.ResourceConstraint, stream.UnsupportedEncoding:
		return true
	}
	return false
}

// ended tells the log of the end of a stream.
func (e *Engine) ended(s *session, err error) {
	far := s.st.Far()
	if misbehaves(err) && e.complaints.may(s.addr.String()+" "+far, time.Now()) {
		e.log.Warn("a stream of another server was ended for what it sent", "domain", far, "address", s.addr, "error", err)
		return
	}
	e.log.Debug("a stream has ended", "domain", far, "address", s.addr, "error", err)
}

// crowded tells the log of a connection that was one too many.
func (e *Engine) crowded(s *session) {
	if e.complaints.may(s.addr.String(), time.Now()) {
		e.log.Warn("too many connections of other servers are not authenticated yet: more are closed", "address", s.addr)
	}
}
