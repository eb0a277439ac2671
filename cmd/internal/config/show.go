package config

import (
	"fmt"
	"strings"
)

const redacted = `"(set, not shown)"`

// Show prints every effective value as YAML, and behind each where it came
// from. Secrets are not printed.
func (c *Config) Show() string {
	shown := *c // a copy: options() rebinds the maps of entries
	table := options(&shown)
	shown.Plugins = c.Plugins
	for name, e := range c.Extensions {
		*shown.Extensions[name] = *e
	}
	var lines [][2]string // text, origin
	c.show(&lines, "", "", table)

	width := 0
	for _, l := range lines {
		if n := len([]rune(l[0])); l[1] != "" && n <= 60 {
			width = max(width, n)
		}
	}
	var b strings.Builder
	for _, l := range lines {
		if l[1] == "" {
			fmt.Fprintln(&b, l[0])
			continue
		}
		fmt.Fprintf(&b, "%-*s  # %s\n", width, l[0], l[1])
	}
	return b.String()
}

func (c *Config) show(lines *[][2]string, indent, path string, table []option) {
	add := func(text, origin string) { *lines = append(*lines, [2]string{indent + text, origin}) }
	for _, o := range table {
		at := join(path, o.key)
		switch _, set := c.lines[at]; {
		case o.open && !set:
			add("# "+o.key+": ("+o.note+")", "")
		case o.value != nil:
			add(o.key+": "+c.shown(at, o), c.origin(at))
		case o.entries != nil:
			names := o.entries.names()
			if len(names) == 0 {
				add(o.key+": {}", c.origin(at))
				break
			}
			add(o.key+":", "")
			for _, name := range names {
				*lines = append(*lines, [2]string{indent + "  " + name + ":"})
				c.show(lines, indent+"    ", join(at, name), o.entries.get(name))
			}
		case len(o.section) == 0:
			add(o.key+": {}", "default")
		default:
			add(o.key+":", "")
			c.show(lines, indent+"  ", at, o.section)
		}
	}
}

func (c *Config) shown(path string, o option) string {
	if _, set := c.lines[path]; set && o.secret {
		return redacted
	}
	return o.value.text()
}

func (c *Config) origin(path string) string {
	if line, set := c.lines[path]; set {
		return fmt.Sprintf("%s:%d", c.File, line)
	}
	return "default"
}
