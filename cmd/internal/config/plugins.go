package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// Plugin configures a plugin.
type Plugin struct {
	Bundled bool // it is part of hexmpp
	Enabled bool
	Run     string
	// Command is the program, absolute, and its arguments; empty for a bundled
	// plugin that is to run as what is in the binary of the server.
	Command []string
	Files   map[string]string // absolute path -> SHA-256
	// Domains are as they were written, "announce.$domain"; empty for those that the
	// plugin asks for.
	Domains []string
	// Permissions are what it is granted; nil, of a bundled plugin: what it asks for.
	Permissions []string
	Limits      PluginLimits
	Listen      map[string]string // name of a listener -> HOST:PORT
	Options     map[string]any    // of bundled plugins: all of them, with defaults
}

// OptionsJSON is Options as the plugin is given them.
func (p *Plugin) OptionsJSON() ([]byte, error) {
	text, err := json.Marshal(p.Options)
	if err != nil {
		return nil, fmt.Errorf("config: options of a plugin: %w", err)
	}
	return text, nil
}

// PluginLimits bound what a plugin in a process of its own may use.
type PluginLimits struct {
	Memory        int // bytes
	Queue         int // events that wait for it
	QueueBytes    int
	InFlight      int // events that it was given and has not answered
	InFlightBytes int
	GraceTime     time.Duration // that events wait while it is down
	StartTime     time.Duration
	DecideTime    time.Duration // of a verdict on a stanza
	DrainTime     time.Duration // that a process may go on with what it has, behind a reload
	LogLines      int           // a second

	// What the server has in its own memory for it, wherever it runs; see core.ExtensionLimits.
	Kept         int // bytes
	Groups       int
	Members      int // of all groups
	GroupMembers int // of one
}

// DefaultPluginLimits are those that hold where the file does not say otherwise, and
// those of extensions in processes of their own.
func DefaultPluginLimits() PluginLimits {
	p := Plugin{}
	setDefaults(pluginLimitOptions(&p.Limits))
	return p.Limits
}

// Announce has the options of the plugin announce.
type Announce struct {
	Admins           []jid.JID // bare; those of the server unless the file says otherwise
	MaxBytes         int
	MaxAnnouncements int
	MessageOfTheDay  bool
}

// BundledPlugin is a plugin that is part of hexmpp: what it is for, the domains that it has
// unless it is told others, and the options of its own.
type BundledPlugin struct {
	Name, Doc string
	Domains   string // "" if it has none
	options   func(c *Config) []option
	// section is the one of the file that has the options, if it is not plugins.NAME.options;
	// given is then what the plugin is given of them.
	section string
	given   func(c *Config) map[string]any
	process bool // it does not run inside
}

// Bundled lists the plugins that are part of hexmpp.
var Bundled = []BundledPlugin{
	{Name: "announce", Doc: "Lets administrators send announcements to users, from their client (XEP-0133).", Domains: "announce.$domain", options: announceOptions},
	{Name: "muc", Doc: "Chat rooms (XEP-0045).", Domains: "conference.$domain", options: mucOptions},
	{Name: "s2s", Doc: "Federation with other servers.", options: func(c *Config) []option { return s2sOptions(&c.S2S) }, section: "s2s", given: func(c *Config) map[string]any { return c.S2S.plugin() }, process: true},
}

// Muc has the options of the plugin muc.
type Muc struct {
	Admins       []jid.JID // bare; those of the server unless the file says otherwise
	Create       string
	LockNew      bool
	Public       bool
	Persistent   bool
	Archive      bool
	History      int
	MaxHistory   int
	MaxOccupants int
	MaxRooms     int
	Retention    int // days
	Rate         int // messages a second
	Burst        int
	MaxNick      int
	MaxMessage   int
	MaxPresence  int
}

