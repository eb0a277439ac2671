package netlab_test

import (
	"net"
	"os"
	osexec "os/exec"
	"strings"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/test/harness/netlab"
)

func TestMain(m *testing.M) { os.Exit(netlab.Main(m)) }

// Hosts reach each other, and the name server; not when they are cut off.
func TestNetwork(t *testing.T) {
	l := netlab.New(t)
	a, b := l.Host(), l.Host()
	l.Names.Server("b.test", b)
	out, err := a.Command("getent", "ahostsv4", "xmpp.b.test").CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), b.Addr) {
		t.Errorf("%s, %v", out, err)
	}
	if _, addrs, err := net.LookupSRV("xmpp-server", "tcp", "b.test"); err != nil || len(addrs) != 1 || addrs[0].Target != "xmpp.b.test." || addrs[0].Port != 5269 {
		t.Errorf("%+v, %v", addrs, err)
	}
	l.Names.Break("broken.test", true)
	for name, missing := range map[string]bool{"nowhere.test": true, "broken.test": false} {
		_, err := net.LookupHost(name)
		if failed, ok := err.(*net.DNSError); !ok || failed.IsNotFound != missing {
			t.Errorf("%s: %v", name, err)
		}
	}
	echo := b.Command("bash", "-c", "exec 3<>/dev/tcp/"+a.Addr+"/9 2>&1")
	reaches := func() string {
		out, _ := exec(echo.Args)
		return out
	}
	if out := reaches(); !strings.Contains(out, "refused") {
		t.Errorf("b does not reach a: %s", out)
	}
	a.Cut(true)
	if out := reaches(); strings.Contains(out, "refused") {
		t.Errorf("b reaches a, which is cut off: %s", out)
	}
	a.Cut(false)
	a.Mute(b, true)
	if out := reaches(); strings.Contains(out, "refused") {
		t.Errorf("what a answers arrives: %s", out)
	}
	a.Mute(b, false)
	ok := false
	for end := time.Now().Add(10 * time.Second); !ok && time.Now().Before(end); {
		ok = strings.Contains(reaches(), "refused")
	}
	if !ok {
		t.Error("b does not reach a again")
	}
}

// exec runs a command for two seconds at most.
func exec(args []string) (string, error) {
	out, err := osexec.Command("timeout", append([]string{"2"}, args...)...).CombinedOutput()
	return string(out), err
}
