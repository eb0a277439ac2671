package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/idna"

	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// The kinds of values, each with its parser and its way to print it.

var text = kind[string]{
	what:  "text",
	tags:  []string{"!!str"},
	parse: func(s string) (string, error) { return s, nil },
	text:  quote,
}

var webURL = kind[string]{
	what: "a URL such as https://chat.example.org",
	tags: []string{"!!str"},
	parse: func(s string) (string, error) {
		if s == "" {
			return "", nil
		}
		u, err := url.Parse(s)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
			return "", fmt.Errorf("%q", s)
		}
		return strings.TrimSuffix(s, "/"), nil
	},
	text: quote,
}

var path = kind[string]{
	what: "a path",
	tags: []string{"!!str"},
	parse: func(s string) (string, error) {
		if s == "" || strings.ContainsRune(s, 0) {
			return "", fmt.Errorf("%q is no path", s)
		}
		return s, nil
	},
	text: quote,
}

var boolean = kind[bool]{
	what: "true or false",
	tags: []string{"!!bool"},
	parse: func(s string) (bool, error) {
		switch s {
		case "true":
			return true, nil
		case "false":
			return false, nil
		}
		return false, fmt.Errorf("%q", s)
	},
	text: strconv.FormatBool,
}

// choice is one of a few words.
func choice(words ...string) kind[string] {
	return kind[string]{
		what: strings.Join(words, " or "),
		tags: []string{"!!str"},
		parse: func(s string) (string, error) {
			for _, w := range words {
				if s == w {
					return s, nil
				}
			}
			return "", fmt.Errorf("%q", short(s))
		},
		text: quote,
	}
}

// number is a count between least and most.
func number(least, most int) kind[int] {
	return kind[int]{
		what: fmt.Sprintf("a number from %d to %d", least, most),
		tags: []string{"!!int"},
		parse: func(s string) (int, error) {
			return within(s, s, least, most, 1)
		},
		text: strconv.Itoa,
	}
}

// units of sizes, the longest suffix first.
var units = []struct {
	suffix string
	factor int
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"B", 1}}

// size is a number of bytes, written as such or with a binary unit.
func size(least, most int) kind[int] {
	return kind[int]{
		what: fmt.Sprintf("bytes from %s to %s, such as 65536 or 64KiB", sizeText(least), sizeText(most)),
		tags: []string{"!!int", "!!str"},
		parse: func(s string) (int, error) {
			for _, u := range units {
				if digits, ok := strings.CutSuffix(s, u.suffix); ok {
					return within(s, strings.TrimSpace(digits), least, most, u.factor)
				}
			}
			return within(s, s, least, most, 1)
		},
		text: sizeText,
	}
}

func sizeText(n int) string {
	for _, u := range []int{2, 1, 0} {
		if f := units[u].factor; n >= f && n%f == 0 {
			return strconv.Itoa(n/f) + units[u].suffix
		}
	}
	return strconv.Itoa(n)
}

// within parses a decimal number, multiplies it and checks the bounds. s is the
// whole value, for errors.
func within(s, digits string, least, most, factor int) (int, error) {
	n, err := strconv.Atoi(digits)
	if err != nil {
		return 0, fmt.Errorf("%q", short(s))
	}
	if n < 0 || n > most/factor || n*factor < least {
		return 0, fmt.Errorf("%s is out of bounds", short(s))
	}
	return n * factor, nil
}

// duration is a time span in Go's notation.
func duration(least, most time.Duration) kind[time.Duration] {
	return kind[time.Duration]{
		what: fmt.Sprintf("a duration from %s to %s, such as 30s or 1m30s", durationText(least), durationText(most)),
		tags: []string{"!!str"},
		parse: func(s string) (time.Duration, error) {
			d, err := time.ParseDuration(s)
			if err != nil {
				return 0, fmt.Errorf("%q", short(s))
			}
			if d < least || d > most {
				return 0, fmt.Errorf("%s is out of bounds", s)
			}
			return d, nil
		},
		text: durationText,
	}
}

