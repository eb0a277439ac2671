package config

import (
	"fmt"
	"strings"
)

// unknownKey is the text of the error about a key that no option has.
func unknownKey(path, key string, table []option) string {
	known := make([]string, len(table))
	for i, o := range table {
		known[i] = o.key
	}
	text := fmt.Sprintf("unknown key %q", short(key))
	if path != "" {
		text += " in " + path
	}
	if n := nearest(key, known); n != "" {
		return fmt.Sprintf("%s, did you mean %q?", text, n)
	}
	if len(known) == 0 {
		return text + ": nothing can be set here"
	}
	return text + ", known are " + strings.Join(known, ", ")
}

// nearest returns the candidate that takes the fewest edits to reach from s, ""
// if each takes more than a typing error would.
func nearest(s string, candidates []string) string {
	best, least := "", max(2, len(s)/3)+1
	if len(s) > 64 {
		return ""
	}
	for _, c := range candidates {
		if d := edits(s, c); d < least && d < len(c) {
			best, least = c, d
		}
	}
	return best
}

// edits is the number of insertions, deletions, replacements and swaps of
// neighbours that turn a into b (optimal string alignment).
func edits(a, b string) int {
	before := make([]int, len(b)+1) // row i-2
	above := make([]int, len(b)+1)  // row i-1
	row := make([]int, len(b)+1)
	for j := range above {
		above[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(above[j]+1, row[j-1]+1, above[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, above, row = above, row, before
	}
	return above[len(b)]
}
