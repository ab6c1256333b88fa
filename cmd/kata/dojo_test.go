//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kafka-katas/kafka-katas/internal/ptytest"
)

// aSmallCourse has one lesson of two steps, which are green when a.go says so.
func aSmallCourse(t *testing.T) (root string, say func(string)) {
	t.Helper()
	root = t.TempDir()
	put := func(name, text string) {
		t.Helper()
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	say = func(word string) {
		t.Helper()
		put("katas/lesson07/a.go", "package lesson07\n\nconst green = \""+word+"\"\n")
	}
	put("go.mod", "module course\n\ngo 1.26\n")
	put("katas/lesson07/README.md", "# Lesson 07: Groups\n\n## White belt\n\n### Step 01: It begins\n\n### Step 02: It goes on\n")
	put("katas/lesson07/step_test.go", `package lesson07

import (
	"strings"
	"testing"
)

func TestStep01_ItBegins(t *testing.T) {
	if !strings.Contains(green, "one") {
		t.Attr("verdict", "LOST")
		t.Error("\nLOST: the first")
	}
}

func TestStep02_ItGoesOn(t *testing.T) {
	if !strings.Contains(green, "one") {
		t.Skip("later")
	}
	if !strings.Contains(green, "two") {
		t.Attr("verdict", "REORDERED")
		t.Error("\nREORDERED: the second")
	}
}
`)
	say("")
	return root, say
}

// inPath is a PATH with a program of this text before everything else.
func inPath(t *testing.T, name, script string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	return "PATH=" + dir + string(os.PathListSeparator) + os.Getenv("PATH")
}

var ttyEnv = []string{"TERM=xterm-256color", "GOFLAGS=-buildvcs=false", "KATA_ALL=", "KAFKA_BROKERS="}

// Who has mob.sh hands over by it; the screen goes on while it pushes.
func TestADojoHandsOverByMob(t *testing.T) {
	root, _ := aSmallCourse(t)
	screen := ptytest.New(t, 80, 24)
	fake := inPath(t, "mob", `echo "$PWD $@" >> mob.log
if test -e refuse; then echo "no remote called origin" >&2; exit 1; fi
while ! test -e pushed; do sleep 0.01; done
`)
	cmd := screen.Start(filepath.Join(root, "katas", "lesson07"), append(ttyEnv, fake), "kata", "dojo", "07", "--names", "Ada,Bob", "--mob")
	screen.Shows(`RED LOST  step 1`)

	screen.Press("x")
	screen.Shows(`Bob drives, Ada navigates`)
	screen.Shows(`handed over: .katas/handover.md; mob next is under way`)
	screen.Press("n")
	screen.Shows(`What is judged`)
	os.WriteFile(filepath.Join(root, "pushed"), nil, 0o644)
	screen.Shows(`handover.md, and mob next`)
	os.WriteFile(filepath.Join(root, "refuse"), nil, 0o644)
	screen.Press("x")
	screen.Shows(`the turn changed, but: mob next: exit status 1: no remote called origin`)
	screen.Shows(`Ada drives, Bob navigates`)
	screen.Press("q")
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}

	real, _ := filepath.EvalSymlinks(root)
	if log, err := os.ReadFile(filepath.Join(root, "mob.log")); string(log) != strings.Repeat(real+" next\n", 2) {
		t.Errorf("%s, %v", log, err)
	}
	note, err := os.ReadFile(filepath.Join(root, ".katas", "handover.md"))
	for _, want := range []string{"From Bob to Ada.", "lesson07 step 1 is red", "first red: TestStep01_ItBegins", "word: LOST", "again: go tool kata test 07 1"} {
		if !strings.Contains(string(note), want) {
			t.Errorf("%q is missing in %s, %v", want, note, err)
		}
	}
}

// Ping-pong and TCR as a pair sees them: a red step costs nothing, a broken one is taken back.
func TestAPairPlaysPingPongAndTCR(t *testing.T) {
	root, say := aSmallCourse(t)
	screen := ptytest.New(t, 80, 24)
	cmd := screen.Start(root, ttyEnv, "kata", "dojo", "--names", "Ada,Bob", "--ping-pong", "--tcr")
	screen.Shows(`Ada drives, Bob navigates  \(ping-pong\)`)
	screen.Shows(`RED LOST  step 1`)

	say("one")
	screen.Shows(`RED REORDERED  step 2`)
	screen.Shows(`step 2 is unlocked. handed over`)
	screen.Shows(`Bob drives, Ada navigates`)
	say("one, and more")
	screen.Shows(`running`)
	screen.Shows(`RED REORDERED  step 2`)
	say("two")
	screen.Shows(`step 1 regressed: taken back. Your edit is in`)
	screen.Shows(`RED REORDERED  step 2(?s:.*)taken back`) // it is run again, and where the edit is can still be read
	say("one two")
	screen.Shows(`GREEN  every step is green`)
	screen.Press("q")
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}

	if kept, err := filepath.Glob(filepath.Join(root, ".katas", "backups", "*", "lesson07", "a.go")); err != nil || len(kept) != 1 {
		t.Errorf("%v, %v", kept, err)
	} else if text, _ := os.ReadFile(kept[0]); !strings.Contains(string(text), `"two"`) {
		t.Errorf("the backup has %s", text)
	}
	log, _ := os.ReadFile(filepath.Join(root, ".katas", "log.ndjson"))
	for _, want := range []string{`"by":"dojo"`, `"driver":"Ada"`, `"driver":"Bob"`, `"kind":"handover"`, `"kind":"turn"`, `"word":"REORDERED"`} {
		if !strings.Contains(string(log), want) {
			t.Errorf("%s is missing in\n%s", want, log)
		}
	}
}

// A turn ends to be seen and to be heard, and z gives another one.
func TestATurnThatIsOverIsSeenAndHeard(t *testing.T) {
	root, _ := aSmallCourse(t)
	screen := ptytest.New(t, 80, 24)
	cmd := screen.Start(root, ttyEnv, "kata", "dojo", "--names", "Ada,Bob", "--turn", "1s")
	screen.Shows(`TURN OVER: press x to rotate  Ada drives, Bob navigates`)
	screen.Rings()
	screen.Press("z")
	screen.Shows(`the turn begins anew`)
	screen.Press("q")
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
