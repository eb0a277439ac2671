package chaos

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// nsTest is of all that the plugins of tests say.
const nsTest = "urn:hexmpp:test"

// mates is how many speakers are in a room.
const mates = 10

// speaker is a client without stream management that talks to a component and to a peer,
// and knows of each stanza what has to come of it. One goroutine writes, another one reads.
type speaker struct {
	client
	index, peer int
	echo        *victim // answers for the domain echo.
	filter      *victim // marks what is of type chat

	mu       sync.Mutex
	grown    chan struct{}       // closed, and made anew, when something comes
	sent     map[string]int      // number of the last message to each address, "iq" for requests
	open     map[string][]moment // what each address has not answered yet, in order
	waiting  int                 // in all of these
	chats    int                 // number of the last message of type chat, to whomever
	came     map[string]int      // number of the last one from each sender
	casts    map[string]int      // likewise in the room
	unmarked int                 // messages that no filter saw, where that is allowed
	answers  []time.Duration     // how long each took
	faults   []string
	ended    error // why nothing comes any more
	closing  bool
}

// moment is when a stanza was sent, and the number of it as a message of type chat.
type moment struct {
	at   time.Time
	chat int
}

func newSpeaker(addr string, i, of int, echo, filter *victim) *speaker {
	s := &speaker{client: client{addr: addr, user: name(i), resource: "r"}, index: i, peer: (i + 1) % of, echo: echo, filter: filter,
		grown: make(chan struct{}), sent: map[string]int{}, open: map[string][]moment{}, came: map[string]int{}, casts: map[string]int{}}
	for j := range of {
		if room(j) == room(i) {
			s.casts[name(j)] = 1 // to join was the first
		}
	}
	return s
}

func name(i int) string { return fmt.Sprint("speaker", i) }

// room of the speaker with this index.
func room(i int) string { return fmt.Sprint("room", i/mates) }

// enter logs in, and joins the room.
func (s *speaker) enter() (err error) {
	if s.conn, err = net.DialTimeout("tcp", s.addr, patience); err != nil {
		return err
	}
	if err = s.login(); err == nil {
		err = s.bindResource()
	}
	if err == nil {
		err = s.client.send("<presence/>")
	}
	return err
}

func (s *speaker) fault(format string, args ...any) {
	if len(s.faults) < 20 {
		s.faults = append(s.faults, fmt.Sprintf(format, args...))
	}
}

// say sends the next stanza of a kind: to an address of the component; "iq"; "cast" to the
// room; "join"; or "chat" and "normal" to the peer.
func (s *speaker) say(kind string) error {
	s.mu.Lock()
	to, typ, more := kind+"@echo."+domain, "chat", ""
	key := kind
	switch kind {
	case "iq":
	case "cast", "join":
		key = room(s.index)
		to, more = key+"@echo."+domain, "<"+kind+" xmlns='"+nsTest+"' from='"+s.user+"'/>"
	case "chat", "normal":
		key, to, typ = "peer", name(s.peer)+"@"+domain+"/r", kind
	}
	s.sent[key]++
	n := s.sent[key]
	m := moment{at: time.Now()}
	if typ == "chat" && kind != "iq" {
		s.chats++
		m.chat = s.chats
	}
	if kind != "cast" && key != "peer" {
		s.open[key] = append(s.open[key], m)
		s.waiting++
	}
	s.mu.Unlock()
	if kind == "iq" {
		return s.client.send("<iq to='echo.%s' type='get' id='%d'><count xmlns='%s'/></iq>", domain, n, nsTest)
	}
	return s.client.send("<message to='%s' type='%s' id='%s %d'><body>%d</body><c xmlns='%s' n='%d'/>%s</message>", to, typ, key, n, n, nsTest, m.chat, more)
}

