//go:build !linux

package spool

import "os"

// dataSync has what was written on disk.
func dataSync(f *os.File) error { return f.Sync() }
