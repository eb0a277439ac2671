package session

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/hexmpp/hexmpp/ports/xmpp"
)

const defaultContent = "text/xml; charset=utf-8"

// settle answers requests as long as there is a reason: payloads, or more requests than are to be held. It is
// always the oldest that is answered (8).
func (s *Session) settle(out *Out, now time.Time) {
	if s.ended {
		return
	}
	for len(s.open) > 0 && (len(s.queue) > 0 || len(s.open) > s.hold || s.wait == 0) {
		s.answer(out, now)
	}
	s.rest(now, len(out.Answers) > 0)
}

// answer answers the oldest request with what waits.
func (s *Session) answer(out *Out, now time.Time) {
	s.respond(out, now, s.take())
}

// take takes from the queue what fits into an answer, one element at least.
func (s *Session) take() [][]byte {
	n, size := 0, 0
	for n < len(s.queue) && (n == 0 || size+len(s.queue[n]) <= s.o.AnswerBytes) {
		size += len(s.queue[n])
		n++
	}
	batch := s.queue[:n:n]
	if s.queue = s.queue[n:]; len(s.queue) == 0 {
		s.queue = nil
	}
	s.queued -= size
	return batch
}

// respond answers the oldest request with elements.
func (s *Session) respond(out *Out, now time.Time, elements [][]byte) {
	s.conclude(out, now, "", elements)
}

// conclude answers the oldest request: attributes are further ones of <body/>.
func (s *Session) conclude(out *Out, now time.Time, attributes string, elements [][]byte) {
	x := s.open[0]
	if s.open = s.open[1:]; len(s.open) == 0 {
		s.open = nil
	}
	var b strings.Builder
	if x.created {
		s.writeCreated(&b, x)
	} else if s.acks && s.last != x.rid {
		fmt.Fprintf(&b, " ack='%d'", s.last)
	}
	if s.streamID != "" {
		writeAttr(&b, "authid", s.streamID)
		s.streamID = ""
	}
	s.writeReport(&b, now)
	b.WriteString(attributes)
	body := wrap(b.String(), elements)
	if x.rid == s.last {
		s.lastPayload = len(elements) > 0
	}
	s.done = append(s.done, answered{rid: x.rid, key: x.key, at: now, upTo: s.pushed - uint64(len(s.queue)), body: body})
	if excess := len(s.done) - s.requests - 1; excess > 0 {
		s.done = append([]answered(nil), s.done[excess:]...)
	}
	s.say(out, x.ticket, body)
}

// writeReport tells of an answer that the client seems to have missed (9).
func (s *Session) writeReport(b *strings.Builder, now time.Time) {
	if s.report == 0 {
		return
	}
	for _, d := range s.done {
		if d.rid == s.report {
			fmt.Fprintf(b, " report='%d' time='%d'", d.rid, max(0, now.Sub(d.at).Milliseconds()))
		}
	}
	s.report = 0
}

// writeCreated writes the attributes of the answer that a session begins with (7.2, XEP-0206 4).
func (s *Session) writeCreated(b *strings.Builder, x exchange) {
	writeAttr(b, "sid", s.sid)
	writeAttr(b, "from", s.domain)
	number := func(name string, n int) { writeAttr(b, name, strconv.Itoa(n)) }
	number("wait", int(s.wait/time.Second))
	number("requests", s.requests)
	number("hold", s.hold)
	number("inactivity", int(s.inactivity/time.Second))
	if polling := int((s.o.Polling + time.Second - 1) / time.Second); polling > 0 {
		number("polling", polling)
	}
	if pause := int(s.o.MaxPause / time.Second); pause > 0 {
		number("maxpause", pause)
	}
	if s.ver != (Version{}) {
		writeAttr(b, "ver", fmt.Sprintf("%d.%d", s.ver.Major, s.ver.Minor))
	}
	if s.acks {
		writeAttr(b, "ack", strconv.FormatUint(x.rid, 10))
	}
	writeAttr(b, "accept", "gzip")
	b.WriteString(" xmlns:xmpp='" + NSXBOSH + "' xmpp:restartlogic='true' xmpp:version='1.0'")
}

var escape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "'", "&apos;", `"`, "&quot;", "\t", "&#9;", "\n", "&#10;", "\r", "&#13;")

func writeAttr(b *strings.Builder, name, value string) {
	b.WriteString(" " + name + "='")
	_, _ = escape.WriteString(b, value) // a Builder does not fail
	b.WriteByte('\'')
}

// wrap makes the body of an answer.
func wrap(attributes string, elements [][]byte) []byte {
	var b bytes.Buffer
	b.WriteString("<body xmlns='" + NS + "'" + attributes)
	for _, e := range elements {
		if bytes.HasPrefix(e, []byte("<stream:")) {
			b.WriteString(" xmlns:stream='" + xmpp.NSStream + "'") // XEP-0206 2
			break
		}
	}
	if len(elements) == 0 {
		b.WriteString("/>")
		return b.Bytes()
	}
	b.WriteByte('>')
	for _, e := range elements {
		b.Write(e)
	}
	b.WriteString("</body>")
	return b.Bytes()
}

func (s *Session) bare(attributes string) []byte { return wrap(attributes, nil) }

// say answers a connection, if there is one.
func (s *Session) say(out *Out, ticket Ticket, body []byte) {
	if ticket == 0 {
		return
	}
	content := s.content
	if content == "" {
		content = defaultContent
	}
	out.Answers = append(out.Answers, Answer{Ticket: ticket, Status: 200, Content: content, Body: body})
}

// giveBack tells clients whose requests came early, and whose predecessors did not come, to send them all again (17.3).
func (s *Session) giveBack(out *Out, now time.Time) {
	kept := s.early[:0]
	for _, a := range s.early {
		if now.Before(a.at.Add(s.wait)) {
			kept = append(kept, a)
			continue
		}
		s.say(out, a.ticket, s.bare(` type='error'`))
	}
	clear(s.early[len(kept):])
	s.early = kept
}
