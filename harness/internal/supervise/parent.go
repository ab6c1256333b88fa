package supervise

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// parent looks after one child after the other.
type parent struct {
	program  string
	status   string // the file of notes, over all children
	mine     func(string) bool
	deadline time.Time // by -test.timeout, zero without one

	mu     sync.Mutex // over both streams and seen
	seen   seen
	out    *output
	errs   *output
	read   int      // notes read so far
	skip   []string // tests that need not run in the next child
	signal atomic.Value
}

func newParent(program, dir string, mine func(string) bool) (*parent, error) {
	p := &parent{program: program, mine: mine, status: filepath.Join(dir, "status")}
	if err := os.WriteFile(p.status, nil, 0o600); err != nil {
		return nil, err
	}
	if d := duration("timeout"); d > 0 {
		p.deadline = time.Now().Add(d)
	}
	p.seen.failed = map[string]bool{}
	p.out = &output{mu: &p.mu, to: os.Stdout, seen: &p.seen}
	p.errs = p.out
	if !sameFile(os.Stdout, os.Stderr) {
		p.errs = &output{mu: &p.mu, to: os.Stderr, seen: &p.seen}
	}
	return p, nil
}

// sameFile tells that two streams lead to one place, as under go test. One pipe then keeps their order.
func sameFile(a, b *os.File) bool {
	x, err1 := a.Stat()
	y, err2 := b.Stat()
	return err1 == nil && err2 == nil && os.SameFile(x, y)
}

// maxChildren bounds the children of one run: a package in which everything breaks says so soon enough.
const maxChildren = 10

// run starts children until every test has a verdict. sig is the signal by which the run was ended, if it was.
func (p *parent) run() (code int, sig os.Signal) {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, forwarded...)
	defer signal.Stop(signals)

	for n := 1; ; n++ {
		end, err := p.child(signals)
		if err != nil {
			fmt.Fprintln(os.Stderr, "harness: the tests cannot be started:", err)
			return 2, nil
		}
		if s, ok := p.signal.Load().(os.Signal); ok && !end.done {
			p.release()
			return 1, s
		}
		if end.done {
			p.release()
			if p.seen.broken && end.code == 0 {
				return 1, nil
			}
			return end.code, nil
		}
		if p.passThrough(end) {
			p.release()
			return max(end.code, 1), nil
		}
		again := p.report(end)
		if why := noRestart(); again && why != "" {
			p.print(fmt.Sprintf("harness: what would have come after it did not run, because of %s\n", why))
			again = false
		}
		if !again || n == maxChildren {
			p.print(p.mark() + "FAIL\n")
			return 1, nil
		}
		p.seen.rerun = true
		p.seen.held.Reset()
		p.seen.tail = nil
	}
}

// An ending is what is known of a child that has gone.
type ending struct {
	done    bool // it came to its end by itself
	code    int
	state   string
	running []note // tests that had begun and not ended, by their notes
	giveUp  *note
	after   string // the last test that ended, if none was running
	at      time.Time
}

// child runs one child to its end.
func (p *parent) child(signals <-chan os.Signal) (ending, error) {
	var left time.Duration
	if !p.deadline.IsZero() && p.seen.rerun {
		left = max(time.Until(p.deadline), time.Millisecond)
	}
	cmd := exec.Command(p.program, arguments(p.skip, left)...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), statusEnv+"="+p.status, "GODEBUG="+ancestors(os.Getenv("GODEBUG")))
	cmd.Stdout = p.out
	cmd.Stderr = p.out
	if p.errs != p.out {
		cmd.Stderr = p.errs
	}
	cmd.WaitDelay = time.Second // if a grandchild keeps a pipe open
	// Nobody types in a test. A reader finds neither a line nor the end, so that it is seen to wait for standard input;
	// at an end of file it would go on with an error that says nothing of the cause.
	in, hold, err := os.Pipe()
	if err != nil {
		return ending{}, err
	}
	defer hold.Close()
	cmd.Stdin = in
	err = cmd.Start()
	in.Close()
	if err != nil {
		return ending{}, err
	}

	gone := make(chan struct{})
	go func() {
		for {
			select {
			case <-gone:
				return
			case s := <-signals:
				if p.signal.Swap(s) != nil {
					cmd.Process.Kill() // asked twice
				}
				cmd.Process.Signal(s)
			}
		}
	}()
	cmd.Wait()
	close(gone)
	p.out.flush()
	p.errs.flush()
	return p.ending(cmd.ProcessState), nil
}

// ancestors adds to GODEBUG that each goroutine remembers where the code was that started it: a diagnosis can
// then name the learner's line behind a library's goroutine.
func ancestors(godebug string) string {
	const setting = "tracebackancestors=5"
	if godebug == "" {
		return setting
	}
	return godebug + "," + setting
}

// ending reads the child's notes.
func (p *parent) ending(state *os.ProcessState) ending {
	e := ending{code: state.ExitCode(), state: state.String(), at: time.Now()}
	notes := readNotes(p.status)
	fresh := notes[min(p.read, len(notes)):]
	p.read = len(notes)
	for _, n := range fresh {
		switch n.Do {
		case "start":
			e.running = append(e.running, n)
		case "end":
			e.running = slices.DeleteFunc(e.running, func(s note) bool { return s.Test == n.Test })
			e.after = n.Test
			p.skipTest(n.Test)
		case "give up":
			e.giveUp = &n
		case "done":
			e.done = true
		}
	}
	for _, name := range p.seen.ended {
		p.skipTest(name)
	}
	return e
}

// skipTest leaves a top-level test out of the next child.
func (p *parent) skipTest(name string) {
	top, _, sub := strings.Cut(name, "/")
	if !sub && !slices.Contains(p.skip, top) {
		p.skip = append(p.skip, top)
	}
}

// passThrough tells the endings that speak for themselves: the testing package's own time-out, a dump that someone asked
// for, a wrong flag.
func (p *parent) passThrough(e ending) bool {
	if e.giveUp != nil {
		return false
	}
	held := p.seen.held.Bytes()
	for _, s := range []string{"panic: test timed out after ", "SIGQUIT: "} {
		if strings.HasPrefix(string(held), s) {
			return true
		}
	}
	return len(held) == 0 && e.code == 2 && len(e.running) == 0 && e.after == "" && p.seen.started == ""
}

// release prints what was held back, as it was.
func (p *parent) release() {
	p.errs.mu.Lock()
	defer p.errs.mu.Unlock()
	p.errs.to.Write(p.seen.held.Bytes())
	p.seen.held.Reset()
}

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
		crashText := p.seen.held.Bytes()
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
