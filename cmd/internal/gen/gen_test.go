package main

import (
	"os"
	"testing"

	"github.com/hexmpp/hexmpp/cmd/internal/config"
)

func TestReferenceIsCurrent(t *testing.T) {
	page, err := os.ReadFile("../../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(page) != config.Reference() {
		t.Error("docs/configuration.md is stale: run go run ./cmd/internal/gen")
	}
}
