package dojo

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kafka-katas/kafka-katas/internal/desk"
	"github.com/kafka-katas/kafka-katas/internal/history"
	"github.com/kafka-katas/kafka-katas/internal/lesson"
	"github.com/kafka-katas/kafka-katas/internal/verdict"
	"github.com/kafka-katas/kafka-katas/internal/watch"
)

// TestMain lets a child of the kill test take an edit back, when it is told to.
func TestMain(m *testing.M) {
	root := os.Getenv("DOJO_ROOT")
	if root == "" {
		os.Exit(m.Run())
	}
	l, err := lesson.Find(root, "07")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	d := New(desk.New(root), NewClock(time.Now(), time.Minute))
	d.TCR = l
	d.Event(red(2))
	fmt.Println("ready")
	fmt.Scanln()
	fmt.Println(d.Event(red(1)).Text)
	os.Exit(0)
}

// A kill while an edit is taken back: the edit is kept, and what was good is in its place or beside the edit's backup.
func TestAKillWhileAnEditIsTakenBackLosesNothing(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "katas", "lesson07")
	os.MkdirAll(dir, 0o755)
	save := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	revert := func(n int, kill time.Duration) (took time.Duration) {
		t.Helper()
		for _, name := range []string{"a.go", "b.go", "c.go"} {
			save(name, fmt.Sprintf("good %d in %s", n, name))
		}
		os.Remove(filepath.Join(dir, "new.go"))
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "DOJO_ROOT="+root)
		in, _ := cmd.StdinPipe()
		out, _ := cmd.StdoutPipe()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		said := bufio.NewReader(out)
		if line, err := said.ReadString('\n'); line != "ready\n" {
			t.Fatalf("%q, %v", line, err)
		}
		save("a.go", fmt.Sprintf("edit %d", n))
		save("b.go", fmt.Sprintf("edit %d too", n))
		save("new.go", fmt.Sprintf("new %d", n))
		began := time.Now()
		fmt.Fprintln(in)
		if kill > 0 {
			time.AfterFunc(kill, func() { cmd.Process.Kill() })
		}
		io.Copy(io.Discard, said)
		cmd.Wait()
		return time.Since(began)
	}
	whole := func(want string) (where []string) {
		filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
			if err == nil && e.Type().IsRegular() {
				if text, _ := os.ReadFile(path); string(text) == want {
					where = append(where, path)
				}
			}
			return nil
		})
		return where
	}
	const kills = 40
	lasts := revert(0, 0)
	for i := 1; i <= kills; i++ {
		revert(i, time.Microsecond+lasts*time.Duration(i-1)*5/4/kills)
		for _, text := range []string{fmt.Sprintf("edit %d", i), fmt.Sprintf("edit %d too", i), fmt.Sprintf("new %d", i), fmt.Sprintf("good %d in c.go", i)} {
			if len(whole(text)) == 0 {
				t.Errorf("kill %d: %q is nowhere", i, text)
			}
		}
		for _, name := range []string{"a.go", "b.go"} {
			if _, err := os.Stat(filepath.Join(dir, name)); err != nil && len(whole(fmt.Sprintf("good %d in %s", i, name))) == 0 {
				t.Errorf("kill %d: %s is away, and what was to take its place is nowhere", i, name)
			}
		}
	}
}

func red(step int) watch.Event {
	return watch.Event{Verdict: &verdict.Verdict{Lesson: "lesson07", Colour: verdict.Red, Step: step}}
}

