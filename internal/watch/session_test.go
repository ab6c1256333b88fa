package watch

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kafka-katas/kafka-katas/internal/desk"
	"github.com/kafka-katas/kafka-katas/internal/history"
	"github.com/kafka-katas/kafka-katas/internal/lesson"
	"github.com/kafka-katas/kafka-katas/internal/verdict"
)

const readme = `# Lesson 07: Consumer groups and load balancing

## White belt

### Step 01: A configuration says everything that is wrong with it

Its promise.

<details><summary>Hint</summary>

Do not return at the first problem.

Collect errors in a slice.

</details>

## Brown belt

### Step 02: A crash loses nothing

Second.
`

// aSession is a lesson of two steps, whose runs are played by run.
func aSession(t *testing.T, run func(context.Context, verdict.Request) (*verdict.Verdict, error)) *Session {
	t.Helper()
	root := t.TempDir()
	dir := filepath.Join(root, "katas", "lesson07")
	mkdir(t, dir)
	mkdir(t, filepath.Join(root, "solutions", "lesson07"))
	save(t, filepath.Join(dir, "README.md"), readme)
	save(t, filepath.Join(dir, "a.go"), "package lesson07\n")
	save(t, filepath.Join(root, "solutions", "lesson07", "a.go"), "package lesson07\n\nvar answer = 42\n")
	save(t, filepath.Join(dir, "step01_test.go"), "package lesson07\nfunc TestStep01_AllIsSaid(t *testing.T) {}\nfunc TestStep02_NothingIsLost(t *testing.T) {}\n")
	l, err := lesson.Find(root, "07")
	if err != nil {
		t.Fatal(err)
	}
	return &Session{Desk: desk.New(root), Lesson: l, By: "watch", Files: Files{Poll: true, Every: 5 * time.Millisecond}, run: run}
}

func redAt(step int) *verdict.Verdict {
	v := &verdict.Verdict{Lesson: "lesson07", Colour: verdict.Red, Step: step, Red: []int{step}, Word: "LOST", Report: "/reports/x.html", Took: time.Second}
	v.FirstRed = map[int]string{1: "TestStep01_AllIsSaid", 2: "TestStep02_NothingIsLost"}[step]
	v.Failure = "LOST: orders/0 offset 0 (key orders-0) was never handled by group validation, nor were 1 other records\n\n" +
		"         time  a             broker\n    >  0.000s                produced 0/0\n\nwhy    at least once means: each record is handled, whatever crashes; nobody will ask for it again"
	v.Reds, v.Failures = []string{v.FirstRed}, []string{v.Failure}
	if step == 2 {
		v.Green = []int{1}
	}
	return v
}

func allGreen() *verdict.Verdict {
	return &verdict.Verdict{Lesson: "lesson07", Colour: verdict.Green, Step: 2, Green: []int{1, 2}, Took: time.Second}
}

func wantEvent(t *testing.T, events <-chan Event, what string, is func(Event) bool) Event {
	t.Helper()
	limit := time.After(patience)
	for {
		select {
		case e, ok := <-events:
			if !ok {
				t.Fatalf("the session ended before %s", what)
			}
			if is(e) {
				return e
			}
		case <-limit:
			t.Fatalf("%s did not come", what)
		}
	}
}

// A save that comes while tests run ends them: their verdict would be about another text.
func TestANewSaveCancelsTheRunThatItHasOvertaken(t *testing.T) {
	var under, runs, cancelled atomic.Int32
	s := aSession(t, func(ctx context.Context, q verdict.Request) (*verdict.Verdict, error) {
		if under.Add(1) > 1 {
			t.Error("two runs at the same time")
		}
		defer under.Add(-1)
		if runs.Add(1) == 1 {
			<-ctx.Done()
			cancelled.Add(1)
			return &verdict.Verdict{Colour: verdict.Cancelled}, nil
		}
		return redAt(2), nil
	})
	ctx, stop := context.WithCancel(t.Context())
	events, wishes := s.Start(ctx)
	wantEvent(t, events, "the start", func(e Event) bool { return e.Started })
	save(t, filepath.Join(s.Lesson.Dir(), "a.go"), "package lesson07 // saved\n")
	e := wantEvent(t, events, "the verdict", func(e Event) bool { return e.Verdict != nil })
	if cancelled.Load() != 1 || runs.Load() != 2 || e.Verdict.Step != 2 || !e.Progress.Of("lesson07").Green(1) {
		t.Errorf("%d cancelled of %d, %+v", cancelled.Load(), runs.Load(), e)
	}
	wishes <- All
	wantEvent(t, events, "all", func(e Event) bool { return e.Started && e.All })
	wantEvent(t, events, "its verdict", func(e Event) bool { return e.Verdict != nil })
	stop()
	for range events {
	}
	all, err := s.Desk.Book.Runs()
	if err != nil || len(all) != 2 || all[0].By != "watch" || all[0].FirstRed != "TestStep02_NothingIsLost" {
		t.Errorf("the log has %+v, %v", all, err)
	}
}

