package supervise

import (
	"os"
	"runtime/debug"
	"strings"

	"github.com/kafka-katas/kafka-katas/harness/internal/stacks"
)

// Learner returns a test for the files of the package under test, by its directory and by its import path: under
// -overlay there may be no such directory, and with -trimpath none in the names. Further dirs may be given.
func Learner(dirs ...string) func(file string) bool {
	if wd, err := os.Getwd(); err == nil {
		dirs = append(dirs, wd)
	}
	if pkg := packagePath(); pkg != "" {
		// In a checkout the directories below the module's root are those of the import path.
		if info, ok := debug.ReadBuildInfo(); ok && info.Main.Path != "" {
			pkg = strings.TrimPrefix(pkg, info.Main.Path+"/")
		}
		dirs = append(dirs, pkg)
	}
	return stacks.Within(dirs...)
}

// packagePath is the import path of the package under test, "" if it was named by files.
func packagePath() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	pkg := strings.TrimSuffix(info.Path, ".test")
	if pkg == "command-line-arguments" {
		return ""
	}
	return pkg
}
