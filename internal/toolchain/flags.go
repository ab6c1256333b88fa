package toolchain

import (
	"os"
	"runtime"
)

// Flags of the go command.
const (
	GCFlags = "-l -dwarf=false" // inlining nothing compiles a package of specifications in half the time
	LDFlags = "-s -w"
)

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
