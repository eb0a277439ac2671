// Package config is the configuration of hexmpp: one YAML file, typed and
// strict. An unknown key is an error that names the nearest valid one; every
// error has its line, and all of them are told at once.
//
// The table in options.go is the one place that says which options there are,
// what they mean and what their defaults are. Reading, `hexmpp config show` and
// the reference page docs/configuration.md all go by it.
//
// Left out on purpose: environment variables are not expanded, YAML anchors and
// merge keys are refused, and there is one document in a file.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
)

// Config is a whole configuration; what the file leaves out has its default.
type Config struct {
	// File is where it was read from, "" if there was no file.
	File string

	Domains      []string // canonical; the first is the default
	Data         string   // absolute
	Listen       Listen
	TLS          TLS
	Storage      Storage
	Registration Registration
	Privacy      Privacy
	Limits       Limits
	Admins       []jid.JID             // bare
	Extensions   map[string]*Extension // every one of Known
	Version      Version
	VCard        VCard
	Private      Private
	Blocking     Blocking
	CSI          CSI
	Contact      Contact
	MAM          MAM
	Plugins      map[string]*Plugin // those that the file names, and bundled ones that run unless it says otherwise
	Announce     Announce
	Muc          Muc
	S2S          S2S
	HTTP         HTTP
	Web          Web
	Metrics      Metrics
	Log          Log

	lines map[string]int // path of an option -> line of the file that sets it
}

// Listen has the addresses to listen on, as HOST:PORT.
type Listen struct {
	C2S    []string // STARTTLS
	C2STLS []string // direct TLS
	HTTP   []string
	HTTPS  []string
	S2S    []string
	S2STLS []string // direct TLS
}

// TLS is about certificates and whether clients must encrypt.
type TLS struct {
	Certificates string // folder, absolute
	Required     bool
}

// Storage says where accounts and everything else is kept.
type Storage struct {
	Driver string
	DSN    string // a secret; for sqlite the database file, absolute
}

// Registration says who may make an account (XEP-0077).
type Registration struct {
	Mode        string
	MinPassword int // characters
}

// Privacy says what people may do who are no contacts of an account.
type Privacy struct{ Strangers string }

// Limits bound what peers can ask of the server.
type Limits struct {
	Rates                       bool
	StanzaBytes                 int
	StanzaBytesUnauthenticated  int
	Depth                       int
	Attributes                  int
	UnauthenticatedTime         time.Duration
	UnauthenticatedBytes        int
	SASLAttempts                int
	BindAttempts                int
	OutboxBytes                 int
	SessionsPerAccount          int
	Unacknowledged              int
	ResumeTime                  time.Duration
	RosterItems                 int
	RosterRequests              int
	OfflineMessages             int
	Connections                 int
	ConnectionsPerAddress       int
	ConnectionsPerSecond        int
	BytesPerSecond              int
	BytesBurst                  int
	StanzasPerSecond            int
	StanzasBurst                int
	SubscriptionRequestsPerHour int
	ShutdownTime                time.Duration
}

// Extension configures an extension that is part of hexmpp.
type Extension struct {
	Enabled bool
	Run     string
}

// VCard has the options of the extension vcard.
type VCard struct{ MaxBytes int }

// Private has the options of the extension private.
type Private struct{ MaxBytes, MaxElements int }

// Blocking has the options of the extension blocking.
type Blocking struct{ MaxItems int }

// CSI has the options of the extension csi: what is held back of inactive clients.
type CSI struct{ Presence, ChatStates, PEP bool }

// Contact has the options of the extension contact: lists of URIs.
type Contact struct{ Abuse, Admin, Feedback, Sales, Security, Status, Support []string }

// MAM has the options of the extension mam: how long messages are kept, 0 for ever,
// and how many a page has.
type MAM struct {
	Retention time.Duration
	MaxPage   int
}

// Version has the options of the extension version.
type Version struct {
	HideVersion bool
	OS          string
}

// HTTP says what is served at listen.http and listen.https, and to whom.
type HTTP struct {
	WebSocket bool
	Proxies   []netip.Prefix // whose word on their clients is taken
	Origins   []string       // of web pages of other hosts that may connect
	URL       string         // that clients use, "" if their requests tell
}

// Metrics says who may read the metrics.
type Metrics struct{ From []netip.Prefix }

// Log says what is logged, and how.
type Log struct {
	Level  string
	Format string
}

// maxFile bounds a configuration file, in bytes.
const maxFile = 1 << 20

