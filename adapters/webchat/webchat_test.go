package webchat

import (
	"compress/gzip"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func handler(t *testing.T, o Options) *Handler {
	t.Helper()
	if o.Domains == nil {
		o.Domains = []string{"example.org", "example.net"}
	}
	o.WebSocket = "/xmpp-websocket"
	h, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func ask(h http.Handler, method, path string, header ...string) *http.Response {
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
		}
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	data, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestFilesAndTheirKinds(t *testing.T) {
	h := handler(t, Options{})
	for path, kind := range map[string]string{
		"/": "text/html; charset=utf-8", "/index.html": "text/html; charset=utf-8", "/main.js": "text/javascript; charset=utf-8",
		"/xmpp/client.js": "text/javascript; charset=utf-8", "/style.css": "text/css; charset=utf-8", "/icon.svg": "image/svg+xml", "/config.json": "application/json",
	} {
		r := ask(h, "GET", path)
		if r.StatusCode != http.StatusOK || r.Header.Get("Content-Type") != kind || body(t, r) == "" {
			t.Errorf("%s: %d, %q", path, r.StatusCode, r.Header.Get("Content-Type"))
		}
	}
	if got, want := body(t, ask(h, "GET", "/config.json")), `{"bosh":"","domains":["example.org","example.net"],"websocket":"/xmpp-websocket"}`; got != want {
		t.Errorf("config.json is %s, want %s", got, want)
	}
	for _, path := range []string{"/nothing", "/xmpp/", "/../webchat.go", "/client/main.js", "/dist/converse.min.js", "/main.js/"} {
		if r := ask(h, "GET", path); r.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %d, want 404", path, r.StatusCode)
		}
	}
	if r := ask(h, "POST", "/"); r.StatusCode != http.StatusMethodNotAllowed || r.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %d", r.StatusCode)
	}
	if r := ask(h, "HEAD", "/"); r.StatusCode != http.StatusOK || body(t, r) != "" {
		t.Errorf("HEAD: %d", r.StatusCode)
	}
}

func TestWhatTheBrowserHasIsNotSentAgain(t *testing.T) {
	h := handler(t, Options{})
	first := ask(h, "GET", "/main.js")
	if first.Header.Get("Cache-Control") != "no-cache" {
		t.Errorf("Cache-Control: %q", first.Header.Get("Cache-Control"))
	}
	again := ask(h, "GET", "/main.js", "If-None-Match", first.Header.Get("ETag"))
	if again.StatusCode != http.StatusNotModified || body(t, again) != "" {
		t.Errorf("with its ETag: %d", again.StatusCode)
	}
	if other := ask(h, "GET", "/style.css", "If-None-Match", first.Header.Get("ETag")); other.StatusCode != http.StatusOK {
		t.Errorf("with the ETag of another: %d", other.StatusCode)
	}
}

func TestGzip(t *testing.T) {
	h := handler(t, Options{})
	plain := ask(h, "GET", "/xmpp/client.js")
	for accept, want := range map[string]bool{
		"": false, "gzip": true, "br, gzip": true, "GZIP;q=0.5": true, "gzip; q=1": true, "gzip;q=0": false, "gzip; q=0.0": false, "br": false, "gzipped": false,
	} {
		r := ask(h, "GET", "/xmpp/client.js", "Accept-Encoding", accept)
		if zipped := r.Header.Get("Content-Encoding") == "gzip"; zipped != want || r.Header.Get("Vary") != "Accept-Encoding" {
			t.Errorf("Accept-Encoding %q: gzip is %v, want %v; Vary %q", accept, zipped, want, r.Header.Get("Vary"))
		} else if zipped && r.Header.Get("ETag") == plain.Header.Get("ETag") {
			t.Error("both encodings have one ETag")
		}
	}
	zip, err := gzip.NewReader(ask(h, "GET", "/xmpp/client.js", "Accept-Encoding", "gzip").Body)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(zip)
	if err != nil || string(data) != body(t, plain) {
		t.Errorf("unpacked it is another file (%v)", err)
	}
}

func TestThePolicyAllowsTheServerAlone(t *testing.T) {
	h := handler(t, Options{})
	for _, path := range []string{"/", "/main.js", "/nothing", "/config.json"} {
		r := ask(h, "GET", path, "Host", "chat.example.org:5280")
		policy := r.Header.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self' ws://chat.example.org:5280 wss://chat.example.org:5280", "frame-ancestors 'none'", "form-action 'none'", "base-uri 'none'", "require-trusted-types-for 'script'"} {
			if !strings.Contains(policy+";", want+";") {
				t.Errorf("%s: %q is not in %q", path, want, policy)
			}
		}
		if strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") || strings.Contains(policy, "data:") {
			t.Errorf("%s: %q allows too much", path, policy)
		}
		if r.Header.Get("X-Content-Type-Options") != "nosniff" || r.Header.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s: %v", path, r.Header)
		}
	}
}

