// Command gen writes the pages of docs that are made from code: today
// docs/configuration.md, from the table of options. Run it in the root of the
// module: go run ./cmd/internal/gen
package main

import (
	"fmt"
	"os"

	"github.com/hexmpp/hexmpp/cmd/internal/config"
)

func main() {
	if err := os.WriteFile("docs/configuration.md", []byte(config.Reference()), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, "gen: run it in the root of the module:", err)
		os.Exit(1)
	}
}
