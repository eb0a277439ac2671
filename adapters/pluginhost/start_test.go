//go:build unix

package pluginhost

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/hexmpp/hexmpp/adapters/pluginhost/runner"
	"github.com/hexmpp/hexmpp/ports/admin"
	"github.com/hexmpp/hexmpp/ports/extension"
	"github.com/hexmpp/hexmpp/ports/xmpp/jid"
	"github.com/hexmpp/hexmpp/ports/xmpp/stanza"
)

// TestRefused: what a plugin says of itself and what is configured for it are checked
// before the server starts; the error says what to do.
func TestRefused(t *testing.T) {
	for name, c := range map[string]struct {
		words string
		set   func(*Plugin)
		key   string // of a ConfigError
		want  string
	}{
		"another name":                        {words: "name=war", want: `calls itself "war"`},
		"no manifest":                         {words: "nothing", want: "without a manifest"},
		"a huge manifest":                     {words: "huge", want: "Describe: "},
		"far domains":                         {words: "far", want: `far_domains: to claim them takes the permission "far-domains"`},
		"listeners":                           {words: "listens", want: "listeners[0].network: udp: it does not work yet"},
		"a permission that is none":           {words: "wants=fly", want: `the permission "fly", which there is not; there are send-as-account, `},
		"a domain that is not ours":           {words: "domain=evil.test", key: "plugins.raw.domains", want: "write: domains: [evil.test]"},
		"no use for what it does not ask for": {words: "unwanted", want: "unwanted_notices[0]: the manifest does not ask for NOTICE_KIND_BECAME_AVAILABLE"},
		"small frames":                        {words: "frames=1000", want: "max_plugin_frame_bytes: 1000 bytes"},
		"a schema that is none":               {words: `schema={"type":7}`, want: "options_schema"},
		"a schema elsewhere":                  {words: `schema={"$ref":"file:///etc/passwd"}`, want: "options_schema"},
		"a permission that is not granted": {words: "wants=send-as-account,list-accounts", set: func(p *Plugin) { p.Permissions = []string{"list-accounts"} },
			key: "plugins.raw.permissions", want: "asks for send-as-account, which it is not granted; this line grants it: permissions: [send-as-account, list-accounts]"},
		"nothing is granted to outsiders": {words: "wants=send-as-account", set: func(p *Plugin) { p.Bundled = false }, key: "plugins.raw.permissions", want: "permissions: [send-as-account]"},
		"options of another type":         {set: func(p *Plugin) { p.Options = []byte(`{"rooms": {"max": "many"}}`) }, key: "plugins.raw.options.rooms.max", want: "integer"},
		"options that there are not":      {set: func(p *Plugin) { p.Options = []byte(`{"greting": "x"}`) }, key: "plugins.raw.options", want: "greting"},
		"options that it can't use":       {set: func(p *Plugin) { p.Options = []byte(`{"greeting": "rude"}`) }, key: "plugins.raw.options.greeting", want: "be polite"},
		"another protocol":                {words: "protocol=2", want: "version"},
		"dies at the start":               {words: "die-at-start", want: "about to die at start"},
		"dies at Describe":                {words: "die-at-describe", want: "Describe: "},
		"hangs at the start":              {words: "hang-at-start", want: "can't be started"},
		"hangs at Describe":               {words: "hang-at-describe", want: "DeadlineExceeded"},
		"hangs at Configure":              {words: "hang-at-configure", want: "DeadlineExceeded"},
		"refuses Configure":               {words: "refuse-at-configure", want: "Configure: no configure today (FailedPrecondition)"},
		"refuses a Session":               {words: "refuse-at-session", want: "no session today"},
		"hangs in a Session":              {words: "hang-at-session", want: "answer no beat"},
		"takes one stream":                {words: "streams=1", want: "session 1 of 2"},
		"a schema that leads to itself":   {words: `schema={"$ref":"#"}`, want: "leads to itself"},
		"is ill":                          {words: "ill", want: "NOT_SERVING"},
		"no program":                      {set: func(p *Plugin) { p.Command = runner.Command{Path: "/nonexistent/program"} }, want: "/nonexistent"},
		"another file":                    {set: func(p *Plugin) { p.Files = map[string]string{"words": strings.Repeat("0", 64)} }, want: "words"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, c.words)
			r.conf.Limits.StartTime = 30 * time.Second
			if strings.HasPrefix(c.words, "hang") || strings.HasPrefix(c.words, "streams") {
				r.conf.Limits.StartTime = time.Second
			}
			if c.set != nil {
				c.set(&r.conf)
			}
			err := r.prepare()
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "raw") {
				t.Errorf("error %v, want %q", err, c.want)
			}
			var config *ConfigError
			if errors.As(err, &config) != (c.key != "") || c.key != "" && config.Key != c.key {
				t.Errorf("the key is %+v, want %s", config, c.key)
			}
		})
	}
}

