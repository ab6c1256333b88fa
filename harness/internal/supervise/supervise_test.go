package supervise_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScripts runs the test programs of testdata/shop, which do to their process what a program should not.
func TestScripts(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("no go command")
	}
	dir, err := filepath.Abs(filepath.Join("testdata", "shop"))
	if err != nil {
		t.Fatal(err)
	}
	program, untagged := shop(t, "-tags=synctests"), shop(t)
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(env *testscript.Env) error {
			for _, name := range []string{"HOME", "GOCACHE", "GOMODCACHE", "GOPATH", "GOPROXY", "GOFLAGS", "PATH", "GOROOT", "LocalAppData"} {
				if v, ok := os.LookupEnv(name); ok {
					env.Setenv(name, v)
				}
			}
			env.Setenv("SHOP", program)
			env.Setenv("UNTAGGED", untagged)
			env.Setenv("SHOPDIR", dir)
			empty := filepath.Join(filepath.Dir(dir), "empty")
			env.Setenv("EMPTY", empty)
			overlay, err := json.Marshal(map[string]map[string]string{"Replace": {
				filepath.Join(empty, "laid_test.go"): filepath.Join(filepath.Dir(dir), "laid", "laid_test.go"),
			}})
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(env.WorkDir, "overlay.json"), overlay, 0o600)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"sameButTimes": sameButTimes,
			"sameEvents":   sameEvents,
			"empty":        empty,
		},
	})
}

// shop builds the test programs.
func shop(t *testing.T, flags ...string) (program string) {
	t.Helper()
	program = filepath.Join(t.TempDir(), "shop.test")
	args := append([]string{"test", "-c", "-o", program}, flags...)
	if out, err := exec.Command("go", append(args, "./testdata/shop")...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

var times = regexp.MustCompile(`\(\d+\.\d\ds\)`)

// sameButTimes compares the last output with a file, durations aside.
func sameButTimes(ts *testscript.TestScript, neg bool, args []string) {
	blank := func(s string) string { return times.ReplaceAllString(s, "(0.00s)") }
	if got, want := blank(ts.ReadFile(args[0])), blank(ts.ReadFile(args[1])); (got == want) == neg {
		ts.Fatalf("got\n%s\nwant\n%s", got, want)
	}
}

// empty looks for what was left behind in a folder.
func empty(ts *testscript.TestScript, neg bool, args []string) {
	entries, err := os.ReadDir(ts.MkAbs(args[0]))
	ts.Check(err)
	if (len(entries) == 0) == neg {
		ts.Fatalf("in %s: %v", args[0], entries)
	}
}

// sameEvents compares what happened to which test in two outputs of go test -json.
func sameEvents(ts *testscript.TestScript, neg bool, args []string) {
	a, b := events(ts, args[0]), events(ts, args[1])
	if slices.Equal(a, b) == neg {
		ts.Fatalf("%s:\n%s\n%s:\n%s", args[0], strings.Join(a, "\n"), args[1], strings.Join(b, "\n"))
	}
}

func events(ts *testscript.TestScript, file string) (out []string) {
	for line := range strings.Lines(ts.ReadFile(file)) {
		var e struct{ Action, Test, Output, Key, Value string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			ts.Fatalf("%s: %v", line, err)
		}
		if e.Test != "" {
			out = append(out, strings.Join([]string{e.Action, e.Test, times.ReplaceAllString(e.Output, ""), e.Key, e.Value}, " "))
		}
	}
	return out
}