func mucOptions(c *Config) []option {
	m := &c.Muc
	return []option{
		{key: "admins", value: many(&m.Admins, account), note: "`admins` of the server",
			doc: "Accounts that are owners of every room."},
		{key: "create", value: one(&m.Create, choice("local", "anybody", "admins")), preset: "local",
			doc: "Who may make rooms: accounts of this server, anybody, or admins."},
		{key: "lock-new-rooms", value: one(&m.LockNew, boolean), preset: "true",
			doc: "Whether a new room is locked until its owner has configured it, or asked for an instant room."},
		{key: "public", value: one(&m.Public, boolean), preset: "true",
			doc: "Whether new rooms are listed."},
		{key: "persistent", value: one(&m.Persistent, boolean), preset: "false",
			doc: "Whether new rooms stay when nobody is in them."},
		{key: "archive", value: one(&m.Archive, boolean), preset: "true",
			doc: "Whether new rooms keep what is said. It is what who enters is sent of the past."},
		{key: "history", value: one(&m.History, number(0, 500)), preset: "20",
			doc: "How many messages who enters is sent, unless the room or the client says otherwise; at most max-history."},
		{key: "max-history", value: one(&m.MaxHistory, number(0, 500)), preset: "500",
			doc: "The most of them that a room or a client may ask for."},
		{key: "max-occupants", value: one(&m.MaxOccupants, number(1, 1500)), preset: "1000",
			doc: "The most clients in one room."},
		{key: "max-rooms", value: one(&m.MaxRooms, number(1, 10_000)), preset: "100",
			doc: "How many rooms one account may have made; administrators make any number."},
		{key: "retention-days", value: one(&m.Retention, number(0, 36_500)), preset: "365",
			doc: "For how many days the messages of rooms are kept; with 0 for ever."},
		{key: "rate", value: one(&m.Rate, number(0, 10_000)), preset: "20",
			doc: "How many messages one account may send to a room a second, for long; with 0 any number. Admins and owners of the room may send any number."},
		{key: "burst", value: one(&m.Burst, number(1, 100_000)), preset: "200",
			doc: "How many of them may come at once."},
		{key: "max-nick", value: one(&m.MaxNick, size(1, 1023)), preset: "128",
			doc: "The longest nickname."},
		{key: "max-message", value: one(&m.MaxMessage, size(256, 256<<10)), preset: "64KiB",
			doc: "The longest message to a room."},
		{key: "max-presence", value: one(&m.MaxPresence, size(256, 8<<10)), preset: "4KiB",
			doc: "The longest presence in a room."},
	}
}

func announceOptions(c *Config) []option {
	return []option{
		{key: "admins", value: many(&c.Announce.Admins, account), note: "`admins` of the server",
			doc: "Accounts that may send announcements."},
		{key: "max-bytes", value: one(&c.Announce.MaxBytes, size(100, 64<<10)), preset: "10KiB",
			doc: "The longest announcement."},
		{key: "max-announcements", value: one(&c.Announce.MaxAnnouncements, number(1, 100)), preset: "10",
			doc: "How many announcements may be under way at a time."},
		{key: "message-of-the-day", value: one(&c.Announce.MessageOfTheDay, boolean), preset: "false",
			doc: "Whether there may be a message of the day, which each account gets once, when it is online. It costs a look-up each time that a client becomes available."},
	}
}

var pluginName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

func bundled(name string) int {
	for i := range Bundled {
		if Bundled[i].Name == name {
			return i
		}
	}
	return -1
}

func pluginEntries(c *Config) *entries {
	c.Plugins = map[string]*Plugin{}
	table := func(name string) []option { return pluginOptions(c, name, c.Plugins[name]) }
	return &entries{
		name: "NAME",
		add: func(name string) ([]option, error) {
			if !pluginName.MatchString(name) {
				return nil, errors.New("the name of a plugin is of lower-case letters, digits and hyphens, not " + quote(short(name)))
			}
			for _, known := range Known {
				if known.Name == name {
					return nil, fmt.Errorf("%s is an extension: it belongs to the section extensions", name)
				}
			}
			c.Plugins[name] = &Plugin{Bundled: bundled(name) >= 0}
			return table(name), nil
		},
		names: func() []string { return slices.Sorted(maps.Keys(c.Plugins)) },
		get:   table,
	}
}

