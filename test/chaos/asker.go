package chaos

import (
	"fmt"
	"slices"
	"strconv"
	"sync"
)

// asker sends numbered messages to a component over as many connections as it takes, with
// stream management, and keeps what was acknowledged and what was answered.
type asker struct {
	client
	to string

	mu       sync.Mutex
	next     int
	unacked  []int         // sent, in order
	base     uint32        // the server's count in front of them
	promised map[int]bool  // acknowledged by the server
	answers  map[int]int   // how many times the answer of each message came, archives included
	numbers  map[int][]int // the messages that each number of the component is of
	back     map[int]bool  // messages that came back as errors
	faults   []string
	stop     bool // no new messages
}

func newAsker(addr string, i int, to string) *asker {
	return &asker{client: client{addr: addr, user: fmt.Sprint("asker", i), resource: "r"}, to: to, promised: map[int]bool{}, answers: map[int]int{}, numbers: map[int][]int{}, back: map[int]bool{}}
}

func (a *asker) fault(format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.faults = append(a.faults, fmt.Sprintf(format, args...))
}

// ask talks until it may stop and all is acknowledged. up is as for pair.send.
func (a *asker) ask(up func() bool) {
	for up() {
		answer, err := a.connect()
		if err != nil {
			if !broken(err) {
				a.fault("to connect: %v", err)
				return
			}
			continue
		}
		if h, ok := count(answer); ok && int32(h-a.base) > 0 {
			a.acknowledged(h - a.base)
			a.base = h
		}
		if answer == nil || !answer.is("resumed") {
			a.base = 1 // the presence of the new session
		}
		err = a.talk()
		a.conn.Close()
		if err == nil {
			return
		}
		if !broken(err) {
			a.fault("to talk: %v", err)
			return
		}
	}
}

// count is what an answer to <resume/> says; there may be none.
func count(answer *element) (uint32, bool) {
	if answer == nil {
		return 0, false
	}
	return answer.count()
}

func (a *asker) acknowledged(n uint32) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if int64(n) > int64(len(a.unacked)) {
		a.faults = append(a.faults, fmt.Sprintf("%d acknowledged of %d", n, len(a.unacked)))
		return
	}
	for _, m := range a.unacked[:n] {
		a.promised[m] = true
	}
	a.unacked = a.unacked[n:]
}

// talk is ask on one connection, which begins with what was not acknowledged.
func (a *asker) talk() error {
	for _, n := range a.unacked {
		if err := a.message(n); err != nil {
			return err
		}
	}
	for {
		a.mu.Lock()
		done := a.stop && len(a.unacked) == 0
		var fresh []int
		for len(a.unacked) < window && !a.stop {
			a.next++
			a.unacked = append(a.unacked, a.next)
			fresh = append(fresh, a.next)
		}
		a.mu.Unlock()
		if done {
			return a.client.send("</stream:stream>")
		}
		for _, n := range fresh {
			if err := a.message(n); err != nil {
				return err
			}
		}
		if err := a.client.send("<r xmlns='%s'/>", nsSM); err != nil {
			return err
		}
		for moved := false; !moved; {
			e, err := a.client.next()
			if err != nil {
				return err
			}
			if moved, err = a.take(e); err != nil {
				return err
			}
		}
	}
}

func (a *asker) message(n int) error {
	return a.client.send("<message to='%s' type='chat' id='%d'><body>%d</body></message>", a.to, n, n)
}

// take looks at what came; moved says that more is acknowledged.
func (a *asker) take(e *element) (moved bool, err error) {
	switch {
	case e.is("r"):
		err = a.client.send("<a xmlns='%s' h='%d'/>", nsSM, a.received)
	case e.is("a"):
		if h, ok := e.count(); ok && int32(h-a.base) > 0 {
			a.acknowledged(h - a.base)
			a.base, moved = h, true
		}
	case e.is("message"):
		err = a.answered(e)
	}
	return moved, err
}

// answered notes an answer, or an error, which is one.
func (a *asker) answered(e *element) error {
	text := e.Body
	if e.Type == "error" {
		text = e.ID
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return fmt.Errorf("%w: %+v", errUnexpected, e)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answers[n]++
	switch number := e.child("n"); {
	case e.Type == "error":
		a.back[n] = true
	case number == nil:
		return fmt.Errorf("%w: %+v", errUnexpected, e)
	case !slices.Contains(a.numbers[number.N], n):
		a.numbers[number.N] = append(a.numbers[number.N], n)
	}
	return nil
}

// rest reads what was answered to sessions that had ended, which is in the archive (XEP-0313),
// when everything that was sent is handled: the answer to one more message comes behind that.
func (a *asker) rest() error {
	if _, err := a.connect(); err != nil {
		return err
	}
	defer a.conn.Close()
	a.next++
	if err := a.message(a.next); err != nil {
		return err
	}
	for a.answers[a.next] == 0 {
		e, err := a.client.next()
		if err != nil {
			return err
		}
		if _, err := a.take(e); err != nil {
			return err
		}
	}
	return a.archived()
}

// archived reads the answers in the archive.
func (a *asker) archived() error {
	after := ""
	for page := 0; ; page++ {
		if err := a.client.send("<iq type='set' id='archive%d'><query xmlns='urn:xmpp:mam:2' queryid='q'><set xmlns='http://jabber.org/protocol/rsm'><max>50</max><after>%s</after></set></query></iq>", page, after); err != nil {
			return err
		}
		for {
			e, err := a.client.next()
			if err != nil {
				return err
			}
			if e.is("iq") {
				if e.Type != "result" || e.child("fin") == nil {
					return fmt.Errorf("%w: %+v", errUnexpected, e)
				}
				if after == lastOf(e) || lastOf(e) == "" {
					return nil
				}
				after = lastOf(e)
				break
			}
			if r := e.child("result"); r != nil {
				if f := r.child("forwarded"); f != nil {
					if m := f.child("message"); m != nil && m.From == a.to {
						if err := a.answered(m); err != nil {
							return err
						}
					}
				}
			} else if _, err := a.take(e); err != nil {
				return err
			}
		}
	}
}

// lastOf is the ID of the last row of a page (XEP-0059).
func lastOf(e *element) string {
	if set := e.child("fin").child("set"); set != nil && set.child("last") != nil {
		return set.child("last").Text
	}
	return ""
}

// lost are the messages that were acknowledged and have no answer.
func (a *asker) lost() (list []int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for n := range a.promised {
		if a.answers[n] == 0 {
			list = append(list, n)
		}
	}
	return list
}

// progress is how many messages were acknowledged.
func (a *asker) progress() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.promised)
}
