package desk

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/kafka-katas/kafka-katas/internal/history"
	"github.com/kafka-katas/kafka-katas/internal/lesson"
)

// Retro writes what the log tells of a session, since a time, as Markdown for a retrospective.
func (d *Desk) Retro(w io.Writer, since time.Time) error {
	all, err := d.Book.Runs()
	if err != nil {
		return err
	}
	runs := slices.DeleteFunc(all, func(r history.Run) bool { return r.Time.Before(since) })
	if len(runs) == 0 {
		return fmt.Errorf("nothing was run since %s", since.Format("2006-01-02 15:04"))
	}
	out := &printer{w: w}
	first, last := runs[0].Time.Local(), runs[len(runs)-1].Time.Local()
	out.f("# Retrospective, %s\n\nFrom %s to %s.\n", first.Format("2006-01-02"), first.Format("15:04"), last.Format("2006-01-02 15:04"))

	type tally struct{ runs, red, built, hints int }
	lessons := map[string]*tally{}
	words := map[string]int{}
	firstGreen := map[string]time.Time{}
	var order []string
	right, wrong := 0, 0
	for _, r := range runs {
		if r.Lesson == "" {
			continue
		}
		t := lessons[r.Lesson]
		if t == nil {
			t = &tally{}
			lessons[r.Lesson] = t
		}
		switch {
		case r.Kind == "hint":
			t.hints++
			continue
		case r.Kind != "":
			continue
		}
		t.runs++
		if r.Colour == history.Red {
			t.red++
			words[cmp.Or(r.Word, "without a word")]++
		}
		if r.Colour == history.NotBuilt {
			t.built++
		}
		if r.Prediction != nil && r.Prediction.Right != nil {
			if *r.Prediction.Right {
				right++
			} else {
				wrong++
			}
		}
		for _, n := range r.GreenSteps {
			key := fmt.Sprintf("%s step %02d", r.Lesson, n)
			if firstGreen[key].IsZero() {
				firstGreen[key] = r.Time
				order = append(order, key)
			}
		}
	}
	out.f("\n## Runs\n\n| lesson | runs | red | did not build | hints |\n|---|---|---|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(lessons)) {
		t := lessons[name]
		out.f("| %s | %d | %d | %d | %d |\n", name, t.runs, t.red, t.built, t.hints)
	}
	if len(words) > 0 {
		out.f("\n## What was red\n\n")
		for _, w := range slices.SortedFunc(maps.Keys(words), func(a, b string) int {
			return cmp.Or(cmp.Compare(words[b], words[a]), cmp.Compare(a, b))
		}) {
			out.f("- %s: %d times\n", w, words[w])
		}
	}
	if len(order) > 0 {
		out.f("\n## Steps, by when they were green first\n\n")
		for _, key := range order {
			out.f("- %s  %s\n", firstGreen[key].Local().Format("15:04"), key)
		}
	}
	if right+wrong > 0 {
		out.f("\n## Predictions\n\n%d right, %d wrong.\n\n", right, wrong)
		for _, r := range runs {
			if p := r.Prediction; p != nil && p.Right != nil && !*p.Right {
				out.f("- %s  said %s; it was %s\n", r.Time.Local().Format("15:04"), p, shown(r))
			}
		}
	}
	var turns []string
	for _, r := range runs {
		switch r.Kind {
		case "turn":
			turns = append(turns, fmt.Sprintf("- %s  %s drives, %s navigates", r.Time.Local().Format("15:04"), cmp.Or(r.Driver, "?"), cmp.Or(r.Navigator, "?")))
		case "handover":
			turns = append(turns, fmt.Sprintf("- %s  handed over: %s", r.Time.Local().Format("15:04"), strings.ReplaceAll(r.Note, "\n", " ")))
		}
	}
	if len(turns) > 0 {
		out.f("\n## Turns\n\n%s\n", strings.Join(turns, "\n"))
	}
	out.f("\n## Questions\n\n- Which red surprised us, and what did we not know?\n- Where were we stuck for longest, and what ended it?\n- What do we do on Monday?\n")
	return out.err
}

// shown is what a run has shown, in few words.
func shown(r history.Run) string {
	text := r.Colour
	if r.Word != "" {
		text += ", " + r.Word
	}
	if r.Count > 0 {
		text += fmt.Sprintf(", %d records", r.Count)
	}
	if r.FirstRed != "" {
		text += fmt.Sprintf(" (%s)", lesson.Promise(r.FirstRed))
	}
	return text
}
