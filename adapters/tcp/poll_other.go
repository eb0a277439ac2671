//go:build !linux

package tcp

func newBackend(s *Server) (backend, error) { return newPortable(s), nil }