// Load reads a configuration file. With path "" it returns what holds without
// one: a server for localhost that listens on loopback addresses only. Errors
// of the file's content are of type Errors.
func Load(path string) (*Config, error) {
	if path == "" {
		return withoutFile()
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no configuration file %s: name another one with --config, or leave it out to serve localhost with the defaults", path)
	}
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	return Parse(path, text)
}

// Parse is Load for the text of a file; path is used in errors, and relative
// paths in the text are relative to its folder.
func Parse(path string, text []byte) (*Config, error) {
	r := &reader{file: path, lines: map[string]int{}}
	if len(text) > maxFile {
		r.fail(0, "the file is larger than %d bytes", maxFile)
		return nil, r.errs
	}
	c := &Config{File: path, lines: r.lines}
	table := options(c)
	setDefaults(table)
	if root := r.parse(text); root != nil {
		r.section("", root, table)
	}
	if _, set := r.lines["listen"]; !set {
		c.Listen.C2S, c.Listen.C2STLS = []string{":5222"}, []string{":5223"}
		c.Listen.HTTP = httpDefault()
		c.Listen.S2S = []string{":5269"}
	}
	if len(r.errs) == 0 {
		check(c, r)
	}
	if len(r.errs) > 0 {
		r.errs.Sort()
		return nil, r.errs
	}
	if err := c.resolve(filepath.Dir(path)); err != nil {
		return nil, err
	}
	return c, nil
}

// withoutFile is the configuration that holds when no file is given.
func withoutFile() (*Config, error) {
	c := &Config{lines: map[string]int{}}
	setDefaults(options(c))
	c.Listen.C2S = []string{"127.0.0.1:5222", "[::1]:5222"}
	c.Listen.C2STLS = []string{"127.0.0.1:5223", "[::1]:5223"}
	c.Listen.HTTP = httpDefault()
	c.Listen.S2S = []string{"127.0.0.1:5269"}
	c.Web.Chat = true
	first, err := jid.New("admin", c.Domains[0], "") // the account that the first start makes
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	c.Admins = []jid.JID{first}
	checkPlugins(c, func(string, string, ...any) {})
	if err := c.resolve("."); err != nil {
		return nil, err
	}
	return c, nil
}

// httpDefault is where HTTP listens unless the file says otherwise.
func httpDefault() []string { return []string{"127.0.0.1:5280"} }

// resolve makes paths absolute; relative ones are relative to folder.
func (c *Config) resolve(folder string) error {
	base, err := filepath.Abs(folder)
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	in := func(path, preset string) string {
		switch {
		case path == "":
			return filepath.Join(c.Data, preset)
		case filepath.IsAbs(path):
			return filepath.Clean(path)
		}
		return filepath.Join(base, path)
	}
	c.Data = in(c.Data, "")
	c.TLS.Certificates = in(c.TLS.Certificates, "certificates")
	for _, p := range c.Plugins {
		p.resolve(in)
	}
	for i, name := range c.S2S.CAFiles {
		c.S2S.CAFiles[i] = in(name, "")
	}
	if p := c.Plugins["s2s"]; p != nil {
		p.Options = c.S2S.plugin() // now that paths are absolute
	}
	if c.Web.Converse != "" {
		c.Web.Converse = in(c.Web.Converse, "")
	}
	if c.Storage.Driver == DriverSQLite {
		c.Storage.DSN = in(c.Storage.DSN, "hexmpp.db")
	}
	return nil
}

// parse returns what the text is, nil if it is empty or wrong.
func (r *reader) parse(text []byte) *yaml.Node {
	loader, err := yaml.NewLoader(bytes.NewReader(text))
	if err != nil {
		r.fail(0, "not YAML: %v", err)
		return nil
	}
	var doc, second yaml.Node
	var bad *yaml.LoadError
	switch err := loader.Load(&doc); {
	case errors.Is(err, io.EOF):
		return nil
	case errors.As(err, &bad):
		r.fail(bad.Mark.Line, "not YAML: %s", bad.Message)
		return nil
	case err != nil:
		r.fail(0, "not YAML: %v", err)
		return nil
	}
	if err := loader.Load(&second); !errors.Is(err, io.EOF) {
		r.fail(second.Line, "there is a second document; a configuration is one")
		return nil
	}
	if len(doc.Content) == 0 || isNull(doc.Content[0]) {
		return nil
	}
	return doc.Content[0]
}
