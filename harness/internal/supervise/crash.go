package supervise

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/kafka-katas/kafka-katas/harness/internal/stacks"
)

// A crash is how a child ended.
type crash struct {
	sentence string
	why      string
	stack    []stacks.Frame // of the goroutine that caused it
}

// explain finds the words for a child that ended although it had not done its work. text is what the runtime printed.
func explain(text []byte, code int, state string, mine func(string) bool) crash {
	if len(text) == 0 {
		return ended(code, state)
	}
	head, _, _ := bytes.Cut(text, []byte("\ngoroutine "))
	gs := stacks.Parse(text)
	var c crash
	switch {
	case detectorFailed(head, code):
		c = crash{sentence: "the race detector failed a check of its own", why: "this says nothing of the program: run it again"}
	case bytes.Contains(head, []byte("unexpected call to os.Exit(0) during test")):
		c = crash{sentence: "the program called os.Exit(0)", why: whyExit}
	case bytes.Contains(head, []byte("stack overflow")):
		c = crash{sentence: "the program called itself without end until its stack was full", why: "a recursion needs a case in which it ends"}
	case bytes.Contains(head, []byte("fatal error: concurrent map")):
		c = crash{sentence: "two goroutines used the same map at the same time", why: "a Go map is not safe for concurrent use: guard it with a mutex, or let one goroutine own it; -race shows both sides"}
	case bytes.Contains(head, []byte("out of memory")), bytes.Contains(head, []byte("cannot allocate memory")):
		c = crash{sentence: "the program used up all memory", why: "bound what is kept: every buffer, map and channel that grows with the input needs a limit"}
	case bytes.Contains(head, []byte("panic: ")):
		c = crash{sentence: "the program panicked: " + panicValue(string(head)), why: "a panic in any goroutine ends the whole process, with all the partitions that it owns"}
	default:
		_, what, _ := strings.Cut(string(head), "fatal error: ")
		what, _, _ = strings.Cut(what, "\n")
		if what == "" {
			what, _, _ = strings.Cut(string(head), "\n")
		}
		c = crash{sentence: "the Go runtime ended the program: " + what, why: "this cannot be recovered from"}
	}
	if len(gs) > 0 {
		c.stack = gs[0].Frames
		if at, ok := culprit(gs[0], mine); ok {
			c.sentence += ", in " + at.Name(!mine(at.File)) + " at " + at.Place()
		} else if at, ok := origin(gs[0], mine); ok {
			c.sentence += ", in a goroutine that " + at.Name(false) + " started at " + at.Place()
		}
	}
	return c
}

const whyExit = "only main may end the process; anything else returns an error and lets its caller decide"

// ended explains a child that left no text.
func ended(code int, state string) crash {
	switch {
	case code < 0 && strings.Contains(state, "killed"):
		return crash{sentence: "the program was ended from outside (" + state + "), perhaps because it used too much memory", why: "bound what is kept: every buffer, map and channel that grows with the input needs a limit"}
	case code < 0:
		return crash{sentence: "the program was ended from outside (" + state + ")", why: "a signal that is not handled ends the process"}
	case code == 1:
		return crash{sentence: "the program called os.Exit(1) or log.Fatal" + exitSite(), why: whyExit}
	}
	return crash{sentence: fmt.Sprintf("the program called os.Exit(%d)", code) + exitSite(), why: whyExit}
}

// exitSite names the line in the package under test that ends the process, if there is just one: a process that has
// gone leaves no stack.
func exitSite() string {
	site := ""
	files, _ := filepath.Glob("*.go")
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		src, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		n := 0
		for line := range strings.Lines(string(src)) {
			n++
			code, _, _ := strings.Cut(line, "//")
			if strings.Contains(code, "os.Exit(") || strings.Contains(code, "log.Fatal") {
				if site != "" {
					return ""
				}
				site = fmt.Sprintf(", at %s:%d", file, n)
			}
		}
	}
	return site
}

// panicValue is what the program panicked with, on one line.
func panicValue(head string) string {
	_, value, _ := strings.Cut(head, "panic: ")
	// A later panic of a deferred call follows; the first one is the cause.
	value, _, _ = strings.Cut(value, "\n\tpanic: ")
	value, _, _ = strings.Cut(value, "\n[signal ")
	value, _, _ = strings.Cut(value, "\n\n")
	for _, suffix := range []string{" [recovered, repanicked]", " [recovered]"} {
		value = strings.Replace(value, suffix, "", 1)
	}
	value = strings.Join(strings.Fields(strings.TrimSpace(value)), " ")
	if runes := []rune(value); len(runes) > 300 {
		value = string(runes[:300]) + "…"
	}
	return value
}

// culprit is the innermost frame of the learner's code, or else of any that is not the language's own.
func culprit(g stacks.Goroutine, mine func(string) bool) (stacks.Frame, bool) {
	for _, f := range g.Frames {
		if mine(f.File) {
			return f, true
		}
	}
	if _, ok := origin(g, mine); ok {
		return stacks.Frame{}, false
	}
	for _, f := range g.Frames {
		if !plumbing(f) {
			return f, true
		}
	}
	return stacks.Frame{}, false
}

// origin is where the learner's code started g.
func origin(g stacks.Goroutine, mine func(string) bool) (stacks.Frame, bool) {
	for _, f := range append([]stacks.Frame{g.CreatedBy}, g.Ancestors...) {
		if f.Func != "" && mine(f.File) {
			return f, true
		}
	}
	return stacks.Frame{}, false
}

// plumbing are frames of the runtime and the testing package, which say nothing to a reader.
func plumbing(f stacks.Frame) bool {
	for _, p := range []string{"runtime.", "runtime/", "testing.", "testing/", "internal/", "panic", "os.Exit", "sync.", "sync/", "log."} {
		if strings.HasPrefix(f.Func, p) {
			return true
		}
	}
	return false
}

// text is the body of the failure.
func (c crash) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "BROKEN: %s\n", c.sentence)
	if c.why != "" {
		fmt.Fprintf(&b, "\n   why    %s\n", c.why)
	}
	label := "stack"
	lines, last := 0, ""
	for _, f := range c.stack {
		line := fmt.Sprintf("%-40s %s\n", f.Name(true), f.Place())
		if plumbing(f) || line == last || lines == 10 {
			continue
		}
		fmt.Fprintf(&b, "   %-5s  %s", label, line)
		label, last = "", line
		lines++
	}
	return strings.TrimRight(b.String(), "\n")
}
