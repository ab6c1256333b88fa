package harness_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const badPrograms = "testdata/badprograms"

// marked maps the names of testdata/badprograms ("// deadlock: here") to their places ("hang.go:22").
var marked = sync.OnceValue(func() map[string]string {
	places := map[string]string{}
	files, _ := filepath.Glob(filepath.Join(badPrograms, "*.go"))
	mark := regexp.MustCompile(`// ([a-z ]+): here$`)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for i, line := range strings.Split(string(text), "\n") {
			if m := mark.FindStringSubmatch(line); m != nil {
				places[m[1]] = fmt.Sprintf("%s:%d", filepath.Base(file), i+1)
			}
		}
	}
	return places
})

// program compiles the bad programs' tests.
func program(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bad.test")
	out, err := exec.Command("go", "test", "-c", "-tags", "synctests", "-o", path, "./"+badPrograms).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// A badProgram is one way to break a process, with what its failure must say. {deadlock} is the place marked so.
type badProgram struct {
	name, word string
	says       []string
}

var allBadPrograms = []badProgram{
	{"Deadlocks", "STUCK", []string{
		"group bank has committed nothing of orders/", "did not change in 10m0s",
		"where a function in Deadlocks waits to send to a channel at {deadlock}"}},
	{"Spins", "BROKEN", []string{"function in Spins ({spin}) runs without ever waiting"}},
	{"HoldsMutex", "BROKEN", []string{"Consumer.Total ({total}) waits for a sync.Mutex; Consumer.add ({holder}) seems to hold it"}},
	{"ReadsInput", "BROKEN", []string{"function in ReadsInput ({stdin}) waits for standard input"}},
	{"IgnoresContext", "STUCK", []string{
		"m1 had not returned 2m0s after it was asked to stop: does every wait in it look at the context?", "where Consumer.poll waits"}},
	{"NeverAllows", "STUCK", []string{
		"m1 had not returned 2m0s after it was asked to stop; it waits in kgo's Client.Close at hang.go:", "CloseAllowingRebalance"}},
	{"BlocksTheGroup", "UNBALANCED", []string{"m1 owns 0, m2 owns 2; the group gave m1 up, as it heard at 60.50s", "it let no rebalance through"}},
	{"DialsAway", "STUCK", []string{"m1 has sent no request to Kafka at all, and this did not change", "where kgo.NewClient at {away}", "without the options that its process hands out"}},
	{"CallsAway", "BROKEN", []string{"function in CallsAway ({real}) waits on a real network connection"}},
	{"Panics", "BROKEN", []string{"the program panicked: assignment to entry in nil map, in a function in Panics at {panic}"}},
	{"PanicsInHandler", "BROKEN", []string{"m1 panicked: assignment to entry in nil map ({handler panic})"}},
	{"Exits", "BROKEN", []string{"the program called os.Exit(3), at {exit}"}},
	{"ReturnsAtOnce", "BROKEN", []string{"the program of m1 returned at once or too soon, without an error, although nobody asked it to stop"}},
	{"ReturnsNothing", "BROKEN", []string{"m1 could not start: its constructor returned neither a program nor an error"}},
	{"ReturnsNilPointer", "BROKEN", []string{"m1 could not start: its constructor returned neither a program nor an error"}},
	{"ClosesChannel", "BROKEN", []string{"close of closed channel: the program has closed a channel that it was given"}},
	{"ClosesTwice", "BROKEN", []string{"m1 panicked: close of closed channel ({twice})"}},
	{"ClosesListener", "RED", []string{"connection refused (m1 does not listen there any more)"}},
	{"LeavesGoroutine", "LEAKED", []string{"Consumer.audit still waits to send to a channel at {audit}, started in a function in LeavesGoroutine at {started}"}},
	{"LeavesClient", "LEAKED", []string{"a kgo client that was never closed (kgo.NewClient at {client})"}},
	{"StartsWithoutEnd", "BROKEN", []string{"more than 100,000 goroutines, most of them in a function in StartsWithoutEnd at {goroutines}"}},
	{"KeepsWithoutEnd", "BROKEN", []string{"more than 1 GiB of memory", "KeepsWithoutEnd"}},
	{"Parallel", "BROKEN", []string{"TestStep01_Parallel calls t.Parallel: stories are told one at a time"}},
	{"ParallelInside", "BROKEN", []string{"TestStep01_ParallelInside calls t.Parallel: stories are told one at a time"}},
}

// A verdict comes within ten seconds, says what is the matter and where, and the tests after it run and pass.
func TestABadProgramGetsItsVerdictAndTheTestsAfterItRun(t *testing.T) {
	path := program(t)
	for _, bad := range allBadPrograms {
		t.Run(bad.name, func(t *testing.T) {
			t.Parallel()
			test := "TestStep01_" + bad.name
			out := runIn(t, badPrograms, path, "-all", "-test.v", "-test.run", "^("+test+"|TestStep02_Good|TestGood)$")
			bad.judge(t, out)
			if n := strings.Count(out, "--- FAIL: "); n != 1 {
				t.Errorf("%d tests failed:\n%s", n, out)
			}
			for _, good := range []string{"TestStep02_Good", "TestGood"} {
				if strings.Count(out, "--- PASS: "+good+" ") != 1 {
					t.Errorf("%s did not run and pass:\n%s", good, out)
				}
			}
		})
	}
}

// What a process had on its disk goes with the run, however that ends.
func TestADiskDoesNotOutliveItsRun(t *testing.T) {
	path, tmp := program(t), t.TempDir()
	for _, name := range []string{"TMPDIR", "TMP", "TEMP"} {
		t.Setenv(name, tmp)
	}
	if out := runIn(t, badPrograms, path, "-test.run", "^TestStep01_ExitsWithADisk$"); !strings.Contains(out, "BROKEN: the program called os.Exit(3)") {
		t.Error(out)
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// loaded is what a machine that has much else to do may add to ten seconds. Whoever computes without end is given as
// much computing as ten seconds would have been, and at most a minute.
const loaded = 5

func (bad badProgram) patience() float64 {
	switch bad.name {
	case "Spins", "StartsWithoutEnd", "KeepsWithoutEnd":
		return 60 + loaded
	}
	return 10 + loaded
}

// judge looks for the program's failure in the output of its test.
func (bad badProgram) judge(t *testing.T, out string) {
	t.Helper()
	test := "TestStep01_" + bad.name
	if !strings.Contains(out, "=== ATTR  "+test+" verdict "+bad.word+"\n") {
		t.Errorf("the verdict is not %s", bad.word)
	}
	line := regexp.MustCompile(`(?m)^--- FAIL: ` + test + ` \((\d+\.\d+)s\)$`).FindStringSubmatch(out)
	if line == nil {
		t.Errorf("%s did not fail", test)
	} else if took, _ := strconv.ParseFloat(line[1], 64); took > bad.patience() {
		t.Errorf("the verdict took %v s", took)
	}
	bad.said(t, out)
	if t.Failed() {
		t.Log(out)
	}
}

// said compares the sentences, wherever their lines are broken.
func (bad badProgram) said(t *testing.T, out string) {
	t.Helper()
	text := strings.Join(strings.Fields(out), " ")
	for _, want := range bad.says {
		for name, place := range marked() {
			want = strings.ReplaceAll(want, "{"+name+"}", place)
		}
		if !strings.Contains(text, want) {
			t.Errorf("it does not say %q", want)
		}
	}
}

func runIn(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if err == nil {
		t.Errorf("%s %v succeeded:\n%s", name, args, out.String())
	}
	return out.String()
}

func chosen(names ...string) (of []badProgram, pattern string) {
	for _, bad := range allBadPrograms {
		if slices.Contains(names, bad.name) {
			of = append(of, bad)
		}
	}
	return of, "^(TestStep01_(" + strings.Join(names, "|") + ")|TestStep02_Good|TestGood)$"
}

// What a Go user passes to go test changes nothing of a verdict.
func TestABadProgramGetsTheSameVerdictHoweverItsTestsAreRun(t *testing.T) {
	for _, how := range []struct {
		name  string
		args  []string
		names []string
		times int
	}{
		{"without the tag", nil, []string{"Deadlocks", "HoldsMutex", "Panics", "LeavesClient"}, 1},
		{"with the race detector", []string{"-tags=synctests", "-race"}, []string{"Deadlocks", "HoldsMutex", "Exits", "LeavesGoroutine"}, 1},
		{"twice", []string{"-tags=synctests", "-count=2"}, []string{"Deadlocks", "HoldsMutex", "ReturnsAtOnce", "LeavesClient"}, 2},
		{"shuffled", []string{"-tags=synctests", "-shuffle=7"}, []string{"Deadlocks", "HoldsMutex", "PanicsInHandler", "LeavesGoroutine"}, 1},
	} {
		t.Run(how.name, func(t *testing.T) {
			t.Parallel()
			bads, pattern := chosen(how.names...)
			args := append([]string{"test", "-vet=off", "-v", "-run", pattern}, how.args...)
			out := runIn(t, badPrograms, "go", append(args, ".", "-all")...)
			for _, bad := range bads {
				bad.judge(t, out)
				if n := strings.Count(out, "--- FAIL: TestStep01_"+bad.name+" "); n != how.times {
					t.Errorf("%s failed %d times of %d", bad.name, n, how.times)
				}
			}
			for _, good := range []string{"TestStep02_Good", "TestGood"} {
				if n := strings.Count(out, "--- PASS: "+good+" "); n != how.times {
					t.Errorf("%s passed %d times of %d:\n%s", good, n, how.times, out)
				}
			}
		})
	}
}

// Machines read the verdict, and whose it is.
func TestABadProgramsVerdictIsReadByMachines(t *testing.T) {
	bads, pattern := chosen("Deadlocks", "Exits", "LeavesClient")
	out := runIn(t, badPrograms, "go", "test", "-vet=off", "-tags=synctests", "-json", "-run", pattern, ".", "-all")
	type event struct{ Action, Test, Key, Value, Output string }
	ended, verdict, text := map[string]string{}, map[string]string{}, map[string]string{}
	for line := range strings.Lines(out) {
		var e event
		if json.Unmarshal([]byte(line), &e) != nil {
			continue
		}
		switch e.Action {
		case "pass", "fail", "skip":
			ended[e.Test] = e.Action
		case "attr":
			if e.Key == "verdict" {
				verdict[e.Test] = e.Value
			}
		case "output":
			text[e.Test] += e.Output
		}
	}
	for _, bad := range bads {
		test := "TestStep01_" + bad.name
		if ended[test] != "fail" || verdict[test] != bad.word {
			t.Errorf("%s: %s, verdict %s", test, ended[test], verdict[test])
		}
		bad.said(t, text[test])
	}
	if ended["TestStep02_Good"] != "pass" || ended["TestGood"] != "pass" || ended[""] != "fail" {
		t.Errorf("the others: %v", ended)
	}
}

// The first red step is told alone unless -all asks for everything; tests that are no steps are none of its business.
func TestStepsBehindARedOneAreSkipped(t *testing.T) {
	path := program(t)
	for _, name := range []string{"ReturnsAtOnce", "Exits"} { // in this process, and in one that is gone
		out := runIn(t, badPrograms, path, "-test.v", "-test.run", "^(TestStep01_"+name+"|TestStep02_Good|TestGood)$")
		for _, want := range []string{
			"--- SKIP: TestStep02_Good ", "later: TestStep01_" + name + " is red first (-all or KATA_ALL=1 runs every step)", "--- PASS: TestGood ",
		} {
			if !strings.Contains(out, want) {
				t.Errorf("no %q in:\n%s", want, out)
			}
		}
	}
}
