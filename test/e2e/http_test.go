package e2e

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// What listen.http serves, by a client that knows nothing of hexmpp.
func TestHTTP(t *testing.T) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for path, want := range map[string]string{
		"/health":  "ok\n",
		"/metrics": "hexmpp_sessions ",
	} {
		r, err := client.Get("http://" + server(t).HTTP + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r.Body)
		if r.Body.Close(); err != nil || r.StatusCode != http.StatusOK || !strings.Contains(string(body), want) {
			t.Errorf("%s: %s, %v\n%.500s", path, r.Status, err, body)
		}
	}
}
