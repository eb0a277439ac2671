package adminapi

import (
	"net/http"
	"net/http/pprof"
)

// profiles mounts the profiles of net/http/pprof at their usual paths. Whoever
// may use the socket may see the memory of the process anyway. A profile over time
// has at most the time of a request: seconds=30.
func profiles(mux *http.ServeMux) {
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
}