func TestAHostThatIsNoneGetsIntoNoPolicy(t *testing.T) {
	h := handler(t, Options{})
	for _, host := range []string{"x; script-src *", "x 'unsafe-inline'", "*", "a,b", "x/y", "[::1", "x:123456", "x:", "", "*.example.org", "user@x", "x\r\nA: b"} {
		policy := ask(h, "GET", "/", "Host", host).Header.Get("Content-Security-Policy")
		if policy != ownPolicy("?") || strings.Contains(policy, "ws:") {
			t.Errorf("Host %q made %q", host, policy)
		}
	}
	for _, host := range []string{"localhost", "127.0.0.1:5280", "[::1]:5280", "xn--bcher-kva.example"} {
		if policy := ownPolicy(host); !strings.Contains(policy, " ws://"+host+" ") {
			t.Errorf("Host %q: %q", host, policy)
		}
	}
}

// What would make HTML or code of text, or ask another server for something, is
// not in the client at all: the policy is the second wall.
func TestTheClientMakesNoHTMLOfText(t *testing.T) {
	forbidden := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser|createContextualFragment|setHTML|srcdoc|javascript:|\bstyle=|\bon[a-z]+=["']|https?://[a-z]|@import|url\(`)
	allowed := regexp.MustCompile(`http://(etherx\.)?jabber\.org/|http://www\.w3\.org/|http://localhost on `)
	files := 0
	err := fs.WalkDir(client, "client", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		files++
		data, err := fs.ReadFile(client, name)
		if err != nil {
			return err
		}
		lines := strings.Split(string(data), "\n")
		if len(lines) > 600 {
			t.Errorf("%s has %d lines, want 600 at most", name, len(lines))
		}
		for i, line := range lines {
			if found := forbidden.FindString(allowed.ReplaceAllString(line, "")); found != "" && !strings.HasPrefix(strings.TrimSpace(line), "//") {
				t.Errorf("%s:%d has %q", name, i+1, found)
			}
		}
		return nil
	})
	if err != nil || files < 20 {
		t.Errorf("%d files, want 20 at least (%v)", files, err)
	}
}

func TestConverse(t *testing.T) {
	folder := t.TempDir()
	if _, err := New(Options{Domains: []string{"example.org"}, WebSocket: "/ws", Converse: folder}); err == nil || !strings.Contains(err.Error(), "npm install converse.js") {
		t.Errorf("an empty folder: %v", err)
	}
	if _, err := New(Options{Domains: []string{"example.org"}, WebSocket: "/ws", Converse: filepath.Join(folder, "none")}); err == nil {
		t.Error("a folder that is not there was taken")
	}
	for name, text := range map[string]string{"package.json": "{}", "dist/converse.min.js": "js", "dist/converse.min.css": "css", "dist/chunkjs/a.js": "chunk"} {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/hostname", filepath.Join(folder, "dist", "outside.txt")); err != nil {
		t.Fatal(err)
	}
	h := handler(t, Options{Converse: folder, BOSH: "/http-bind"})
	if got := body(t, ask(h, "GET", "/")); !strings.Contains(got, "begin.js") {
		t.Errorf("the page is %s", got)
	}
	for path, want := range map[string]string{"/dist/converse.min.js": "js", "/dist/converse.min.css": "css", "/dist/chunkjs/a.js": "chunk", "/converse.min.css": "css"} {
		if r := ask(h, "GET", path); r.StatusCode != http.StatusOK || body(t, r) != want {
			t.Errorf("%s: %d", path, r.StatusCode)
		}
	}
	for _, path := range []string{"/dist/", "/dist/chunkjs/", "/dist/none.js", "/package.json", "/dist/../package.json", "/main.js", "/dist/outside.txt"} {
		if r := ask(h, "GET", path); r.StatusCode == http.StatusOK {
			t.Errorf("%s is served", path)
		}
	}
	policy := ask(h, "GET", "/").Header.Get("Content-Security-Policy")
	if !strings.Contains(policy, "script-src 'self' 'wasm-unsafe-eval';") || strings.Contains(policy, "'unsafe-eval'") {
		t.Errorf("the policy is %q", policy)
	}
	if got := body(t, ask(h, "GET", "/config.json")); !strings.Contains(got, `"bosh":"/http-bind"`) {
		t.Errorf("config.json is %s", got)
	}
}
