package stacks_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kafka-katas/kafka-katas/harness/internal/stacks"
)

// mine takes this package's programs for the learner's.
func mine(file string) bool { return filepath.Base(file) == "programs_test.go" }

func TestADiagnosisNamesWhoHoldsTimeUp(t *testing.T) {
	for name, want := range map[string]string{
		"mutex held across a sleep": "ledger.total ({total}) waits for a sync.Mutex; ledger.add ({holder}) seems to hold it and sleeps",
		"mutex held across a send":  "ledger.total ({total}) waits for a sync.Mutex; ledger.post ({post}) seems to hold it and waits to send to a channel",
		"mutex not reentrant":       "ledger.total ({total}) waits for a sync.Mutex, which ledger.addAndTotal ({addAndTotal}) on the same goroutine seems to hold already",
		"mutexes in two orders":     "ledger.lockThenLog ({lockThenLog}) waits for a sync.Mutex; ledger.logThenLock ({logThenLock}) waits for one as well|ledger.logThenLock ({logThenLock}) waits for a sync.Mutex; ledger.lockThenLog ({lockThenLog}) waits for one as well",
		"mutex never unlocked":      "neverUnlocked ({neverUnlocked}) waits for a sync.Mutex that no one lets go",
		"busy loop":                 "spin ({spin}) runs without ever waiting",
		"busy poll":                 "spinInCall ({spinInCall}) runs without ever waiting",
		"standard input":            "readInput ({readInput}) waits for standard input",
		"socket":                    "readSocket ({readSocket}) listens on a real port",
		"kgo without its dialer":    "a kgo client uses the real network (created in realClient at {realClient}): it was not created with the options it was given",
		"channel from outside":      "waitOutside ({waitOutside}) waits to receive from a channel that comes from outside the story",
		"another program":           "runProgram ({runProgram}) waits in exec.Cmd.Run",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if runtime.GOOS == "windows" && (name == "standard input" || name == "another program") {
				t.Skip("its system calls look different there")
			}
			got := program(t, name)
			for _, w := range strings.Split(want, "|") {
				if ok, _ := regexp.MatchString(pattern(t, w), got[0]); ok {
					return
				}
			}
			t.Errorf("got  %s\nwant %s", got[0], pattern(t, want))
		})
	}
}

func TestADeadlockNamesEveryoneWhoWaits(t *testing.T) {
	t.Parallel()
	got := program(t, "channel")
	want := pattern(t, "a function in init waits for a sync.WaitGroup at {group}; sendResult waits to send to a channel at {sendResult}")
	if ok, _ := regexp.MatchString(want, got[0]); !ok {
		t.Errorf("got  %s\nwant %s", got[0], want)
	}
}

func TestALeakIsNamedWithItsOrigin(t *testing.T) {
	for name, want := range map[string][]string{
		"goroutine":       {"worker still waits to receive from a channel at {worker}, started in leakGoroutine at {leakGoroutine} x3"},
		"client":          {"a kgo client that was never closed (kgo.NewClient at {leakClient})"},
		"client and more": {"worker still waits to receive from a channel at {worker}, started in leakGoroutine at {leakGoroutine} x3", "a kgo client that was never closed (kgo.NewClient at {leakClient})"},
		"nothing":         nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := program(t, name)
			if len(got) != len(want) {
				t.Fatalf("got %d leaks:\n%s", len(got), strings.Join(got, "\n"))
			}
			for i := range got {
				if ok, _ := regexp.MatchString(pattern(t, want[i]), got[i]); !ok {
					t.Errorf("got  %s\nwant %s", got[i], pattern(t, want[i]))
				}
			}
		})
	}
}

