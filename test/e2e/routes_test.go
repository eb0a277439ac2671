package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hexmpp/hexmpp/test/harness"
)

// TestRoutesOfAPlugin: a plugin answers HTTP requests at the server's listener; while it is killed and
// reloaded each word that it is sent is counted once, and nobody sees a failure.
func TestRoutesOfAPlugin(t *testing.T) {
	s := harness.Start(t, harness.Config{
		Extra: fmt.Sprintf("plugins: {web: {command: [%q], permissions: [serve-http], limits: {grace-time: 30s}}}\n", harness.Plugin(t, "web")),
	})
	status, text := get(t, s, "/who/me")
	if status != 200 || !strings.HasPrefix(text, "127.0.0.1 http ") {
		t.Fatalf("%d %s", status, text)
	}
	pid := func() int { // 0: nobody answered; that request is not repeated
		t.Helper()
		status, text := get(t, s, "/who/me")
		if fields := strings.Fields(text); status == 200 && len(fields) > 2 {
			n, err := strconv.Atoi(fields[2])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		return 0
	}
	const clients, words = 4, 100
	client := http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			for n := range words {
				word := fmt.Sprintf("%d-%d", i, n)
				r, err := client.Post("http://"+s.HTTP+"/count", "text/plain", strings.NewReader(word))
				if err != nil {
					t.Errorf("%s: %v", word, err)
					return
				}
				b, err := io.ReadAll(r.Body)
				r.Body.Close()
				if err != nil || r.StatusCode != 200 {
					t.Errorf("%s: %d %s, %v", word, r.StatusCode, b, err)
					return
				}
			}
		})
	}
	for i := range 4 {
		before := pid()
		if before == 0 {
			t.Fatal("no process")
		}
		if i%2 == 0 {
			if err := syscall.Kill(before, syscall.SIGKILL); err != nil {
				t.Error(err)
			}
		} else if out := s.CLI(t, "plugin", "reload", "web"); out.Code != 0 {
			t.Errorf("reload: %+v", out)
		}
		if !harness.Eventually(t, 30*time.Second, func() bool {
			now := pid()
			return now != 0 && now != before
		}) {
			t.Errorf("process %d is still there", before)
		}
	}
	all.Wait()
	r, err := client.Post("http://"+s.HTTP+"/count", "text/plain", strings.NewReader("0-0"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if b, err := io.ReadAll(r.Body); err != nil || string(b) != fmt.Sprint(clients*words) {
		t.Errorf("%s words are counted, of %d: %v", b, clients*words, err)
	}
}
