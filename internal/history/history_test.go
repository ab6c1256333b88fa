package history

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMain(m *testing.M) {
	if root := os.Getenv("HISTORY_WRITER"); root != "" { // a child that writes until it is killed
		for i := 1; ; i++ {
			if _, err := Open(root).Add(Run{Lesson: "lesson07", Colour: Green, GreenSteps: []int{i%20 + 1}}); err != nil {
				os.Stdout.WriteString("failed: " + err.Error() + "\n")
			} else {
				os.Stdout.WriteString("noted\n")
			}
		}
	}
	os.Exit(m.Run())
}

func add(t *testing.T, b *Book, r Run) *Progress {
	t.Helper()
	p, err := b.Add(r)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestProgressFollowsFromTheRuns(t *testing.T) {
	b := Open(t.TempDir())
	add(t, b, Run{Lesson: "lesson07", Colour: Red, FirstRed: "TestStep03_X", Step: 3, GreenSteps: []int{1, 2}, RedSteps: []int{3}})
	add(t, b, Run{Lesson: "lesson07", Kind: "hint", Step: 3})
	p := add(t, b, Run{Lesson: "lesson07", Colour: NotBuilt})

	s := p.Of("lesson07")
	if want := map[int]string{1: Green, 2: Green, 3: Red}; cmp.Diff(want, s.Steps) != "" || s.Runs != 2 || s.Reds != 2 || s.Hints[3] != 1 {
		t.Errorf("%+v", s)
	}
	if p.Last.Colour != NotBuilt || p.LastRed.FirstRed != "TestStep03_X" || p.Current != "lesson07" {
		t.Errorf("last %+v, last red %+v, current %s", p.Last, p.LastRed, p.Current)
	}
	if p.Of("lesson99").Green(1) {
		t.Error("a lesson that never ran is not green")
	}
}

// The small file is computed from the log, and knows by itself what it knew when the log is gone.
func TestLosingEitherFileLosesNoProgress(t *testing.T) {
	b := Open(t.TempDir())
	want := add(t, b, Run{Lesson: "lesson07", Colour: Green, GreenSteps: []int{1, 2}})
	for _, broken := range []string{"", "{", `{"lessons":null}`} {
		os.WriteFile(b.progressFile(), []byte(broken), 0o644)
		if diff := cmp.Diff(want.Of("lesson07"), b.Progress().Of("lesson07")); diff != "" {
			t.Errorf("%q: %s", broken, diff)
		}
	}
	os.Remove(b.progressFile())
	want = add(t, b, Run{Lesson: "lesson07", Kind: "hint", Step: 2})
	os.Remove(b.Log())
	if diff := cmp.Diff(want.Of("lesson07"), b.Progress().Of("lesson07")); diff != "" {
		t.Error(diff)
	}
	if p := add(t, b, Run{Lesson: "lesson07", Colour: Green, GreenSteps: []int{3}}); !p.Of("lesson07").Green(1) || !p.Of("lesson07").Green(3) {
		t.Error("a new log adds to what was known")
	}
}

// A writer that was killed in the middle of a line spoils that line alone.
func TestATornLineIsSkipped(t *testing.T) {
	b := Open(t.TempDir())
	add(t, b, Run{Lesson: "lesson07", Colour: Green, GreenSteps: []int{1}})
	f, _ := os.OpenFile(b.Log(), os.O_APPEND|os.O_WRONLY, 0)
	f.WriteString(`{"lesson":"lesson07","gre`)
	f.Close()
	b.Progress()
	p := add(t, b, Run{Lesson: "lesson07", Colour: Green, GreenSteps: []int{2}})
	if s := p.Of("lesson07"); !s.Green(1) || !s.Green(2) || s.Runs != 2 {
		t.Errorf("%+v", s)
	}
	if runs, err := b.Runs(); err != nil || len(runs) != 2 {
		t.Errorf("%v, %v", runs, err)
	}
}

func TestRunsAtTheSameTimeAreAllNoted(t *testing.T) {
	b := Open(t.TempDir())
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { b.Add(Run{Lesson: "lesson07", Colour: Green, GreenSteps: []int{1}}) })
	}
	all.Wait()
	if runs := b.Progress().Of("lesson07").Runs; runs != 20 {
		t.Errorf("%d of 20 runs are known", runs)
	}
}

// Whenever the writer is killed: what it said to be noted is there, and nothing is broken.
func TestAKilledWriterLosesNothingThatWasNoted(t *testing.T) {
	root := t.TempDir()
	noted := 0
	for range 5 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "HISTORY_WRITER="+root)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; n < 10 && lines.Scan(); n++ {
			if strings.HasPrefix(lines.Text(), "failed") {
				t.Error(lines.Text())
			}
			noted++
		}
		cmd.Process.Kill()
		for lines.Scan() {
			noted++
		}
		cmd.Wait()
	}
	b := Open(root)
	runs, err := b.Runs()
	if err != nil || len(runs) < noted {
		t.Errorf("%d runs of %d, %v", len(runs), noted, err)
	}
	text, err := os.ReadFile(b.progressFile())
	if err != nil || !json.Valid(text) {
		t.Errorf("progress: %s, %v", text, err)
	}
	if got := b.Progress().Of("lesson07").Runs; got != len(runs) {
		t.Errorf("progress knows %d runs of %d", got, len(runs))
	}
}

func TestAPredictionIsKeptAndCompared(t *testing.T) {
	b := Open(t.TempDir())
	if b.Expected() != nil || b.Expect(nil) != nil {
		t.Error("nothing is expected, and forgetting it is no error")
	}
	if err := b.Expect(&Prediction{Colour: Red, Word: "LOST", Count: 2}); err != nil {
		t.Fatal(err)
	}
	p := b.Expected()
	for _, c := range []struct {
		run   Run
		right bool
	}{
		{Run{Colour: Red, Word: "LOST", Count: 2}, true},
		{Run{Colour: Red, Word: "LOST", Count: 1}, false},
		{Run{Colour: Red, Word: "STUCK", Count: 2}, false},
		{Run{Colour: Green}, false},
	} {
		if p.Compare(c.run) != c.right || *p.Right != c.right {
			t.Errorf("%+v", c)
		}
	}
}

func TestAFileIsReplacedInOnePiece(t *testing.T) {
	file := filepath.Join(t.TempDir(), "new", "file")
	for _, text := range []string{"one", "two"} {
		if err := WriteFile(file, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, _ := os.ReadFile(file); string(got) != text {
			t.Errorf("%s", got)
		}
	}
	if left, _ := os.ReadDir(filepath.Dir(file)); len(left) != 1 {
		t.Error("temporary files are left")
	}
}
