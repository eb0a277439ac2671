package wire

import (
	"encoding/json"
	"encoding/xml"
	"net/http"
	"net/url"
	"strings"

	"github.com/hexmpp/hexmpp/adapters/httpd"
)

// webSocketPath is where clients connect by WebSocket.
const webSocketPath = "/xmpp-websocket"

// relWebSocket is the relation of a link to it (XEP-0156 2).
const relWebSocket = "urn:xmpp:alt-connections:websocket"

// hostMeta tells clients in browsers where they connect (XEP-0156, RFC 6415 3).
type hostMeta struct {
	url string // of the server, "" if requests tell
}

type metaLink struct {
	Rel  string `xml:"rel,attr" json:"rel"`
	Href string `xml:"href,attr" json:"href"`
}

// ServeHTTP answers in XML, or in JSON where the path says so.
func (m *hostMeta) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	links := m.links(r)
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*") // XEP-0156 3
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	var body []byte
	var err error
	if strings.HasSuffix(r.URL.Path, ".json") {
		h.Set("Content-Type", "application/json")
		body, err = json.Marshal(struct {
			Links []metaLink `json:"links"`
		}{links})
	} else {
		h.Set("Content-Type", "application/xrd+xml; charset=utf-8")
		body, err = xml.Marshal(struct {
			XMLName xml.Name   `xml:"http://docs.oasis-open.org/ns/xri/xrd-1.0 XRD"`
			Links   []metaLink `xml:"Link"`
		}{Links: links})
	}
	if err != nil {
		http.Error(w, "no links can be told", http.StatusInternalServerError)
		return
	}
	_, _ = w.Write(body) // who asked may have gone
}

// links are those that whoever sent r can use: where clients must not connect,
// because others could read along, there are none.
func (m *hostMeta) links(r *http.Request) []metaLink {
	base := &url.URL{Scheme: "https", Host: r.Host}
	switch client := httpd.ClientOf(r); {
	case m.url != "":
		u, err := url.Parse(m.url)
		if err != nil {
			return []metaLink{}
		}
		base = u
	case r.Host == "" || strings.ContainsAny(r.Host, "/\\@?#<>\"'& "):
		return []metaLink{}
	case r.TLS != nil || client.Proxied && client.Private:
	case client.Private:
		base.Scheme = "http"
	default:
		return []metaLink{}
	}
	scheme := "wss"
	if base.Scheme == "http" {
		scheme = "ws"
	}
	return []metaLink{{relWebSocket, (&url.URL{Scheme: scheme, Host: base.Host, Path: base.Path + webSocketPath}).String()}}
}
