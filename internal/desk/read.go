package desk

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/diff"

	"github.com/kafka-katas/kafka-katas/internal/history"
	"github.com/kafka-katas/kafka-katas/internal/lesson"
)

// List prints the syllabus: each lesson with its belts, and how far the learner is. With steps it prints those too.
func (d *Desk) List(w io.Writer, steps bool, asked string) error {
	all, err := lesson.All(d.Root)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return d.noLesson()
	}
	p := d.Book.Progress()
	here := at(all, p)
	if asked != "" {
		one, err := lesson.Find(d.Root, asked)
		if err != nil {
			return err
		}
		all, steps = []*lesson.Lesson{one}, true
	}
	width := 0
	for _, l := range all {
		width = max(width, len([]rune(l.Title)))
	}
	out := &printer{w: w}
	for _, l := range all {
		mark := " "
		if here != nil && here.Name == l.Name {
			mark = ">"
		}
		green, of := GreenSteps(l, p)
		out.f("%s %s  %-*s  %2d/%-2d", mark, l.Short(), width, cmp.Or(l.Title, "(no README yet)"), green, of)
		for _, belt := range l.Belts() {
			out.f("  %s %s", strings.ToLower(belt), Bar(l, belt, p))
		}
		out.f("\n")
		if steps {
			standing, belt := p.Of(l.Name), ""
			for _, s := range l.Steps {
				if s.Belt != belt {
					belt = s.Belt
					out.f("\n     %s belt\n", belt)
				}
				out.f("     %-5s %2d  %s\n", cmp.Or(standing.Steps[s.Number], "-"), s.Number, s.Title)
			}
			out.f("\n")
		}
	}
	return out.err
}

// Bar is a belt's progress, a sign for each step: # is green, x is red, and a dot has not run.
func Bar(l *lesson.Lesson, belt string, p *history.Progress) string {
	standing := p.Of(l.Name)
	var b strings.Builder
	for _, s := range l.Steps {
		if s.Belt != belt {
			continue
		}
		switch standing.Steps[s.Number] {
		case history.Green:
			b.WriteByte('#')
		case history.Red:
			b.WriteByte('x')
		default:
			b.WriteByte('.')
		}
	}
	return b.String()
}

// Next prints the next step: its promise, and the commands that belong to it.
func (d *Desk) Next(w io.Writer, asked string) error {
	l, err := d.Lesson(asked)
	if err != nil {
		return err
	}
	out := &printer{w: w}
	s := Next(l, d.Book.Progress())
	if s == nil {
		out.f("Every step of %s is green, and so is the course as far as it goes.\n\n  go tool kata debrief %s\n  go tool kata list\n", l.Name, l.Short())
		return out.err
	}
	out.f("%s step %d", l.Name, s.Number)
	if s.Belt != "" {
		out.f(" (%s belt)", strings.ToLower(s.Belt))
	}
	out.f(": %s\n\n", s.Title)
	for _, name := range s.Specs {
		out.f("  - %s\n", lesson.Promise(name))
	}
	out.f("\n  go tool kata explain %[1]s %[2]d   what it is about\n  go tool kata test %[1]s %[2]d      run it\n  go tool kata hint %[1]s %[2]d      a hint\n  go tool kata watch %[1]s       run at each save\n", l.Short(), s.Number)
	return out.err
}

// Hint prints a step's hint, one paragraph more at each call, and keeps how many were seen.
func (d *Desk) Hint(w io.Writer, l *lesson.Lesson, s *lesson.Step, whole bool) error {
	if len(s.Hint) == 0 {
		return fmt.Errorf("step %d of %s has no hint", s.Number, l.Name)
	}
	seen := len(s.Hint)
	if !whole {
		text, n, err := d.OneMore(l, s)
		if text == "" {
			return err
		}
		seen = n // a place where nothing can be written does not take the hint away
	}
	out := &printer{w: w}
	out.f("%s\n", strings.Join(s.Hint[:seen], "\n\n"))
	if seen < len(s.Hint) {
		out.f("\n(%d of %d: the same call again says more)\n", seen, len(s.Hint))
	}
	return out.err
}

// OneMore is the next paragraph of a step's hint and how many have been seen with it.
func (d *Desk) OneMore(l *lesson.Lesson, s *lesson.Step) (string, int, error) {
	if len(s.Hint) == 0 {
		return "", 0, fmt.Errorf("step %d of %s has no hint", s.Number, l.Name)
	}
	n := min(d.Book.Progress().Of(l.Name).Hints[s.Number]+1, len(s.Hint))
	_, err := d.Book.Add(history.Run{Kind: "hint", Lesson: l.Name, Step: s.Number})
	return s.Hint[n-1], n, err
}

// Explain prints what a step is about: the README's section without its hint.
func (d *Desk) Explain(w io.Writer, l *lesson.Lesson, s *lesson.Step) error {
	out := &printer{w: w}
	out.f("%s step %d: %s\n\n", l.Name, s.Number, s.Title)
	if s.Text != "" {
		out.f("%s\n\n", s.Text)
	}
	out.f("What is judged:\n\n")
	for _, name := range s.Specs {
		out.f("  - %s\n", lesson.Promise(name))
	}
	out.f("\nThe lesson's concept: katas/%s/README.md\n", l.Name)
	return out.err
}

// notYet is the answer to a wish that comes before green.
func (d *Desk) notYet(l *lesson.Lesson, what string) error {
	s := Next(l, d.Book.Progress())
	if s == nil {
		return nil
	}
	return fmt.Errorf("%s comes after green, and step %d of %s (%s) is not: write it, or add --peek", what, s.Number, l.Name, s.Title)
}

// Debrief prints why it works and what the classic mistakes are, once the lesson is green.
func (d *Desk) Debrief(w io.Writer, l *lesson.Lesson, peek bool) error {
	if err := d.notYet(l, "the debrief"); err != nil && !peek {
		return err
	}
	if l.Debrief == "" {
		return fmt.Errorf("the README of %s has no section \"After green\"", l.Name)
	}
	out := &printer{w: w}
	out.f("%s\n", l.Debrief)
	return out.err
}

// Diff prints the learner's code against the solution, once the lesson is green.
func (d *Desk) Diff(w io.Writer, l *lesson.Lesson, peek bool) error {
	if err := d.notYet(l, "the solution"); err != nil && !peek {
		return err
	}
	text, err := Difference(l)
	if err != nil {
		return err
	}
	out := &printer{w: w}
	out.f("%s", text)
	return out.err
}

// Difference is a unified diff from the learner's files to the solution's.
func Difference(l *lesson.Lesson) (string, error) {
	mine, err := l.Files()
	if err != nil {
		return "", err
	}
	theirs, err := l.SolutionFiles()
	if err != nil {
		return "", fmt.Errorf("%s has no solution here: %w", l.Name, err)
	}
	var b strings.Builder
	for _, name := range union(mine, theirs) {
		a, errA := os.ReadFile(filepath.Join(l.Dir(), name))
		s, errB := os.ReadFile(filepath.Join(l.Solution(), name))
		if errA != nil && errB != nil {
			return "", errA
		}
		b.Write(diff.Diff("yours/"+name, a, "solution/"+name, s))
	}
	if b.Len() == 0 {
		return "Your code is the solution, to the letter.\n", nil
	}
	return b.String(), nil
}

func union(a, b []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(slices.Concat(a, b))))
}
