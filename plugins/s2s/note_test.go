package s2s

import (
	"bytes"
	"errors"
	"net"
	"os"
	"reflect"
	"testing"
	"time"
)

func TestNote(t *testing.T) {
	n := &note{managed: true, resumable: true, inbound: true, id: "sm", locals: []string{"a.example", "b.example"}, entries: []entry{{1, 7, 1, begun}, {1 << 60, 1<<32 - 1, 500, partly}}}
	b := n.append(nil)
	if got, err := readNote(b); err != nil || !reflect.DeepEqual(got, n) {
		t.Errorf("%+v, %v", got, err)
	}
	for i := range b {
		if _, err := readNote(b[:i]); !errors.Is(err, errNote) {
			t.Errorf("the first %d bytes: %v", i, err)
		}
	}
	r := &record{h: 1<<32 - 1, far: "b.example", local: "a.example"}
	if got, err := readRecord(r.append(nil)); err != nil || *got != *r {
		t.Errorf("%+v, %v", got, err)
	}
}

func FuzzNote(f *testing.F) {
	f.Add((&note{id: "x", locals: []string{"a"}, entries: []entry{{1, 2, 3, unsure}}}).append(nil))
	f.Add((&record{h: 3, far: "b", local: "a"}).append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if n, err := readNote(b); err == nil {
			if again, err := readNote(n.append(nil)); err != nil || !reflect.DeepEqual(again, n) {
				t.Errorf("%+v: %+v, %v", n, again, err)
			}
		}
		if r, err := readRecord(b); err == nil {
			if again, err := readRecord(r.append(nil)); err != nil || *again != *r {
				t.Errorf("%+v: %+v, %v", r, again, err)
			}
		}
	})
}

// A thousand connections that say nothing are closed but for as many as may be, and others go on when they are gone.
func TestHalfOpenStreamsAreBounded(t *testing.T) {
	w := newWorld(t)
	a := w.server(ca().issue(false, "a.example"), "a.example")
	b := w.server(ca().issue(false, "b.example"), "b.example")
	b.options.MaxPerAddress = 10
	start(t, a, b)
	var list []net.Conn
	for range 1000 {
		c, err := net.Dial("tcp", b.listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, c)
		defer c.Close()
	}
	// The last one was closed: all before it were taken, or closed.
	last := list[len(list)-1]
	_ = last.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, err := last.Read(make([]byte, 1)); n > 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d bytes, %v", n, err)
	}
	b.engine.mu.Lock()
	half := b.engine.halfOpen
	b.engine.mu.Unlock()
	if half > 10 {
		t.Errorf("%d are half open", half)
	}
	for _, c := range list {
		c.Close()
	}
	a.send(message(t, "romeo@a.example", "juliet@b.example", "m")) // it is tried again until there is room
	b.until("the message", func() bool { return len(b.got) == 1 })
	if !bytes.Contains([]byte(b.engine.List()), []byte("a.example")) {
		t.Error(b.engine.List())
	}
}
