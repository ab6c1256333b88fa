package verdict

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kafka-katas/kafka-katas/internal/lesson"
)

// aLesson is a module with one lesson whose specifications are these.
func aLesson(t *testing.T, specs string) *lesson.Lesson {
	t.Helper()
	root := t.TempDir()
	dir := filepath.Join(root, "katas", "lesson07")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		filepath.Join(root, "go.mod"):         "module course\n\ngo 1.26\n",
		filepath.Join(dir, "a.go"):            "package lesson07\n",
		filepath.Join(dir, "step01_test.go"):  "package lesson07\n\nimport (\n\t\"os\"\n\t\"testing\"\n\t\"time\"\n)\n\nvar _, _ = os.Getenv, time.Now\n\n" + specs,
		filepath.Join(dir, "README.md"):       "# Lesson 07: x\n",
		filepath.Join(dir, "testdata", "x.x"): "",
	} {
		os.MkdirAll(filepath.Dir(name), 0o755)
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	l, err := lesson.Find(root, "07")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

const three = `
func TestStep01_One(t *testing.T) {}

func TestStep02_Two(t *testing.T) {
	t.Attr("verdict", "LOST")
	t.Error("\nLOST: orders/0 offset 0 (key k) was never handled by group g, nor were 2\nother records\n\n  time  a\n\nagain  KATA_SCHEDULE='crash m1@2s' go test\nreport  " + os.Getenv("KATA_REPORT") + "/x.html\n")
}

func TestStep02_More(t *testing.T) {}

func TestStep03_Three(t *testing.T) { t.Skip("later") }
`

func TestAVerdictNamesTheFirstRed(t *testing.T) {
	v, err := Run(t.Context(), Request{Lesson: aLesson(t, three), Reports: "/reports"})
	if err != nil {
		t.Fatal(err)
	}
	v.Took, v.Output, v.Failures = 0, "", nil
	want := &Verdict{
		Lesson: "lesson07", Colour: Red, Step: 2, FirstRed: "TestStep02_Two", Word: "LOST", Count: 3,
		Failure: "LOST: orders/0 offset 0 (key k) was never handled by group g, nor were 2\nother records\n\n  time  a\n\n" +
			"again  KATA_SCHEDULE='crash m1@2s' go test\nreport  /reports/x.html",
		Seed: "crash m1@2s", Report: "/reports/x.html", Reds: []string{"TestStep02_Two"},
		Green: []int{1}, Red: []int{2}, Specs: Counts{2, 1, 1},
	}
	if diff := cmp.Diff(want, v); diff != "" {
		t.Error(diff)
	}
}

func TestOneStepCanRunAlone(t *testing.T) {
	v, err := Run(t.Context(), Request{Lesson: aLesson(t, three), Step: 1})
	if err != nil || v.Colour != Green || v.Step != 1 || cmp.Diff([]int{1}, v.Green) != "" {
		t.Errorf("%+v, %v", v, err)
	}
}

func TestWhatDoesNotBuildIsNoRedSpecification(t *testing.T) {
	v, err := Run(t.Context(), Request{Lesson: aLesson(t, "func TestStep01_One(t *testing.T) { undefined() }")})
	if err != nil || v.Colour != NotBuilt || !strings.Contains(v.Build, "undefined: undefined") || v.FirstRed != "" {
		t.Errorf("%+v, %v", v, err)
	}
}

func TestAProgramThatEndsIsRed(t *testing.T) {
	v, err := Run(t.Context(), Request{Lesson: aLesson(t, "func TestStep01_One(t *testing.T) { os.Exit(3) }")})
	if err != nil || v.Colour != Red || v.FirstRed != "TestStep01_One" {
		t.Errorf("%+v, %v", v, err)
	}
}

// A run that is cancelled leaves nothing behind: not the go command, and not the test that it had started.
func TestACancelledRunEndsEverythingThatItStarted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	l := aLesson(t, "func TestStep01_One(t *testing.T) { time.Sleep(time.Minute) }")
	begin := time.Now()
	v, err := Run(ctx, Request{Lesson: l, OnTest: func(string) { cancel() }})
	if err != nil || v.Colour != Cancelled {
		t.Errorf("%+v, %v", v, err)
	}
	if took := time.Since(begin); took > 30*time.Second {
		t.Errorf("it was waited for: %v", took)
	}
}

