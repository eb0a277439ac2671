// Package webchat is the chat that the server brings along for browsers, and what
// serves it: an http.Handler for everything below / that nobody else has.
//
// The client is the folder client: plain ES modules, embedded, without a build
// step and without code of others. It speaks RFC 7395 to the server that it came
// from, and to nobody else; the content security policy says so to the browser.
// In its place an installed converse.js can be served, see converse.go.
package webchat

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed client
var client embed.FS

// Options of a Handler.
type Options struct {
	Domains   []string // hosted; the first is offered, or that of the page's address
	WebSocket string   // path of RFC 7395 on the same listener, "/xmpp-websocket"
	BOSH      string   // path of XEP-0124, for converse.js; "" for none
	Converse  string   // folder of the npm package converse.js to serve in place of our own client; "" for ours
}

// Handler serves the chat. It answers GET and HEAD; many goroutines may use it.
type Handler struct {
	pages    map[string]page // by path
	policy   func(host string) string
	converse http.Handler // of all other paths, or nil
	close    func() error
}

// A page is one file, ready to be sent.
type page struct {
	kind string
	data []byte
	zip  []byte // by gzip; nil where that is no gain
	etag string // without quotes
}

// New returns a Handler; Close gives back what it holds. An error says what is
// wrong with Options.Converse.
func New(o Options) (*Handler, error) {
	if len(o.Domains) == 0 || !strings.HasPrefix(o.WebSocket, "/") {
		return nil, errors.New("webchat: without a domain, or a path for WebSocket")
	}
	h := &Handler{pages: map[string]page{}, policy: ownPolicy, close: func() error { return nil }}
	config, err := json.Marshal(map[string]any{"domains": o.Domains, "websocket": o.WebSocket, "bosh": o.BOSH})
	if err != nil {
		return nil, fmt.Errorf("webchat: %w", err)
	}
	h.pages["/config.json"] = newPage("config.json", config)
	if o.Converse != "" {
		return h, h.useConverse(o.Converse)
	}
	return h, h.add(client, "client")
}

// Close gives back what the handler holds; nobody uses it any more.
func (h *Handler) Close() error { return h.close() }

// add takes in all files below a folder.
func (h *Handler) add(files fs.FS, folder string) error {
	return fs.WalkDir(files, folder, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(files, name)
		if err != nil {
			return fmt.Errorf("webchat: %w", err)
		}
		at := strings.TrimPrefix(name, folder)
		h.pages[at] = newPage(name, data)
		if at == "/index.html" {
			h.pages["/"] = h.pages[at]
		}
		return nil
	})
}

// kinds are told, not looked up: what a machine has registered for a suffix may
// keep browsers from running it.
var kinds = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".json": "application/json",
	".svg":  "image/svg+xml",
}

func kindOf(name string) string {
	suffix := path.Ext(name)
	if kind, ok := kinds[suffix]; ok {
		return kind
	}
	if kind := mime.TypeByExtension(suffix); kind != "" {
		return kind
	}
	return "application/octet-stream"
}

func newPage(name string, data []byte) page {
	sum := sha256.Sum256(data)
	p := page{kind: kindOf(name), data: data, etag: base64.RawURLEncoding.EncodeToString(sum[:12])}
	var zip bytes.Buffer
	w, _ := gzip.NewWriterLevel(&zip, gzip.BestCompression) // the level is one that there is
	if _, err := w.Write(data); err == nil && w.Close() == nil && zip.Len() < len(data)*9/10 {
		p.zip = zip.Bytes()
	}
	return p
}

// ServeHTTP serves one file, with the headers that keep the page to itself.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.protect(w.Header(), r.Host)
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "only GET and HEAD", http.StatusMethodNotAllowed)
		return
	}
	if p, ok := h.pages[r.URL.Path]; ok {
		p.serve(w, r)
	} else if h.converse != nil {
		h.converse.ServeHTTP(w, r)
	} else {
		http.NotFound(w, r)
	}
}

func (p page) serve(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Type", p.kind)
	header.Set("Cache-Control", "no-cache") // kept, but asked for by its ETag: a new server has a new client
	data, etag := p.data, p.etag
	if p.zip != nil {
		header.Set("Vary", "Accept-Encoding")
		if takesGzip(r.Header.Values("Accept-Encoding")) {
			header.Set("Content-Encoding", "gzip")
			data, etag = p.zip, p.etag+"-gzip"
		}
	}
	header.Set("ETag", `"`+etag+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}

// takesGzip reads Accept-Encoding (RFC 9110 12.5.3): whether gzip is named, and
// not with a weight of zero.
func takesGzip(values []string) bool {
	for coding := range strings.SplitSeq(strings.Join(values, ","), ",") {
		name, weight, _ := strings.Cut(coding, ";")
		if strings.EqualFold(strings.TrimSpace(name), "gzip") {
			weight = strings.ReplaceAll(weight, " ", "")
			return strings.TrimRight(strings.TrimPrefix(weight, "q="), "0.") != "" || weight == ""
		}
	}
	return false
}
