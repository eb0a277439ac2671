package wire

import (
	"maps"
	"slices"

	"github.com/hexmpp/hexmpp/adapters/extension/blocking"
	"github.com/hexmpp/hexmpp/adapters/extension/ping"
	"github.com/hexmpp/hexmpp/adapters/extension/private"
	"github.com/hexmpp/hexmpp/adapters/extension/vcard"
	"github.com/hexmpp/hexmpp/api/plugin"
	"github.com/hexmpp/hexmpp/plugins/announce"
	"github.com/hexmpp/hexmpp/plugins/muc"
	"github.com/hexmpp/hexmpp/plugins/s2s"
	"github.com/hexmpp/hexmpp/ports/extension"
)

// Options of extensions, as a process of theirs gets them.
type (
	vcardOptions struct {
		MaxBytes int `json:"max-bytes"`
	}
	privateOptions struct {
		MaxBytes    int `json:"max-bytes"`
		MaxElements int `json:"max-elements"`
	}
	blockingOptions struct {
		MaxItems int `json:"max-items"`
	}
)

// served are the extensions and plugins that hexmpp can be a process of, by the name in
// the configuration: `hexmpp plugin NAME`. None has the name of a command of hexmpp plugin.
var served = map[string]plugin.Plugin{
	"ping": plugin.Of(struct{}{}, func(struct{}) (extension.Registration, error) { return ping.New(), nil }),
	"vcard": plugin.Of(vcardOptions{}, func(o vcardOptions) (extension.Registration, error) {
		options := vcard.Options{MaxBytes: o.MaxBytes}
		return vcard.New(options), options.Validate()
	}),
	"private": plugin.Of(privateOptions{}, func(o privateOptions) (extension.Registration, error) {
		options := private.Options{MaxBytes: o.MaxBytes, MaxElements: o.MaxElements}
		return private.New(options), options.Validate()
	}),
	"blocking": plugin.Of(blockingOptions{}, func(o blockingOptions) (extension.Registration, error) {
		options := blocking.Options{MaxItems: o.MaxItems}
		return blocking.New(options), options.Validate()
	}),
	"announce": {
		Schema: func() (string, error) { return announce.Schema, nil },
		New: func(options []byte) (extension.Registration, error) {
			p := announce.New()
			if options == nil {
				return p.Registration(), nil
			}
			err := p.Configure(options)
			return p.Registration(), err
		},
	},
	"s2s": plugin.Of(s2s.Defaults, s2s.Registration),
	"muc": plugin.Of(muc.Defaults, func(o muc.Options) (extension.Registration, error) {
		s, err := muc.New(o)
		if err != nil {
			return extension.Registration{}, err
		}
		return s.Registration(), nil
	}),
}

func isServed(name string) bool { _, ok := served[name]; return ok }

// Served returns the names of the plugins that this program can be a process of.
func Served() []string { return slices.Sorted(maps.Keys(served)) }

// Serve is this program as a process of a plugin: it returns the exit status. false: there is no
// such plugin.
func Serve(name string, args []string, version string) (status int, ok bool) {
	p, ok := served[name]
	if !ok {
		return 0, false
	}
	p.Version = version
	return plugin.Main(p, args), true
}