// TestCheck: a configuration is compared with what its plugins say, and nothing is left.
func TestCheck(t *testing.T) {
	for name, c := range map[string]struct {
		words string
		set   func(*Plugin)
		key   string
		want  string
	}{
		"well":                             {},
		"options that don't fit":           {set: func(p *Plugin) { p.Options = []byte(`{"rooms": {"max": 0}}`) }, key: "plugins.raw.options.rooms.max", want: "minimum"},
		"options that it would refuse":     {set: func(p *Plugin) { p.Options = []byte(`{"greeting": "rude"}`) }}, // it is not asked
		"a permission that is missing":     {words: "wants=send-as-account", set: func(p *Plugin) { p.Bundled = false }, key: "plugins.raw.permissions", want: "permissions: [send-as-account]"},
		"a domain":                         {words: "domain=evil.test", key: "plugins.raw.domains", want: "domains: [evil.test]"},
		"another name":                     {words: "name=war", key: "plugins.raw", want: `calls itself "war"`},
		"no program":                       {set: func(p *Plugin) { p.Bundled, p.Command = false, runner.Command{Path: "/nonexistent/program"} }, key: "plugins.raw", want: "/nonexistent"},
		"dies at the start":                {words: "die-at-start", key: "plugins.raw", want: "it can't be started: plugin raw: start: it exited with status 7"},
		"hangs at Describe":                {words: "hang-at-describe", set: func(p *Plugin) { p.Limits.StartTime = time.Second }, key: "plugins.raw", want: "DeadlineExceeded"},
		"a schema that leads to itself":    {words: `schema={"$ref":"#"}`, key: "plugins.raw", want: "leads to itself"},
		"what a start would meet and more": {words: "die-at-configure die-at-session"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, c.words)
			if c.set != nil {
				c.set(&r.conf)
			}
			r.opts.Plugins = []Plugin{r.conf}
			err := Check(t.Context(), r.opts, zap.NewNop())
			var config *ConfigError
			if (err != nil) != (c.key != "") || c.key != "" && (!errors.As(err, &config) || config.Key != c.key || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%+v, want %s of %s", err, c.want, c.key)
			}
			if _, err := os.Stat(r.opts.Data); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the data folder: %v", err)
			}
		})
	}
}

// TestOutsider: a plugin that is not part of hexmpp and can't be started stops no server,
// and everybody can see that.
func TestOutsider(t *testing.T) {
	r := newRig(t, "die-at-describe")
	r.conf.Bundled = false
	if err := r.prepare(); err != nil || len(r.regs) != 0 {
		t.Fatalf("%v, %v", r.regs, err)
	}
	if i := r.info(); i.State != admin.PluginFailed || !strings.Contains(i.Detail, "restart the server") {
		t.Errorf("%+v", i)
	}
	for _, do := range []func() error{
		func() error { return r.host.EnablePlugin(t.Context(), "raw") },
		func() error { return r.host.ReloadPlugin(t.Context(), "raw") },
	} {
		if err := do(); err == nil || !strings.Contains(err.Error(), "restart the server") {
			t.Error(err)
		}
	}
	if err := r.host.EnablePlugin(t.Context(), "war"); !errors.Is(err, admin.ErrNoPlugin) {
		t.Error(err)
	}
	if len(r.log.FilterMessage("the plugin can't be started; the server goes on without it").All()) != 1 {
		t.Error("the log does not say it")
	}
}

// TestDiesBeforeTheStart: the process of the beginning ends before the kernel starts.
func TestDiesBeforeTheStart(t *testing.T) {
	r := newRig(t, "")
	if err := r.prepare(); err != nil {
		t.Fatal(err)
	}
	p := r.host.plugins[0]
	p.instances()[0].proc.Kill()
	r.until("without a process", func(i admin.PluginInfo) bool { return i.PID == 0 })
	if err := r.begin(); err != nil {
		t.Fatal(err)
	}
	r.expect("hello", "hello")
}

// TestDiesAtActivate: a bundled plugin that does not begin to act stops the server; another
// one is started again.
func TestDiesAtActivate(t *testing.T) {
	for _, words := range []string{"die-at-activate", "refuse-at-activate", "hang-at-activate"} {
		t.Run(words, func(t *testing.T) {
			r := newRig(t, words)
			r.conf.Limits.StartTime = 3 * time.Second
			if err := r.prepare(); err != nil {
				t.Fatal(err)
			}
			if err := r.begin(); err == nil {
				t.Error("no error")
			}
			r = newRig(t, words)
			r.conf.Limits.StartTime = 3 * time.Second
			r.conf.Bundled = false
			if err := r.prepare(); err != nil {
				t.Fatal(err)
			}
			if err := r.begin(); err != nil {
				t.Error(err)
			}
			r.say("")
			r.until("ready", func(i admin.PluginInfo) bool { return i.State == admin.PluginReady })
			r.expect("hello", "hello")
		})
	}
}

// TestDomains: the configuration gives a component other domains, one or several.
func TestDomains(t *testing.T) {
	r := newRig(t, "tell-configuration")
	r.conf.Domains = []string{"x.$domain", "raw.a.test"}
	r.start()
	if i := r.info(); !slices.Equal(i.Domains, []string{"x.a.test", "x.b.test", "raw.a.test"}) || len(r.regs[0].Components) != 2 {
		t.Errorf("%+v", i)
	}
	if !slices.ContainsFunc(r.host.plugins[0].ring.Last(10), func(e runner.Entry) bool {
		return strings.Contains(e.Message, "components [x.a.test x.b.test raw.a.test]")
	}) {
		t.Error("the plugin was told something else")
	}
	for i := range 2 {
		s := stanza.Raw(stanza.Header{Kind: stanza.Message, Type: "chat", ID: "1", From: romeo, To: jid.MustParse("raw.a.test")}, "", "<body>hello</body>", nil)
		o := &owner{end: make(chan result, 1)}
		if err := r.regs[0].Remote.Dispatch(&extension.RemoteEvent{Kind: extension.ToComponent, Handler: i, Component: -1, Key: "k", At: time.Now(), Envelope: extension.Envelope{Stanza: s}, Owner: o}); err != nil {
			t.Fatal(err)
		}
		if e := r.wait(o.end); e.err != nil || len(e.texts) != 1 {
			t.Errorf("component %d: %+v", i, e)
		}
	}
}
