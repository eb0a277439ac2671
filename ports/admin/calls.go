package admin

import (
	"context"
	"errors"
)

// Call is something that an extension can be asked by name. What it is, and what bounds it has, is with
// extension.Call.
type Call struct {
	Name string
	Help string // one line
	Args []CallArg
}

// CallArg is an argument of a Call. Optional ones are the last.
type CallArg struct {
	Name     string
	Optional bool
}

// ErrNoCall is wrapped where an extension has no call of a name.
var ErrNoCall = errors.New("admin: no such call")

// Calls asks extensions, wherever they run. An error wraps ErrNoPlugin where there is no
// extension of that name; one that could not be started with the server is none.
type Calls interface {
	// ListCalls returns the calls of an extension, in its order.
	ListCalls(ctx context.Context, extension string) ([]Call, error)
	// Call asks, and calls yield with each piece of the answer as it comes: valid UTF-8, without control
	// characters but line feeds and tabs, extension.MaxCallText together and a line that says so where more was
	// left out. It returns at the end, or with ctx, or after extension.MaxCallTime. An error of yield ends
	// the call, and is returned. Other errors are the extension's own, or say why it could not be asked, or not to
	// the end: then what it has done is not known, and it is not asked again.
	Call(ctx context.Context, extension, call string, args []string, yield func(text string) error) error
}
