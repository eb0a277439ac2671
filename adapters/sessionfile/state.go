package sessionfile

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/storage/frame"
)

// stateVersion of the format of the file of extensions; see version. Version 1 had neither
// stateSessions nor stateEvent and stateReply.
const stateVersion = 2

// What a frame is. A file begins with stateHead and ends with stateEnd. What an
// extension has follows it, and the members of a group the group.
const (
	stateHead      byte = 1 + iota // magic, version, time
	stateExtension                 // name, revision
	stateValue                     // revision, key, value
	stateGroup                     // name
	stateMember                    // JID, from, classes
	stateTimer                     // due, key, ordering key, state
	stateEnd                       // how many frames came before it
	stateSessions                  // time, of the file of sessions
	stateEvent                     // time, session, domain, address, flags, SM-ID, number, stanza
	stateReply                     // time, ordering key, state, flags, stanza
)

// Flags of events.
const (
	eventSecure byte = 1 << iota
	eventStanza      // a stanza is in the frame
)

const stateMagic = "hexmpp extensions"

func writeState(out io.Writer, s *storage.SavedState) error {
	w := writing{out: out}
	w.frame(stateHead, func(dst []byte) []byte {
		return appendTime(frame.AppendUint(frame.AppendString(dst, stateMagic), stateVersion), s.At)
	})
	if !s.Sessions.IsZero() {
		w.frame(stateSessions, func(dst []byte) []byte { return appendTime(dst, s.Sessions) })
	}
	for i := range s.Extensions {
		w.extension(&s.Extensions[i])
	}
	n := w.frames
	w.frame(stateEnd, func(dst []byte) []byte { return frame.AppendUint(dst, n) })
	return w.err
}

func (w *writing) extension(x *storage.SavedExtension) {
	w.frame(stateExtension, func(dst []byte) []byte {
		return frame.AppendUint(frame.AppendString(dst, x.Name), x.Revision)
	})
	for i := range x.Memory {
		v := &x.Memory[i]
		w.frame(stateValue, func(dst []byte) []byte {
			return append(frame.AppendString(frame.AppendUint(dst, v.Revision), v.Key), v.Value...)
		})
	}
	for i := range x.Groups {
		g := &x.Groups[i]
		w.frame(stateGroup, func(dst []byte) []byte { return frame.AppendString(dst, g.Name) })
		for j := range g.Members {
			m := &g.Members[j]
			w.frame(stateMember, func(dst []byte) []byte {
				dst = frame.AppendUint(frame.AppendJID(frame.AppendJID(dst, m.JID), m.From), uint64(len(m.Classes)))
				for _, c := range m.Classes {
					dst = frame.AppendString(dst, c)
				}
				return dst
			})
		}
	}
	for i := range x.Events {
		w.event(&x.Events[i])
	}
	for i := range x.Timers {
		t := &x.Timers[i]
		w.frame(stateTimer, func(dst []byte) []byte {
			return append(frame.AppendString(frame.AppendString(appendTime(dst, t.Due), t.Key), t.Order), t.State...)
		})
	}
}

func (w *writing) event(e *storage.SavedEvent) {
	if e.Reply {
		w.frame(stateReply, func(dst []byte) []byte {
			dst = frame.AppendString(frame.AppendString(appendTime(dst, e.At), e.Order), string(e.State))
			if e.Stanza == nil {
				return append(dst, 0)
			}
			return frame.AppendStanza(append(dst, eventStanza), e.Stanza)
		})
		return
	}
	w.frame(stateEvent, func(dst []byte) []byte {
		addr, flags := "", eventStanza
		if e.Origin.Addr.IsValid() {
			addr = e.Origin.Addr.String()
		}
		if e.Origin.Secure {
			flags |= eventSecure
		}
		dst = frame.AppendString(frame.AppendString(frame.AppendJID(appendTime(dst, e.At), e.Origin.Session), e.Origin.Domain), addr)
		dst = frame.AppendUint(frame.AppendString(append(dst, flags), e.Ticket.ID), uint64(e.Ticket.N))
		return frame.AppendStanza(dst, e.Stanza)
	})
}

// stateEventOf reads an event. Its stanza, which is the last of it, may be one that can't be read.
func stateEventOf(f *frame.Fields) (e storage.SavedEvent, err error) {
	e.At, e.Origin.Session, e.Origin.Domain = readTime(f), f.AnyJID(), f.Text()
	addr, flags := f.Text(), f.Byte()
	if addr != "" && f.Err == nil {
		if e.Origin.Addr, err = netip.ParseAddr(addr); err != nil {
			return e, fmt.Errorf("%w: %w", frame.ErrFrame, err)
		}
	}
	e.Origin.Secure = flags&eventSecure != 0
	e.Ticket.ID = f.Text()
	n := f.Uint()
	if n > math.MaxUint32 {
		return e, frame.ErrFrame
	}
	e.Ticket.N = uint32(n)
	return e, eventStanzaOf(f, &e)
}

