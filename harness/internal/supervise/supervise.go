package supervise

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"syscall"
	"testing"
)

// An Option changes what Main does.
type Option func(*settings)

type settings struct {
	mine func(file string) bool
}

// Mine says which files are the learner's, instead of those that [Learner] finds.
func Mine(mine func(file string) bool) Option {
	return func(s *settings) { s.mine = mine }
}

// Main runs the tests, by run in this process or by children, and returns the exit code for os.Exit. It is to be
// called first of all in TestMain.
func Main(run func() int, opts ...Option) (code int) {
	s := settings{}
	for _, o := range opts {
		o(&s)
	}
	if s.mine == nil {
		s.mine = Learner()
	}
	if status := os.Getenv(statusEnv); status != "" {
		if err := beChild(status); err != nil {
			fmt.Fprintln(os.Stderr, "harness: the supervising process cannot be told how the tests go:", err)
			return 2
		}
		code = run()
		child.Lock()
		tell(note{Do: "done"})
		child.Unlock()
		return code
	}
	if !flag.Parsed() {
		flag.Parse()
	}
	if direct() {
		return run()
	}
	code = supervise(s)
	if testing.CoverMode() != "" {
		// The coverage was measured in the child. Without a profile of its own this process would complain about
		// that on its way out through os.Exit.
		syscall.Exit(code)
	}
	return code
}

// supervise builds the child if need be and runs it until every test has a verdict.
func supervise(s settings) int {
	dir, err := os.MkdirTemp("", "kata-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "harness: no place for temporary files:", err)
		return 2
	}
	defer os.RemoveAll(dir)

	program, err := os.Executable()
	if !tagged {
		program, err = rebuild(dir)
	}
	if err != nil {
		if !errors.Is(err, errSaid) {
			fmt.Fprintln(os.Stderr, "harness:", err)
		}
		return 2
	}
	p, err := newParent(program, dir, s.mine)
	if err != nil {
		fmt.Fprintln(os.Stderr, "harness:", err)
		return 2
	}
	code, sig := p.run()
	if sig != nil {
		os.RemoveAll(dir)
		dieBy(sig)
	}
	return code
}
