package registry_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/hexmpp/hexmpp/ports/extension"
)

func TestHTTPPaths(t *testing.T) {
	route := func(name, path string, permissions ...extension.Permission) extension.Registration {
		return extension.Registration{Name: name, Permissions: permissions, HTTP: []extension.Route{{Path: path, Handler: http.NotFoundHandler()}}}
	}
	if _, err := newRegistry(t, route("a", "/a", extension.ServeHTTP), route("b", "/a/", extension.ServeHTTP)); err != nil {
		t.Error(err)
	}
	twice := route("a", "/a", extension.ServeHTTP)
	twice.HTTP = append(twice.HTTP, twice.HTTP[0])
	for want, regs := range map[string][]extension.Registration{
		"a and b both claim the HTTP path /a":       {route("a", "/a", extension.ServeHTTP), route("b", "/a", extension.ServeHTTP)},
		"does not ask for the permission":           {route("a", "/a")},
		"a claims the HTTP path /a twice":           {twice},
		"a claims the HTTP path /a and has no hand": {{Name: "a", Permissions: []extension.Permission{extension.ServeHTTP}, HTTP: []extension.Route{{Path: "/a"}}}},
	} {
		if _, err := newRegistry(t, regs...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
