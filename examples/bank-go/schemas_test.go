package main

import (
	"os"
	"testing"
)

// The protocol's schemas are copied here because only files below a module can be embedded.
func TestTheEmbeddedProtocolIsThePublishedOne(t *testing.T) {
	for _, name := range []string{"call", "reply", "discovery"} {
		published, err := os.ReadFile("../../evento/protocol/" + name + ".avsc")
		if err != nil {
			t.Fatal(err)
		}
		if string(published) != texts[name] {
			t.Errorf("protocol/%s.avsc is not evento/protocol/%s.avsc", name, name)
		}
	}
}
