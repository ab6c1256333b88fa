//go:build unix

package dojo

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kafka-katas/kafka-katas/internal/desk"
	"github.com/kafka-katas/kafka-katas/internal/lesson"
	"github.com/kafka-katas/kafka-katas/internal/ptytest"
	"github.com/kafka-katas/kafka-katas/internal/watch"
)

// A dojo in a terminal: the clock is above everything, x rotates.
func TestADojoShowsWhoseTurnItIs(t *testing.T) {
	t.Setenv("TERM", "xterm-256color")
	root := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":                        "module course\n\ngo 1.26\n",
		"katas/lesson07/README.md":      "# Lesson 07: Groups\n\n## White belt\n\n### Step 01: It begins\n",
		"katas/lesson07/a.go":           "package lesson07\n",
		"katas/lesson07/step01_test.go": "package lesson07\n\nimport \"testing\"\n\nfunc TestStep01_ItBegins(t *testing.T) {}\n",
	} {
		file := filepath.Join(root, name)
		os.MkdirAll(filepath.Dir(file), 0o755)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	l, err := lesson.Find(root, "07")
	if err != nil {
		t.Fatal(err)
	}
	d := New(desk.New(root), NewClock(time.Now(), time.Hour, "Ada", "Bob"))
	screen := ptytest.New(t, 80, 24)
	done := make(chan error, 1)
	go func() {
		done <- watch.TerminalWith(t.Context(), &watch.Session{Desk: d.Desk, Lesson: l, By: "dojo", Note: d.Note}, d.Extra(), screen.TTY, screen.TTY)
	}()
	screen.Shows(`Ada drives, Bob navigates`)
	screen.Shows(`x rotate  z restart turn  n next`)
	screen.Shows(`GREEN  every step is green`)
	screen.Press("x")
	screen.Shows(`Bob drives, Ada navigates`)
	screen.Shows(`handed over: `)
	screen.Press("q")
	if err := <-done; err != nil {
		t.Error(err)
	}
	if runs, _ := d.Desk.Book.Runs(); len(runs) != 3 || runs[0].Driver != "Ada" {
		t.Errorf("%+v", runs)
	}
}
