package supervise

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
)

// An Option changes what Main does.
type Option func(*settings)

type settings struct {
	mine    func(file string) bool
	finally func()
}

// Finally calls f when all tests have ended, however they ended: here, in the process that outlives them, also when they
// were interrupted or took their process with them. What tests make outside their process is removed there.
func Finally(f func()) Option {
	return func(s *settings) { s.finally = f }
}

// Mine says which files are the learner's, instead of those that [Learner] finds.
func Mine(mine func(file string) bool) Option {
	return func(s *settings) { s.mine = mine }
}

// Main runs the tests, by run in this process or by children, and returns the exit code for os.Exit. It is to be
// called first of all in TestMain.
func Main(run func() int, opts ...Option) (code int) {
	s := settings{finally: func() {}}
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
		if value("list") == "" && value("fuzzworker") != "true" {
			defer s.finally()
			defer onSignal(s.finally)()
		}
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

// supervise has a child run the tests, by a trial or as often as it takes, until every test has a verdict.
func supervise(s settings) int {
	dir, err := os.MkdirTemp("", "kata-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "harness: no place for temporary files:", err)
		return 2
	}
	defer os.RemoveAll(dir)
	signals := make(chan os.Signal, 8) // until the end: one that comes again, as from a terminal and from who started this, must not cut it short
	signal.Notify(signals, forwarded...)
	defer signal.Stop(signals)

	code, sig := s.verdicts(dir, signals)
	s.finally()
	if sig != nil {
		os.RemoveAll(dir)
		dieBy(sig)
	}
	return code
}

// verdicts runs the tests. sig is the signal by which the run was ended, if it was.
func (s settings) verdicts(dir string, signals <-chan os.Signal) (code int, sig os.Signal) {
	program, err := os.Executable()
	if !tagged {
		b := newBuild(filepath.Join(dir, "build"))
		if code, sig, counts := try(dir, b, signals); counts {
			return code, sig
		}
		program, sig, err = b.wait(signals)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 2, nil
		}
		if sig != nil {
			return 1, sig
		}
	}
	var p *parent
	if err == nil {
		p, err = newParent(program, dir, s.mine)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "harness:", err)
		return 2, nil
	}
	return p.run(signals)
}

// onSignal has f called before a signal ends this process, until stop.
func onSignal(f func()) (stop func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, interrupts...)
	go func() {
		for s := range signals {
			f()
			dieBy(s)
			os.Exit(1)
		}
	}()
	return func() { signal.Stop(signals) }
}
