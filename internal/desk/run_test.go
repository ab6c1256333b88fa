package desk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/kafka-katas/kafka-katas/internal/lesson"
	"github.com/kafka-katas/kafka-katas/internal/verdict"
)

// Where the learner is says what need not be compiled: a file that is ahead is looked at when the learner is there.
func TestARunCompilesWhatIsNearToTheLearner(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "katas", "lesson07")
	spec := "package lesson07\n\nimport \"testing\"\n\nfunc TestStep0%d_It(t *testing.T) { %s }\n"
	err := errors.Join(os.MkdirAll(dir, 0o755),
		os.WriteFile(filepath.Join(root, "go.mod"), []byte("module course\n\ngo 1.26\n"), 0o644),
		os.WriteFile(filepath.Join(dir, "step01_test.go"), fmt.Appendf(nil, spec, 1, `t.Error("no")`), 0o644),
		os.WriteFile(filepath.Join(dir, "step02_test.go"), fmt.Appendf(nil, spec, 2, ""), 0o644),
		os.WriteFile(filepath.Join(dir, "step03_test.go"), fmt.Appendf(nil, spec, 3, "it does not compile"), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	l, err := lesson.Find(root, "07")
	if err != nil {
		t.Fatal(err)
	}
	d := New(root)
	run := func() string {
		v, err := d.Run(t.Context(), verdict.Request{Lesson: l})
		if err != nil {
			t.Fatal(err)
		}
		return v.Colour
	}

	if got := run(); got != verdict.Red {
		t.Errorf("at step 1: %s", got)
	}
	if _, _, err := d.Note("test", &verdict.Verdict{Lesson: l.Name, Colour: verdict.Red, Step: 3, Green: []int{1, 2}, Red: []int{3}}); err != nil {
		t.Fatal(err)
	}
	if got := run(); got != verdict.NotBuilt {
		t.Errorf("at step 3: %s", got)
	}
}
