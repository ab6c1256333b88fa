// Package toolchain is how this course has the go command build a test program that is run once: what a learner waits for
// at each edit is the compiler and the linker. Nothing is inlined, nothing is kept for a debugger, nothing links C, and
// the compiler and the linker, which are short processes, collect no garbage before they hold a lot of it.
package toolchain

import (
	"slices"
	"strings"
)

// mark says in an environment that the settings beside it are Env's, and not the user's.
const mark = "KATA_GC=toolchain"

// settings put a collection off until the process holds 1 GiB.
var settings = []string{"GOGC=off", "GOMEMLIMIT=1GiB"}

// Env returns the environment for the go command. It is env itself when that says something about the garbage
// collector already. What the go command runs inherits it, which tests should not: give theirs to [Tests].
func Env(env []string) []string {
	if slices.ContainsFunc(env, says) {
		return env
	}
	return append(slices.Clone(env), append(settings, mark)...)
}

// Tests returns the environment without what Env has added to it.
func Tests(env []string) []string {
	if !slices.Contains(env, mark) {
		return env
	}
	return slices.DeleteFunc(slices.Clone(env), func(v string) bool { return v == mark || slices.Contains(settings, v) })
}

func says(v string) bool {
	name, _, _ := strings.Cut(v, "=")
	return name == "GOGC" || name == "GOMEMLIMIT"
}
