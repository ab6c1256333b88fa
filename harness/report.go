package harness

import (
	"crypto/sha256"
	_ "embed" // the report's style and script
	"encoding/base64"
	"fmt"
	"html"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// html/template would be the usual way to write a page. It costs every test binary five megabytes and a tenth of a
// second of linking, in the learner's one second; so the page is written by hand, and everything goes through esc.

var (
	//go:embed report.css
	reportStyle string
	//go:embed report.js
	reportScript string
)

// reportData is what a report tells.
type reportData struct {
	Test    string
	Package string
	Err     error // nil: every claim held
	Events  []Event
	Hints   failureHints
}

// writeReport writes a story as one HTML file that needs nothing else.
func writeReport(path string, story reportData) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(reportPage(story)), 0o644)
}

// A page is HTML under construction.
type page struct{ strings.Builder }

// put writes markup; its arguments are escaped, whatever their type.
func (p *page) put(markup string, args ...any) {
	for i, arg := range args {
		switch arg := arg.(type) {
		case int, int32, int64, float64:
		default:
			args[i] = esc(fmt.Sprint(arg))
		}
	}
	fmt.Fprintf(p, markup, args...)
}

func esc(s string) string { return html.EscapeString(strings.ToValidUTF8(oneLine(s), "\uFFFD")) }

func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

func reportPage(story reportData) string {
	p := &page{}
	all := append(split(story.Err), story.Hints.Also...)
	first, also := all[0], all[1:]
	breach := BreachOf(first)
	title := "every claim held"
	if first != nil {
		title = headline(first)
	}
	p.put("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n")
	fmt.Fprintf(p, "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src %s; script-src %s; base-uri 'none'; form-action 'none'\">\n", hashOf(reportStyle), hashOf(reportScript))
	p.put("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n")
	p.put("<title>%s: %s</title>\n", story.Test, cut(title, 120))
	p.WriteString("<style>" + reportStyle + "</style>\n</head>\n<body>\n<a class=\"skip\" href=\"#chart\">To the chart</a>\n")
	p.header(story, first, also, breach)
	p.put("<main>\n")
	if len(story.Events) > 0 {
		p.summary(story.Events, breach)
		p.chart(story.Events, breach)
		p.table(story.Events, breach)
	} else {
		p.put("<p>Nothing happened in this story.</p>\n")
	}
	p.put("</main>\n<output id=\"detail\" hidden></output>\n")
	p.WriteString("<script>" + reportScript + "</script>\n</body>\n</html>\n")
	return p.String()
}

func (p *page) header(story reportData, first error, also []error, breach *Breach) {
	p.put("<header>\n<p class=\"test\"><b>%s</b> <span>%s</span></p>\n", story.Test, shortPackage(story.Package))
	switch {
	case first == nil:
		p.put("<h1><span class=\"word held\">held</span> Every claim of this story held.</h1>\n")
	case breach == nil:
		p.put("<h1><span class=\"word\">broken off</span> %s</h1>\n", first.Error())
	default:
		word := Word(first)
		p.put("<h1><span class=\"word\">%s</span> ", word)
		lines := strings.Split(strings.TrimPrefix(headline(first), word+": "), "\n")
		p.put("%s</h1>\n", lines[0])
		for _, line := range lines[1:] {
			p.put("<p class=\"detail\">%s</p>\n", line)
		}
		if breach.Why != "" {
			p.put("<p class=\"why\">%s</p>\n", breach.Why)
		}
	}
	if len(also) > 0 {
		p.put("<ul class=\"also\">\n")
		for _, e := range also {
			word := Word(e)
			p.put("<li><b>%s</b> %s</li>\n", word, strings.TrimPrefix(headline(e), word+": "))
		}
		p.put("</ul>\n")
	}
	if first != nil {
		p.put("<dl class=\"next\">\n")
		for _, note := range story.Hints.Notes {
			p.put("<div><dt>%s</dt><dd>%s</dd></div>\n", note[0], note[1])
		}
		again, more := story.Hints.commands(story.Test, story.Package)
		p.put("<div><dt>again</dt><dd><code>%s</code></dd></div>\n", again)
		if more != "" {
			p.put("<div><dt>more</dt><dd><code>%s</code></dd></div>\n", more)
		}
		p.put("</dl>\n")
	}
	p.put("</header>\n")
}

