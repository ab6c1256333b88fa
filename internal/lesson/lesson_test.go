package lesson

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const readme = `# Lesson 07: Consumer groups

## White belt

### Step 01: A configuration says what is wrong

Its promise.

` + "```go\n# no heading\n```" + `

<details><summary>Hint</summary>

What is it?

Then that.

</details>

More of it.

### Another heading

Not a step.

## Brown belt

### Step 02 — A crash

Second.

## After green

### Why it works

Because.

## Further reading

Nothing.
`

func course(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range map[string]string{
		"katas/lesson07/README.md":      readme,
		"katas/lesson07/config.go":      "package lesson07",
		"katas/lesson07/cast_test.go":   "package lesson07\nfunc TestMain(m *testing.M) {}\n",
		"katas/lesson07/step01_test.go": "package lesson07\nfunc TestStep01_AllIsSaid(t *testing.T) {\nfunc TestStep03_ItEnds(t *testing.T) {",
		"katas/lesson08/notes.txt":      "",
		"katas/other/x.go":              "",
	} {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// A lesson is read by its text alone, also while it does not compile.
func TestALessonIsWhatItsReadmeAndItsSpecificationsSay(t *testing.T) {
	l, err := Find(course(t), "7")
	if err != nil {
		t.Fatal(err)
	}
	want := []Step{
		{Number: 1, Title: "A configuration says what is wrong", Belt: "White", Text: "Its promise.\n\n```go\n# no heading\n```\n\nMore of it.",
			Hint: []string{"What is it?", "Then that."}, Specs: []string{"TestStep01_AllIsSaid"}},
		{Number: 2, Title: "A crash", Belt: "Brown", Text: "Second."},
		{Number: 3, Title: "it ends", Specs: []string{"TestStep03_ItEnds"}},
	}
	if diff := cmp.Diff(want, l.Steps); diff != "" {
		t.Error(diff)
	}
	if l.Title != "Consumer groups" || l.Debrief != "### Why it works\n\nBecause." {
		t.Errorf("title %q, debrief %q", l.Title, l.Debrief)
	}
	if got := l.Belts(); !slices.Equal(got, []string{"White", "Brown"}) {
		t.Errorf("belts %q", got)
	}
	if files, err := l.Files(); err != nil || !slices.Equal(files, []string{"config.go"}) {
		t.Errorf("files %q, %v", files, err)
	}
}

func TestALessonIsFoundByEachOfItsNames(t *testing.T) {
	root := course(t)
	for _, asked := range []string{"7", "07", "lesson07", "lesson7", "katas/lesson07", "./katas/lesson07/", "./katas/lesson07/..."} {
		if l, err := Find(root, asked); err != nil || l.Name != "lesson07" {
			t.Errorf("%q: %v, %v", asked, l, err)
		}
	}
	if _, err := Find(root, "seven"); err == nil || !strings.Contains(err.Error(), "there is lesson07, lesson08") {
		t.Errorf("seven: %v", err)
	}
	os.MkdirAll(filepath.Join(root, "solutions", "lesson09"), 0o755)
	if _, err := Find(root, "9"); err == nil || !strings.Contains(err.Error(), "katas/lesson09 is gone: git checkout") {
		t.Errorf("a lesson that was deleted: %v", err)
	}
	if all, err := All(root); err != nil || len(all) != 2 {
		t.Errorf("all: %v, %v", all, err)
	}
	if all, err := All(t.TempDir()); err != nil || len(all) != 0 {
		t.Errorf("of nothing: %v, %v", all, err)
	}
}

func TestAPromiseIsANameInWords(t *testing.T) {
	if got := Promise("TestStep03_EveryGroupSeesEveryRecord"); got != "every group sees every record" {
		t.Error(got)
	}
	if StepOf("TestStep03_Every") != 3 || StepOf("TestMain") != 0 {
		t.Error("steps are told by the name")
	}
}
