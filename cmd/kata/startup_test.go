package main

import (
	"os/exec"
	"strings"
	"testing"
)

// How long a command takes that runs no test, from its start to its end. The goal is 50 ms; go tool adds its own look at
// whether the tool is built.
//
//	go test -run '^$' -bench Startup ./cmd/kata
func BenchmarkStartup(b *testing.B) {
	for _, line := range []string{
		"version", "list", "next", "explain 07 1", "hint 07 1 --all", "debrief 07 --peek", "diff 07 --peek", "predict", "reset --help", "watch --help", "__complete test 07 ",
	} {
		b.Run(line, func(b *testing.B) {
			for b.Loop() {
				cmd := exec.Command("kata", strings.Split(line, " ")...)
				cmd.Dir = "../.."
				if out, err := cmd.CombinedOutput(); err != nil {
					b.Fatalf("%v\n%s", err, out)
				}
			}
		})
	}
}
