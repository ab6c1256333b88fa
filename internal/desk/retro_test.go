package desk

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kafka-katas/kafka-katas/internal/history"
)

// The retrospective of a session, from the log alone: runs, reds, greens, predictions, turns, and questions.
func TestARetrospectiveTellsTheSession(t *testing.T) {
	d := New(t.TempDir())
	begin := time.Date(2026, 5, 1, 18, 0, 0, 0, time.Local)
	yes, no := true, false
	at := func(minutes int, r history.Run) {
		t.Helper()
		r.Time = begin.Add(time.Duration(minutes) * time.Minute)
		if _, err := d.Book.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	at(-60, history.Run{By: "test", Lesson: "lesson07", Colour: history.Red, Word: "STUCK"}) // before the session
	at(0, history.Run{By: "dojo", Lesson: "lesson07", Colour: history.Red, Step: 2, Word: "LOST", Count: 2, FirstRed: "TestStep02_NothingIsLost", GreenSteps: []int{1}, RedSteps: []int{2},
		Driver: "Ada", Navigator: "Bob", Prediction: &history.Prediction{Colour: "red", Word: "DUPLICATED", Right: &no}})
	at(2, history.Run{Kind: "hint", Lesson: "lesson07", Step: 2})
	at(3, history.Run{By: "dojo", Lesson: "lesson07", Colour: history.NotBuilt})
	at(4, history.Run{By: "dojo", Lesson: "lesson07", Colour: history.Red, Step: 2, Word: "LOST", FirstRed: "TestStep02_NothingIsLost", RedSteps: []int{2}})
	at(5, history.Run{Kind: "handover", By: "dojo", Driver: "Ada", Navigator: "Bob", Note: "lesson07 step 2 is red"})
	at(5, history.Run{Kind: "turn", By: "dojo", Driver: "Bob", Navigator: "Ada"})
	at(9, history.Run{By: "dojo", Lesson: "lesson07", Colour: history.Green, Step: 2, GreenSteps: []int{1, 2}, Prediction: &history.Prediction{Colour: "green", Right: &yes}})
	var b strings.Builder
	if err := d.Retro(&b, begin); err != nil {
		t.Fatal(err)
	}
	want := `# Retrospective, 2026-05-01

From 18:00 to 2026-05-01 18:09.

## Runs

| lesson | runs | red | did not build | hints |
|---|---|---|---|---|
| lesson07 | 4 | 2 | 1 | 1 |

## What was red

- LOST: 2 times

## Steps, by when they were green first

- 18:00  lesson07 step 01
- 18:09  lesson07 step 02

## Predictions

1 right, 1 wrong.

- 18:00  said red, DUPLICATED; it was red, LOST, 2 records (nothing is lost)

## Turns

- 18:05  handed over: lesson07 step 2 is red
- 18:05  Bob drives, Ada navigates

## Questions

- Which red surprised us, and what did we not know?
- Where were we stuck for longest, and what ended it?
- What do we do on Monday?
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
	if err := d.Retro(&b, begin.Add(time.Hour)); err == nil || !strings.Contains(err.Error(), "nothing was run since") {
		t.Errorf("%v", err)
	}
}
