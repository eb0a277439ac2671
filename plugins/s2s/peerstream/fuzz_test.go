package peerstream

import (
	"context"
	"net"
	"testing"
	"time"
)

// Whatever comes, the stream ends without a panic, and says nothing that is no XML.
func FuzzReceive(f *testing.F) {
	f.Add(open + "<db:result from='far.example' to='ours.example'>good</db:result><message from='a@far.example' to='b@ours.example'/></stream:stream>")
	f.Add(open + "<bidi xmlns='urn:xmpp:bidi'/><db:verify from='a.example' to='ours.example' id='x'>k</db:verify>")
	f.Add(header("") + "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
	f.Add(open + "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth><resume xmlns='urn:xmpp:sm:3' h='x'/>")
	f.Fuzz(func(t *testing.T, text string) {
		c := testConfig()
		c.Closing, c.Negotiation = 10*time.Millisecond, time.Second
		h := &events{changed: make(chan struct{}, 100_000), verify: func(Pair, string) error { return nil }}
		a, b := net.Pipe()
		s := Receive(b, c, h)
		ended := make(chan struct{})
		go func() { defer close(ended); _ = s.Run(context.Background(), false) }()
		go func() {
			_ = a.SetWriteDeadline(time.Now().Add(time.Second))
			_, _ = a.Write([]byte(text))
			a.Close()
		}()
		buf := make([]byte, 4096)
		for {
			if _, err := a.Read(buf); err != nil {
				break
			}
		}
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
			t.Error("no end")
		}
	})
}
