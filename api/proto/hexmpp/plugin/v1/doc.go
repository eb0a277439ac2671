// Package pluginv1 is the contract between hexmpp and its plugins, made of the
// .proto files beside this one, which have the words. Plugins in Go use package
// api/plugin instead.
//
// To make it anew, in the folder api/proto:
//
//	go run github.com/bufbuild/buf/cmd/buf@v1.75.0 generate
package pluginv1
