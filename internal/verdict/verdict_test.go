package verdict

import (
	"context"
	"os"
	"path/filepath"
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

func TestAGoCommandThatCannotRunIsAnError(t *testing.T) {
	l := aLesson(t, three)
	os.WriteFile(filepath.Join(l.Root, "go.mod"), []byte("nonsense"), 0o644)
	if v, err := Run(t.Context(), Request{Lesson: l}); err == nil || !strings.Contains(err.Error(), "go.mod") {
		t.Errorf("%+v, %v", v, err)
	}
}