// durationText is d.String() without units that are zero: 1h, not 1h0m0s.
func durationText(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// domain is a hosted domain, in canonical form once parsed (RFC 7622 3.2).
var domain = kind[string]{
	what: "a domain such as example.org",
	tags: []string{"!!str"},
	parse: func(s string) (string, error) {
		j, err := jid.Parse(s)
		if err != nil {
			return "", fmt.Errorf("%q is no domain", short(s))
		}
		if j.Local() != "" || j.Resource() != "" {
			return "", fmt.Errorf("%q is an address, not a domain", short(s))
		}
		if _, err := idna.Lookup.ToASCII(j.Domain()); err != nil { // certificates are for DNS names
			return "", fmt.Errorf("%q is no name that DNS can have", short(s))
		}
		return j.Domain(), nil
	},
	text: quote,
}

// account is the bare JID of an account.
var account = kind[jid.JID]{
	what: "an account such as romeo@example.org",
	tags: []string{"!!str"},
	parse: func(s string) (jid.JID, error) {
		j, err := jid.Parse(s)
		if err != nil || j.Local() == "" || j.Resource() != "" {
			return jid.JID{}, fmt.Errorf("%q is no account", short(s))
		}
		return j, nil
	},
	text: func(j jid.JID) string { return quote(j.String()) },
}

// address is where to listen. The host is an IP address or empty, which means
// every interface; a name would be looked up once and bind to who knows what.
var address = kind[string]{
	what: `an address such as ":5222", "192.0.2.1:5222" or "[2001:db8::1]:5222"`,
	tags: []string{"!!str"},
	parse: func(s string) (string, error) {
		host, port, err := splitAddress(s)
		if err != nil {
			return "", err
		}
		if host == "localhost" {
			host = "127.0.0.1"
		}
		if host != "" && net.ParseIP(stripZone(host)) == nil {
			return "", fmt.Errorf("%q: the host is not an IP address", short(s))
		}
		return net.JoinHostPort(host, port), nil
	},
	text: quote,
}

// network is a range of addresses; one address is a network of one.
var network = kind[netip.Prefix]{
	what: `a network such as "192.0.2.0/24", or an address`,
	tags: []string{"!!str"},
	parse: func(s string) (netip.Prefix, error) {
		if addr, err := netip.ParseAddr(s); err == nil {
			return addr.Prefix(addr.BitLen())
		}
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return p, fmt.Errorf("%q is no network", short(s))
		}
		return p.Masked(), nil
	},
	text: func(p netip.Prefix) string { return quote(p.String()) },
}

// endpoint is where to connect to; the host may be a name.
var endpoint = kind[string]{
	what: "HOST:PORT",
	tags: []string{"!!str"},
	parse: func(s string) (string, error) {
		host, port, err := splitAddress(s)
		if err != nil {
			return "", err
		}
		if host == "" {
			return "", fmt.Errorf("%q has no host", short(s))
		}
		return net.JoinHostPort(host, port), nil
	},
	text: quote,
}

func splitAddress(s string) (host, port string, err error) {
	host, port, err = net.SplitHostPort(s)
	if err != nil {
		return "", "", fmt.Errorf("%q", short(s))
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return "", "", fmt.Errorf("%q: a port is a number from 0 to 65535", short(s))
	}
	return host, port, nil
}

// stripZone removes the zone of a link-local IPv6 address.
func stripZone(host string) string {
	addr, _, _ := strings.Cut(host, "%")
	return addr
}

// listener is the name of a listener of a plugin.
var listener = kind[string]{
	what: "the name of a listener",
	tags: []string{"!!str"},
	parse: func(s string) (string, error) {
		if !pluginName.MatchString(s) {
			return "", fmt.Errorf("%q: it is of lower-case letters, digits and hyphens", short(s))
		}
		return s, nil
	},
	text: quote,
}

var hexSHA256 = regexp.MustCompile(`^[0-9a-f]{64}$`)

var digest = kind[string]{
	what: "a SHA-256 in 64 lower-case hexadecimal digits",
	tags: []string{"!!str", "!!int", "!!float"},
	parse: func(s string) (string, error) {
		if !hexSHA256.MatchString(s) {
			return "", errors.New("no SHA-256")
		}
		return s, nil
	},
	text: quote,
}

// plainText is what YAML reads as text without quotes, whatever the parser.
var plainText = regexp.MustCompile(`^[A-Za-z/][A-Za-z0-9/._@-]*$`)

// quote writes a string as YAML.
func quote(s string) string {
	switch strings.ToLower(s) {
	case "true", "false", "yes", "no", "on", "off", "y", "n", "null":
	default:
		if plainText.MatchString(s) {
			return s
		}
	}
	return strconv.Quote(s)
}
