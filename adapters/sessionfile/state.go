package sessionfile

import (
	"fmt"
	"io"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/storage/frame"
)

// stateVersion of the format of the file of extensions; see version.
const stateVersion = 1

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
)

const stateMagic = "hexmpp extensions"

func writeState(out io.Writer, s *storage.SavedState) error {
	w := writing{out: out}
	w.frame(stateHead, func(dst []byte) []byte {
		return appendTime(frame.AppendUint(frame.AppendString(dst, stateMagic), stateVersion), s.At)
	})
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
	for i := range x.Timers {
		t := &x.Timers[i]
		w.frame(stateTimer, func(dst []byte) []byte {
			return append(frame.AppendString(frame.AppendString(appendTime(dst, t.Due), t.Key), t.Order), t.State...)
		})
	}
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
		if f.Uint() != stateVersion && f.Err == nil {
			return errNewer
		}
		s.At = readTime(f)
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
