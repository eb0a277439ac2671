//go:build cost

package config

// The plugin of package wire that plugins are measured with.
func init() {
	Bundled = append(Bundled, BundledPlugin{
		Name: "cost", Doc: "For measurements: what plugins cost.", Domains: "cost.$domain",
		options: func(*Config) []option { return nil },
	})
}