// Each save while the go command still builds ends a run: nothing may pile up.
func TestARunThatIsCancelledWhileItBuildsLeavesNothingBehind(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the compiler cannot be ended with the go command there")
	}
	l := aLesson(t, "func TestStep01_One(t *testing.T) { time.Sleep(time.Minute) }")
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	begun := make(chan bool)
	go func() {
		defer close(begun)
		defer cancel()
		for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) {
			in, _ := filepath.Glob(filepath.Join(tmp, "*", "go-build*"))
			if beside, _ := filepath.Glob(filepath.Join(tmp, "go-build*")); len(in)+len(beside) > 0 {
				begun <- true
				return
			}
		}
	}()
	ended := make(chan *Verdict, 1)
	go func() {
		v, err := Run(ctx, Request{Lesson: l})
		if err != nil {
			t.Error(err)
		}
		ended <- v
	}()
	if !<-begun {
		t.Fatal("the go command does not build below TMPDIR")
	}
	if v := <-ended; v == nil || v.Colour != Cancelled {
		t.Errorf("%+v", v)
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestAGoCommandThatCannotRunIsAnError(t *testing.T) {
	l := aLesson(t, three)
	os.WriteFile(filepath.Join(l.Root, "go.mod"), []byte("nonsense"), 0o644)
	if v, err := Run(t.Context(), Request{Lesson: l}); err == nil || !strings.Contains(err.Error(), "go.mod") {
		t.Errorf("%+v, %v", v, err)
	}
}

// What is beyond the step where a learner is needs no compiling: not before all up to there is green, and not if what
// comes before does not compile without it.
func TestWhatIsBeyondIsCompiledWhenItIsReached(t *testing.T) {
	l := aLesson(t, "func TestStep01_One(t *testing.T) {}\n")
	near, far := filepath.Join(l.Dir(), "step02_test.go"), filepath.Join(l.Dir(), "step03_test.go")
	red, green := "package lesson07\n\nimport \"testing\"\n\nfunc TestStep02_Two(t *testing.T) { t.Error(\"\\nno\\n\") }\n", "package lesson07\n\nimport \"testing\"\n\nfunc TestStep02_Two(t *testing.T) {}\n"
	broken, sound := "package lesson07\n\nfunc TestStep03_Three(t *testing.T) { it does not compile }\n", "package lesson07\n\nimport \"testing\"\n\nfunc help() {}\n\nfunc TestStep03_Three(t *testing.T) { t.Error(\"\\nno\\n\") }\n"
	for _, c := range []struct {
		about, near, far, colour string
		at, step                 int
		all                      bool
	}{
		{about: "the far one is not looked at", near: red, far: broken, at: 1, colour: Red, step: 2},
		{about: "nor where it is the next one", near: red, far: broken, at: 2, colour: Red, step: 2},
		{about: "it is, where the learner is at it", near: red, far: broken, at: 3, colour: NotBuilt},
		{about: "it is, when the step before it turns green", near: green, far: sound, at: 2, colour: Red, step: 3},
		{about: "it is, when the near ones are green", near: green, far: sound, at: 1, colour: Red, step: 3},
		{about: "it is, when a near one needs it", near: green + "\nvar _ = help\n", far: sound, at: 1, colour: Red, step: 3},
		{about: "it is, when everything is wanted", near: red, far: broken, at: 1, all: true, colour: NotBuilt},
		{about: "it is, when nobody knows where the learner is", near: red, far: broken, colour: NotBuilt},
	} {
		if err := errors.Join(os.WriteFile(near, []byte(c.near), 0o644), os.WriteFile(far, []byte(c.far), 0o644)); err != nil {
			t.Fatal(err)
		}
		found, err := lesson.Find(l.Root, "07")
		if err != nil {
			t.Fatal(err)
		}
		v, err := Run(t.Context(), Request{Lesson: found, Near: c.at, All: c.all})
		if err != nil || v.Colour != c.colour || v.Step != c.step || v.Took <= 0 {
			t.Errorf("%s: %+v, %v", c.about, v, err)
		}
	}
}

// A file's steps need not follow each other: what is red beyond a step of a file that was left out is not the first red.
func TestAStepOfAnotherFileMayComeFirst(t *testing.T) {
	l := aLesson(t, "func TestStep01_One(t *testing.T) {}\n")
	spec := "package lesson07\n\nimport \"testing\"\n\nfunc TestStep0%d_It(t *testing.T) { %s }\n\nfunc TestStep0%d_It(t *testing.T) { t.Error(\"no\") }\n"
	err := errors.Join(
		os.WriteFile(filepath.Join(l.Dir(), "step02_test.go"), fmt.Appendf(nil, spec, 2, "", 4), 0o644),
		os.WriteFile(filepath.Join(l.Dir(), "step03_test.go"), fmt.Appendf(nil, spec, 3, `t.Error("no")`, 5), 0o644),
		os.WriteFile(filepath.Join(l.Dir(), "step06_test.go"), []byte("package lesson07\n\nfunc TestStep06_It(t *testing.T) { it does not compile }\n"), 0o644))
	found, err2 := lesson.Find(l.Root, "07")
	if err = errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	for at := 2; at <= 3; at++ {
		v, err := Run(t.Context(), Request{Lesson: found, Near: at})
		if err != nil || v.Step != 3 || v.FirstRed != "TestStep03_It" || !slices.Equal(v.Red, []int{3, 4, 5}) {
			t.Errorf("at step %d: %+v, %v", at, v, err)
		}
	}
}

func TestARunThatIsCancelledBeforehandIsCancelled(t *testing.T) {
	l := aLesson(t, three)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if v, err := Run(ctx, Request{Lesson: l}); err != nil || v.Colour != Cancelled {
		t.Errorf("%+v, %v", v, err)
	}
}

// Who asks for everything, or for what takes minutes to run, has everything compiled at once.
func TestWhatIsAskedForInTheEnvironmentIsRunOnce(t *testing.T) {
	l := aLesson(t, "func TestStep01_One(t *testing.T) { t.Error(\"no\") }\n")
	if err := os.WriteFile(filepath.Join(l.Dir(), "step02_test.go"), []byte("package lesson07\n\nfunc TestStep02_Two(t *testing.T) { it does not compile }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	found, err := lesson.Find(l.Root, "07")
	if err != nil {
		t.Fatal(err)
	}
	for _, env := range []struct{ name, value, colour string }{
		{"KATA_ALL", "", Red}, {"KATA_ALL", "1", NotBuilt}, {"KATA_EXPLORE", "10m", NotBuilt}, {"KAFKA_BROKERS", "localhost:9092", NotBuilt},
	} {
		t.Run(env.name+"="+env.value, func(t *testing.T) {
			t.Setenv(env.name, env.value)
			if v, err := Run(t.Context(), Request{Lesson: found, Near: 1}); err != nil || v.Colour != env.colour {
				t.Errorf("%+v, %v", v, err)
			}
		})
	}
}
