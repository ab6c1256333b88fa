//go:build unix

package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kafka-katas/kafka-katas/internal/ptytest"
)

var record = flag.String("record", "", "write each screen of the scripted session into this file")

// aClone is a copy of what lesson 07 needs of the course, outside of it.
func aClone(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	clone := filepath.Join(t.TempDir(), "clone")
	for _, dir := range []string{"katas/lesson07", "solutions/lesson07", "harness", "ops", "internal/login", "internal/toolchain"} {
		if err := os.CopyFS(filepath.Join(clone, dir), os.DirFS(filepath.Join(root, dir))); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(clone, file), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return clone
}

// A learner goes through the first five steps of lesson 07 and looks at nothing but watch. What is typed is the solution in
// pieces, as a learner comes to it: a step, a misprint, and one classic mistake after the other.
func TestALearnerGoesThroughFiveStepsOfLesson07WithWatchAlone(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds lesson 07 again and again")
	}
	clone := aClone(t)
	kata, solution := filepath.Join(clone, "katas", "lesson07"), filepath.Join(clone, "solutions", "lesson07")
	env := []string{"TERM=xterm-256color", "GOFLAGS=-buildvcs=false", "KATA_ALL=", "KAFKA_BROKERS=", "DISPLAY=", "WAYLAND_DISPLAY="}
	screen := ptytest.New(t, 80, 24)
	var screens strings.Builder
	var saved time.Time
	see := func(pattern string) {
		t.Helper()
		text := screen.Shows(pattern)
		fmt.Fprintf(&screens, "%s\n%s\n", strings.Repeat("=", 80), strings.TrimRight(text, "\n "))
		if !saved.IsZero() {
			t.Logf("%5.2fs from saving to %q", time.Since(saved).Seconds(), pattern)
			saved = time.Time{}
		}
	}
	press := func(key string) {
		fmt.Fprintf(&screens, "%s\n[key %s]\n", strings.Repeat("=", 80), key)
		screen.Press(key)
	}
	// save has the files of the solution, with a mistake in them.
	save := func(mistake string, files ...string) {
		t.Helper()
		fmt.Fprintf(&screens, "%s\n[saved: %s %s]\n", strings.Repeat("=", 80), strings.Join(files, " "), mistake)
		desk := t.TempDir()
		for _, file := range files {
			text, err := os.ReadFile(filepath.Join(solution, file))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(desk, file), text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if mistake != "" {
			cmd := exec.Command("git", "apply", filepath.Join(solution, "mistakes", mistake+".patch"))
			cmd.Dir = desk
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", mistake, err, out)
			}
		}
		for _, file := range files {
			if err := os.Rename(filepath.Join(desk, file), filepath.Join(kata, file)); err != nil {
				t.Fatal(err)
			}
		}
		saved = time.Now()
	}
	all := []string{"config.go", "consumer.go", "partition.go", "rebalance.go", "stats.go"}

	cmd := screen.Start(clone, env, "kata", "watch", "07")
	see(`RED not written yet  step 1: A configuration says everything`)
	press("h")
	see(`Hint for step 1 \(1 of 3\)`)
	press("n")
	see(`What kgo|Its|valid`)

	if err := os.WriteFile(filepath.Join(kata, "config.go"), []byte("package lesson07\n\nfunc misprint( {\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	see(`NOT BUILT  step 1`)
	save("", "config.go")
	see(`a consumer without a handler is refused`)
	const unwritten = "\treturn nil, errors.New(\"lesson07: New is not written yet\")\n"
	stub := filepath.Join(kata, "consumer.go")
	text, err := os.ReadFile(stub)
	if err != nil || !strings.Contains(string(text), unwritten) {
		t.Fatalf("the stub of New is not what it was: %v", err)
	}
	written := "\tif handle == nil {\n\t\treturn nil, errors.New(\"a handler is needed\")\n\t}\n\tif err := cfg.Validate(); err != nil {\n\t\treturn nil, err\n\t}\n"
	if err := os.WriteFile(stub, []byte(strings.Replace(string(text), unwritten, written+unwritten, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	see(`RED not written yet  step 2: One member handles every record`)
	save("skips_a_failed_record", all...)
	see(`RED LOST  step 2: One member handles every record`)
	press("t")
	see(`\.katas/reports/TestStep02_\w+\.html`)
	// What worked in step 2 was written for step 2.
	solved, err := os.ReadFile(filepath.Join(solution, "consumer.go"))
	if err != nil || !strings.Contains(string(solved), "ConsumerGroup(cfg.Group)") {
		t.Fatalf("the solution does not name its group as it did: %v", err)
	}
	save("", "config.go", "partition.go", "rebalance.go", "stats.go")
	if err := os.WriteFile(stub, []byte(strings.Replace(string(solved), "ConsumerGroup(cfg.Group)", `ConsumerGroup("validation")`, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	see(`RED \w+  step 3: Every group sees every record`)
	save("balances_by_range", all...)
	see(`RED UNBALANCED  step 4: Members share the partitions evenly`)
	save("takes_no_partitions_for_unready", all...)
	see(`RED MISREPORTED  step 5: A spare member is healthy`)
	press("d")
	see(`the solution comes after green`)
	save("", all...)
	see(`GREEN  every step is green`)
	press("d")
	see(`Your code is the solution, to the letter`)
	press("q")
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if *record != "" {
		if err := os.WriteFile(*record, []byte(screens.String()), 0o644); err != nil {
			t.Error(err)
		}
	}
}

// A screen reader, and a terminal that cannot be redrawn, get lines: by a flag, by what the reader's owner has set, and by what
// the terminal says of itself. Nothing moves the cursor, and q ends it.
func TestLinesAreHadInEachWayInATerminal(t *testing.T) {
	root, say := aSmallCourse(t)
	say("one")
	for name, c := range map[string]struct {
		env  string
		args []string
	}{
		"the flag": {"X=", []string{"watch", "07", "--plain"}}, "ACCESSIBLE": {"ACCESSIBLE=1", []string{"watch", "07"}}, "a dumb terminal": {"TERM=dumb", []string{"watch", "07"}},
	} {
		t.Run(name, func(t *testing.T) {
			screen := ptytest.New(t, 80, 24)
			cmd := screen.Start(root, append(slices.Clone(ttyEnv), c.env), "kata", c.args...)
			screen.Shows(`keys, each with Enter: n next`)
			screen.Shows(`lesson07 step 2 is red: REORDERED \(1 of 2 steps green`)
			screen.Press("n\n")
			screen.Shows(`What is judged:`)
			screen.Press("q\n")
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
			if strings.Contains(screen.Raw(), "\x1b") {
				t.Errorf("there are escape sequences: %q", screen.Raw())
			}
		})
	}
}

// Colour is for who wants it: the words are there without.
func TestWatchHasNoColourWhereItIsNotWanted(t *testing.T) {
	root, _ := aSmallCourse(t)
	screen := ptytest.New(t, 80, 24)
	cmd := screen.Start(root, append(slices.Clone(ttyEnv), "NO_COLOR=1"), "kata", "watch")
	screen.Shows(`white x\.`)
	screen.Shows(`RED LOST  step 1: It begins`)
	screen.Press("q")
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if m := regexp.MustCompile(`\x1b\[[0-9;]*3[0-9](;[0-9;]*)?m`).FindString(screen.Raw()); m != "" {
		t.Errorf("there is colour: %q", m)
	}
}
