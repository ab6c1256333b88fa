package supervise

import (
	"bytes"
	"io"
	"strings"
	"sync"
)

// marker begins the lines of the testing package that test2json must not mistake for a test's own output.
const marker = 0x16

// output passes on what a child prints, and looks at each line's beginning: the text of a crash is held back, because
// it is said better once the child's end is known; the last PASS of a run that had a broken test becomes a FAIL.
type output struct {
	mu     *sync.Mutex
	to     io.Writer
	line   []byte // of the current line, what is kept until it is known what it is
	middle bool   // the current line's beginning has been passed on
	midway bool   // the last thing passed on did not end a line

	*seen
}

// seen is what the lines of a child have told, over its two streams.
type seen struct {
	held    bytes.Buffer    // from the first line of a crash on
	check   string          // what the race detector said of itself
	tail    []byte          // the end of what was passed on
	failed  map[string]bool // tests that have their --- FAIL line
	ended   []string        // top-level tests that have a line of verdict
	rerun   bool            // it is not the first child
	broken  bool            // some test broke its process
	started string          // the last top-level test whose === RUN line was seen
}

// crashes begin the text that the runtime prints when it ends the program.
var crashes = []string{
	"panic: ", "fatal error: ", "unexpected fault address ", "runtime: goroutine stack exceeds ", "runtime: out of memory",
	"runtime: program exceeds ", "SIGQUIT: ", "SIGABRT: ", "SIGSEGV: ", "[signal SIG",
}

// whole are beginnings of lines that are looked at when they are complete.
var whole = []string{"--- FAIL: ", "--- PASS: ", "--- SKIP: ", "=== RUN   ", "PASS", "testing: warning: no tests to run", checkFailed}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := len(b)
	for len(b) > 0 {
		if o.held.Len() > 0 {
			o.held.Write(b)
			break
		}
		end := bytes.IndexByte(b, '\n') + 1
		if end == 0 {
			end = len(b)
		}
		o.part(b[:end])
		b = b[end:]
	}
	return n, nil
}

// part takes a line or a part of one.
func (o *output) part(b []byte) {
	complete := b[len(b)-1] == '\n'
	if o.middle {
		o.pass(b)
		o.middle = !complete
		return
	}
	o.line = append(o.line, b...)
	text := strings.TrimPrefix(string(o.line), string(rune(marker)))
	for _, c := range crashes {
		if strings.HasPrefix(text, c) {
			o.held.Write(o.line)
			o.line = nil
			return
		}
		if !complete && strings.HasPrefix(c, text) {
			return // not enough to know
		}
	}
	if !complete {
		for _, w := range whole {
			if strings.HasPrefix(text, w) || strings.HasPrefix(w, text) {
				return
			}
		}
		o.pass(o.line)
		o.line, o.middle = nil, true
		return
	}
	o.take(text)
}

// take looks at a complete line.
func (o *output) take(text string) {
	line := o.line
	o.line = nil
	switch text = strings.TrimRight(text, "\r\n"); {
	case text == "PASS" && o.broken:
		line = bytes.Replace(line, []byte("PASS"), []byte("FAIL"), 1)
	case text == "testing: warning: no tests to run" && o.rerun:
		return
	case strings.HasPrefix(text, checkFailed):
		o.check = text
		return
	case strings.HasPrefix(text, "=== RUN   "):
		if name := strings.TrimSpace(text[len("=== RUN   "):]); !strings.Contains(name, "/") {
			o.started = name
		}
	case strings.HasPrefix(text, "--- "):
		verdict, name, _ := strings.Cut(text[len("--- "):], ": ")
		name, _, _ = strings.Cut(name, " (")
		o.ended = append(o.ended, name)
		if verdict == "FAIL" {
			o.failed[name] = true
		}
	}
	o.pass(line)
}

func (o *output) pass(b []byte) {
	if len(b) == 0 {
		return
	}
	o.to.Write(b)
	o.midway = b[len(b)-1] != '\n'
	const keep = 64 << 10
	o.tail = append(o.tail, b...)
	if extra := len(o.tail) - keep; extra > 0 {
		o.tail = append([]byte(nil), o.tail[extra:]...)
	}
}

// flush passes on what was kept of an unfinished line.
func (o *output) flush() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pass(o.line)
	o.line, o.middle = nil, false
}
