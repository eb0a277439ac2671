package core_test

import (
	"fmt"
	"testing"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// last keeps the event that it was given.
type last struct{ e *extension.RemoteEvent }

func (x *last) Attach(extension.Kernel)                 {}
func (x *last) Reset(string)                            {}
func (x *last) Dispatch(e *extension.RemoteEvent) error { x.e = e; return nil }

// BenchmarkRemoteComponent: a client's message to a component is dispatched, and the
// outcome, which sends one back, applied, without a process in between.
func BenchmarkRemoteComponent(b *testing.B) {
	x := &last{}
	k := benchKernel(b, rooms(x))
	romeo := negotiate(k, "romeo", "x")
	defer romeo.close()
	in := []byte(fmt.Sprintf(toRoom, 1))
	to, from := jid.MustParse("romeo@example.test/x"), jid.MustParse("room@rooms.example.test")
	var batch transport.Batch
	o := &extension.Outcome{Effects: func(h *extension.Host) error {
		return h.Stanzas.Send(stanza.New(stanza.Header{Kind: stanza.Message, From: from, To: to}))
	}}
	written := romeo.written
	b.ReportAllocs()
	for b.Loop() {
		romeo.feed(&batch, in)
		x.e.Owner.Apply(&batch, o, func(err error) {
			if err != nil {
				b.Error(err)
			}
		})
		batch.Flush()
	}
	if romeo.written-written < 50*b.N {
		b.Error("too little came back:", romeo.written-written)
	}
}

// BenchmarkRemoteDispatch is the component's part of that alone: an event, and an
// outcome that asks for nothing.
func BenchmarkRemoteDispatch(b *testing.B) {
	x := &last{}
	k := benchKernel(b, rooms(x))
	romeo := negotiate(k, "romeo", "x")
	defer romeo.close()
	in := []byte(fmt.Sprintf(toRoom, 1))
	var batch transport.Batch
	o := &extension.Outcome{}
	b.ReportAllocs()
	for b.Loop() {
		romeo.feed(&batch, in)
		x.e.Owner.Apply(&batch, o, func(error) {})
	}
}

// Extensions elsewhere that see messages, and want none of these.
func BenchmarkChatUnwantedElsewhere(b *testing.B) {
	reg := remoteStage("far", &last{}, extension.StageHandler{Class: extension.Decide})
	reg.Stages[0].Match.Child = &extension.Name{Space: "urn:x", Local: "x"}
	benchChat(b, "juliet@example.test/balcony", reg)
}
