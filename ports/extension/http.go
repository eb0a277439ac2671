package extension

import (
	"net/http"
	"time"
)

// Route is a path of the server's HTTP listeners that an extension answers for, with the permission ServeHTTP. The
// server keeps listeners and connections; requests go to the process that acts. One registration has a path.
type Route struct {
	// Path is that of the requests, or begins theirs if it ends in a slash, as in http.ServeMux.
	Path string
	// Repeatable: a request may be handled more than once, and counts once. It is kept whole (at most RouteBytes), and so is
	// its answer; when a process dies or is replaced while it handles one, the next process is given
	// it again, and the client has one answer.
	Repeatable bool
	// Handler answers. Its requests have the client's address as RemoteAddr, the header X-Forwarded-Proto with "http" or
	// "https", and a context for plugin.Do, which ends with the process, with the client's connection, and after
	// RouteTime. Of a Repeatable one also when another process acts: what it answers then nobody
	// hears. It runs from the end of Start on. A Remote brings one of its own.
	Handler http.Handler
}

// Bounds of requests to a Route.
const (
	RouteBytes = 1 << 20           // of a body; larger ones are refused with 413
	RouteTime  = 150 * time.Second // from the last byte of a request to its answer
)
