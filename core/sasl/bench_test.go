package sasl

import "testing"

// The server's part of a login with stored keys: two messages in, two out.
func BenchmarkSCRAMSHA256(b *testing.B) {
	h := hashFor("SCRAM-SHA-256")
	keys := keysFor(h, "pencil", testSalt, 4096)
	params := Params{Bindings: both, Offered: Offer(true, both), Nonce: func() string { return fuzzNonce }}
	data, _ := exporter.Data()
	for _, bm := range []struct{ mechanism, flag, data string }{
		{"SCRAM-SHA-256", "n", ""},
		{"SCRAM-SHA-256-PLUS", "p=tls-exporter", string(data)},
	} {
		b.Run(bm.mechanism, func(b *testing.B) {
			c := client{new: h, flag: bm.flag, user: "juliet", password: "pencil", nonce: "fyko+d2lbbFgONRv9qkxdawL", cbData: bm.data}
			first := []byte(c.first())
			x, err := New(bm.mechanism, params)
			if err != nil {
				b.Fatal(err)
			}
			x.Start(first, true)
			final := []byte(c.final(b, string(x.Keys(keys).Data)))
			b.ReportAllocs()
			for b.Loop() {
				x, err := New(bm.mechanism, params)
				if err != nil {
					b.Fatal(err)
				}
				x.Start(first, true)
				x.Keys(keys)
				if x.Step(final).Status != Success {
					b.Fatal("no success")
				}
			}
		})
	}
}