// pluginOptions is the table of one plugin; name is "" for one that is not bundled.
func pluginOptions(c *Config, name string, p *Plugin) []option {
	own := []option{{key: "options", value: free(&p.Options), preset: "{}", doc: "Options of the plugin itself."}}
	if i := bundled(name); i >= 0 && Bundled[i].section != "" {
		own = nil
	} else if i >= 0 {
		own[0] = option{key: "options", section: Bundled[i].options(c), doc: own[0].doc}
	}
	return append([]option{
		{key: "enabled", value: one(&p.Enabled, boolean), preset: "true", doc: "Whether it runs."},
		{key: "run", value: one(&p.Run, choice(RunProcess, RunInside)), preset: RunProcess,
			doc: "Where it runs: in a process of its own, or, if it is part of hexmpp, inside the server."},
		{key: "command", value: many(&p.Command, text), preset: "[]",
			doc: "Program and arguments. The program is a path: absolute, or relative to the folder of the file. A plugin that is part of hexmpp needs none."},
		{key: "files", value: pairs(&p.Files, path, digest), preset: "{}",
			doc: "SHA-256 of files that must be as they were when it starts, by their paths."},
		{key: "domains", value: many(&p.Domains, text), note: "those that it asks for", open: true,
			doc: "Domains that it answers for; with $domain in it a name stands for one of each hosted domain."},
		{key: "permissions", value: many(&p.Permissions, choice(permissions()...)), note: "those that it asks for, if it is part of hexmpp; else none", open: true,
			doc: "What it may do besides answering for its own domains. A plugin that asks for more does not start, and says what is missing."},
		{key: "listen", value: pairs(&p.Listen, listener, address), preset: "{}",
			doc: "Where it listens: an address for each of its listeners, by their names, as hexmpp plugin describe shows them. The server binds them, and keeps them while its processes are replaced. A listener without an address is none."},
		{key: "limits", section: pluginLimitOptions(&p.Limits),
			doc: "Bounds on what its process may use."},
	}, own...)
}

func pluginLimitOptions(l *PluginLimits) []option {
	const most = 1 << 30
	return []option{
		{key: "memory", value: one(&l.Memory, size(16<<20, 1<<40)), preset: "256MiB",
			doc: "How much memory it may have, with all processes that it starts. Past it, it is ended and started again."},
		{key: "queue", value: one(&l.Queue, number(1, 1_000_000)), preset: "10000",
			doc: "How many events may wait for it. What comes then is answered with resource-constraint, of type wait."},
		{key: "queue-bytes", value: one(&l.QueueBytes, size(64<<10, most)), preset: "16MiB",
			doc: "How many bytes of them; otherwise as queue."},
		{key: "in-flight", value: one(&l.InFlight, number(1, 100_000)), preset: "1000",
			doc: "How many events it is given before it has answered the first of them. A plugin may ask for less."},
		{key: "in-flight-bytes", value: one(&l.InFlightBytes, size(64<<10, most)), preset: "4MiB",
			doc: "How many bytes of them; otherwise as in-flight."},
		{key: "grace-time", value: one(&l.GraceTime, duration(0, 10*time.Minute)), preset: "10s",
			doc: "How long events wait while it does not run. After that requests and messages are answered with service-unavailable, of type wait."},
		{key: "start-time", value: one(&l.StartTime, duration(time.Second, 5*time.Minute)), preset: "10s",
			doc: "How long it may take until it is ready. One that takes longer is ended and tried again."},
		{key: "decide-time", value: one(&l.DecideTime, duration(time.Millisecond, 5*time.Second)), preset: "250ms",
			doc: "How long it may take for a verdict on a stanza on its way, unless the plugin itself sets less. After that its policy holds: the stanza goes on, or is refused."},
		{key: "drain-time", value: one(&l.DrainTime, duration(0, 24*time.Hour)), preset: "1h",
			doc: "How long a process may go on with what has to come to an end by itself (a call, a download), when another one has taken its place. Few plugins have such things."},
		{key: "log-lines", value: one(&l.LogLines, number(1, 100_000)), preset: "100",
			doc: "How many lines it may log a second; more are counted and left out."},
		{key: "kept-memory", value: one(&l.Kept, size(1<<20, 1<<40)), preset: "64MiB",
			doc: "How many bytes the server keeps in its own memory for it, so that they outlive its processes. A plugin that asks for more has an error. This and what follows holds wherever it runs."},
		{key: "groups", value: one(&l.Groups, number(1, 100_000_000)), preset: "100000",
			doc: "How many groups it may have, whose members the server sends copies to. A room of a chat service is one."},
		{key: "members", value: one(&l.Members, number(1, 100_000_000)), preset: "500000",
			doc: "How many members all its groups may have together."},
		{key: "group-members", value: one(&l.GroupMembers, number(1, 1_000_000)), preset: "20000",
			doc: "How many members one group may have."},
	}
}

