package webchat

import (
	"net/http"
	"regexp"
)

// protect sets the headers that keep the page to itself.
func (h *Handler) protect(header http.Header, host string) {
	header.Set("Content-Security-Policy", h.policy(host))
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer") // links in messages tell nobody where they were written
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	header.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
}

// hostname is what a Host header may be to get into a policy: an address or a
// name, perhaps a port. Nothing in it can end a source, or a directive.
var hostname = regexp.MustCompile(`^(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?$`)

// sockets are the sources of WebSockets of the page's own host. To browsers of
// today 'self' says that already; those before 2023 need it said.
func sockets(host string) string {
	if !hostname.MatchString(host) {
		return ""
	}
	return " ws://" + host + " wss://" + host
}

// ownPolicy is that of our client: nothing but its own files, nothing inline, no
// text becomes HTML, no other page may frame it.
func ownPolicy(host string) string {
	return "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'" + sockets(host) +
		"; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
}
