// Command hexmpp is the XMPP server and the tool to administer it.
//
// It exits with 0 when it did what it was asked, 1 when that failed, and 2 when
// the command line or the configuration is wrong.
package main

import (
	"context"
	"os"
)

func main() {
	if status, ok := asProcess(os.Args[1:]); ok {
		os.Exit(status)
	}
	os.Exit(run(context.Background(), os.Args[1:], stdio()))
}