func permissions() []string {
	var words []string
	for _, p := range extension.Permissions() {
		words = append(words, string(p))
	}
	return words
}

// resolve makes paths absolute.
func (p *Plugin) resolve(in func(path, preset string) string) {
	if len(p.Command) > 0 {
		p.Command = slices.Clone(p.Command)
		p.Command[0] = in(p.Command[0], "")
	}
	files := make(map[string]string, len(p.Files))
	for path, sum := range p.Files {
		files[in(path, "")] = sum
	}
	p.Files = files
}

// checkPlugins finds what is wrong in plugins though each value by itself is right,
// and completes what depends on other sections.
func checkPlugins(c *Config, bad func(path, format string, args ...any)) {
	const admins = "plugins.announce.options.admins"
	_, set := c.lines[admins]
	for _, a := range c.Announce.Admins {
		if !c.Hosts(a) {
			bad(admins, "%s is not of a hosted domain", a)
		}
	}
	if !set {
		c.Announce.Admins = c.Admins
	}
	if _, set := c.lines["plugins.muc.options.admins"]; !set {
		c.Muc.Admins = c.Admins
	}
	if c.Muc.History > c.Muc.MaxHistory {
		bad("plugins.muc.options.history", "it is more than max-history, %d", c.Muc.MaxHistory)
	}
	completeS2S(c, bad)
	addBundled(c)
	taken := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(c.Plugins)) {
		p, at := c.Plugins[name], "plugins."+name
		if p.Bundled {
			p.Options = Bundled[bundled(name)].all(c)
		}
		switch {
		case !p.Bundled && len(p.Command) == 0:
			bad(at, "no plugin of this name is part of hexmpp%s: give the command that starts it", suggestPlugin(name))
		case p.Bundled && p.Run == RunInside && Bundled[bundled(name)].process:
			bad(at+".run", "%s runs in a process of its own, and nowhere else", name)
		case !p.Bundled && p.Run == RunInside:
			bad(at+".run", "only plugins that are part of hexmpp can run inside the server: %s", strings.Join(bundledNames(func(b BundledPlugin) bool { return !b.process }), ", "))
		case p.Run == RunInside && len(p.Command) > 0:
			bad(at+".command", "run is %s: there is nothing to start; leave one of the two out", RunInside)
		case len(p.Command) > 0 && (p.Command[0] == "" || strings.ContainsRune(p.Command[0], 0)):
			bad(at+".command", "%q is no path", short(p.Command[0]))
		case len(p.Command) > 0 && filepath.Base(p.Command[0]) == p.Command[0]:
			bad(at+".command", "%s is no path: name the program by one, such as /usr/bin/%s or ./%s; it is not searched for", quote(short(p.Command[0])), p.Command[0], p.Command[0])
		}
		if p.Run == RunInside && len(p.Listen) > 0 {
			bad(at+".listen", "run is %s: what listens is a process", RunInside)
		}
		if p.Run == RunInside && len(p.Files) > 0 {
			bad(at+".files", "run is %s: no files are started", RunInside)
		}
		if p.Enabled {
			checkPluginDomains(c, name, p, taken, bad)
		}
		for i, word := range p.Permissions {
			if slices.Contains(p.Permissions[:i], word) {
				bad(at+".permissions", "%s is there twice", word)
			}
		}
	}
}

