package runner

import "bytes"

// maxLine is how many bytes of a line are kept; the rest of it is counted.
const maxLine = 64 << 10

// A splitter cuts what a plugin writes into lines, and holds one line at most.
type splitter struct {
	held []byte // the beginning of a line
	cut  int    // bytes of that line beyond maxLine
}

// feed calls line for each line that has ended, without its line ending; cut is
// the number of bytes that it was longer than maxLine. The text is good until
// line returns.
func (s *splitter) feed(data []byte, line func(text []byte, cut int)) {
	for {
		at := bytes.IndexByte(data, '\n')
		if at < 0 {
			s.hold(data)
			return
		}
		if len(s.held) == 0 && at <= maxLine {
			line(bytes.TrimSuffix(data[:at], []byte("\r")), 0)
		} else {
			s.hold(data[:at])
			s.flush(line)
		}
		data = data[at+1:]
	}
}

func (s *splitter) hold(data []byte) {
	room := min(maxLine-len(s.held), len(data))
	s.held = append(s.held, data[:room]...)
	s.cut += len(data) - room
}

// flush takes what is held for a line, if anything is.
func (s *splitter) flush(line func(text []byte, cut int)) {
	if len(s.held) == 0 && s.cut == 0 {
		return
	}
	text, cut := s.held, s.cut
	s.held, s.cut = s.held[:0], 0
	line(bytes.TrimSuffix(text, []byte("\r")), cut)
	if cap(s.held) > 4<<10 {
		s.held = nil // a long line is rare
	}
}
