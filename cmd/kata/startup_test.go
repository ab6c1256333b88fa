//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/spf13/cobra"

	"github.com/kafka-katas/kafka-katas/internal/history"
)

// startups are calls of every command, by its name. What runs no go command is measured to its end. What does ("…" follows) is
// measured to its first line: from then on the go command is waited for, and that is said. "tty" is a terminal's first screen.
var startups = map[string][]string{
	"kata":       {"", "--help"},
	"version":    {"version"},
	"help":       {"help reset"},
	"completion": {"completion bash", "completion zsh", "completion fish", "completion powershell", "__complete hint ", "__complete test 07 ", "__complete reset 07 "},
	"list":       {"list", "list --steps", "list 07"},
	"next":       {"next"},
	"hint":       {"hint 07 1", "hint 07 1 --all"},
	"explain":    {"explain 07 1"},
	"debrief":    {"debrief 07 --peek"},
	"diff":       {"diff 07 --peek"},
	"report":     {"report --no-open"},
	"replay":     {"replay --help"},
	"predict":    {"predict", "predict red lost 2", "predict --forget"},
	"retro":      {"retro --since 9000h"},
	"reset":      {"reset 07 --dry-run", "reset 07"},
	"doctor":     {"doctor …"},
	"break":      {"break 07 --help", "break 07 mine_test.go …"},
	"serve":      {"serve --help", "serve 07 …"},
	"watch":      {"watch --help", "watch 07 …", "watch 07 tty"},
	"dojo":       {"dojo --help", "dojo 07 --names Ada,Bob tty"},
	"check":      {"check --help"},
	"test":       nil, // it is what the others are not
}

func TestEveryCommandsStartIsMeasured(t *testing.T) {
	root := newRoot()
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpCmd()
	for _, c := range append([]*cobra.Command{root}, root.Commands()...) {
		if _, ok := startups[c.Name()]; !ok {
			t.Errorf("%s is missing in startups", c.Name())
		}
	}
}

// How soon each command answers; the goal is 50 ms. The median is in the column median-ms: the mean, which go prints, is that of
// a machine's interruptions. go tool adds its own look at whether the tool is built.
//
//	go test -run '^$' -bench Startup -benchtime 15x ./cmd/kata
func BenchmarkStartup(b *testing.B) {
	clone := filepath.Join(b.TempDir(), "clone")
	if out, err := exec.Command("git", "clone", "-q", "../..", clone).CombinedOutput(); err != nil {
		b.Skipf("there is nothing to clone: %v\n%s", err, out)
	}
	aMonthOfRuns(b, clone)
	for _, name := range []string{
		"kata", "version", "help", "completion", "list", "next", "hint", "explain", "debrief", "diff", "report", "replay", "predict", "retro", "reset",
		"doctor", "break", "serve", "watch", "dojo", "check",
	} {
		for _, line := range startups[name] {
			b.Run(strings.ReplaceAll(line, " ", "_"), func(b *testing.B) {
				var all []time.Duration
				for b.Loop() {
					if strings.HasPrefix(line, "reset 07") {
						if err := os.WriteFile(filepath.Join(clone, "katas/lesson07/config.go"), []byte("package lesson07 // mine\n"), 0o644); err != nil {
							b.Fatal(err)
						}
					}
					all = append(all, startup(b, clone, line))
				}
				slices.Sort(all)
				b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "median-ms")
				b.ReportMetric(float64(all[0].Microseconds())/1000, "best-ms")
			})
		}
	}
}

// startup calls the tool once.
func startup(b *testing.B, dir, line string) time.Duration {
	b.Helper()
	words := strings.Split(line, " ")
	how := words[len(words)-1]
	if how == "…" || how == "tty" {
		words = words[:len(words)-1]
	}
	if line == "" {
		words = nil
	}
	cmd := exec.Command("kata", words...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TERM=xterm-256color", "KAFKA_BROKERS=")
	switch how {
	default:
		began := time.Now()
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
		return time.Since(began)
	case "…":
		r, w, err := os.Pipe()
		if err != nil {
			b.Fatal(err)
		}
		defer r.Close()
		cmd.Stdout, cmd.Stderr = w, w
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		began := time.Now()
		err = cmd.Start()
		w.Close()
		if err != nil {
			b.Fatal(err)
		}
		_, err = r.Read(make([]byte, 1))
		took := time.Since(began)
		end(cmd)
		if err != nil {
			b.Fatal(err)
		}
		return took
	case "tty":
		began := time.Now()
		screen, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 80})
		if err != nil {
			b.Fatal(err)
		}
		defer screen.Close()
		var seen bytes.Buffer
		for !bytes.Contains(seen.Bytes(), []byte("Lesson 07")) {
			if _, err := io.CopyN(&seen, screen, 1); err != nil {
				b.Fatalf("%v\n%s", err, seen.Bytes())
			}
		}
		took := time.Since(began)
		end(cmd)
		return took
	}
}

// end kills the tool; what it has started has a group of its own, or sees that its input ends.
func end(cmd *exec.Cmd) {
	_ = cmd.Process.Signal(syscall.SIGTERM)
	late := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	_ = cmd.Wait()
}

// aMonthOfRuns is a history as a learner has it after the course: hundreds of runs, the last of them red.
func aMonthOfRuns(b *testing.B, clone string) {
	b.Helper()
	if err := os.MkdirAll(filepath.Join(clone, ".katas"), 0o755); err != nil {
		b.Fatal(err)
	}
	report := filepath.Join(clone, ".katas", "x.html")
	var log bytes.Buffer
	begin := time.Date(2026, 1, 1, 9, 0, 0, 0, time.UTC)
	for i := range 1000 {
		line, err := json.Marshal(history.Run{
			Time: begin.Add(time.Duration(i) * time.Minute), By: "watch", Lesson: "lesson07", Step: 1 + i/50, Colour: history.Red, Word: "LOST",
			FirstRed: fmt.Sprintf("TestStep%02d_NothingIsLost", 1+i/50), GreenSteps: []int{1}, RedSteps: []int{1 + i/50}, Report: report, Seed: "crash m1@2s",
		})
		if err != nil {
			b.Fatal(err)
		}
		log.Write(append(line, '\n'))
	}
	for name, text := range map[string][]byte{
		filepath.Join(clone, ".katas", "log.ndjson"): log.Bytes(),
		report:                               []byte("<html>"),
		filepath.Join(clone, "mine_test.go"): []byte("package lesson07\n\nimport \"testing\"\n\nfunc TestMine(t *testing.T) {}\n"),
	} {
		if err := os.WriteFile(name, text, 0o644); err != nil {
			b.Fatal(err)
		}
	}
}
