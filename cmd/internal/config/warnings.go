package config

import (
	"net"
	"net/netip"
	"slices"
	"strings"
)

// Warnings tells what is set but has no effect in this version, and what is
// allowed but unwise; one line each.
func (c *Config) Warnings() []string {
	var w []string
	unused := func(path, what string) {
		if _, set := c.lines[path]; set {
			w = append(w, path+" is set, but this version of hexmpp has no "+what+" yet; it has no effect")
		}
	}
	switch announce := c.Plugins["announce"]; {
	case announce == nil || !announce.Enabled:
		unused("admins", "other administration from clients than the plugin announce, which is off")
	case len(c.Announce.Admins) == 0:
		w = append(w, "plugins.announce has nobody who may use it: name accounts in admins, or in plugins.announce.options.admins")
	}
	if c.S2S.Mode == FederateAllow && len(c.S2S.Allow) == 0 {
		w = append(w, "s2s.mode is allow, and s2s.allow names nobody: there is no federation")
	}
	switch listens := len(c.Listen.S2S)+len(c.Listen.S2STLS) > 0; {
	case c.S2S.Mode == FederateNone && listens:
		w = append(w, "listen.s2s has no effect, since s2s.mode is none")
	case c.S2S.Mode != FederateNone && !listens:
		w = append(w, "listen has neither s2s nor s2s-tls; no other server can connect, nor ask whether a dialback key is right")
	}
	if len(c.Listen.C2S)+len(c.Listen.C2STLS) == 0 {
		w = append(w, "listen has neither c2s nor c2s-tls; no client can connect")
	}
	if open := slices.DeleteFunc(slices.Clone(c.Listen.C2S), loopback); !c.TLS.Required && len(open) > 0 {
		w = append(w, "tls.required is false and listen.c2s is open to the network ("+strings.Join(open, ", ")+
			"); passwords may travel unencrypted")
	}
	return w
}

// loopback reports whether a listening address can be reached from this
// machine only.
func loopback(address string) bool {
	host, _, _ := net.SplitHostPort(address)
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

func anyPort(address string) bool {
	_, port, _ := net.SplitHostPort(address)
	return port == "0"
}
