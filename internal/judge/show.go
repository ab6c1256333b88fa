package judge

import (
	"fmt"
	"io"
	"strings"
)

// Show writes what an author wants to know of one mistake: how each spec took it, those that are to catch it first and
// with all that they print. The others print in full only when there is no red one among the named.
func (r *Report) Show(w io.Writer, name string) {
	ran := false
	for _, l := range r.Lessons {
		for _, m := range l.Mistakes {
			if m.Name == name {
				l.show(w, m)
				ran = ran || m.Ran
			}
		}
	}
	for _, b := range r.Broken {
		if ran {
			b.Output = "" // it stands above
		}
		fmt.Fprintf(w, "%s%s\n", b.heading(), b.body())
	}
	fmt.Fprintln(w, r.Counts)
}

func (l LessonReport) show(w io.Writer, m MistakeReport) {
	fmt.Fprintf(w, "\n%s/%s: %s\n\n", l.Name, m.Name, m.Title)
	if !m.Ran {
		return
	}
	caught, green := false, 0
	for _, s := range l.Specs {
		if said := m.Named[s]; said != "" {
			word, red := m.Red[s]
			fmt.Fprintf(w, "%s %s  %s\n%s\n", m.mark(s), s, verdictOf(word, red, said), printed(m.output[s]))
			caught = caught || red
		}
	}
	for _, s := range l.Specs {
		word, red := m.Red[s]
		switch {
		case m.Named[s] != "":
		case !red:
			green++
		case caught:
			fmt.Fprintf(w, "%s %s  %s\n", m.mark(s), s, verdictOf(word, red, ""))
		default:
			fmt.Fprintf(w, "%s %s  %s\n%s\n", m.mark(s), s, verdictOf(word, red, ""), printed(m.output[s]))
		}
	}
	fmt.Fprintf(w, "%s %s green\n\n", markClear, plural(green, "other spec"))
}

func printed(output string) string {
	if text := excerpt(output, 400); text != "" {
		return strings.TrimRight(text, "\n") + "\n"
	}
	return ""
}
