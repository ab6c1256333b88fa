package supervise

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// report says of each test that was running how it broke. It returns whether there may be tests left that another child
// could run.
func (p *parent) report(e ending) (more bool) {
	p.seen.broken = true
	verdict, text := "BROKEN", ""
	var tests []string
	if e.giveUp != nil {
		verdict, text = e.giveUp.Verdict, e.giveUp.Text
		tests = strings.Fields(e.giveUp.Test)
	} else {
		crashText := p.seen.crash()
		if len(crashText) == 0 {
			crashText = crashIn(p.seen.tail)
		}
		text = explain(crashText, e.code, e.state, p.mine).text()
		for _, n := range e.running {
			tests = append(tests, n.Test)
		}
		if len(tests) == 0 {
			tests = p.guess(e, crashText)
		}
	}
	if len(tests) == 0 {
		if e.after != "" {
			text += "\n   when   after " + e.after + " had ended"
		}
		p.print(text + "\n")
		return e.after != ""
	}
	for i, test := range tests {
		begin := e.at
		if at := slices.IndexFunc(e.running, func(n note) bool { return n.Test == test }); at >= 0 {
			begin = e.running[at].At
		}
		if i > 0 {
			text = "BROKEN: the process ended while this test ran beside " + tests[0]
		}
		p.verdict(test, verdict, text, e.at.Sub(begin))
		top, _, _ := strings.Cut(test, "/")
		p.skipTest(top)
		p.note(note{Do: "broken", Test: top, At: e.at})
	}
	return true
}

// guess names the test that broke, when it did not say that it began: by the crash's stack, by the line of its verdict just
// before, or by its === RUN line.
func (p *parent) guess(e ending, crashText []byte) []string {
	if e.after != "" {
		return nil // it uses Begin and End
	}
	if name := testOn(crashText); name != "" {
		return []string{name}
	}
	if p.seen.started != "" && !slices.Contains(p.seen.ended, p.seen.started) {
		return []string{p.seen.started}
	}
	return nil
}

// verdict prints a failure the way that the testing package does.
func (p *parent) verdict(test, verdict, text string, took time.Duration) {
	var b strings.Builder
	attr := ""
	if value("v") == "true" || p.mark() != "" {
		attr = fmt.Sprintf("%s=== ATTR  %s verdict %s\n", p.mark(), test, verdict)
	}
	if p.seen.failed[test] {
		// The testing package has reported it already, on its way out of a panic. What follows still belongs to it.
		fmt.Fprintf(&b, "%s\n%s", indent(text, 1), attr)
	} else {
		b.WriteString(attr)
		depth := 0
		for i := range test + "/" {
			if i < len(test) && test[i] != '/' {
				continue
			}
			fmt.Fprintf(&b, "%s%s--- FAIL: %s (%.2fs)\n", p.mark(), strings.Repeat("    ", depth), test[:i], took.Seconds())
			p.seen.failed[test[:i]] = true
			depth++
		}
		b.WriteString(indent(text, depth) + "\n")
	}
	p.print(b.String())
}

func indent(text string, depth int) string {
	var b strings.Builder
	for line := range strings.Lines(strings.TrimRight(text, "\n")) {
		if line != "\n" {
			b.WriteString(strings.Repeat("    ", depth))
		}
		b.WriteString(line)
	}
	return b.String()
}

// mark is what test2json wants before a line that is not a test's own.
func (p *parent) mark() string {
	if value("v") == "test2json" {
		return string(rune(marker))
	}
	return ""
}

// print adds to the standard output, on a new line.
func (p *parent) print(s string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.out.midway {
		s = "\n" + s
	}
	io.WriteString(p.out.to, s)
	p.out.midway = false
}

// note adds to the file that the next child reads.
func (p *parent) note(n note) {
	f, err := os.OpenFile(p.status, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return
	}
	defer f.Close()
	child.Lock()
	defer child.Unlock()
	child.status = f
	tell(n)
	child.status = nil
	p.read++
}
