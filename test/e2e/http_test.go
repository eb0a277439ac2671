package e2e

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/test/harness"
)

// What listen.http serves, by a client that knows nothing of hexmpp.
func TestHTTP(t *testing.T) {
	for path, want := range map[string]string{
		"/health":      "ok\n",
		"/health/live": "ok\n",
		"/metrics":     "hexmpp_sessions ",
	} {
		status, body := get(t, server(t), path)
		if status != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: %d\n%.500s", path, status, body)
		}
	}
}

// get asks the server by HTTP.
func get(t *testing.T, s *harness.Server, path string) (status int, body string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := client.Get("http://" + s.HTTP + path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(text)
}

// metric returns the value of a metric, "" if it is not there.
func metric(t *testing.T, s *harness.Server, name string) string {
	t.Helper()
	_, all := get(t, s, "/metrics")
	for line := range strings.Lines(all) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
