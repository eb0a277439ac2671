package webchat

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path"
	"strings"
)

// The page that starts converse.js.
//
//go:embed converse
var conversePage embed.FS

// CheckConverse says what is wrong with a folder that Options.Converse names.
func CheckConverse(folder string) error {
	root, err := openConverse(folder)
	if err != nil {
		return err
	}
	return root.Close()
}

func openConverse(folder string) (*os.Root, error) {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, fmt.Errorf("the folder of converse.js: %w", err)
	}
	for _, name := range []string{"dist/converse.min.js", "dist/converse.min.css"} {
		if info, err := root.Stat(name); err != nil || !info.Mode().IsRegular() {
			return nil, errors.Join(fmt.Errorf("%s is no npm package of converse.js: it has no file %s (after `npm install converse.js` it is node_modules/converse.js)", folder, name), root.Close())
		}
	}
	return root, nil
}

// useConverse has the handler serve an installed npm package of converse.js: its
// folder dist, and a page that starts it.
func (h *Handler) useConverse(folder string) error {
	root, err := openConverse(folder)
	if err != nil {
		return err
	}
	h.close = root.Close
	h.policy = conversePolicy
	dist, err := fs.Sub(root.FS(), "dist")
	if err != nil {
		return errors.Join(err, root.Close())
	}
	atRoot := http.FileServerFS(dist) // it asks for its WebAssembly beside the page
	below := http.StripPrefix("/dist", atRoot)
	h.converse = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		files := atRoot
		if strings.HasPrefix(r.URL.Path, "/dist/") {
			files = below
		}
		if info, err := fs.Stat(dist, strings.TrimPrefix(strings.TrimPrefix(path.Clean(r.URL.Path), "/dist"), "/")); err != nil || !info.Mode().IsRegular() {
			http.NotFound(w, r) // no lists of files
			return
		}
		w.Header().Set("Content-Type", kindOf(r.URL.Path))
		w.Header().Set("Cache-Control", "no-cache")
		files.ServeHTTP(w, r)
	})
	return h.add(conversePage, "converse")
}

// conversePolicy is what converse.js needs, and no more: it makes styles as it
// runs, and may compile WebAssembly. Pictures from elsewhere, the logos of its
// sponsors among them, are not loaded: a server of an intranet stays there.
func conversePolicy(host string) string {
	return "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; style-src 'self' 'unsafe-inline'; font-src 'self' data:; img-src 'self' data: blob:; media-src 'self' data: blob:; manifest-src 'self'; connect-src 'self'" + sockets(host) +
		"; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
}
