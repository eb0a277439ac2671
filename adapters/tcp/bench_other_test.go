//go:build !linux

package tcp

func childMain() bool { return false }
