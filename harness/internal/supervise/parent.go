package supervise

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kafka-katas/kafka-katas/internal/toolchain"
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
	read   int       // notes read so far
	skip   []string  // tests that need not run in the next child
	faults int       // of the race detector itself
	signal os.Signal // that was passed on
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
func (p *parent) run(signals <-chan os.Signal) (code int, sig os.Signal) {
	for n := 1; ; {
		end, err := p.child(signals)
		if err != nil {
			fmt.Fprintln(os.Stderr, "harness: the tests cannot be started:", err)
			return 2, nil
		}
		if p.signal != nil && !end.done {
			p.release()
			return 1, p.signal
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
		if p.takeUp(end) {
			p.next()
			continue
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
		p.next()
		n++
	}
}

// next forgets how the last child ended.
func (p *parent) next() {
	p.seen.rerun = true
	p.seen.held.Reset()
	p.seen.check = ""
	p.seen.tail = nil
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
	out, errs := io.Writer(p.out), io.Writer(p.out)
	if p.errs != p.out {
		errs = p.errs
	}
	cmd := command(p.program, arguments(p.skip, left), p.status, out, errs)
	gone, err := start(cmd)
	if err != nil {
		return ending{}, err
	}
	for running := true; running; {
		select {
		case <-gone:
			running = false
		case s := <-signals:
			if p.signal != nil {
				cmd.Process.Kill() // asked twice
			}
			p.signal = s
			cmd.Process.Signal(s)
		}
	}
	p.out.flush()
	p.errs.flush()
	return p.ending(cmd.ProcessState), nil
}

// command is how a child is started that runs the tests of program.
func command(program string, args []string, status string, out, errs io.Writer) *exec.Cmd {
	cmd := exec.Command(program, args...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(toolchain.Tests(os.Environ()), statusEnv+"="+status, "GODEBUG="+ancestors(os.Getenv("GODEBUG")))
	cmd.Stdout, cmd.Stderr = out, errs
	cmd.WaitDelay = time.Second // if a grandchild keeps a pipe open
	return cmd
}

// start starts a child, whose state is known when gone is closed.
func start(cmd *exec.Cmd) (gone <-chan struct{}, err error) {
	// Nobody types in a test. A reader finds neither a line nor the end, so that it is seen to wait for standard input;
	// at an end of file it would go on with an error that says nothing of the cause.
	in, hold, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdin = in
	err = cmd.Start()
	in.Close()
	if err != nil {
		hold.Close()
		return nil, err
	}
	ended := make(chan struct{})
	go func() {
		cmd.Wait()
		hold.Close()
		close(ended)
	}()
	return ended, nil
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
	e.running = inFlight(fresh)
	sweep(fresh)
	for _, n := range fresh {
		switch n.Do {
		case "end":
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

// inFlight are the tests that had begun and not ended.
func inFlight(notes []note) (out []note) {
	for _, n := range notes {
		switch n.Do {
		case "start":
			out = append(out, n)
		case "end":
			out = slices.DeleteFunc(out, func(s note) bool { return s.Test == n.Test })
		}
	}
	return out
}

// sweep removes what a child had no time to remove.
func sweep(notes []note) {
	for _, n := range notes {
		if n.Do == "scratch" {
			os.RemoveAll(n.Text)
			os.Remove(filepath.Dir(n.Text)) // the test's, of which that was one: not if there is more in it
		}
	}
}

// skipTest leaves a top-level test out of the next child.
func (p *parent) skipTest(name string) {
	top, _, sub := strings.Cut(name, "/")
	if !sub && !slices.Contains(p.skip, top) {
		p.skip = append(p.skip, top)
	}
}

// timedOut is how the testing package begins to say that it ends the tests by -timeout.
const timedOut = "panic: test timed out after "

// passThrough tells the endings that speak for themselves: the testing package's own time-out, a dump that someone asked
// for, a wrong flag.
func (p *parent) passThrough(e ending) bool {
	if e.giveUp != nil {
		return false
	}
	held := p.seen.held.Bytes()
	for _, s := range []string{timedOut, "SIGQUIT: "} {
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
