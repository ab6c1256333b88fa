package lesson

import (
	"regexp"
	"strconv"
	"strings"
)

var (
	headingLine = regexp.MustCompile(`^(#{1,6}) +(.*?)\s*$`)
	titleLine   = regexp.MustCompile(`^Lesson \d+[:.\s—-]*(.*)$`)
	stepLine    = regexp.MustCompile(`^Step +(\d+)[:.\s—-]*(.*)$`)
	beltLine    = regexp.MustCompile(`^(\w+) belt\b`)
)

// readme takes the title, the steps with their belts, and the debrief out of the lesson's README.
func (l *Lesson) readme(text string) {
	belt, fenced, into := "", false, (*strings.Builder)(nil)
	var debrief strings.Builder
	bodies := map[int]*strings.Builder{}
	debriefing := false
	for line := range strings.Lines(text) {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			fenced = !fenced
		}
		var m []string
		if strings.HasPrefix(line, "#") { // most lines are none, and a list of lessons reads them all
			m = headingLine.FindStringSubmatch(strings.TrimRight(line, "\n"))
		}
		if m == nil || fenced {
			if into != nil {
				into.WriteString(line)
			}
			continue
		}
		level, title := len(m[1]), m[2]
		switch {
		case level == 1:
			l.Title = title
			if t := titleLine.FindStringSubmatch(title); t != nil {
				l.Title = t[1]
			}
			into = nil
		case level == 2:
			belt, into = "", nil
			if b := beltLine.FindStringSubmatch(title); b != nil {
				belt = b[1]
			}
			if debriefing = strings.EqualFold(title, "After green"); debriefing {
				into = &debrief
			}
		case debriefing:
			debrief.WriteString(line)
		default:
			into = nil
			if s := stepLine.FindStringSubmatch(title); s != nil {
				n, _ := strconv.Atoi(s[1])
				if bodies[n] == nil {
					l.Steps = append(l.Steps, Step{Number: n, Title: s[2], Belt: belt})
					bodies[n] = &strings.Builder{}
				}
				into = bodies[n]
			}
		}
	}
	l.Debrief = strings.TrimSpace(debrief.String())
	for i := range l.Steps {
		s := &l.Steps[i]
		var open strings.Builder
		for text := bodies[s.Number].String(); text != ""; {
			before, folded, rest := element(text, "details")
			open.WriteString(strings.Trim(before, "\n") + "\n\n")
			_, title, body := element(folded, "summary")
			if strings.Contains(strings.ToLower(title), "hint") {
				s.Hint = append(s.Hint, Paragraphs(body)...)
			}
			text = rest
		}
		s.Text = strings.TrimSpace(open.String())
	}
}

// element cuts a text around its first HTML element of a name. What follows is "" when there is none.
func element(text, name string) (before, inside, after string) {
	before, rest, ok := strings.Cut(text, "<"+name)
	if !ok {
		return text, "", ""
	}
	_, rest, _ = strings.Cut(rest, ">")
	inside, after, _ = strings.Cut(rest, "</"+name+">")
	return before, inside, after
}

// Paragraphs splits Markdown at blank lines, but keeps a fenced block with the paragraph before it.
func Paragraphs(text string) (out []string) {
	fenced, open := false, false
	for line := range strings.Lines(strings.TrimSpace(text) + "\n") {
		blank := strings.TrimSpace(line) == ""
		fence := strings.HasPrefix(strings.TrimSpace(line), "```")
		switch {
		case blank && !fenced:
			open = false
			continue
		case fence && !fenced && len(out) > 0 && !open:
			out[len(out)-1] += "\n"
		case !open && !fenced:
			out = append(out, "")
		}
		out[len(out)-1] += line
		open = true
		fenced = fenced != fence
	}
	for i := range out {
		out[i] = strings.TrimRight(out[i], "\n")
	}
	return out
}
