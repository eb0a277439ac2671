package wire

import (
	"fmt"
	"slices"

	"github.com/hexmpp/hexmpp/api/plugin"
	"github.com/hexmpp/hexmpp/cmd/internal/config"
	"github.com/hexmpp/hexmpp/ports/extension"
)

// pluginsInside returns the registrations of plugins that run inside the server, in the order in
// which they start.
func pluginsInside(c *config.Config) ([]extension.Registration, error) {
	var list []extension.Registration
	for _, b := range config.Bundled {
		p := c.Plugins[b.Name]
		if p == nil || !p.Enabled || p.Run != config.RunInside {
			continue
		}
		options, err := p.OptionsJSON()
		if err != nil {
			return nil, err
		}
		reg, err := served[b.Name].New(options)
		if err != nil {
			return nil, err
		}
		reg = named(reg, p.Domains)
		if reg.Forget != nil || reg.Far != nil { // it goes by what is promised of ordering keys
			reg = plugin.Inside(reg)
		}
		list = append(list, reg)
	}
	return list, nil
}

// named gives a plugin's component other domains than those that it asks for.
func named(reg extension.Registration, domains []string) extension.Registration {
	if len(domains) == 0 || len(reg.Components) == 0 {
		return reg
	}
	own := reg.Components[0]
	reg.Components = nil
	for _, d := range domains {
		own.Domain = d
		reg.Components = append(reg.Components, own)
	}
	return reg
}

// checkPlugins finds what plugins that run inside know to be wrong. Those in processes of
// their own are asked at the start.
func checkPlugins(c *config.Config, note func(path string, err error)) {
	inside, err := pluginsInside(c)
	note("plugins", err)
	for i := range inside {
		reg := &inside[i]
		note("plugins."+reg.Name+".permissions", lacks(c.Plugins[reg.Name].Permissions, reg))
	}
}

// lacks says which permission a plugin is not granted that it asks for. nil grants all.
func lacks(granted []string, reg *extension.Registration) error {
	if granted == nil {
		return nil
	}
	for _, p := range reg.Permissions {
		if !slices.Contains(granted, string(p)) {
			return fmt.Errorf("%s needs %s, too; without this key it is granted what it needs", reg.Name, p)
		}
	}
	return nil
}
