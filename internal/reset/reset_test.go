package reset

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kafka-katas/kafka-katas/internal/lesson"
)

const (
	stub   = "package lesson07\n\n// TODO: all of it.\n\nvar errTodo = \"lesson07: New is not written yet\"\n"
	second = "package lesson07\n\n// TODO: the rest.\n"
)

// TestMain lets a child of the crash test reset, and die at the step that it was told.
func TestMain(m *testing.M) {
	if root := os.Getenv("RESET_ROOT"); root != "" {
		left := 0
		fmt.Sscan(os.Getenv("RESET_STEPS"), &left)
		crash = func(string) {
			if left--; left < 0 {
				self, _ := os.FindProcess(os.Getpid())
				self.Kill()
				select {}
			}
		}
		l, err := lesson.Find(root, "07")
		if err == nil {
			var p *Plan
			if p, err = Prepare(l); err == nil {
				_, err = Do(l, p, filepath.Join(root, ".katas", "backups"), time.Now())
			}
		}
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// clone is a learner's clone: the course's commits, by its writer, and then the learner's name.
func clone(t *testing.T) *lesson.Lesson {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("there is no git here")
	}
	root := t.TempDir()
	t.Setenv("GIT_CONFIG_GLOBAL", os.DevNull)
	t.Setenv("GIT_CONFIG_SYSTEM", os.DevNull)
	run(t, root, "init", "-q", "-b", "main")
	identity(t, root, "course@example.com")
	put := func(name, text string) { save(t, filepath.Join(root, name), text) }
	put("go.mod", "module course\n")
	put("katas/lesson07/README.md", "# Lesson 07: x\n")
	put("katas/lesson07/consumer.go", stub+"// TODO: taken away later.\n")
	put("katas/lesson07/rebalance.go", second)
	put("katas/lesson07/old.go", second)
	put("katas/lesson07/given.go", "package lesson07 // given whole\n")
	put("solutions/lesson07/given.go", "package lesson07 // given whole\n")
	put("katas/lesson07/step01_test.go", "package lesson07\n")
	run(t, root, "add", "-A")
	run(t, root, "commit", "-qm", "the course")
	put("katas/lesson07/consumer.go", stub)
	run(t, root, "rm", "-q", "katas/lesson07/old.go")
	run(t, root, "commit", "-qam", "a better stub")
	identity(t, root, "learner@example.com")
	l, err := lesson.Find(root, "07")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func identity(t *testing.T, root, email string) {
	run(t, root, "config", "user.email", email)
	run(t, root, "config", "user.name", "somebody")
}

func run(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return string(out)
}

func save(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func text(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Error(err)
	}
	return string(b)
}

func resetAll(t *testing.T, l *lesson.Lesson, files ...string) *Done {
	t.Helper()
	p, err := Prepare(l, files...)
	if err != nil {
		t.Fatal(err)
	}
	d, err := Do(l, p, filepath.Join(l.Root, ".katas", "backups"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestEverythingIsInTheBackupAndTheStubIsBack(t *testing.T) {
	l := clone(t)
	at := func(name string) string { return filepath.Join(l.Dir(), name) }
	save(t, at("consumer.go"), "package lesson07 // committed")
	run(t, l.Root, "commit", "-qam", "my answer")
	save(t, at("consumer.go"), "package lesson07 // staged")
	run(t, l.Root, "add", "-A")
	save(t, at("consumer.go"), "package lesson07 // in the editor")
	save(t, at("queue.go"), "package lesson07 // my own file")
	save(t, at("notes.txt"), "my notes")
	save(t, at("deep/er/x.go"), "package er")
	os.Remove(at("rebalance.go"))
	status := run(t, l.Root, "diff", "--cached")

	d := resetAll(t, l)
	if text(t, at("consumer.go")) != stub || text(t, at("rebalance.go")) != second {
		t.Error("the stub is not back")
	}
	if _, err := os.Stat(at("queue.go")); err == nil {
		t.Error("an own file still stands beside the stub")
	}
	if _, err := os.Stat(at("old.go")); err == nil {
		t.Error("a file that the course has taken away is back")
	}
	for name, want := range map[string]string{
		"consumer.go": "package lesson07 // in the editor", "queue.go": "package lesson07 // my own file",
		"notes.txt": "my notes", "deep/er/x.go": "package er",
	} {
		if got := text(t, filepath.Join(d.Backup, "lesson07", name)); got != want {
			t.Errorf("backup of %s: %q", name, got)
		}
	}
	if text(t, at("notes.txt")) != "my notes" {
		t.Error("what the compiler does not see stays")
	}
	if run(t, l.Root, "diff", "--cached") != status {
		t.Error("the index was touched")
	}
	if !slices.Equal(d.Restored, []string{"consumer.go", "rebalance.go"}) || !slices.Equal(d.Set, []string{"queue.go"}) {
		t.Errorf("%+v", d)
	}
	if again := resetAll(t, l); again.Backup != "" {
		t.Errorf("nothing was left to do: %+v", again)
	}
}

func TestOneFileCanBeResetAlone(t *testing.T) {
	l := clone(t)
	save(t, filepath.Join(l.Dir(), "consumer.go"), "a")
	save(t, filepath.Join(l.Dir(), "rebalance.go"), "b")
	d := resetAll(t, l, "consumer.go")
	if text(t, filepath.Join(l.Dir(), "consumer.go")) != stub || text(t, filepath.Join(l.Dir(), "rebalance.go")) != "b" {
		t.Error("one is reset and the other is not")
	}
	if text(t, filepath.Join(d.Backup, "lesson07", "rebalance.go")) != "b" {
		t.Error("the backup is of all")
	}
	if _, err := Prepare(l, "nothing.go"); err == nil || !strings.Contains(err.Error(), "consumer.go, given.go, rebalance.go") {
		t.Errorf("%v", err)
	}
}

// In a copy that was committed anew everything is by one author.
func TestTheStubIsFoundWhenLearnerAndCourseAreOne(t *testing.T) {
	l := clone(t)
	identity(t, l.Root, "course@example.com")
	save(t, filepath.Join(l.Dir(), "rebalance.go"), "package lesson07 // all written\n")
	save(t, filepath.Join(l.Dir(), "mine.go"), "package lesson07 // mine, and committed\n")
	run(t, l.Root, "add", "-A")
	run(t, l.Root, "commit", "-qam", "my answer")
	d := resetAll(t, l)
	if got := text(t, filepath.Join(l.Dir(), "rebalance.go")); got != second {
		t.Error(got)
	}
	if text(t, filepath.Join(l.Dir(), "given.go")) != "package lesson07 // given whole\n" || !slices.Equal(d.Set, []string{"mine.go"}) {
		t.Errorf("what was given whole is the course's, what the learner added is his: %+v", d)
	}
	if _, err := os.Stat(filepath.Join(l.Dir(), "old.go")); err == nil {
		t.Error("a file that the course has taken away is back")
	}
}

func TestWithoutHistoryNothingIsChanged(t *testing.T) {
	l := clone(t)
	save(t, filepath.Join(l.Dir(), "consumer.go"), "mine")
	os.RemoveAll(filepath.Join(l.Root, ".git"))
	if _, err := Prepare(l); err == nil || !strings.Contains(err.Error(), "fresh download") {
		t.Errorf("%v", err)
	}
	if text(t, filepath.Join(l.Dir(), "consumer.go")) != "mine" {
		t.Error("it was changed")
	}
}

// A merge of the course's news is the learner's commit, and makes him no writer of the course.
func TestTheStubIsFoundBehindAMerge(t *testing.T) {
	l := clone(t)
	save(t, filepath.Join(l.Dir(), "consumer.go"), "package lesson07 // my answer\n")
	run(t, l.Root, "commit", "-qam", "my answer")
	run(t, l.Root, "checkout", "-qb", "news", "HEAD~1")
	identity(t, l.Root, "course@example.com")
	save(t, filepath.Join(l.Dir(), "rebalance.go"), second+"// TODO: more.\n")
	save(t, filepath.Join(l.Dir(), "step01_test.go"), "package lesson07 // news\n")
	run(t, l.Root, "commit", "-qam", "news")
	identity(t, l.Root, "learner@example.com")
	run(t, l.Root, "checkout", "-q", "main")
	run(t, l.Root, "merge", "-q", "--no-edit", "news")
	resetAll(t, l)
	if text(t, filepath.Join(l.Dir(), "consumer.go")) != stub || text(t, filepath.Join(l.Dir(), "rebalance.go")) != second+"// TODO: more.\n" {
		t.Error("the newest stub is not back")
	}
}

// What an editor saves while it is reset is neither lost nor overwritten.
func TestASaveDuringTheResetIsKept(t *testing.T) {
	l := clone(t)
	at := filepath.Join(l.Dir(), "consumer.go")
	save(t, at, "first")
	p, err := Prepare(l)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { crash = func(string) {} }()
	crash = func(step string) {
		switch step {
		case "fresh":
			save(t, at, "saved after the copy")
		case "away":
			save(t, at, "saved after it was taken away")
		}
	}
	d, err := Do(l, p, filepath.Join(l.Root, ".katas", "backups"), time.Now())
	if err == nil || !strings.Contains(err.Error(), "was written while it was reset") {
		t.Errorf("%v", err)
	}
	if text(t, at) != "saved after it was taken away" || text(t, filepath.Join(d.Backup, "replaced", "consumer.go")) != "saved after the copy" {
		t.Error("a save is lost")
	}
}

// A kill at each step of a reset loses no byte of the learner's, and the next reset succeeds.
func TestAKillAtAnyMomentLosesNothing(t *testing.T) {
	l := clone(t)
	at := func(name string) string { return filepath.Join(l.Dir(), name) }
	for steps, ended := 0, false; !ended; steps++ {
		work := fmt.Sprintf("my work %d, before step %d", rand.Int(), steps)
		save(t, at("consumer.go"), work)
		save(t, at("queue.go"), work+" in a file of my own")
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "RESET_ROOT="+l.Root, fmt.Sprintf("RESET_STEPS=%d", steps))
		out, err := cmd.CombinedOutput()
		if ended = err == nil; !ended && len(out) > 0 {
			t.Fatalf("step %d: %v\n%s", steps, err, out)
		}
		for _, want := range []string{work, work + " in a file of my own"} {
			if !found(t, l.Root, want) {
				t.Errorf("step %d: %q is nowhere", steps, want)
			}
		}
		resetAll(t, l)
		if text(t, at("consumer.go")) != stub {
			t.Errorf("step %d: the next reset did not bring the stub", steps)
		}
	}
}

// found looks for a text in the files under root.
func found(t *testing.T, root, want string) (yes bool) {
	filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && !strings.Contains(path, ".git"+string(filepath.Separator)) {
			b, _ := os.ReadFile(path)
			yes = yes || string(b) == want
		}
		return nil
	})
	return yes
}