// The next one finds the step, the first red, its seed and its timeline.
func TestATurnEndsWithAHandOver(t *testing.T) {
	d := New(desk.New(t.TempDir()), NewClock(time.Now(), time.Minute, "Ada", "Bob"))
	d.Desk.Note("dojo", &verdict.Verdict{
		Lesson: "lesson07", Colour: verdict.Red, Step: 18, FirstRed: "TestStep18_X", Word: "LOST", Seed: "crash m1@2s", Report: "/r/x.html",
	}, d.Note)
	notice, ok := d.Key("x")
	if !ok || notice.Text != "handed over: "+filepath.Join(".katas", "handover.md") || notice.Later != nil || d.Clock.Driver() != "Bob" {
		t.Errorf("%+v %v %s", notice, ok, d.Clock.Driver())
	}
	text, err := os.ReadFile(filepath.Join(d.Desk.Root, ".katas", "handover.md"))
	for _, want := range []string{"From Ada to Bob.", "lesson07 step 18 is red", "TestStep18_X", "LOST", "crash m1@2s", "/r/x.html", "kata test 07 18"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%q is missing in %s, %v", want, text, err)
		}
	}
	runs, _ := d.Desk.Book.Runs()
	if len(runs) != 3 || runs[0].Driver != "Ada" || runs[1].Kind != "handover" || runs[2].Kind != "turn" || runs[2].Driver != "Bob" {
		t.Errorf("%+v", runs)
	}
	if p := d.Desk.Book.Progress(); p.Last.Kind != "" || p.Last.Colour != history.Red {
		t.Error("a turn is no run")
	}
	var problem error
	d.Mob = func() error { return problem }
	if notice, _ := d.Key("x"); !strings.HasSuffix(notice.Text, "; mob next is under way") || !strings.HasSuffix(notice.Later(), ", and mob next") {
		t.Errorf("%+v", notice)
	}
	problem = errors.New("no remote")
	if notice, _ := d.Key("x"); !strings.Contains(notice.Later(), "but: no remote") {
		t.Errorf("%+v", notice)
	}
	if _, ok := d.Key("z"); !ok {
		t.Error("z begins the turn anew")
	}
	if _, ok := d.Key("n"); ok {
		t.Error("the other keys are the board's")
	}
}

func TestPingPongRotatesWhenAStepIsUnlocked(t *testing.T) {
	d := New(desk.New(t.TempDir()), NewClock(time.Now(), time.Minute, "Ada", "Bob"))
	d.Clock.PingPong = true
	d.Event(red(1))
	d.Event(red(1))
	if d.Clock.Driver() != "Ada" {
		t.Error("the same step is the same turn")
	}
	if notice := d.Event(red(2)); d.Clock.Driver() != "Bob" || !strings.Contains(notice.Text, "step 2 is unlocked") {
		t.Errorf("%+v %s", notice, d.Clock.Driver())
	}
	d.Event(red(1))
	d.Event(red(2))
	if d.Clock.Driver() != "Bob" {
		t.Error("a step that falls back unlocks nothing")
	}
}

// TCR takes back what breaks a step that was green, and nothing else; and what it takes back is kept.
func TestTCRTakesBackWhatRegresses(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "katas", "lesson07")
	os.MkdirAll(dir, 0o755)
	file := filepath.Join(dir, "a.go")
	save := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	save("first")
	l, err := lesson.Find(root, "07")
	if err != nil {
		t.Fatal(err)
	}
	d := New(desk.New(root), NewClock(time.Now(), time.Minute))
	d.TCR = l
	d.Event(red(2))
	save("still red, and no step is worse")
	d.Event(red(2))
	save("all green")
	d.Event(watch.Event{Verdict: &verdict.Verdict{Colour: verdict.Green, Step: 2}})
	save("breaks step 1")
	os.WriteFile(filepath.Join(dir, "b.go"), []byte("new"), 0o644)
	notice := d.Event(red(1)).Text
	if text, _ := os.ReadFile(file); string(text) != "all green" {
		t.Errorf("%s, %s", text, notice)
	}
	_, backup, _ := strings.Cut(notice, "Your edit is in ")
	for name, want := range map[string]string{"a.go": "breaks step 1", "b.go": "new"} {
		if text, _ := os.ReadFile(filepath.Join(backup, "lesson07", name)); string(text) != want {
			t.Errorf("the backup has %q", text)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "b.go")); err == nil {
		t.Error("what the edit added is still there")
	}
}
