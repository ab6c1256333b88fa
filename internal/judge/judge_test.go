package judge

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite the expected sentences in testdata")

// A miniature course: lesson01 breaks no law, each later lesson is the same with something broken. One judgement of
// them all shows that the judge says each breach, in words, and says it of the right lesson.
func TestEachBrokenLawIsSaid(t *testing.T) {
	lawful := parse(t, "testdata/lawful.txtar")
	archives, err := filepath.Glob("testdata/broken/*.txtar")
	require.NoError(t, err)
	root := t.TempDir()
	write(t, root, []txtar.File{{Name: "go.mod", Data: []byte("module example.test/course\n\ngo 1.25\n")}})
	write(t, root, lesson("lesson01", lawful.Files))
	for i, name := range archives {
		write(t, root, lesson(fmt.Sprintf("lesson%02d", i+2), merge(lawful.Files, parse(t, name).Files)))
	}
	// A kata without a spec is no lesson yet.
	write(t, root, []txtar.File{{Name: "katas/lesson99/README.md", Data: []byte("# Soon\n")}})

	course, err := Open(root)
	require.NoError(t, err)
	report, err := course.Judge(context.Background(), Options{Repeat: 2})
	require.NoError(t, err)

	for _, law := range Laws() {
		require.Empty(t, said(report, "lesson01", law))
	}
	require.Equal(t, []string{"lesson99 has no specification yet and is not judged"}, report.Notes)
	for i, name := range archives {
		archive := parse(t, name)
		law := Law(filepath.Base(name)[len("law")] - '0') // what else it breaks is of no interest
		got := said(report, fmt.Sprintf("lesson%02d", i+2), law)
		if *update {
			archive.Comment = []byte(got)
			require.NoError(t, os.WriteFile(name, txtar.Format(archive), 0o644))
		}
		if diff := cmp.Diff(string(archive.Comment), got); diff != "" || got == "" {
			t.Errorf("%s: (-want +got)\n%s", name, diff)
		}
	}
	require.Equal(t, len(archives)+1, report.Counts.Lessons)
	require.Equal(t, len(report.Broken), report.Counts.Broken)
}

// The whole text of a breach, as an author of a lesson reads it.
func TestABreachSaysHowToSeeItAgain(t *testing.T) {
	root := course(t, map[string]string{
		"solution/mistakes/forgets_the_first.patch": "Caught by: TestStep01_EveryRecordIsHandled: LOST|Caught by: TestStep01_EveryRecordIsHandled: STUCK",
	})
	c, err := Open(root, "1")
	require.NoError(t, err)
	report, err := c.Judge(context.Background(), Options{Mistake: "forgets_the_first"})
	require.NoError(t, err)

	var out bytes.Buffer
	report.Print(&out, 100)
	require.Equal(t, `
lesson01                        1
01 EveryRecordIsHandled         x
02 AFailedRecordIsNotCommitted  ·

  1  forgets_the_first  Begins with the second record.

● caught as said   ○ also red   x not caught as said

lesson01 breaks law 3 (mistake): each mistake is red in exactly the way its "Caught by" says
    about     forgets_the_first
    expected  TestStep01_EveryRecordIsHandled fails with STUCK
    got       red: LOST
    again     go tool kata check lesson01 --mistake forgets_the_first
    it printed
            consumer_test.go:28: LOST: handled "b c" of "a b c"
        --- FAIL: TestStep01_EveryRecordIsHandled (0.00s)

1 lesson, 2 specs, 1 mistake, 27 runs: laws broken 1 time
`, "\n"+strings.TrimLeft(out.String(), "\n"))
}

// A mistake that races is not red each time: further looks find it, and a note says so.
func TestAMistakeThatIsNotRedEachTimeIsNoted(t *testing.T) {
	root := course(t, map[string]string{
		"solution/mistakes/forgets_the_first.patch": "records[1:] {|records[min(1, func() int { once++; return once / 2 }()):] {",
	})
	const mistake = "solutions/lesson01/mistakes/forgets_the_first.patch"
	text, err := os.ReadFile(filepath.Join(root, mistake))
	require.NoError(t, err)
	text = append(text, "--- /dev/null\n+++ b/once.go\n@@ -0,0 +1,3 @@\n+package lesson01\n+\n+var once int\n"...)
	require.NoError(t, os.WriteFile(filepath.Join(root, mistake), text, 0o644))
	c, err := Open(root, "1")
	require.NoError(t, err)
	report, err := c.Judge(context.Background(), Options{Mistake: "forgets_the_first"})
	require.NoError(t, err)

	require.Empty(t, report.Broken)
	require.Equal(t, []string{
		"lesson01: mistake forgets_the_first is not red each time: TestStep01_EveryRecordIsHandled failed with LOST in 4 of 6 runs",
	}, report.Notes)
}

