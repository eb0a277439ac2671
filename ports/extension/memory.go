package extension

import "context"

// Memory is an ordered map in the memory of the kernel, the extension's own. It is
// for what must outlive the extension's process but not a kill of the server: it is
// kept over a planned restart, with groups and timers, and empty after any other end.
//
// Put and Delete are effects. All of a handler are done at once, when its writes are
// committed, and before anything is answered or sent. Each of these moments counts the
// extension's revision up by one.
type Memory interface {
	// Get returns ok == false if there is no such entry. Its Revision is that of when it
	// was put, 0 for what this handler puts. Like all reads it sees the handler's own
	// effects.
	Get(ctx context.Context, key string) (e Entry, ok bool, err error)
	// Scan returns at most limit entries whose key begins with prefix, in byte
	// order, starting behind the key after.
	Scan(ctx context.Context, prefix, after string, limit int) ([]Entry, error)
	// Put keeps value, which is not to be changed any more. ErrBound when the memory
	// would be too large (64 MiB, unless it is configured otherwise; each entry counts
	// with 64 bytes beside key and value), when what this handler puts is (8 MiB), the
	// key (1 to 1,024 bytes) or the value (1 MiB).
	Put(key string, value []byte) error
	Delete(key string)
}
