//go:build cost

package config

// The plugin of package wire that plugins are measured with.
func init() {
	Bundled = append(Bundled, struct {
		Name, Doc string
		Domains   string
		options   func(c *Config) []option
	}{"cost", "For measurements: what plugins cost.", "cost.$domain", func(*Config) []option { return nil }})
}