// listen reads until the connection ends.
func (s *speaker) listen() {
	for {
		e, err := s.next()
		s.mu.Lock()
		if err != nil {
			s.ended = err
			if !s.closing {
				s.fault("the connection ended: %v", err)
			}
		} else {
			s.take(e)
		}
		close(s.grown)
		s.grown = make(chan struct{})
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// take looks at what came. mu is held.
func (s *speaker) take(e *element) {
	local, host, _ := strings.Cut(e.From, "@")
	switch {
	case e.is("presence"): // its own
	case e.Type == "error":
		text := ""
		if x := e.child("error"); x != nil {
			text = x.Type
			for i := range x.Children {
				text += " " + x.Children[i].XMLName.Local
			}
		}
		s.fault("%s %q of %s came back: %s", e.XMLName.Local, e.ID, e.From, text)
	case e.is("iq"):
		c := e.child("count")
		if c == nil || e.ID != strconv.Itoa(c.N) {
			s.fault("the request %s was counted as %+v", e.ID, c)
		} else {
			s.answered("iq", c.N, c)
		}
	case host == "echo."+domain && e.Type == "headline":
		s.cast(e, local)
	case host == "echo."+domain:
		s.marked(e)
		s.numbered(e, local)
	case strings.HasSuffix(e.From, "@"+domain+"/r"):
		s.heard(e, local)
	default:
		s.fault("something else came: %+v", e)
	}
}

// numbered looks at an answer.
func (s *speaker) numbered(e *element, local string) {
	all := e.all("n")
	if len(all) != 1 {
		s.fault("an answer of %s has %d numbers", local, len(all))
		return
	}
	n := all[0]
	if e.Body != strconv.Itoa(n.N) {
		s.fault("the message %s to %s was counted as the %dth", e.Body, local, n.N)
	}
	s.answered(local, n.N, n)
}

// answered notes an answer, which must be that to what waits longest.
func (s *speaker) answered(key string, n int, by *element) {
	s.echo.saw(by.PID)
	open := s.open[key]
	if want := s.sent[key] - len(open) + 1; len(open) == 0 || n != want {
		s.fault("the answer %d of %s came, not %d; %d wait", n, key, want, len(open))
		return
	}
	s.answers = append(s.answers, time.Since(open[0].at))
	s.open[key] = open[1:]
	s.waiting--
}

// marked checks that the filter saw a message of type chat once.
func (s *speaker) marked(e *element) {
	all, c := e.all("mark"), e.child("c")
	switch {
	case len(all) != 1 || c == nil:
		s.fault("the message %q of %s has %d marks", e.Body, e.From, len(all))
	case all[0].N != c.N:
		s.fault("the message %q of %s, of type chat the %dth, has the mark %d", e.Body, e.From, c.N, all[0].N)
	default:
		s.filter.saw(all[0].PID)
	}
}

// cast looks at what came from the room: from each of its members all of it, in order.
func (s *speaker) cast(e *element, local string) {
	n, c := e.all("n"), e.child("cast")
	if local != room(s.index) || len(n) != 1 || c == nil {
		s.fault("a strange message came from %s: %+v", e.From, e)
		return
	}
	s.marked(e)
	s.order(s.casts, c.From, n[0].N, "cast")
}

// heard looks at a message of the peer.
func (s *speaker) heard(e *element, from string) {
	switch seen := len(e.all("seen")); {
	case e.Type == "chat":
		s.marked(e)
	case seen == 0:
		s.unmarked++
	case seen != 1:
		s.fault("the message %s of %s was seen %d times", e.Body, from, seen)
	}
	n, _ := strconv.Atoi(e.Body)
	s.order(s.came, from, n, "message")
}

func (s *speaker) order(last map[string]int, who string, n int, what string) {
	if n != last[who]+1 {
		s.fault("the %s %d of %s came behind the %dth", what, n, who, last[who])
	}
	last[who] = max(last[who], n)
}

// round is what a speaker says, over and over, in an order of chance.
var round = []string{"chat", "chat", "chat", "chat", "normal", "normal", "normal", "normal", "memory", "memory", "memory", "memory", "store", "store", "both", "both", "iq", "iq", "iq", "cast"}

// talk says something every so often until it is over. No more than window stanzas
// wait for an answer of the component.
func (s *speaker) talk(every time.Duration, window int, over <-chan struct{}) error {
	clock := time.NewTicker(every)
	defer clock.Stop()
	words := append([]string(nil), round...)
	for i := 0; ; i++ {
		if i%len(words) == 0 {
			rand.Shuffle(len(words), func(i, j int) { words[i], words[j] = words[j], words[i] })
		}
		select {
		case <-clock.C:
		case <-over:
			return nil
		}
		if !s.await(over, func() bool { return s.waiting < window }) {
			return nil
		}
		if err := s.say(words[i%len(words)]); err != nil {
			return err
		}
	}
}

// await waits until something holds; false when it is over, or nothing comes any more.
func (s *speaker) await(over <-chan struct{}, holds func() bool) bool {
	for {
		s.mu.Lock()
		ok, ended, grown := holds(), s.ended, s.grown
		s.mu.Unlock()
		if ok || ended != nil {
			return ok
		}
		select {
		case <-grown:
		case <-over:
			return false
		}
	}
}