// addBundled adds the plugins that are part of hexmpp and that the file does not name: muc, and
// announce where somebody may use it. One whose domain is in use already stays off.
func addBundled(c *Config) {
	if len(c.Announce.Admins) > 0 {
		addUnnamed(c, "announce")
	}
	addUnnamed(c, "muc")
	if c.S2S.Mode != FederateNone {
		addUnnamed(c, "s2s")
	}
}

func addUnnamed(c *Config, name string) {
	if _, named := c.Plugins[name]; named {
		return
	}
	var own []string
	var err error
	if written := Bundled[bundled(name)].Domains; written != "" {
		own, err = c.domainsOf(written)
	}
	if err != nil { // a hosted domain is so long that there is none below it
		return
	}
	for i, domain := range own {
		if slices.Contains(c.Domains, domain) || slices.Contains(own[:i], domain) {
			return
		}
	}
	for _, p := range c.Plugins {
		for _, written := range p.Domains {
			list, err := c.domainsOf(written)
			if err != nil || slices.ContainsFunc(list, func(d string) bool { return slices.Contains(own, d) }) {
				return
			}
		}
	}
	p := &Plugin{Bundled: true}
	setDefaults(pluginOptions(c, name, p))
	c.Plugins[name] = p
}

// domainsOf returns what a domain of a plugin stands for.
func (c *Config) domainsOf(written string) (list []string, err error) {
	hosted := c.Domains
	if !strings.Contains(written, "$domain") {
		hosted = []string{""}
	}
	for _, d := range hosted {
		name, err := domain.parse(strings.ReplaceAll(written, "$domain", d))
		if err != nil {
			return nil, err
		}
		list = append(list, name)
	}
	return list, nil
}

// checkPluginDomains checks the domains of a plugin, those that it asks for if it is
// bundled and is told no others. taken has those of plugins before.
func checkPluginDomains(c *Config, name string, p *Plugin, taken map[string]string, bad func(path, format string, args ...any)) {
	at, domains := "plugins."+name+".domains", p.Domains
	if len(domains) == 0 && p.Bundled && Bundled[bundled(name)].Domains != "" {
		at, domains = "plugins."+name, []string{Bundled[bundled(name)].Domains}
	}
	for _, written := range domains {
		list, err := c.domainsOf(written)
		if err != nil {
			bad(at, "%v: want a domain such as %s.$domain", err, name)
			continue
		}
		for _, d := range list {
			other, twice := taken[d]
			switch {
			case slices.Contains(c.Domains, d):
				bad(at, "%s is a hosted domain; a plugin has domains of its own", d)
			case twice && other == name:
				bad(at, "%s is there twice", d)
			case twice:
				bad(at, "%s is a domain of the plugin %s", d, other)
			}
			taken[d] = name
		}
	}
}

// all are the options that the plugin is given.
func (b *BundledPlugin) all(c *Config) map[string]any {
	if b.given != nil {
		return b.given(c)
	}
	out := map[string]any{}
	for _, o := range b.options(c) {
		out[o.key] = o.value.plain()
	}
	return out
}

func bundledNames(which func(b BundledPlugin) bool) []string {
	var names []string
	for _, b := range Bundled {
		if which(b) {
			names = append(names, b.Name)
		}
	}
	return names
}

func suggestPlugin(name string) string {
	if n := nearest(name, bundledNames(func(BundledPlugin) bool { return true })); n != "" {
		return fmt.Sprintf(" (did you mean %q?)", n)
	}
	return ""
}
