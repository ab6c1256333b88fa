package harness

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// labelled writes lines such as "again  go test …", their texts aligned; equal labels that follow each other are written once.
func labelled(b *strings.Builder, lines [][2]string) {
	widest := 0
	for _, l := range lines {
		widest = max(widest, utf8.RuneCountInString(l[0]))
	}
	before := ""
	for _, l := range lines {
		label := oneLine(l[0])
		if label == before {
			label = ""
		}
		before = l[0]
		margin := strings.Repeat(" ", widest+2)
		text := l[1]
		switch l[0] {
		case "again", "more", "report": // to be copied: never broken
			text = oneLine(text)
		default:
			text = strings.TrimRight(wrap(text, textWidth-len(margin), ""), "\n")
		}
		fmt.Fprintf(b, "%-*s%s\n", widest+2, label, strings.TrimLeft(indent(text, margin), " "))
	}
}

// wrap breaks text into lines of at most width columns. Line breaks and the margins of lines stay.
func wrap(text string, width int, margin string) string {
	var b strings.Builder
	for line := range strings.Lines(strings.TrimRight(text, "\n") + "\n") {
		line = strings.ReplaceAll(strings.TrimRight(line, " \t\r\n"), "\t", "    ")
		line = strings.Map(func(r rune) rune {
			if breaks(r) {
				return ' '
			}
			return r
		}, line)
		lead := margin + line[:len(line)-len(strings.TrimLeft(line, " "))]
		used := 0
		for word := range strings.FieldsSeq(line) {
			n := utf8.RuneCountInString(word)
			switch {
			case used == 0:
				b.WriteString(lead)
				used = utf8.RuneCountInString(lead)
			case used+1+n > width:
				b.WriteString("\n" + lead)
				used = utf8.RuneCountInString(lead)
			default:
				b.WriteString(" ")
				used++
			}
			b.WriteString(word)
			used += n
		}
		b.WriteString("\n")
	}
	return b.String()
}

// indent puts margin before each line that is not empty.
func indent(text, margin string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) != "" {
			b.WriteString(margin)
		}
		b.WriteString(line)
	}
	return b.String()
}

// oneLine keeps a text from breaking the layout: line breaks and control characters become spaces.
func oneLine(s string) string { return strings.Join(strings.FieldsFunc(s, breaks), " ") }

func breaks(r rune) bool { return r == ' ' || unicode.IsControl(r) || r == 0x2028 || r == 0x2029 }

// cut shortens s to at most n runes.
func cut(s string, n int) string {
	s = oneLine(s)
	r := []rune(s)
	switch {
	case len(r) <= n:
		return s
	case n <= 1:
		return "…"
	}
	return strings.TrimRight(string(r[:n-1]), " ") + "…"
}
