package desk

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/kafka-katas/kafka-katas/internal/history"
	"github.com/kafka-katas/kafka-katas/internal/lesson"
	"github.com/kafka-katas/kafka-katas/internal/verdict"
)

// A Test is what the command test does.
type Test struct {
	By   string // the command's name
	All  bool   // every red, not the first one alone
	JSON bool
	Env  []string
	Spec string // one specification
	Args []string
}

// Test runs a lesson or one step of it, prints the verdict and keeps it. It returns ErrRed unless all is green.
func (d *Desk) Test(ctx context.Context, w, warnings io.Writer, l *lesson.Lesson, s *lesson.Step, o Test) error {
	q := verdict.Request{Lesson: l, All: o.All, Env: o.Env, Test: o.Spec, Args: o.Args}
	if s != nil {
		q.Step = s.Number
		if len(s.Specs) == 0 {
			return fmt.Errorf("step %d of %s has no specification", s.Number, l.Name)
		}
	}
	v, err := d.Run(ctx, q)
	if err != nil {
		return err
	}
	if v.Colour == verdict.Cancelled {
		return fmt.Errorf("interrupted: nothing was judged")
	}
	predicted, progress, err := d.Note(cmp.Or(o.By, "test"), v)
	if err != nil { // a place where nothing can be written must not take the verdict away
		fmt.Fprintf(warnings, "kata: %v\n", err)
	}
	if o.JSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		if err := e.Encode(v); err != nil {
			return err
		}
	} else if _, err := io.WriteString(w, Describe(l, v, progress, o.All)+Foretold(predicted)); err != nil {
		return err
	}
	if v.Colour != verdict.Green {
		return ErrRed
	}
	return nil
}

// Describe is a verdict in words, the failure first and one line of summary last.
func Describe(l *lesson.Lesson, v *verdict.Verdict, p *history.Progress, all bool) string {
	var b strings.Builder
	switch v.Colour {
	case verdict.NotBuilt:
		fmt.Fprintf(&b, "%s\n\n", strings.TrimSpace(v.Build))
	case verdict.Red:
		for i, name := range v.Reds {
			if i > 0 && !all {
				break
			}
			fmt.Fprintf(&b, "RED  %s\n%s\n\n", name, indent(v.Failures[i]))
		}
		if len(v.Reds) == 0 {
			fmt.Fprintf(&b, "%s\n\n", v.Failure)
		}
	}
	b.WriteString(Summary(l, v, p) + "\n")
	return b.String()
}

func indent(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if line != "" {
			lines[i] = "  " + line
		}
	}
	return strings.Join(lines, "\n")
}

// Summary is a verdict in one line.
func Summary(l *lesson.Lesson, v *verdict.Verdict, p *history.Progress) string {
	green, all := GreenSteps(l, p)
	standing := fmt.Sprintf("%d of %d steps green, %.1fs", green, all, v.Took.Seconds())
	switch v.Colour {
	case verdict.NotBuilt:
		return fmt.Sprintf("%s does not build (%s)", l.Name, standing)
	case verdict.Red:
		if v.FirstRed == "" {
			return fmt.Sprintf("%s is red (%s)", l.Name, standing)
		}
		word := v.Word
		if word == "UNWRITTEN" {
			word = "not written yet"
		}
		line := fmt.Sprintf("%s step %d is red", l.Name, v.Step)
		if word != "" {
			line += ": " + word
		}
		if n := len(v.Reds) - 1; n > 0 {
			line += fmt.Sprintf(", and %d more red", n)
		}
		return line + " (" + standing + ")"
	case verdict.Cancelled:
		return l.Name + ": the run was cancelled"
	}
	line := fmt.Sprintf("%s is green (%s)", l.Name, standing)
	if next := Next(l, p); next != nil {
		line = fmt.Sprintf("%s: what ran is green; next is step %d, %s (%s)", l.Name, next.Number, next.Title, standing)
	} else if all > 0 {
		line += "\n\n  go tool kata debrief " + l.Short() + "   why it works, and the classic mistakes\n  go tool kata diff " + l.Short() + "      your code against the solution"
	}
	return line
}

// Foretold says how a prediction came out, "" if none was made.
func Foretold(p *history.Prediction) string {
	if p == nil || p.Right == nil {
		return ""
	}
	if *p.Right {
		return fmt.Sprintf("You predicted %s, and so it was.\n", p)
	}
	return fmt.Sprintf("You predicted %s. What did you not know?\n", p)
}
