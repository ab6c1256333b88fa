package toolchain

import (
	"os"
	"runtime"
)

// LDFlags are the linker's flags.
const LDFlags = "-s -w"

// GCFlags returns the flags of the go command with which it compiles. A package of specifications takes half the time without
// inlining; what it imports is compiled once, and run often. The linker reads all that any package keeps for a debugger, if
// only to leave it out: it has a tenth less to do where there is nothing of it.
func GCFlags() []string { return []string{"-gcflags=all=-dwarf=false", "-gcflags=-l -dwarf=false"} }

// Tags returns the build tags for a program that is run once, joined to these: on Linux and its like the standard library
// looks up names and users without C then, and the linker has a seventh less to do. Stories on a real Kafka (KAFKA_BROKERS)
// find it by whatever names the system knows, and so with C.
func Tags(tags string) string {
	switch {
	case runtime.GOOS == "darwin", runtime.GOOS == "windows": // they need no C for it
		return tags
	case os.Getenv("KAFKA_BROKERS") != "":
		return tags
	}
	return tags + ",netgo,osusergo"
}
