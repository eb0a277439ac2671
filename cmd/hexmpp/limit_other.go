//go:build !unix

package main

// fileLimit: there are no such limits here.
func fileLimit() {}
