package watch

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/kafka-katas/kafka-katas/internal/desk"
	"github.com/kafka-katas/kafka-katas/internal/history"
	"github.com/kafka-katas/kafka-katas/internal/lesson"
	"github.com/kafka-katas/kafka-katas/internal/verdict"
)

// A Page is one of the things that a board can show in its middle.
type Page int

// Pages.
const (
	VerdictPage Page = iota
	NextPage
	HintPage
	AllPage
	TimelinePage
	DiffPage
)

// Board is what there is to see, without how it is drawn.
type Board struct {
	Desk     *desk.Desk
	Lesson   *lesson.Lesson
	Page     Page
	Running  bool
	Verdict  *verdict.Verdict // the latest, nil before the first
	Progress *history.Progress
	Foretold string
	Notice   string // one line: what went wrong, or how saves are noticed
	Polling  string
	Text     string // of a page that was asked for

	fresh bool // the notice stays for the next run: that may be of what it tells
}

// Tell shows a line, until the run after the next one.
func (b *Board) Tell(notice string) { b.Notice, b.fresh = notice, true }

// NewBoard is a board before the first run.
func NewBoard(d *desk.Desk, l *lesson.Lesson) *Board {
	return &Board{Desk: d, Lesson: l, Progress: d.Book.Progress()}
}

// Take brings an event onto the board.
func (b *Board) Take(e Event) {
	switch {
	case e.Started:
		b.Running = true
		if !b.fresh {
			b.Notice = ""
		}
		b.fresh, b.Text = false, ""
		if !e.All {
			b.Page = VerdictPage
		}
	case e.Polling != "":
		b.Polling = "looking at the files again and again: " + e.Polling
	case e.Verdict != nil:
		b.Running, b.Verdict, b.Progress = false, e.Verdict, e.Progress
		b.Foretold = strings.TrimSpace(desk.Foretold(e.Predicted))
	case e.Err != nil:
		b.Running = false
		b.Verdict, b.Page = nil, VerdictPage
	}
	if e.Err != nil {
		b.Notice = e.Err.Error()
	}
}

// Step is the step that the learner is at: the red one, or the first that is not green; nil when all are green.
func (b *Board) Step() *lesson.Step {
	if v := b.Verdict; v != nil && v.Colour == verdict.Red && v.Step > 0 {
		return b.Lesson.Step(v.Step)
	}
	return desk.Next(b.Lesson, b.Progress)
}

// State is how it stands, in few words.
func (b *Board) State() string {
	switch {
	case b.Running:
		return "running"
	case b.Verdict == nil && b.Notice != "":
		return "NOT RUN"
	case b.Verdict == nil:
		return "not run yet"
	case b.Verdict.Colour == verdict.NotBuilt:
		return "NOT BUILT"
	case b.Verdict.Colour == verdict.Red && b.Verdict.Word == "UNWRITTEN":
		return "RED not written yet"
	case b.Verdict.Colour == verdict.Red:
		return strings.TrimSpace("RED " + b.Verdict.Word)
	}
	return "GREEN"
}

// Belts are the bars of all belts.
func (b *Board) Belts() string {
	var out []string
	for _, belt := range b.Lesson.Belts() {
		out = append(out, strings.ToLower(belt)+" "+desk.Bar(b.Lesson, belt, b.Progress))
	}
	return strings.Join(out, "  ")
}

// Press does what a key stands for, and returns what the session is to do.
func (b *Board) Press(key string) (w Wish, wish, quit bool) {
	b.Text = ""
	switch key {
	case "q", "ctrl+c":
		return 0, false, true
	case "n":
		b.Page, b.Text = NextPage, b.next()
	case "h":
		b.Page, b.Text = HintPage, b.hint()
	case "t":
		b.Page, b.Text = TimelinePage, b.timeline()
	case "d":
		b.Page, b.Text = DiffPage, b.diff(b.Page == DiffPage)
	case "a":
		b.Page = AllPage
		return All, true, false
	case "r", "enter":
		b.Page = VerdictPage
		return Again, true, false
	default:
		b.Page = VerdictPage
	}
	return 0, false, false
}

func (b *Board) next() string {
	s := desk.Next(b.Lesson, b.Progress)
	if s == nil {
		return fmt.Sprintf("Every step of %s is green. Press d for your code against the solution; go tool kata debrief %s says why it works.", b.Lesson.Name, b.Lesson.Short())
	}
	var out strings.Builder
	if err := b.Desk.Explain(&out, b.Lesson, s); err != nil {
		return err.Error()
	}
	return out.String()
}

func (b *Board) hint() string {
	s := b.Step()
	if s == nil {
		return "Every step is green: there is nothing to hint at."
	}
	_, n, err := b.Desk.OneMore(b.Lesson, s)
	if n == 0 {
		return err.Error()
	}
	text := fmt.Sprintf("Hint for step %d (%d of %d)\n\n%s", s.Number, n, len(s.Hint), strings.Join(s.Hint[:n], "\n\n"))
	if n < len(s.Hint) {
		text += "\n\nh says more"
	}
	return text
}

func (b *Board) timeline() string {
	v := b.Verdict
	if v == nil || v.Colour != verdict.Red || v.Failure == "" {
		return "The last run was not red: there is no timeline."
	}
	text := v.Failure
	if v.Report != "" {
		text = "The whole timeline, for a browser (go tool kata report opens it):\n" + v.Report + "\n\n" + text
	}
	return b.short(text)
}

func (b *Board) diff(insist bool) string {
	var out strings.Builder
	err := b.Desk.Diff(&out, b.Lesson, insist)
	if err != nil {
		return strings.Replace(err.Error(), "or add --peek", "or press d again to peek", 1)
	}
	return out.String()
}

// short leaves out what all paths have in common: a screen is narrow.
func (b *Board) short(text string) string {
	return strings.ReplaceAll(text, b.Desk.Root+string(filepath.Separator), "")
}

// packageLine is what the go command says before a compiler's errors. Who watches knows the package.
var packageLine = regexp.MustCompile(`(?m)^# .*\n`)

// Body is what is in the middle: the page's text, or the verdict.
func (b *Board) Body() string {
	if b.Text != "" {
		return b.Text
	}
	var out strings.Builder
	switch v := b.Verdict; {
	case v == nil && b.Notice != "":
		out.WriteString(b.Notice)
	case v == nil:
		if s := b.Step(); s != nil {
			for _, name := range s.Specs {
				fmt.Fprintf(&out, "- %s\n", lesson.Promise(name))
			}
		}
		out.WriteString("\nThe very first run also builds the Kafka client and the rest: a minute or so.\n")
	case v.Colour == verdict.NotBuilt:
		out.WriteString(packageLine.ReplaceAllString(v.Build, ""))
	case v.Colour == verdict.Red:
		for i, name := range v.Reds {
			if i > 0 && b.Page != AllPage {
				break
			}
			if i > 0 {
				out.WriteString("\n")
			}
			fmt.Fprintf(&out, "%s\n\n%s\n", lesson.Promise(name), b.short(v.Failures[i]))
		}
		if len(v.Reds) == 0 {
			out.WriteString(v.Failure)
		}
	default:
		out.WriteString(desk.Summary(b.Lesson, v, b.Progress))
	}
	if b.Foretold != "" {
		fmt.Fprintf(&out, "\n\n%s", b.Foretold)
	}
	return out.String()
}

// Keys are what may be pressed.
const Keys = "n next  h hint  a all  t timeline  d diff  r run  q quit"

// ErrNoTerminal says that a terminal was wanted and there is none.
var ErrNoTerminal = errors.New("standard output is no terminal")