// summary is the text timeline as a table.
func (p *page) summary(events []Event, breach *Breach) {
	rows, heads := summary(events, breach)
	if len(rows) == 0 {
		return
	}
	title := "The story in short"
	if breach != nil && len(breach.Seen) > 0 {
		title = "What shows it"
	}
	p.put("<section aria-labelledby=\"short\">\n<h2 id=\"short\">%s</h2>\n<div class=\"scroll\"><table class=\"short\">\n<thead><tr><th scope=\"col\">time</th>", title)
	colours := processColours(events)
	for _, head := range heads {
		name, _, _ := strings.Cut(head, " (")
		p.put("<th scope=\"col\"><span class=\"%s\">%s</span></th>", colours.of(name), head)
	}
	p.put("</tr></thead>\n<tbody>\n")
	times := clock(rows)
	for i, r := range rows {
		class := ""
		switch {
		case r.mark != "":
			class = "seen last"
		case r.seen:
			class = "seen"
		}
		p.put("<tr class=\"%s\"><th scope=\"row\"><a href=\"#e%d\">%s</a></th>", class, r.seq, times[i])
		for j, cell := range r.cells {
			p.put("<td>%s", cell)
			if r.mark != "" && cell != "" && !slices.ContainsFunc(r.cells[j+1:], func(c string) bool { return c != "" }) {
				p.put(" <strong>%s</strong>", strings.Replace(r.mark, "<--", "◂", 1))
			}
			p.put("</td>")
		}
		p.put("</tr>\n")
	}
	p.put("</tbody></table></div>\n</section>\n")
}

// table lists every event.
func (p *page) table(events []Event, breach *Breach) {
	seen := concernOf(nil, breach)
	words := newPhrasebook(events)
	words.nameTopics(events)
	colours := processColours(events)
	p.put("<section aria-labelledby=\"all\">\n<div class=\"bar\"><h2 id=\"all\">All %s events</h2>\n", thousands(len(events)))
	p.put("<p id=\"find\" hidden><label for=\"filter\">Filter</label> <input id=\"filter\" type=\"search\" autocomplete=\"off\" spellcheck=\"false\" placeholder=\"p1 committed orders/0\"> <span id=\"found\" role=\"status\"></span></p></div>\n")
	p.put("<div class=\"scroll long\" tabindex=\"0\" role=\"region\" aria-labelledby=\"all\"><table id=\"events\">\n<thead><tr>")
	for _, head := range []string{"#", "time", "process", "what happened", "partition", "offset", "key", "group", "gen."} {
		p.put("<th scope=\"col\">%s</th>", head)
	}
	p.put("</tr></thead>\n<tbody>\n")
	longest, decimals := events[len(events)-1].At, tableDecimals(events)
	for _, e := range events {
		class := "k-" + strings.ReplaceAll(e.Kind.String(), " ", "-")
		if seen.seen[e.Seq] {
			class += " seen"
		}
		if seen.last == e.Seq {
			class += " last"
		}
		p.put("<tr id=\"e%d\" class=\"%s\"><td>%d</td><td>%s</td><td class=\"%s\">%s</td><td>%s</td>", e.Seq, class, e.Seq, clockTime(e.At, longest, decimals), colours.of(e.Process), e.Process, cut(words.say(e), 200))
		partition, offset, generation := "", "", ""
		if e.Topic != "" {
			partition = e.TopicPartition().String()
		}
		switch e.Kind {
		case Began, Handled, Failed, Committed, Produced:
			offset = fmt.Sprint(e.Offset)
		}
		if e.Generation > 0 {
			generation = fmt.Sprint(e.Generation)
		}
		p.put("<td>%s</td><td>%s</td><td>%s</td><td>%s</td><td>%s</td></tr>\n", partition, offset, cut(e.Key, 32), e.Group, generation)
	}
	p.put("</tbody></table></div>\n</section>\n")
}

// tableDecimals is three in virtual time, which mostly moves in milliseconds, and six where that would blur.
func tableDecimals(events []Event) int {
	for _, e := range events {
		if e.At%time.Millisecond != 0 {
			return 6
		}
	}
	return 3
}