func TestASessionThatEndsWaitsForItsRun(t *testing.T) {
	var under atomic.Int32
	s := aSession(t, func(ctx context.Context, q verdict.Request) (*verdict.Verdict, error) {
		under.Add(1)
		defer under.Add(-1)
		<-ctx.Done()
		return &verdict.Verdict{Colour: verdict.Cancelled}, nil
	})
	ctx, stop := context.WithCancel(t.Context())
	events, _ := s.Start(ctx)
	wantEvent(t, events, "the start", func(e Event) bool { return e.Started })
	stop()
	for range events {
	}
	if under.Load() != 0 {
		t.Error("something still runs")
	}
}

// What the board shows is the same on every kind of screen.
func TestABoardShowsWhatWasAskedFor(t *testing.T) {
	s := aSession(t, nil)
	b := NewBoard(s.Desk, s.Lesson)
	body := func(words ...string) {
		t.Helper()
		for _, w := range words {
			if !strings.Contains(b.Body(), w) {
				t.Errorf("%q is missing in\n%s", w, b.Body())
			}
		}
	}
	if b.State() != "not run yet" || b.Step().Number != 1 {
		t.Errorf("%s, %+v", b.State(), b.Step())
	}
	body("all is said")

	b.Take(Event{Started: true})
	if b.State() != "running" {
		t.Error(b.State())
	}
	b.Take(Event{Verdict: &verdict.Verdict{Colour: verdict.NotBuilt, Build: "a.go:1: no"}, Progress: b.Progress})
	body("a.go:1: no")
	if b.State() != "NOT BUILT" {
		t.Error(b.State())
	}
	right := false
	v := redAt(1)
	b.Take(Event{Verdict: v, Progress: b.Progress, Predicted: &history.Prediction{Colour: "green", Right: &right}})
	body("all is said", "LOST: orders/0", "why    ", "You predicted green")
	if b.State() != "RED LOST" {
		t.Error(b.State())
	}
	b.Press("h")
	body("Hint for step 1 (1 of 2)", "first problem", "h says more")
	b.Press("h")
	body("Collect errors")
	b.Press("t")
	body("/reports/x.html", "produced 0/0")
	b.Press("n")
	body("lesson07 step 1", "Its promise.")
	b.Press("d")
	body("the solution comes after green", "press d again to peek")
	b.Press("d")
	body("+var answer = 42")
	if w, wish, _ := b.Press("a"); !wish || w != All {
		t.Error("a runs all")
	}
	if w, wish, _ := b.Press("r"); !wish || w != Again {
		t.Error("r runs again")
	}
	if _, _, quit := b.Press("q"); !quit {
		t.Error("q quits")
	}
	b.Take(Event{Err: errors.New("no go command")})
	body("no go command")
	b.Progress, _ = s.Desk.Book.Add(history.Run{Lesson: "lesson07", Colour: "green", GreenSteps: []int{1, 2}})
	b.Take(Event{Verdict: allGreen(), Progress: b.Progress})
	if b.State() != "GREEN" || b.Step() != nil || b.Belts() != "white #  brown #" {
		t.Errorf("%s %+v %s", b.State(), b.Step(), b.Belts())
	}
	body("lesson07 is green")
	b.Press("t")
	body("there is no timeline")
	b.Press("h")
	body("nothing to hint at")
	b.Press("n")
	body("Every step of lesson07 is green")
}

// Errors of a compiler, and verdicts, are one each; a path is short, and no line is joined to one that it does not go on with.
func TestWhatIsListedStaysAList(t *testing.T) {
	s := aSession(t, nil)
	b := NewBoard(s.Desk, s.Lesson)
	b.Take(Event{Verdict: &verdict.Verdict{Colour: verdict.NotBuilt, Build: "# example.com/course/katas/lesson07 [example.com/course/katas/lesson07.test]\nkatas/lesson07/a.go:3:16: syntax error: unexpected {, expected )\nkatas/lesson07/b.go:4:1: missing return\n"}, Progress: b.Progress})
	want := "katas/lesson07/a.go:3:16: syntax error:|unexpected {, expected )|katas/lesson07/b.go:4:1: missing return"
	if got := strings.Join(Fit(b.Body(), 41), "|"); got != want {
		t.Errorf("%s", got)
	}
	v := redAt(1)
	v.Failures[0] = "LOST: one\n\nalso    REORDERED: orders/0 offset 1 was begun before 0\n        COMMITTED TOO EARLY: offset 3\nreport  " + filepath.Join(s.Desk.Root, ".katas", "reports", "x.html")
	b.Take(Event{Verdict: v, Progress: b.Progress})
	want = "all is said||LOST: one||also    REORDERED: orders/0 offset 1 was|        begun before 0|        COMMITTED TOO EARLY: offset 3|report  .katas/reports/x.html"
	if got := strings.Join(Fit(b.Body(), 41), "|"); got != want {
		t.Errorf("%s", got)
	}
}

func TestTextIsFittedAndATimelineIsCut(t *testing.T) {
	got := Fit("LOST: orders/0 offset 0 was never\nhandled by a group\n\n  time  a          b\n  0.0s  owns 0     began 0/0\n\nwhy    nobody will ask for it again\n- a promise that is long\nmore:\n/a/path/that/is/longer/than/the/screen\n", 22)
	want := []string{
		"LOST: orders/0 offset", "0 was never handled by", "a group", "", "  time  a          b", "  0.0s  owns 0     be…", "",
		"why    nobody will ask", "       for it again", "- a promise that is", "  long", "more:", "/a/path/that/is/longer", "/than/the/screen",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%q", got)
	}
}
