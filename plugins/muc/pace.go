package muc

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// pace is how much an account has said in a room of late. The rate is known to this process alone: one that was
// killed begins anew, so that somebody may say a little more than he should. What slow mode goes by, which may be
// a day, is kept (keptPace).
type pace struct {
	left float64   // messages that may come at once
	at   time.Time // when that was so
	said time.Time // of the last message with a body

	asked time.Time // when it last asked to become a member
}

// maxPaces is how many accounts a room remembers; those that were quiet for longest go first.
const maxPaces = 4_000

// mayTalk says why somebody may not say something now: the rate of the service, and the slow mode of
// the room (XEP-0500) for what is to be read by all, from which admins are free. It counts for all
// sessions of an account.
func (t *turn) mayTalk(s *session, toAll bool) error {
	account := s.of.account
	if t.r.affiliationOf(account) >= Admin {
		return nil
	}
	now, o := t.Now(), &t.s.options
	p := t.r.pace(account, now, float64(o.Burst))
	if o.Rate > 0 {
		p.left = math.Min(float64(o.Burst), p.left+now.Sub(p.at).Seconds()*float64(o.Rate))
		p.at = now
		if p.left < 1 {
			return t.failAs(stanza.WaitType, stanza.PolicyViolation, fmt.Sprintf("You say too much at once: %d messages a second are allowed for long.", o.Rate))
		}
	}
	if slow := time.Duration(t.r.Config.SlowMode) * time.Second; slow > 0 && toAll {
		if wait := slow - now.Sub(p.said); !p.said.IsZero() && wait > 0 {
			return t.failAs(stanza.WaitType, stanza.PolicyViolation,
				fmt.Sprintf("In this room %d seconds have to be between two messages. Please try again in %d.", t.r.Config.SlowMode, int(math.Ceil(wait.Seconds()))))
		}
		if err := t.keepPace(account, now, slow); err != nil {
			return err
		}
		p.said = now
	}
	p.left--
	return nil
}

// keptPace is how it is kept in memory when somebody has said something in slow mode.
type keptPace struct {
	JID   string
	Said  time.Time
	Until time.Time // it means nothing any more then
}

func (t *turn) keepPace(account jid.JID, said time.Time, slow time.Duration) error {
	b, err := json.Marshal(keptPace{account.String(), said, said.Add(slow)})
	if err != nil {
		return err
	}
	return t.bounded(t.Memory.Put(paceKey(t.addr, account), b))
}

// loadPaces reads what slow mode goes by.
func (t *turn) loadPaces(r *room) error {
	if r.Config.SlowMode == 0 {
		return nil
	}
	now := t.Now()
	err := scan(func(after string) ([]extension.Entry, error) {
		return t.Memory.Scan(t, pacesPrefix(t.addr), after, pageSize)
	}, func(e extension.Entry) error {
		var k keptPace
		if err := json.Unmarshal(e.Value, &k); err != nil {
			return err
		}
		account, err := jid.Parse(k.JID)
		if err != nil {
			return err
		}
		if now.Before(k.Until) && !k.Said.Before(r.Created) { // not of another room of this name
			r.pace(account, now, float64(t.s.options.Burst)).said = k.Said
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("muc: read who has said something in slow mode: %w", err)
	}
	return nil
}

// maxExpiredPaces is how many are deleted by one handler.
const maxExpiredPaces = 1_000

// expirePaces deletes what slow mode went by and means nothing any more, of all rooms; who says something just then
// may be let off. It returns how many.
func expirePaces(ctx context.Context, h *extension.Host) (n int, err error) {
	now := h.Now()
	err = scan(func(after string) ([]extension.Entry, error) { return h.Memory.Scan(ctx, allPaces, after, pageSize) }, func(e extension.Entry) error {
		var k keptPace
		if err := json.Unmarshal(e.Value, &k); n < maxExpiredPaces && (err != nil || !now.Before(k.Until)) {
			h.Memory.Delete(e.Key)
			n++
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("muc: read who has said something in slow mode: %w", err)
	}
	return n, nil
}

// pace returns that of an account.
func (r *room) pace(account jid.JID, now time.Time, burst float64) *pace {
	p := r.paces[account]
	if p != nil {
		return p
	}
	if r.paces == nil {
		r.paces = map[jid.JID]*pace{}
	}
	if len(r.paces) >= maxPaces {
		r.forgetPaces()
	}
	p = &pace{left: burst, at: now}
	r.paces[account] = p
	return p
}

// forgetPaces forgets the half that was quiet for longest.
func (r *room) forgetPaces() {
	var oldest, newest time.Time
	for _, p := range r.paces {
		if oldest.IsZero() || p.at.Before(oldest) {
			oldest = p.at
		}
		if p.at.After(newest) {
			newest = p.at
		}
	}
	middle := oldest.Add(newest.Sub(oldest) / 2)
	for account, p := range r.paces {
		if !p.at.After(middle) {
			delete(r.paces, account)
		}
	}
}
