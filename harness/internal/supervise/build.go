package supervise

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/kafka-katas/kafka-katas/internal/toolchain"
)

// errSaid is an error that has been printed.
var errSaid = errors.New("said before")

const withTag = "pass -tags synctests yourself, as `go tool kata` does"

// rebuild builds the package under test with the tag synctests, otherwise as this binary was built, and returns the
// new test binary.
func rebuild(dir string) (program string, err error) {
	goCommand, err := exec.LookPath("go")
	if err != nil {
		return "", fmt.Errorf("the tests need the build tag synctests, and there is no go command here to build them with it; %s", withTag)
	}
	pkg := packagePath()
	if pkg == "" {
		pkg = "."
	}
	program = filepath.Join(dir, filepath.Base(os.Args[0]))
	cmd := exec.Command(goCommand, append(append([]string{"test", "-c", "-o", program}, buildFlags()...), pkg)...)
	cmd.Env = toolchain.Env(os.Environ())
	out, err := cmd.CombinedOutput()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%sharness: the package cannot be built with the tag synctests, which its tests need\n", out)
		return "", errSaid
	}
	if _, err := os.Stat(program); err != nil {
		return "", fmt.Errorf("%s has no tests on disk, so they cannot be built again with the tag synctests. If they were laid over with -overlay, %s", pkg, withTag)
	}
	return program, nil
}

// buildFlags repeat how this binary was built, as far as it knows. The environment's GOFLAGS are inherited.
func buildFlags() []string {
	tags, gcflags, ldflags := toolchain.Tags("synctests"), "-gcflags="+toolchain.GCFlags, toolchain.LDFlags
	if direct() {
		gcflags = "" // what is measured is compiled as it will run
	}
	var out []string
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "-tags":
				tags = s.Value + "," + tags
			case "-ldflags":
				ldflags = s.Value + " " + ldflags
			case "-gcflags":
				gcflags = s.Key + "=" + s.Value
			case "-asmflags", "-asan", "-msan":
				out = append(out, s.Key+"="+s.Value)
			case "-trimpath":
				out = append(out, "-trimpath")
			}
		}
	}
	if gcflags != "" {
		out = append(out, gcflags)
	}
	out = append(out, "-tags="+strings.Trim(tags, ","), "-ldflags="+ldflags)
	if raced {
		out = append(out, "-race")
	}
	if mode := testing.CoverMode(); mode != "" {
		out = append(out, "-cover", "-covermode="+mode)
	}
	return out
}
