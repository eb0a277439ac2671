package config

import (
	"slices"
	"strings"
	"time"

	"github.com/hexmpp/hexmpp/ports/storage"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// Words that options choose between.
const (
	DriverSQLite   = "sqlite"
	DriverPostgres = "postgres"

	RegistrationClosed = "closed"
	RegistrationOpen   = "open"

	StrangersAllow  = "allow"
	StrangersRefuse = "refuse"

	RunInside  = "inside"
	RunProcess = "process"

	FormatAuto    = "auto"
	FormatConsole = "console"
	FormatJSON    = "json"
)

// Known lists the extensions that are part of hexmpp: what each is for, and the
// options of its own, if it has any.
var Known = []struct {
	Name, Doc string
	options   func(c *Config) []option
}{
	{"ping", "Answers pings (XEP-0199).", nil},
	{"version", "Tells the name and version of the server (XEP-0092).", versionOptions},
	{"time", "Tells the time of the server (XEP-0202).", nil},
	{"lastactivity", "Tells how long ago an account was available, to those who may see its presence, and how long the server runs (XEP-0012).", nil},
	{"vcard", "Keeps a vCard for each account (XEP-0054).", vcardOptions},
	{"private", "Keeps XML that an account stores for itself (XEP-0049).", privateOptions},
	{"blocking", "Lets users block others (XEP-0191).", blockingOptions},
	{"mam", "Keeps the messages of accounts, for all of their clients to read (XEP-0313).", mamOptions},
	{"carbons", "Copies messages to the other clients of an account that ask for it (XEP-0280).", nil},
	{"csi", "Holds back what an inactive client need not have at once (XEP-0352).", csiOptions},
	{"contact", "Tells how to reach those who run the server (XEP-0157).", contactOptions},
	{"register", "Lets users change their password and remove their account, and make one where registration.mode is open (XEP-0077).", nil},
}

// processes are the extensions that can run in a process of their own.
var processes = []string{"ping", "vcard", "private", "blocking"}

// options is the table of every option, bound to the fields of c.
func options(c *Config) []option {
	return []option{
		{key: "domains", value: many(&c.Domains, domain), preset: "localhost",
			doc: "The domains that the server hosts. Each has accounts of its own; the first is the default."},
		{key: "data", value: one(&c.Data, path), preset: "./hexmpp-data",
			doc: "Folder for everything that the server keeps: database, certificates, admin socket. It is made when it is missing. One server at a time uses it."},
		{key: "listen", section: listenOptions(&c.Listen),
			doc: "Addresses to listen on. Without this section: c2s on port 5222 and c2s-tls on port 5223 of every interface, or of the loopback addresses when there is no configuration file; s2s on port 5269 of every interface, or of 127.0.0.1; http on port 5280 of 127.0.0.1. With it: what it names and nothing else. Port 0 takes any free port, which the log tells."},
		{key: "tls", doc: "Encryption.", section: []option{
			{key: "certificates", value: one(&c.TLS.Certificates, path), note: "certificates in the data folder",
				doc: "Folder with certificates and keys in PEM. A domain without one gets a certificate that the server signs itself. Read again by SIGHUP and `hexmpp reload`."},
			{key: "required", value: one(&c.TLS.Required, boolean), preset: "true",
				doc: "Whether clients must encrypt before they log in. Set it to false for tests on loopback addresses only: passwords then travel as they are."},
		}},
		{key: "storage", doc: "Where accounts and everything else that must last is kept.", section: []option{
			{key: "driver", value: one(&c.Storage.Driver, choice(DriverSQLite, DriverPostgres)), preset: DriverSQLite,
				doc: "The database. SQLite is built in and needs nothing else; PostgreSQL, version 13 or later, is a server of its own."},
			{key: "dsn", value: one(&c.Storage.DSN, text), secret: true, note: "hexmpp.db in the data folder",
				doc: "The database file of SQLite, or the connection string of PostgreSQL: key=value pairs or a postgres:// URL. Over TCP it names sslmode: disable, require, verify-ca or verify-full. One server at a time uses a database."},
		}},
		{key: "registration", doc: "Accounts made by users themselves (XEP-0077).", section: []option{
			{key: "mode", value: one(&c.Registration.Mode, choice(RegistrationClosed, RegistrationOpen)), preset: RegistrationClosed,
				doc: "With open, anybody who can connect can make an account: five from one address at once, then one a minute, unless limits.rates is false. With closed, `hexmpp user add` makes them."},
			{key: "min-password", value: one(&c.Registration.MinPassword, number(1, 100)), preset: "1",
				doc: "How many characters a password must have that a user chooses here."},
		}},
		{key: "privacy", doc: "What is kept from those who are no contacts of an account.", section: []option{
			{key: "strangers", value: one(&c.Privacy.Strangers, choice(StrangersAllow, StrangersRefuse)), preset: StrangersAllow,
				doc: "Whether strangers may send requests to a client whose full address they know, such as offers of calls and files. With refuse, a client gets them only from contacts that are subscribed to the account's presence, from whom it sent its presence to, such as a room, and from the account and the server themselves (RFC 6121 8.5.3.1)."},
		}},
		{key: "limits", section: limitOptions(&c.Limits),
			doc: "Bounds on what a client can ask of the server."},
		{key: "admins", value: many(&c.Admins, account), preset: "[]",
			doc: "Accounts that may administer the server from their client: today, those that may use the plugin announce, unless its own options name others."},
		{key: "extensions", section: extensionOptions(c),
			doc: "The extensions that are part of hexmpp. All are on unless they are switched off here."},
		{key: "plugins", entries: pluginEntries(c),
			doc: "Plugins: extensions with a domain of their own, or made by others. Of those that are part of hexmpp, muc runs, announce where `admins` names somebody, and s2s unless s2s.mode is none, unless they are switched off here, or another plugin or a hosted domain has their domain; all others run if they are named."},
		{key: "s2s", section: s2sOptions(&c.S2S),
			doc: "Federation with other servers. It is the plugin s2s, whose options are here; bounds on its process are in plugins.s2s.limits."},
		{key: "http", section: httpOptions(&c.HTTP),
			doc: "What is served at listen.http and listen.https."},
		{key: "web", doc: "A chat for browsers, see docs/web-chat.md.", section: webOptions(&c.Web)},
		{key: "metrics", doc: "Metrics for Prometheus, at /metrics of listen.http.", section: []option{
			{key: "from", value: many(&c.Metrics.From, network), preset: "[127.0.0.0/8, '::1/128']",
				doc: "Networks from which they may be read; all others get the status 403."},
		}},
		{key: "log", doc: "The log, on standard error.", section: []option{
			{key: "level", value: one(&c.Log.Level, choice("debug", "info", "warn", "error")), preset: "info",
				doc: "The least important lines that are logged."},
			{key: "format", value: one(&c.Log.Format, choice(FormatAuto, FormatConsole, FormatJSON)), preset: FormatAuto,
				doc: "Lines to read, or one JSON object a line. With auto: console on a terminal, else json."},
		}},
	}
}

func listenOptions(l *Listen) []option {
	return []option{
		{key: "c2s", value: many(&l.C2S, address), note: "port 5222, see above",
			doc: "Clients that begin in clear and encrypt by STARTTLS (RFC 6120)."},
		{key: "c2s-tls", value: many(&l.C2STLS, address), note: "port 5223, see above",
			doc: "Clients that encrypt from the first byte (XEP-0368)."},
		{key: "http", value: many(&l.HTTP, address), note: "port 5280, see above",
			doc: "HTTP in clear: metrics (see the section metrics), at /health whether the server is up, and what the section http says. Clients log in here from this machine only, or through a proxy that is trusted and says that they came by HTTPS."},
		{key: "https", value: many(&l.HTTPS, address), note: "none",
			doc: "HTTP over TLS, with the certificates of the domains: the same as http, for clients anywhere."},
		{key: "s2s", value: many(&l.S2S, address), note: "port 5269, see above",
			doc: "Other servers, which begin in clear and encrypt by STARTTLS."},
		{key: "s2s-tls", value: many(&l.S2STLS, address), note: "none",
			doc: "Other servers that encrypt from the first byte (XEP-0368). An SRV record _xmpps-server tells them of it."},
	}
}

func httpOptions(h *HTTP) []option {
	return []option{
		{key: "websocket", value: one(&h.WebSocket, boolean), preset: "true",
			doc: "Whether clients can connect by WebSocket (RFC 7395), at /xmpp-websocket. /.well-known/host-meta and host-meta.json tell them so (XEP-0156)."},
		{key: "trusted-proxies", value: many(&h.Proxies, network), preset: "[127.0.0.0/8, '::1/128']",
			doc: "Networks of reverse proxies that tell the address of their client in X-Forwarded-For, and in X-Forwarded-Proto whether it came by https. A proxy on this machine that adds neither makes its clients look like programs of this machine, which may log in unencrypted."},
		{key: "origins", value: many(&h.Origins, text), preset: "[]",
			doc: "Web pages of other hosts that may connect, as https://chat.example.org; '*' lets those of all. Pages of the host that is connected to always may."},
		{key: "url", value: one(&h.URL, webURL), note: "from the request",
			doc: "How browsers reach this server, as https://chat.example.org, for what host-meta tells: needed if a proxy does not pass on the Host header."},
	}
}

// mostStanza bounds limits.stanza-bytes: with escapes in its start tag, and what the
// server adds, a stanza must have room in storage and in the spool.
const mostStanza = storage.MaxValue - 256<<10

func limitOptions(l *Limits) []option {
	const most = 1 << 30
	return []option{
		{key: "rates", value: one(&l.Rates, boolean), preset: "true",
			doc: "With false there is no limit on rates, nor on what comes from one address: for load tests. Sizes, depths and queues stay bounded."},
		{key: "stanza-bytes", value: one(&l.StanzaBytes, size(10_000, mostStanza)), preset: "256KiB",
			doc: "The largest stanza that is taken. What is stored of one has 1 MiB at most, so that no more than 768 KiB can be allowed."},
		{key: "stanza-bytes-unauthenticated", value: one(&l.StanzaBytesUnauthenticated, size(10_000, mostStanza)), preset: "16KiB",
			doc: "The largest element that is taken before login."},
		{key: "depth", value: one(&l.Depth, number(8, 255)), preset: "64",
			doc: "How deep the elements of a stanza may be nested."},
		{key: "attributes", value: one(&l.Attributes, number(8, 255)), preset: "32",
			doc: "How many attributes one element may have, namespace declarations included."},
		{key: "unauthenticated-time", value: one(&l.UnauthenticatedTime, duration(time.Second, time.Hour)), preset: "1m",
			doc: "How long a connection may take until it is logged in and has a resource, and how long a TLS handshake may take, in which some clients ask their user whether to trust the certificate."},
		{key: "unauthenticated-bytes", value: one(&l.UnauthenticatedBytes, size(10_000, most)), preset: "128KiB",
			doc: "How much a connection may send until it is logged in."},
		{key: "sasl-attempts", value: one(&l.SASLAttempts, number(1, 100)), preset: "5",
			doc: "How many failed logins one connection may make."},
		{key: "bind-attempts", value: one(&l.BindAttempts, number(1, 100)), preset: "10",
			doc: "How many times one connection may ask for a resource and be refused."},
		{key: "outbox-bytes", value: one(&l.OutboxBytes, size(64<<10, most)), preset: "4MiB",
			doc: "How much may wait for a client that reads too slowly, twice as much with what it did not acknowledge (XEP-0198), and eight times as much for those sessions of an account that hold a sixteenth or more; past it the session ends."},
		{key: "sessions-per-account", value: one(&l.SessionsPerAccount, number(1, 10_000)), preset: "100",
			doc: "How many sessions one account may have at a time."},
		{key: "unacknowledged", value: one(&l.Unacknowledged, number(10, 1_000_000)), preset: "1000",
			doc: "How many stanzas are written to a client ahead of its acknowledgements (XEP-0198). More wait, until twice `outbox-bytes` are unacknowledged or wait; without a connection none do: past it the session ends."},
		{key: "resume-time", value: one(&l.ResumeTime, duration(0, 24*time.Hour)), preset: "10m",
			doc: "How long a session whose connection broke waits for the client to resume it (XEP-0198), also over a planned restart of the server. With 0 it does not."},
		{key: "roster-items", value: one(&l.RosterItems, number(1, 1_000_000)), preset: "1000",
			doc: "How many contacts one account may have."},
		{key: "roster-requests", value: one(&l.RosterRequests, number(1, 1_000_000)), preset: "200",
			doc: "How many subscription requests of others may wait for an account's answer."},
		{key: "offline-messages", value: one(&l.OfflineMessages, number(0, 1_000_000)), preset: "1000",
			doc: "How many messages may wait for an account that is not online (XEP-0160); past it the sender is told to try later. With 0 none are stored, and go back to their senders."},
		{key: "connections", value: one(&l.Connections, number(1, 10_000_000)), preset: "100000",
			doc: "How many connections the server holds at a time."},
		{key: "connections-per-address", value: one(&l.ConnectionsPerAddress, number(1, 10_000_000)), preset: "1000",
			doc: "How many connections one IP address may have at a time; an IPv6 address counts as its /64 network."},
		{key: "connections-per-second", value: one(&l.ConnectionsPerSecond, number(0, 1_000_000)), preset: "50",
			doc: "How many connections one IP address (or /64 network of IPv6) may make a second, for long; ten seconds' worth may come at once. Who comes faster is served up to ten seconds later, or else refused. With 0 there is no limit."},
		{key: "bytes-per-second", value: one(&l.BytesPerSecond, size(0, most)), preset: "256KiB",
			doc: "How much one account may send a second, for long, all its sessions together. What comes faster is not refused: its connections are read more slowly. With 0 there is no limit."},
		{key: "bytes-burst", value: one(&l.BytesBurst, size(64<<10, most)), preset: "2MiB",
			doc: "How much of that may come at once, when the account has sent little before. With less than outbox-bytes nobody can end a session that reads by one burst."},
		{key: "stanzas-per-second", value: one(&l.StanzasPerSecond, number(0, 1_000_000)), preset: "300",
			doc: "How many stanzas one account may send a second, for long, all its sessions together; otherwise as bytes-per-second."},
		{key: "stanzas-burst", value: one(&l.StanzasBurst, number(100, 10_000_000)), preset: "10000",
			doc: "How many of them may come at once, when the account has sent few before."},
		{key: "subscription-requests-per-hour", value: one(&l.SubscriptionRequestsPerHour, number(0, 100_000)), preset: "500",
			doc: "How many others one account may ask an hour to subscribe to their presence, also at once. One more is answered with policy-violation, of type wait. With 0 there is no limit."},
		{key: "shutdown-time", value: one(&l.ShutdownTime, duration(0, 10*time.Minute)), preset: "10s",
			doc: "How long a stop waits until what is queued for clients has been sent."},
	}
}

func extensionOptions(c *Config) []option {
	c.Extensions = map[string]*Extension{}
	table := make([]option, len(Known))
	for i, known := range Known {
		e := &Extension{}
		c.Extensions[known.Name] = e
		own := []option{}
		if known.options != nil {
			own = known.options(c)
		}
		table[i] = option{key: known.Name, doc: known.Doc, section: []option{
			{key: "enabled", value: one(&e.Enabled, boolean), preset: "true",
				doc: "Whether it runs."},
			{key: "run", value: one(&e.Run, choice(RunInside, RunProcess)), preset: RunInside,
				doc: "Where it runs: inside the server, or in a process of its own, which may die without taking the server with it. A process is possible for " + strings.Join(processes, ", ") + "."},
			{key: "options", section: own,
				doc: "Options of the extension itself."},
		}}
	}
	return table
}

func vcardOptions(c *Config) []option {
	return []option{
		{key: "max-bytes", value: one(&c.VCard.MaxBytes, size(1024, 1<<20)), preset: "128KiB",
			doc: "The largest vCard that is kept, a photo in it included."},
	}
}

func privateOptions(c *Config) []option {
	return []option{
		{key: "max-bytes", value: one(&c.Private.MaxBytes, size(1024, 1<<20)), preset: "64KiB",
			doc: "How much is kept under one name."},
		{key: "max-elements", value: one(&c.Private.MaxElements, number(1, 10_000)), preset: "64",
			doc: "How many names one account may have."},
	}
}

func blockingOptions(c *Config) []option {
	return []option{
		{key: "max-items", value: one(&c.Blocking.MaxItems, number(1, 10_000)), preset: "1000",
			doc: "How many addresses one account may block."},
	}
}

func mamOptions(c *Config) []option {
	return []option{
		{key: "retention", value: one(&c.MAM.Retention, duration(0, 100*365*24*time.Hour)), preset: "8760h",
			doc: "How long messages are kept: a year unless it says otherwise. With 0 until the account is removed."},
		{key: "max-page", value: one(&c.MAM.MaxPage, number(1, 500)), preset: "250",
			doc: "How many messages a client gets at once."},
	}
}

func csiOptions(c *Config) []option {
	return []option{
		{key: "presence", value: one(&c.CSI.Presence, boolean), preset: "true",
			doc: "Whether presence of contacts and of occupants of rooms waits."},
		{key: "chat-states", value: one(&c.CSI.ChatStates, boolean), preset: "true",
			doc: "Whether messages wait that only say that somebody is typing, or not any more (XEP-0085)."},
		{key: "pep", value: one(&c.CSI.PEP, boolean), preset: "true",
			doc: "Whether events of contacts wait, such as moods and avatars (XEP-0163)."},
	}
}

func contactOptions(c *Config) []option {
	list := func(key string, to *[]string, what string) option {
		return option{key: key, value: many(to, text), preset: "[]", doc: "Addresses, as URIs such as mailto:abuse@example.test or xmpp:admin@example.test, " + what + "."}
	}
	return []option{
		list("abuse", &c.Contact.Abuse, "for reports of abuse"),
		list("admin", &c.Contact.Admin, "of those who run the server"),
		list("feedback", &c.Contact.Feedback, "for what users want to say"),
		list("sales", &c.Contact.Sales, "for sales and marketing"),
		list("security", &c.Contact.Security, "for security concerns"),
		list("status", &c.Contact.Status, "where the state of the service can be seen"),
		list("support", &c.Contact.Support, "for help"),
	}
}

func versionOptions(c *Config) []option {
	return []option{
		{key: "hide-version", value: one(&c.Version.HideVersion, boolean), preset: "false",
			doc: "Whether to keep the version of hexmpp to itself."},
		{key: "os", value: one(&c.Version.OS, text), preset: `""`,
			doc: "What to tell as the operating system; by default nothing is told."},
	}
}

// check finds what is wrong though each value by itself is right.
func check(c *Config, r *reader) {
	bad := func(path, format string, args ...any) {
		r.fail(r.lines[path], path+": "+format, args...)
	}
	if len(c.Domains) == 0 {
		bad("domains", "at least one domain is needed")
	}
	for i, d := range c.Domains {
		if slices.Contains(c.Domains[:i], d) {
			bad("domains", "%s is there twice", d)
		}
	}
	for _, a := range c.Admins {
		if !slices.Contains(c.Domains, a.Domain()) {
			bad("admins", "%s is not of a hosted domain", a)
		}
	}
	checkWeb(c, bad)
	for _, a := range c.Listen.C2STLS {
		if slices.Contains(c.Listen.C2S, a) && !anyPort(a) {
			bad("listen.c2s-tls", "%s is an address of listen.c2s already; give each its own port", a)
		}
	}
	if c.Storage.Driver == DriverPostgres && c.Storage.DSN == "" {
		bad("storage.driver", "PostgreSQL needs storage.dsn, such as \"host=/run/postgresql dbname=hexmpp user=hexmpp sslmode=disable\"")
	}
	const before = "limits.stanza-bytes-unauthenticated"
	if _, set := r.lines[before]; !set {
		c.Limits.StanzaBytesUnauthenticated = min(c.Limits.StanzaBytesUnauthenticated, c.Limits.StanzaBytes)
	} else if c.Limits.StanzaBytesUnauthenticated > c.Limits.StanzaBytes {
		bad(before, "more than stanza-bytes, which is %s", sizeText(c.Limits.StanzaBytes))
	}
	for _, known := range Known {
		if e := c.Extensions[known.Name]; e.Run == RunProcess && !slices.Contains(processes, known.Name) {
			bad("extensions."+known.Name+".run", "%s runs inside only: every message passes it, or it is part of logins; a process is possible for %s", known.Name, strings.Join(processes, ", "))
		}
	}
	checkPlugins(c, bad)
}

// Hosts reports whether the domain of j is one of ours.
func (c *Config) Hosts(j jid.JID) bool { return slices.Contains(c.Domains, j.Domain()) }
