package judge

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// The marks of the table.
const (
	markCaught = "●" // named by the mistake, and red as said
	markRed    = "○" // red too
	markMissed = "x" // named, and not red as said
	markClear  = "·"
	markLeft   = " " // an exploration, left out because the mistake does not name it
)

func (m MistakeReport) mark(spec string) string {
	word, red := m.Red[spec]
	said, named := m.Named[spec]
	switch {
	case named && red && word == said:
		return markCaught
	case named:
		return markMissed
	case red:
		return markRed
	case m.Ran && m.left[spec]:
		return markLeft
	}
	return markClear
}

// Print writes the report for people: a table for each lesson, then what is broken, then the counts as the last line.
// Tables are at most width columns wide.
func (r *Report) Print(w io.Writer, width int) {
	for _, l := range r.Lessons {
		if l.judged() {
			l.print(w, width)
		}
	}
	for i, b := range r.Broken {
		if i == 0 || b.heading() != r.Broken[i-1].heading() {
			fmt.Fprint(w, b.heading())
		}
		fmt.Fprintf(w, "%s\n", b.body())
	}
	for _, note := range r.Notes {
		fmt.Fprintf(w, "note: %s\n", note)
	}
	fmt.Fprintln(w, r.Counts)
}

func (l LessonReport) judged() bool {
	for _, m := range l.Mistakes {
		if m.Ran {
			return true
		}
	}
	return false
}

// print draws specs down and mistakes across, by number; as many blocks as the width asks for.
func (l LessonReport) print(w io.Writer, width int) {
	const cell = 3
	longest := 0
	for _, s := range l.Specs {
		longest = max(longest, utf8.RuneCountInString(short(s)))
	}
	longest = min(longest, max(24, width-10*cell))
	across := max(1, (width-longest)/cell)
	for from := 0; from < len(l.Mistakes); from += across {
		block := l.Mistakes[from:min(from+across, len(l.Mistakes))]
		fmt.Fprintf(w, "\n%-*s", longest, l.Name)
		for i := range block {
			fmt.Fprintf(w, "%*d", cell, from+i+1)
		}
		fmt.Fprintln(w)
		for _, s := range l.Specs {
			fmt.Fprint(w, pad(short(s), longest))
			for _, m := range block {
				fmt.Fprintf(w, "  %s", m.mark(s))
			}
			fmt.Fprintln(w)
		}
	}
	fmt.Fprintln(w)
	names := 0
	for _, m := range l.Mistakes {
		names = max(names, utf8.RuneCountInString(m.Name))
	}
	for i, m := range l.Mistakes {
		line := fmt.Sprintf("%3d  %s  %s", i+1, pad(m.Name, names), m.Title)
		fmt.Fprintln(w, strings.TrimRight(pad(line, width), " "))
	}
	fmt.Fprintf(w, "\n%s caught as said   %s also red   %s not caught as said%s\n\n", markCaught, markRed, markMissed, l.leftOut())
}

// leftOut explains the blanks of the table, if it has any.
func (l LessonReport) leftOut() string {
	for _, m := range l.Mistakes {
		if len(m.left) > 0 && m.Ran {
			return "   blank: not explored"
		}
	}
	return ""
}

// short leaves out what every specification's name has.
func short(spec string) string {
	return strings.Replace(strings.TrimPrefix(spec, "TestStep"), "_", " ", 1)
}

func pad(s string, width int) string {
	n := utf8.RuneCountInString(s)
	if width > 0 && n > width {
		return string([]rune(s)[:width-1]) + "…"
	}
	return s + strings.Repeat(" ", max(0, width-n))
}

// verdictOf says how a spec ended beside how it was said to end.
func verdictOf(word string, red bool, said string) string {
	got := "green"
	if red {
		got = cmpOr(word, "red without a verdict")
	}
	switch {
	case said == "":
		return "(" + got + ", not named)"
	case got == said:
		return "(" + got + ", as said)"
	}
	return "(" + got + ", to be caught as " + said + ")"
}

// Markdown writes the report for a web page such as a CI summary.
func (r *Report) Markdown(w io.Writer) {
	fmt.Fprintf(w, "## The five laws\n\n%s.\n", r.Counts)
	for _, b := range r.Broken {
		fmt.Fprintf(w, "\n```\n%s```\n", b)
	}
	for _, l := range r.Lessons {
		if !l.judged() {
			continue
		}
		fmt.Fprintf(w, "\n### %s\n\n| |", l.Name)
		for i := range l.Mistakes {
			fmt.Fprintf(w, " %d |", i+1)
		}
		fmt.Fprintf(w, "\n|---|%s\n", strings.Repeat(":-:|", len(l.Mistakes)))
		for _, s := range l.Specs {
			fmt.Fprintf(w, "| %s |", short(s))
			for _, m := range l.Mistakes {
				fmt.Fprintf(w, " %s |", strings.TrimPrefix(m.mark(s), markClear))
			}
			fmt.Fprintln(w)
		}
		fmt.Fprintln(w)
		for i, m := range l.Mistakes {
			fmt.Fprintf(w, "%d. `%s`: %s\n", i+1, m.Name, m.Title)
		}
	}
	fmt.Fprintf(w, "\n%s caught as said, %s also red, %s not caught as said.\n", markCaught, markRed, markMissed)
}
