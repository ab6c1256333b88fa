package toolchain

import "runtime"

// Flags of the go command.
const (
	GCFlags = "-l -dwarf=false" // inlining nothing compiles a package of specifications in half the time
	LDFlags = "-s -w"
)

// Tags returns the build tags for a program that is run once, joined to these: on Linux and its like the standard library
// looks up names and users without C then, and the linker has a seventh less to do.
func Tags(tags string) string {
	switch runtime.GOOS {
	case "darwin", "windows": // they need no C for it
		return tags
	}
	return tags + ",netgo,osusergo"
}
