package wire

import (
	"fmt"
	"slices"

	"go.uber.org/fx"

	"github.com/hexmpp/hexmpp/adapters/extension/blocking"
	"github.com/hexmpp/hexmpp/adapters/extension/carbons"
	"github.com/hexmpp/hexmpp/adapters/extension/contact"
	"github.com/hexmpp/hexmpp/adapters/extension/csi"
	"github.com/hexmpp/hexmpp/adapters/extension/entitytime"
	"github.com/hexmpp/hexmpp/adapters/extension/lastactivity"
	"github.com/hexmpp/hexmpp/adapters/extension/mam"
	"github.com/hexmpp/hexmpp/adapters/extension/ping"
	"github.com/hexmpp/hexmpp/adapters/extension/private"
	"github.com/hexmpp/hexmpp/adapters/extension/register"
	"github.com/hexmpp/hexmpp/adapters/extension/vcard"
	"github.com/hexmpp/hexmpp/adapters/extension/version"
	"github.com/hexmpp/hexmpp/cmd/internal/config"
	"github.com/hexmpp/hexmpp/core/throttle"
	"github.com/hexmpp/hexmpp/ports/extension"
)

// Extensions are the extensions that run inside the server.
var Extensions = fx.Module("extensions", fx.Provide(newExtensions))

// extensions is what the kernel is given.
type extensions struct {
	Registrations []extension.Registration
	Order         extension.Order
}

// inside lists the extensions in the order in which they start, and are
// stopped in reverse. Each line has its reason.
var inside = []struct {
	name string // the key in the configuration
	make func(o Options) extension.Registration
}{
	// Accounts first: what starts later may find that one was just removed.
	{"register", func(o Options) extension.Registration {
		return register.New(registerOptions(o.Config))
	}},
	// The rest answers IQs and knows nothing of each other: any order would do.
	{"ping", func(Options) extension.Registration { return ping.New() }},
	{"version", func(o Options) extension.Registration {
		return version.New(version.Options{Version: o.Version, HideVersion: o.Config.Version.HideVersion, OS: o.Config.Version.OS})
	}},
	{"vcard", func(o Options) extension.Registration {
		return vcard.New(vcard.Options{MaxBytes: o.Config.VCard.MaxBytes})
	}},
	{"private", func(o Options) extension.Registration {
		return private.New(private.Options{MaxBytes: o.Config.Private.MaxBytes, MaxElements: o.Config.Private.MaxElements})
	}},
	{"blocking", func(o Options) extension.Registration {
		return blocking.New(blocking.Options{MaxItems: o.Config.Blocking.MaxItems})
	}},
	{"mam", func(o Options) extension.Registration { return mam.New(mam.Options(o.Config.MAM)) }},
	{"carbons", func(Options) extension.Registration { return carbons.New() }},
	{"csi", func(o Options) extension.Registration { return csi.New(csi.Options(o.Config.CSI)) }},
	{"contact", func(o Options) extension.Registration { return contact.New(contact.Options(o.Config.Contact)) }},
	{"time", func(Options) extension.Registration { return entitytime.New(entitytime.Options{}) }},
	{"lastactivity", func(Options) extension.Registration { return lastactivity.New() }},
}

func registerOptions(c *config.Config) register.Options {
	return register.Options{
		Open:        c.Registration.Mode == config.RegistrationOpen,
		Limiter:     throttle.NewLimiter(throttle.LimiterOptions{Disabled: !c.Limits.Rates}),
		MinPassword: c.Registration.MinPassword,
		Reserved:    c.Admins,
		AllowClear:  !c.TLS.Required,
	}
}

// order says in which order the extensions of a stage see a stanza. Each line has
// its reason.
var order = extension.Order{
	extension.Submit: {
		"blocking", // first: what is refused was not sent, and nobody copies or keeps it
		"mam",      // before carbons: copies have the ID of the archive
		"carbons",  // last: a copy has all that was added
	},
	extension.Deliver: {
		"blocking",     // first: what was refused did not come, and nobody copies or keeps it
		"lastactivity", // sees nothing but requests for it; behind blocking any place would do
		"mam",          // before carbons: copies have the ID of the archive
		"carbons",      // last: a copy has all that was added
	},
	extension.Write: {
		"csi", // last: what is held back goes out as it is, later
	},
	extension.Recall: {
		"blocking", // first: what is dropped does not come
	},
}

func newExtensions(o Options, procs *processes) (extensions, error) {
	x := extensions{Order: extension.Order{}}
	for _, e := range inside {
		c, known := o.Config.Extensions[e.name]
		if !known {
			return x, fmt.Errorf("extension %s is missing in config.Known", e.name)
		}
		if c.Enabled && c.Run == config.RunInside {
			x.Registrations = append(x.Registrations, e.make(o))
		}
	}
	plugins, err := pluginsInside(o.Config)
	if err != nil {
		return x, err
	}
	x.Registrations = append(x.Registrations, plugins...)
	x.Registrations = append(x.Registrations, procs.registrations...)
	for stage, names := range order {
		for _, name := range names {
			if o.Config.Extensions[name].Enabled {
				x.Order[stage] = append(x.Order[stage], name)
			}
		}
	}
	x.placePlugins()
	return x, nil
}

// placePlugins puts plugins that see stanzas into the order: behind blocking, since what
// was refused is none of theirs, and in front of all others, so that archives and copies
// have what they made of a message. Among each other they are in the order in which they
// start.
func (x *extensions) placePlugins() {
	for stage := extension.Submit; stage <= extension.Write; stage++ {
		at := 1 + slices.Index(x.Order[stage], "blocking")
		for i := range x.Registrations {
			reg := &x.Registrations[i]
			sees := slices.ContainsFunc(reg.Stages, func(h extension.StageHandler) bool { return h.Stage == stage })
			if sees && !slices.Contains(x.Order[stage], reg.Name) {
				x.Order[stage] = slices.Insert(x.Order[stage], at, reg.Name)
				at++
			}
		}
	}
}
