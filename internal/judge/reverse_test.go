package judge

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"
)

// A learner's test is measured by the mistakes that it catches, once it is green on the solution.
func TestALearnersTestIsMeasuredByTheMistakesThatItCatches(t *testing.T) {
	root := t.TempDir()
	write(t, root, []txtar.File{{Name: "go.mod", Data: []byte("module example.test/course\n\ngo 1.25\n")}})
	write(t, root, lesson("lesson01", parse(t, "testdata/lawful.txtar").Files))
	course, err := Open(root)
	require.NoError(t, err)
	all := len(course.Lessons[0].Mistakes)
	own := filepath.Join(root, "own_test.go")
	run := func(text string) (*Reverse, string, error) {
		t.Helper()
		require.NoError(t, os.WriteFile(own, []byte(text), 0o644))
		r, err := course.Reverse(t.Context(), "lesson01", own, io.Discard)
		if err != nil {
			return nil, "", err
		}
		var b strings.Builder
		require.NoError(t, r.Print(&b))
		return r, b.String(), nil
	}
	head := "package lesson01\n\nimport \"testing\"\n\n"

	r, text, err := run(head + "func TestMine(t *testing.T) {}\n")
	require.NoError(t, err)
	require.Empty(t, r.Solution)
	require.Len(t, r.Away, all)
	require.Contains(t, text, "caught 0 of")

	_, text, err = run(head + "func TestMine(t *testing.T) { t.Error(\"always\") }\n")
	require.NoError(t, err)
	require.Contains(t, text, "red on the solution")

	r, text, err = run(head + "func TestMine(t *testing.T) { undefined() }\n")
	require.NoError(t, err)
	require.True(t, r.Build)
	require.Contains(t, text, "undefined")

	_, _, err = run("package other\n")
	require.ErrorContains(t, err, "package lesson01")
	_, _, err = run(head + "var _ testing.T\n")
	require.ErrorContains(t, err, "func TestMine")
}
