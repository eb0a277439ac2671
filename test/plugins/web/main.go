// Command web is a plugin for tests: at /count, which is repeatable, it counts the words that it was sent, each once
// however often it is sent, in memory that outlives the process; at /who/ it says who asks.
//
// test/e2e starts it; it is no example of how a plugin is written.
package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"

	"github.com/hexmpp/hexmpp/api/plugin"
	"github.com/hexmpp/hexmpp/ports/extension"
)

func main() {
	p := plugin.Plugin{Version: "test", New: func([]byte) (extension.Registration, error) {
		return extension.Registration{
			Name: "web", Permissions: []extension.Permission{extension.ServeHTTP},
			HTTP: []extension.Route{
				{Path: "/count", Repeatable: true, Handler: http.HandlerFunc(count)},
				{Path: "/who/", Handler: http.HandlerFunc(who)},
			},
		}, nil
	}}
	os.Exit(plugin.Main(p, os.Args[1:]))
}

func who(w http.ResponseWriter, r *http.Request) {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	fmt.Fprint(w, host, " ", r.Header.Get("X-Forwarded-Proto"), " ", os.Getpid(), " ", err)
}

const maxWords = 10_000

// count notes a word, and says how many there are.
func count(w http.ResponseWriter, r *http.Request) {
	word, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	n := 0
	err = plugin.Do(r.Context(), "words", func(h *extension.Host) error {
		all, err := h.Memory.Scan(r.Context(), "", "", maxWords)
		if err != nil {
			return err
		}
		n = len(all)
		for _, e := range all {
			if e.Key == string(word) {
				return nil
			}
		}
		n++
		return h.Memory.Put(string(word), []byte{1})
	})
	switch {
	case errors.Is(err, plugin.ErrRelieved): // the server gives it to the next process
		panic(http.ErrAbortHandler)
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	default:
		fmt.Fprint(w, n)
	}
}
