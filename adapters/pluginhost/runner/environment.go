package runner

import (
	"os"
	"slices"
	"strconv"
	"strings"
)

// passed are the variables of the server that a plugin gets, too, if they are
// set. None of them is a place for a secret, and programs of many languages
// don't start without: HOME is where packages of a user are.
var passed = [...]string{"PATH", "HOME", "LANG", "LANGUAGE", "TZ", "TMPDIR"}

// environment is all that a plugin finds in its environment: what passed names,
// LC_*, what go-plugin told (the cookie, PLUGIN_*), LISTEN_FDS for what it
// inherits, GOMEMLIMIT below its limit, and what the configuration says.
func environment(spec *Spec, host, handshake []string) []string {
	vars := map[string]string{}
	for _, v := range host {
		key, value, _ := strings.Cut(v, "=")
		if slices.Contains(passed[:], key) || strings.HasPrefix(key, "LC_") {
			vars[key] = value
		}
	}
	if spec.Memory > 0 {
		// The collector of Go works harder near the limit, instead of meeting it.
		vars["GOMEMLIMIT"] = strconv.FormatInt(spec.Memory/10*9, 10)
	}
	for key, value := range spec.Env {
		vars[key] = value
	}
	if n := len(spec.Inherit); n > 0 {
		vars["LISTEN_FDS"] = strconv.Itoa(n)
		if len(spec.InheritNames) > 0 {
			vars["LISTEN_FDNAMES"] = strings.Join(spec.InheritNames, ":")
		}
	}
	for _, v := range handshake {
		key, value, _ := strings.Cut(v, "=")
		vars[key] = value
	}
	env := make([]string, 0, len(vars))
	for key, value := range vars {
		env = append(env, key+"="+value)
	}
	slices.Sort(env)
	return env
}

func hostEnvironment() []string { return os.Environ() }
