//go:build !unix

package plugin

import "os"

// redirect returns the standard output, for the handshake line, and has what Go code prints
// there go where the log goes.
func redirect() (*os.File, error) {
	stdout := os.Stdout
	os.Stdout = os.Stderr
	return stdout, nil
}
