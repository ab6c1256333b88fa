package opsconfig_test

import (
	"os"
	"strings"
	"testing"

	"github.com/kafka-katas/kafka-katas/ops/opsconfig"
)

// Whatever is written, Load gives a configuration or an error, and nothing in between.
func FuzzLoad(f *testing.F) {
	for _, yaml := range []string{
		"", "group: x\nsession_timeout: 45s\n", "retry:\n  backoff: {base: 1s}\n", "brokers: &a [*a]", "a: &a\n  b: *a\n", "<<: *x\n",
		"? [a]\n: b\n", "group: !!binary aGk=\n", "--- |\n text", "retry: {retry: {retry: 1}}", "\xff", "&a : b", "group: !<x> y", "{", "%YAML 9",
	} {
		f.Add(yaml, "L_GROUP=y\nL_DELAYS=1s,2s")
		f.Add(yaml, "L_=1\nL_GROUP\n=\nL_RETRY_=x\nL_RETRY=2\x00")
	}
	write(f, "")
	f.Fuzz(func(t *testing.T, yaml, environ string) {
		if err := os.WriteFile("config.yaml", []byte(yaml), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := opsconfig.Load(defaults(), "config.yaml", "L", strings.Split(environ, "\n"))
		if err != nil && diff(config{}, c) != "" {
			t.Errorf("both a configuration and %v", err)
		}
		if err == nil && c.hidden != defaults().hidden {
			t.Errorf("a field that has no key was changed")
		}
	})
}