// errStanza: a stanza can't be read, in a frame that is whole.
var errStanza = errors.New("a stanza that can't be read")

func eventStanzaOf(f *frame.Fields, e *storage.SavedEvent) error {
	if f.Err != nil {
		return f.Err
	}
	if e.Stanza = f.Stanza(); f.Err != nil {
		return fmt.Errorf("%w: %w", errStanza, f.Err)
	}
	return nil
}

func stateReplyOf(f *frame.Fields) (e storage.SavedEvent, err error) {
	e = storage.SavedEvent{Reply: true, At: readTime(f), Order: f.Text()}
	if state := f.Text(); state != "" {
		e.State = []byte(state)
	}
	if f.Byte()&eventStanza != 0 {
		return e, eventStanzaOf(f, &e)
	}
	return e, f.Err
}

// readState reads what writeState has written: all of it, or an error.
func readState(in io.Reader, size int64) (*storage.SavedState, error) {
	frames := frame.NewReader(in, size)
	var s storage.SavedState
	for n := uint64(0); ; n++ {
		kind, fields, err := frames.Next()
		if err == io.EOF {
			return nil, fmt.Errorf("%w: the end is missing", frame.ErrFrame)
		}
		if err != nil {
			return nil, err
		}
		f := frame.Fields{P: fields}
		switch {
		case (n == 0) != (kind == stateHead):
			return nil, fmt.Errorf("frame %d: %w: kind %d in a wrong place", n, frame.ErrFrame, kind)
		case kind == stateEnd:
			want := f.Uint()
			if _, _, behind := frames.Next(); f.Err != nil || want != n || behind != io.EOF {
				return nil, fmt.Errorf("%w: not what was written", frame.ErrFrame)
			}
			return &s, nil
		}
		if err := stateFrame(&s, kind, &f); err != nil {
			return nil, fmt.Errorf("frame %d: %w", n, err)
		}
	}
}

// stateFrame adds what is in a frame.
func stateFrame(s *storage.SavedState, kind byte, f *frame.Fields) error {
	switch kind {
	case stateHead:
		if f.Text() != stateMagic {
			return frame.ErrFrame
		}
		if f.Uint() > stateVersion && f.Err == nil {
			return errNewer
		}
		s.At = readTime(f)
		return f.Err
	case stateSessions:
		s.Sessions = readTime(f)
		return f.Err
	case stateExtension:
		s.Extensions = append(s.Extensions, storage.SavedExtension{Name: f.Text(), Revision: f.Uint()})
		return f.Err
	}
	if len(s.Extensions) == 0 {
		return fmt.Errorf("%w: kind %d of no extension", frame.ErrFrame, kind)
	}
	x := &s.Extensions[len(s.Extensions)-1]
	switch kind {
	case stateValue:
		x.Memory = append(x.Memory, storage.SavedValue{Revision: f.Uint(), Key: f.Text(), Value: rest(f)})
	case stateGroup:
		x.Groups = append(x.Groups, storage.SavedGroup{Name: f.Text()})
	case stateMember:
		if len(x.Groups) == 0 {
			return fmt.Errorf("%w: a member of no group", frame.ErrFrame)
		}
		m := storage.SavedMember{JID: f.JID(), From: f.AnyJID()}
		for range f.Count() {
			m.Classes = append(m.Classes, f.Text())
		}
		g := &x.Groups[len(x.Groups)-1]
		g.Members = append(g.Members, m)
	case stateEvent, stateReply:
		read := stateEventOf
		if kind == stateReply {
			read = stateReplyOf
		}
		e, err := read(f)
		switch {
		case errors.Is(err, errStanza):
			s.Spoiled = append(s.Spoiled, fmt.Errorf("an event of %s: %w", x.Name, err))
			return nil
		case err != nil:
			return err
		}
		x.Events = append(x.Events, e)
	case stateTimer:
		x.Timers = append(x.Timers, storage.SavedTimer{Due: readTime(f), Key: f.Text(), Order: f.Text(), State: rest(f)})
	default:
		return fmt.Errorf("%w: kind %d", frame.ErrFrame, kind)
	}
	return f.Err
}

// rest returns what is left in a frame, in memory of its own.
func rest(f *frame.Fields) []byte {
	if len(f.P) == 0 {
		return nil
	}
	p := append([]byte(nil), f.P...)
	f.P = nil
	return p
}