// pattern puts the lines that are marked in programs_test.go into want.
func pattern(t *testing.T, want string) string {
	src, err := os.ReadFile("programs_test.go")
	if err != nil {
		t.Fatal(err)
	}
	lines := map[string]int{}
	for i, line := range strings.Split(string(src), "\n") {
		if _, mark, ok := strings.Cut(line, "// "); ok {
			if name, ok := strings.CutSuffix(mark, ": here"); ok {
				lines[name] = i + 1
			}
		}
	}
	return "^" + regexp.MustCompile(`\\\{(\w+)\\\}`).ReplaceAllStringFunc(regexp.QuoteMeta(want), func(name string) string {
		name = strings.Trim(name, `\{}`)
		return fmt.Sprintf(`programs_test\.go:%d`, lines[name])
	})
}

// program runs one of the programs in a process of its own and returns what was found there.
func program(t *testing.T, name string) (found []string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestProgram$", "-test.timeout=30s")
	cmd.Env = append(os.Environ(), "STACKS_PROGRAM="+name, "GODEBUG=tracebackancestors=5")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	first, _, _ := strings.Cut(string(out), "\n")
	if err := json.Unmarshal([]byte(first), &found); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return found
}

func TestProgram(t *testing.T) {
	name := os.Getenv("STACKS_PROGRAM")
	if name == "" {
		t.Skip("run by the other tests")
	}
	say := func(found []string) {
		line, _ := json.Marshal(found)
		fmt.Println(string(line))
		os.Stdout.Sync()
		cleanExit()
	}
	if run, ok := leaks[name]; ok {
		defer func() {
			recover()
			var found []string
			for _, l := range stacks.Leaks(stacks.Take(), mine) {
				s := l.Sentence
				if l.Goroutines > 1 && !strings.Contains(s, "client") {
					s += fmt.Sprintf(" x%d", l.Goroutines)
				}
				found = append(found, s)
			}
			say(found)
		}()
		synctest.Test(t, func(*testing.T) { run() })
		return
	}
	if run, ok := deadlocks[name]; ok {
		defer func() {
			recover()
			gs := stacks.Take()
			say([]string{stacks.Stall(gs, gs, mine).Sentence})
		}()
		synctest.Test(t, func(*testing.T) { run() })
		return
	}
	go func() {
		a := stacks.Take()
		for range 10 {
			time.Sleep(100 * time.Millisecond)
			b := stacks.Take()
			if stacks.Stuck(a, b) {
				break
			}
			a = b
		}
		time.Sleep(20 * time.Millisecond)
		say([]string{stacks.Stall(a, stacks.Take(), mine).Sentence})
	}()
	synctest.Test(t, func(*testing.T) { programs[name]() })
}

// A poll starts goroutines of its own, and they stand in a dump in any order. The client was still made where it was made.
func TestAClientIsNamedByWhereItWasMade(t *testing.T) {
	const kgo = "github.com/twmb/franz-go/pkg/kgo."
	of := func(started, by string, line int) stacks.Goroutine {
		return stacks.Goroutine{
			Bubble: 1, State: "select",
			Frames:    []stacks.Frame{{Func: kgo + started, File: "client.go", Line: 1}},
			CreatedBy: stacks.Frame{Func: kgo + by, File: "client.go", Line: 2},
			Ancestors: []stacks.Frame{{Func: "shop.work", File: "programs_test.go", Line: line}},
		}
	}
	made, polled := of("(*Client).updateMetadataLoop", "NewClient", 20), of("(*Client).PollRecords.func4", "(*Client).PollRecords", 76)

	for _, dump := range [][]stacks.Goroutine{{made, polled}, {polled, made}} {
		leaks := stacks.Leaks(dump, mine)
		if len(leaks) != 1 || leaks[0].Sentence != "a kgo client that was never closed (kgo.NewClient at programs_test.go:20)" {
			t.Errorf("%+v", leaks)
		}
	}
	if leaks := stacks.Leaks([]stacks.Goroutine{polled}, mine); len(leaks) != 1 {
		t.Errorf("a client of which only a poll is left: %+v", leaks)
	}
}