// An exploration takes longer than all other specs together, so it runs for the mistakes that name it.
func TestAnExplorationRunsWhereItIsNamed(t *testing.T) {
	root := course(t, map[string]string{
		"kata/consumer_test.go": "func TestStep02_|type explorer struct{}\n\nfunc (explorer) Explore(tell func()) { tell() }\n\nvar harness explorer\n\n" +
			"func TestStep02_ExploredEverythingIsHandled(t *testing.T) {\n\tharness.Explore(func() { TestStep01_EveryRecordIsHandled(t) })\n}\n\nfunc TestStep02_",
	})
	c, err := Open(root, "1")
	require.NoError(t, err)
	report, err := c.Judge(context.Background(), Options{Laws: []Law{Mistake}})
	require.NoError(t, err)
	var out bytes.Buffer
	report.Print(&out, 100)
	require.Contains(t, out.String(), "blank: not explored")
	for _, m := range report.Lessons[0].Mistakes {
		require.NotContains(t, m.Red, "TestStep02_ExploredEverythingIsHandled", m.Name)
	}

	name := filepath.Join(root, "solutions/lesson01/mistakes/forgets_the_first.patch")
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	text = bytes.Replace(text, []byte("Caught by:"), []byte("Caught by: TestStep02_ExploredEverythingIsHandled: LOST\nCaught by:"), 1)
	require.NoError(t, os.WriteFile(name, text, 0o644))
	c, err = Open(root, "1")
	require.NoError(t, err)
	report, err = c.Judge(context.Background(), Options{Laws: []Law{Mistake}})
	require.NoError(t, err)
	require.Empty(t, said(report, "lesson01", Mistake))
	red := 0
	for _, m := range report.Lessons[0].Mistakes {
		if _, explored := m.Red["TestStep02_ExploredEverythingIsHandled"]; explored {
			red++
		}
	}
	require.Equal(t, 1, red)
}

// A check of the race detector's own that fails, twice even, is no breach of law 2, if a later run is green.
func TestAFailedRaceDetectorIsNoBreach(t *testing.T) {
	mark := filepath.ToSlash(filepath.Join(t.TempDir(), "failed-before"))
	again := mark + "-twice"
	root := course(t, map[string]string{
		"kata/consumer_test.go": "func TestStep01_|func init() {\n\tif os.Rename(\"" + mark + "\", \"" + again + "\") == nil {\n" +
			"\t\tos.Stderr.WriteString(\"ThreadSanitizer: CHECK failed: tsan_rtl.cpp:346\\n\")\n\t\tos.Exit(66)\n\t}\n" +
			"\tif _, err := os.Stat(\"" + again + "\"); err != nil {\n" +
			"\t\tos.WriteFile(\"" + mark + "\", nil, 0o600)\n\t\tos.Stderr.WriteString(\"ThreadSanitizer: CHECK failed: tsan_rtl.cpp:346\\n\")\n\t\tos.Exit(66)\n\t}\n}\n\nfunc TestStep01_",
	})
	name := filepath.Join(root, "katas/lesson01/consumer_test.go")
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(name, bytes.Replace(text, []byte("\"errors\"\n"), []byte("\"errors\"\n\t\"os\"\n"), 1), 0o644))
	c, err := Open(root, "1")
	require.NoError(t, err)
	report, err := c.Judge(context.Background(), Options{Laws: []Law{Solution}, Repeat: 1})
	require.NoError(t, err)
	require.Empty(t, report.Broken)
	require.Equal(t, []string{"lesson01: the race detector failed a check of its own, so law 2 was judged on another run"}, report.Notes)
}

func TestALessonThatIsNotThere(t *testing.T) {
	_, err := Open(course(t, nil), "lesson01", "44")
	require.EqualError(t, err, `no such lesson as "44"; there is: lesson01`)
}

// course is the lawful lesson alone, with "old|new" replaced in some of its files.
func course(t *testing.T, edits map[string]string) string {
	t.Helper()
	files := parse(t, "testdata/lawful.txtar").Files
	for i, f := range files {
		if edit, ok := edits[f.Name]; ok {
			before, after, _ := strings.Cut(edit, "|")
			require.Contains(t, string(f.Data), before)
			files[i].Data = bytes.ReplaceAll(f.Data, []byte(before), []byte(after))
		}
	}
	root := t.TempDir()
	write(t, root, []txtar.File{{Name: "go.mod", Data: []byte("module example.test/course\n\ngo 1.25\n")}})
	write(t, root, lesson("lesson01", files))
	return root
}

// said is what the judge said of a lesson by one law: a line for each breach, without what programs printed.
func said(r *Report, lesson string, law Law) string {
	var s strings.Builder
	for _, b := range r.Broken {
		if b.Lesson == lesson && b.Law == law {
			fmt.Fprintf(&s, "law %d, %s: expected %s; got %s\n", b.Law, b.Subject, b.Expected, b.Got)
		}
	}
	return s.String()
}

// lesson gives the files of an archive their place and the lesson's name.
func lesson(name string, files []txtar.File) []txtar.File {
	var out []txtar.File
	for _, f := range files {
		top, rest, _ := strings.Cut(f.Name, "/")
		path := map[string]string{"kata": "katas/", "solution": "solutions/"}[top] + name + "/" + rest
		out = append(out, txtar.File{Name: path, Data: bytes.ReplaceAll(f.Data, []byte("lesson00"), []byte(name))})
	}
	return out
}

// merge lays changes over files: an empty file takes a file, or all those under it, away.
func merge(files, changes []txtar.File) []txtar.File {
	out := slices.Clone(files)
	for _, c := range changes {
		out = slices.DeleteFunc(out, func(f txtar.File) bool {
			return f.Name == c.Name || len(c.Data) == 0 && strings.HasPrefix(f.Name, c.Name+"/")
		})
		if len(c.Data) > 0 {
			out = append(out, c)
		}
	}
	return out
}

func parse(t *testing.T, name string) *txtar.Archive {
	t.Helper()
	archive, err := txtar.ParseFile(name)
	require.NoError(t, err)
	return archive
}

// unpack writes an archive into a new directory.
func unpack(t *testing.T, name string) string {
	t.Helper()
	root := t.TempDir()
	write(t, root, parse(t, name).Files)
	return root
}

func write(t *testing.T, root string, files []txtar.File) {
	t.Helper()
	for _, f := range files {
		file := filepath.Join(root, filepath.FromSlash(f.Name))
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, f.Data, 0o644))
	}
}
