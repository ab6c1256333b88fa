package main

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"kata": main})
}

// The tool as people call it: what it prints, and its exit codes.
func TestScripts(t *testing.T) {
	// A script has an empty home; the go command it runs must find the caches that are warm.
	out, err := exec.Command("go", "env", "GOCACHE", "GOMODCACHE", "GOPATH", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	dirs := strings.Split(strings.TrimSpace(strings.ReplaceAll(string(out), "\r", "")), "\n")
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			for i, name := range []string{"GOCACHE", "GOMODCACHE", "GOPATH", "GOROOT"} {
				e.Setenv(name, dirs[i])
			}
			e.Setenv("GOFLAGS", "-buildvcs=false")
			// A PATH in which there is nothing but this tool.
			tool, err := exec.LookPath("kata")
			if err != nil {
				return err
			}
			e.Setenv("NOGO", filepath.Dir(tool))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
	})
}

// exits runs a command and compares its exit code: exits 1 kata check.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits code command [argument...]")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := "0"
	if exit, ok := err.(*exec.ExitError); ok {
		code = strings.TrimPrefix(exit.String(), "exit status ")
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if code != args[0] {
		ts.Fatalf("%s exited with %s, not %s", strings.Join(args[1:], " "), code, args[0])
	}
}

// Whoever looks for help finds what a command is for, and a call to copy.
func TestEveryCommandHasHelpWithAnExample(t *testing.T) {
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Example == "" || c.Short == "" || c.Long == "" {
			t.Errorf("%s lacks a description or an example", c.CommandPath())
		}
		if c.CommandPath() != "kata" && !strings.Contains(c.Example, "go "+"tool "+c.CommandPath()) {
			t.Errorf("no example calls %s", c.CommandPath())
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(newRoot())
}

// What --help says of exit codes: the same three everywhere, and where a command's differ in words, each is said.
func TestTheExitCodesAreInTheHelp(t *testing.T) {
	root := newRoot()
	if !strings.Contains(root.Long, "Exit codes: 0 all is well, 1 something is red, 2 a wrong call or environment.") {
		t.Error(root.Long)
	}
	for _, name := range []string{"test", "replay", "serve", "break", "doctor", "check"} { // those that can end with 1
		c, _, err := root.Find([]string{name})
		if err != nil || !regexp.MustCompile(`Exit codes: 0 .*, 1 .*, 2 `).MatchString(strings.ReplaceAll(c.Long, "\n", " ")) {
			t.Errorf("%s says nothing of its exit codes: %v", name, err)
		}
	}
}
