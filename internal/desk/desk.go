// Package desk is the learner's place in the course: which lesson and step are next, what they say, and what the runs have
// shown. Its functions write what the commands of the tool print.
package desk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"time"

	"github.com/kafka-katas/kafka-katas/internal/history"
	"github.com/kafka-katas/kafka-katas/internal/lesson"
	"github.com/kafka-katas/kafka-katas/internal/verdict"
)

// Desk is one clone of the course, and what was done in it.
type Desk struct {
	Root string
	Book *history.Book
}

// New is the desk of the module at root.
func New(root string) *Desk { return &Desk{Root: root, Book: history.Open(root)} }

// ErrRed says that something is red, and that it was printed.
var ErrRed = errors.New("red")

// Lesson is the lesson that was asked for, or the one that the learner is at: of the latest run until it is green, then
// the first one that is not.
func (d *Desk) Lesson(asked string) (*lesson.Lesson, error) {
	if asked != "" {
		return lesson.Find(d.Root, asked)
	}
	p := d.Book.Progress()
	if p.Current != "" {
		if l, err := lesson.Find(d.Root, p.Current); err == nil && Next(l, p) != nil {
			return l, nil
		}
	}
	all, err := lesson.All(d.Root)
	if err != nil {
		return nil, err
	}
	if l := at(all, p); l != nil {
		return l, nil
	}
	return nil, d.noLesson()
}

func (d *Desk) noLesson() error {
	return fmt.Errorf("%w: no lesson in %s: run this in a clone of the course", lesson.ErrNone, filepath.Join(d.Root, "katas"))
}

// at is the lesson of the latest run until it is green, then the first one that is not; the last one when all are.
func at(all []*lesson.Lesson, p *history.Progress) (last *lesson.Lesson) {
	for _, l := range all {
		if l.Name == p.Current && Next(l, p) != nil {
			return l
		}
	}
	for _, l := range all {
		if len(l.Steps) == 0 {
			continue
		}
		if last = l; Next(l, p) != nil {
			return l
		}
	}
	return last
}

// At is the lesson and the step that are asked for by up to two arguments: "07 3", "07", "3" (a step of the lesson that
// the learner is at, if there is no such lesson), or nothing. Step is nil when none was asked for.
func (d *Desk) At(args []string) (*lesson.Lesson, *lesson.Step, error) {
	switch len(args) {
	case 0:
		l, err := d.Lesson("")
		return l, nil, err
	case 1:
		l, err := lesson.Find(d.Root, args[0])
		if err == nil {
			return l, nil, nil
		}
		n, wrong := strconv.Atoi(args[0])
		if wrong != nil {
			return nil, nil, err
		}
		if l, none := d.Lesson(""); none == nil && l.Step(n) != nil {
			return l, l.Step(n), nil
		}
		return nil, nil, err
	}
	l, err := lesson.Find(d.Root, args[0])
	if err != nil {
		return nil, nil, err
	}
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return nil, nil, fmt.Errorf("%q is no step: give its number", args[1])
	}
	if l.Step(n) == nil {
		return nil, nil, fmt.Errorf("katas/%s/README.md has no step %d%s", l.Name, n, span(l))
	}
	return l, l.Step(n), nil
}

func span(l *lesson.Lesson) string {
	if len(l.Steps) == 0 {
		return ""
	}
	return fmt.Sprintf(": they go from %d to %d", l.Steps[0].Number, l.Steps[len(l.Steps)-1].Number)
}

// AtStep is At, with the step that the learner is at when none was asked for.
func (d *Desk) AtStep(args []string) (*lesson.Lesson, *lesson.Step, error) {
	l, s, err := d.At(args)
	if err != nil || s != nil {
		return l, s, err
	}
	if s = Next(l, d.Book.Progress()); s == nil {
		if len(l.Steps) == 0 {
			return nil, nil, fmt.Errorf("%s has no steps yet", l.Name)
		}
		return nil, nil, fmt.Errorf("every step of %s is green: say which one you mean, as in \"%s 2\"", l.Name, l.Short())
	}
	return l, s, nil
}

// Next is the first step of a lesson that is not green, nil when all are.
func Next(l *lesson.Lesson, p *history.Progress) *lesson.Step {
	standing := p.Of(l.Name)
	for i := range l.Steps {
		if len(l.Steps[i].Specs) > 0 && !standing.Green(l.Steps[i].Number) {
			return &l.Steps[i]
		}
	}
	return nil
}

// GreenSteps counts the steps of a lesson that are green.
func GreenSteps(l *lesson.Lesson, p *history.Progress) (green, all int) {
	standing := p.Of(l.Name)
	for _, s := range l.Steps {
		if len(s.Specs) == 0 {
			continue
		}
		all++
		if standing.Green(s.Number) {
			green++
		}
	}
	return green, all
}

// Note keeps a verdict in the history, and returns how a prediction that was made came out.
func (d *Desk) Note(by string, v *verdict.Verdict, more ...func(*history.Run)) (*history.Prediction, *history.Progress, error) {
	r := history.Run{
		Time: time.Now(), By: by, Lesson: v.Lesson, Step: v.Step, Colour: v.Colour, FirstRed: v.FirstRed, Word: v.Word,
		Count: v.Count, Seed: v.Seed, Report: v.Report, GreenSteps: v.Green, RedSteps: v.Red, Seconds: v.Took.Seconds(),
	}
	for _, f := range more {
		f(&r)
	}
	var forgotten error
	predicted := d.Book.Expected()
	if predicted != nil && v.Colour != verdict.NotBuilt { // a typing mistake is no answer to what was foretold
		predicted.Compare(r)
		r.Prediction = predicted
		forgotten = d.Book.Expect(nil)
	} else {
		predicted = nil
	}
	p, err := d.Book.Add(r)
	return predicted, p, errors.Join(err, forgotten)
}

// Reports is where the timelines of red stories go.
func (d *Desk) Reports() string { return filepath.Join(d.Book.Dir(), "reports") }

// Run runs a lesson's specifications as the tool does it.
func (d *Desk) Run(ctx context.Context, q verdict.Request) (*verdict.Verdict, error) {
	q.Reports = d.Reports()
	if next := Next(q.Lesson, d.Book.Progress()); next != nil {
		q.Near = next.Number
	}
	return verdict.Run(ctx, q)
}

type printer struct {
	w   io.Writer
	err error
}

func (p *printer) f(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}
