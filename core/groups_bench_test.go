package core_test

import (
	"context"
	"fmt"
	"testing"

	"go.uber.org/zap"

	registry "github.com/hexmpp/hexmpp/adapters/cluster/memory"
	"github.com/hexmpp/hexmpp/adapters/extension/blocking"
	"github.com/hexmpp/hexmpp/adapters/extension/csi"
	store "github.com/hexmpp/hexmpp/adapters/storage/memory"
	"github.com/hexmpp/hexmpp/core"
	"github.com/hexmpp/hexmpp/core/offline"
	"github.com/hexmpp/hexmpp/ports/cluster"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/transport"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

const crowd = 1000

// crowded returns a kernel, its sessions, the pipes of a crowd, and the pipe of one who
// says something to all of them by groupchat to the room.
func crowded(b *testing.B, regs ...extension.Registration) (cluster.Registry, []*pipe, *pipe) {
	b.Helper()
	r := &halls{}
	o := core.Options{Domains: []string{"example.test"}, TLSRequired: true, Offline: offline.Options{Messages: -1}}
	p := core.Ports{Credentials: open{}, Verifier: open{}, Accounts: open{}, Store: store.New(), Sessions: registry.New(), Log: zap.NewNop()}
	with(append(regs, r.registration())...)(&o, &p)
	k, err := core.New(o, p)
	if err != nil {
		b.Fatal(err)
	}
	if err := k.Start(context.Background()); err != nil {
		b.Fatal(err)
	}
	var batch transport.Batch
	pipes := make([]*pipe, crowd)
	for n := range pipes {
		pipes[n] = negotiate(k, fmt.Sprint("user", n), "r")
		pipes[n].feed(&batch, []byte("<presence to='room@rooms.example.test/x'><add xmlns='urn:x'>"+crowdJID(n)+"</add></presence>"))
		b.Cleanup(pipes[n].close)
	}
	speaker := negotiate(k, "speaker", "r")
	b.Cleanup(speaker.close)
	speaker.feed(&batch, []byte("<presence to='room@rooms.example.test/speaker'/>"))
	return p.Sessions, pipes, speaker
}

func crowdJID(n int) string { return fmt.Sprintf("user%d@example.test/r", n) }

const speech = "<body>Romeo, Romeo, wherefore art thou Romeo? Deny thy father and refuse thy name; or if thou wilt not, be but sworn my love, and I'll no longer be a Capulet.</body>" +
	"<origin-id xmlns='urn:xmpp:sid:0' id='c9d5ba2f'/>"

// BenchmarkGroup is a message to a room of 1,000 and its copies, drained, in ns a copy;
// BenchmarkGroupFloor the least that can be done for them: a look-up and a delivery each.
func BenchmarkGroup(b *testing.B) { benchGroup(b) }

// BenchmarkGroupExtensions has extensions that look at each copy, and want none.
func BenchmarkGroupExtensions(b *testing.B) {
	benchGroup(b, blocking.New(blocking.Options{}), csi.New(csi.Options{Presence: true, ChatStates: true, PEP: true}))
}

func benchGroup(b *testing.B, regs ...extension.Registration) {
	_, pipes, speaker := crowded(b, regs...)
	said := []byte("<message type='groupchat' id='1' to='room@rooms.example.test'>" + speech + "</message>")
	var batch transport.Batch
	speaker.feed(&batch, said) // what is resident is loaded
	before := written(pipes)
	b.ReportAllocs()
	for b.Loop() {
		speaker.feed(&batch, said)
	}
	if got := written(pipes) - before; got < b.N*crowd*len(speech) {
		b.Errorf("%d bytes of copies", got)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/crowd, "ns/copy")
}

func BenchmarkGroupFloor(b *testing.B) {
	sessions, pipes, speaker := crowded(b)
	said := []byte("<message type='groupchat' id='1' to='room@rooms.example.test'>" + speech + "</message>")
	var batch transport.Batch
	speaker.feed(&batch, said)
	st := stanza.New(stanza.Header{Kind: stanza.Message, Type: stanza.GroupChat, ID: "1", From: jid.MustParse("room@rooms.example.test/speaker")},
		stanza.El("", "body").WithText(speech), stanza.El("urn:xmpp:sid:0", "origin-id", stanza.At("id", "c9d5ba2f")))
	to := make([]jid.JID, crowd)
	for n := range to {
		to[n] = jid.MustParse(crowdJID(n))
	}
	before := written(pipes)
	b.ReportAllocs()
	for b.Loop() {
		for _, j := range to {
			if e, there := sessions.Session(j); there {
				e.Receiver.Deliver(&batch, cluster.Delivery{Stanza: st, To: j})
			}
		}
		batch.Flush()
	}
	if got := written(pipes) - before; got < b.N*crowd*len(speech) {
		b.Errorf("%d bytes of copies", got)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/crowd, "ns/copy")
}

func written(pipes []*pipe) (n int) {
	for _, p := range pipes {
		n += p.written
	}
	return n
}
