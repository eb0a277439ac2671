package extension

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Bounds of calls.
const (
	MaxCalls        = 8               // of one extension that run at once
	MaxCallTime     = 5 * time.Minute // that a call may take
	MaxCallText     = 1 << 20         // bytes of what it writes; the rest is left out, and a line says so
	MaxCallArgs     = 16              // arguments
	MaxCallArgBytes = 8 << 10         // of all arguments together
)

// Call is something that an administrator asks the extension by name (admin.Calls): what it
// is doing, or to do something now. A call is no event: it has no ordering key and no
// Host, calls run side by side, and one that did not come to its end is not given again.
type Call struct {
	Name string // of lower-case letters, digits and hyphens: "probe"
	Help string // one line, 1,000 bytes at most
	// Args are names of its arguments, as help shows them. Optional ones are the last.
	Args []CallArg
	// Do does it. It is given as many args as Args has, or fewer if the last are Optional: valid UTF-8,
	// MaxCallArgBytes together. What it writes to out, which is text, the administrator sees at once;
	// a Write fails when nobody is there any more. An error is shown behind that. Do returns soon when ctx ends: when the caller has gone,
	// its time is over (MaxCallTime at most), or the extension is about to stop. It may be called by
	// any goroutine, MaxCalls times at once. ctx is one for plugin.Do.
	Do func(ctx context.Context, args []string, out io.Writer) error
}

// CallArg is an argument of a Call.
type CallArg struct {
	Name     string // as Call.Name: "domain"
	Optional bool
}

// Usage returns the call with its arguments as one line: "probe DOMAIN [FROM]".
func (c *Call) Usage() string {
	line := c.Name
	for _, a := range c.Args {
		name := strings.ToUpper(a.Name)
		if a.Optional {
			name = "[" + name + "]"
		}
		line += " " + name
	}
	return line
}

// CheckArgs says whether a call can be given these.
func (c *Call) CheckArgs(args []string) error {
	least, bytes := 0, 0
	for _, a := range c.Args {
		if !a.Optional {
			least++
		}
	}
	if len(args) < least || len(args) > len(c.Args) {
		return fmt.Errorf("%d arguments; it is called as: %s", len(args), c.Usage())
	}
	for _, a := range args {
		if bytes += len(a); bytes > MaxCallArgBytes {
			return fmt.Errorf("arguments have more than %d bytes together", MaxCallArgBytes)
		}
		if !utf8.ValidString(a) {
			return errors.New("an argument is not UTF-8")
		}
	}
	return nil
}

var callName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

// maxCallHelp is how long a line of help may be, in bytes.
const maxCallHelp = 1000

// CheckCalls says what is wrong with a registration's Calls. The kernel asks at start, and
// whoever reads a manifest.
func CheckCalls(calls []Call) error {
	seen := map[string]bool{}
	for i := range calls {
		c := &calls[i]
		switch {
		case !callName.MatchString(c.Name):
			return fmt.Errorf("call %q: a name is of lower-case letters, digits and hyphens, 63 at most", c.Name)
		case seen[c.Name]:
			return fmt.Errorf("call %q is there twice", c.Name)
		case c.Do == nil:
			return fmt.Errorf("call %q has no function", c.Name)
		case len(c.Help) > maxCallHelp || strings.ContainsFunc(c.Help, func(r rune) bool { return !unicode.IsPrint(r) }):
			return fmt.Errorf("call %q: its help is not one line of %d bytes at most", c.Name, maxCallHelp)
		case len(c.Args) > MaxCallArgs:
			return fmt.Errorf("call %q has %d arguments; %d are possible", c.Name, len(c.Args), MaxCallArgs)
		}
		seen[c.Name] = true
		for k, a := range c.Args {
			if !callName.MatchString(a.Name) {
				return fmt.Errorf("call %q: argument %q: a name is of lower-case letters, digits and hyphens, 63 at most", c.Name, a.Name)
			}
			if k > 0 && c.Args[k-1].Optional && !a.Optional {
				return fmt.Errorf("call %q: argument %q comes behind an optional one, and is not optional", c.Name, a.Name)
			}
		}
	}
	return nil
}
