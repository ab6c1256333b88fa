package dojo

import (
	"errors"
	"os"
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
