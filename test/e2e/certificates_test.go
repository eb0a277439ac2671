package e2e

import (
	"crypto/tls"
	"fmt"
	"math/big"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/test/harness"
)

// TestCertificatesInProcesses: a plugin in a process of its own shows the certificates of the server's domains,
// component domains among them, and is given those that are put in their place while it runs.
func TestCertificatesInProcesses(t *testing.T) {
	addrs, err := harness.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	s := harness.Start(t, harness.Config{
		Domains: []string{domain, second},
		Extra:   fmt.Sprintf("plugins: {tls: {command: [%q], permissions: [read-certificates], listen: {tls: %q}}}\n", harness.Plugin(t, "tls"), addrs[0]),
	})
	shown := func(name string, trusted bool) (*big.Int, error) {
		t.Helper()
		conf := s.CA.TLS(name)
		conf.InsecureSkipVerify = !trusted
		c, err := tls.DialWithDialer(&net.Dialer{Timeout: 20 * time.Second}, "tcp", addrs[0], conf)
		if err != nil {
			return nil, err
		}
		defer c.Close()
		leaf := c.ConnectionState().PeerCertificates[0]
		return leaf.SerialNumber, leaf.VerifyHostname(name)
	}
	issue := func(name string) *big.Int {
		t.Helper()
		serial, err := s.CA.Issue(s.Certs, name)
		if err != nil {
			t.Fatal(err)
		}
		return serial
	}

	// The process shows what clients are shown, and can prove that it has the key.
	for _, name := range []string{domain, second} {
		if got, err := shown(name, true); err != nil || got.String() != serial(t, s, name) {
			t.Errorf("%s: %v, %v, clients are shown %s", name, got, err, serial(t, s, name))
		}
	}
	// A component domain has one of its own, and it stays that.
	component := "tls." + domain
	own, err := shown(component, false)
	if err != nil {
		t.Fatalf("%s: %v", component, err)
	}
	if again, err := shown(component, false); err != nil || again.Cmp(own) != 0 {
		t.Errorf("%s: %v, %v, before %v", component, again, err, own)
	}
	wantLog(t, s, "no certificate for a domain of a plugin", component)
	if _, err := shown("far.test", false); err == nil || !strings.Contains(err.Error(), "unrecognized name") {
		t.Errorf("a domain that is not the server's: %v", err)
	}

	want := map[string]*big.Int{domain: issue(domain), component: issue(component)}
	if err := s.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	for name, serial := range want {
		if !harness.Eventually(t, 20*time.Second, func() bool { got, err := shown(name, true); return err == nil && got.Cmp(serial) == 0 }) {
			got, err := shown(name, true)
			t.Errorf("%s: the process shows %v, %v after SIGHUP, want %v", name, got, err, serial)
		}
	}
	if got, err := shown(second, true); err != nil || got.String() != serial(t, s, second) {
		t.Errorf("the other domain's: %v, %v", got, err)
	}
}
