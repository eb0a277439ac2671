//go:build race

package harness

// Race says whether the tests run under the race detector; the binary is then
// built with it too.
const Race = true
