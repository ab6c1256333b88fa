package supervise

import (
	"bytes"
	"flag"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// onTrial tells that this process is a child which lacks the tag.
func onTrial() bool { return Supervised() && !tagged }

// In a trial, the limits of a story, and between looks at whether anything moves: whoever is given up too soon has lost nothing.
const (
	trialLimit = 2 * time.Second
	trialProbe = 250 * time.Millisecond
)

// headStart is how long a trial runs before the program with the tag is built beside it. A trial that ends at one of a lesson's
// first steps has ended by then.
const headStart = 250 * time.Millisecond

// maxSaid bounds, in bytes, what a trial prints: it is kept until the end.
const maxSaid = 64 << 20

// A trial runs all tests by this very program, although it lacks the tag. Where one goroutine waits for a lock of kgo's,
// the clock cannot move then: a story ends as one that has the tag may end, or it does not end at all. So a trial in which
// every test came to its end is the run, and has cost no second build. Of any other nothing counts and nothing is printed.
type trial struct {
	dir      string
	out, err *os.File // what it prints; the same file if the two streams lead to one place
}

func newTrial(dir string) (*trial, error) {
	open := func(name string) (*os.File, error) {
		return os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	}
	out, err := open("stdout")
	if err != nil {
		return nil, err
	}
	errs := out
	if !sameFile(os.Stdout, os.Stderr) {
		if errs, err = open("stderr"); err != nil {
			out.Close()
			return nil, err
		}
	}
	return &trial{dir: dir, out: out, err: errs}, nil
}

func (t *trial) close() {
	t.out.Close()
	t.err.Close()
}

// run runs the tests, and has build begin when that takes longer. It returns whether the trial counts: it came to its end,
// or was ended by a signal, or by -timeout while no story was told.
func (t *trial) run(build *build, signals <-chan os.Signal) (code int, sig os.Signal, counts bool) {
	program, err := os.Executable()
	if err != nil {
		return 0, nil, false
	}
	status := filepath.Join(t.dir, "trial")
	if err := os.WriteFile(status, nil, 0o600); err != nil {
		return 0, nil, false
	}
	cmd := command(program, arguments(nil, 0), status, t.out, t.err)
	ended, err := start(cmd)
	if err != nil {
		return 0, nil, false
	}
	tick := time.NewTicker(headStart)
	defer tick.Stop()
	built, stopped := build.built, false
	for running := true; running; {
		select {
		case <-tick.C:
			if grouped { // otherwise it could not be ended without a trace
				build.begin()
			}
			if t.said() > maxSaid {
				stopped = true
				cmd.Process.Kill()
			}
		case <-built:
			built, stopped = nil, true
			cmd.Process.Kill() // the other will tell all that this one could, and does not stand still
		case s := <-signals:
			if sig != nil {
				cmd.Process.Kill() // asked twice
			}
			sig = s
			cmd.Process.Signal(s)
		case <-ended:
			running = false
		}
	}
	notes := readNotes(status)
	sweep(notes)
	done := slices.ContainsFunc(notes, func(n note) bool { return n.Do == "done" })
	switch {
	case done && !stopped:
		return cmd.ProcessState.ExitCode(), nil, true
	case sig != nil:
		return 1, sig, true
	case stopped:
		return 0, nil, false
	}
	return cmd.ProcessState.ExitCode(), nil, len(inFlight(notes)) == 0 && t.timedOut()
}

// said is how many bytes it has printed.
func (t *trial) said() (n int64) {
	for _, f := range []*os.File{t.out, t.err} {
		if info, err := f.Stat(); err == nil {
			n = max(n, info.Size())
		}
	}
	return n
}

// timedOut tells that the testing package ended the trial by -timeout.
func (t *trial) timedOut() bool {
	said, err := os.ReadFile(t.err.Name())
	return err == nil && bytes.Contains(append([]byte("\n"), said...), []byte("\n"+timedOut))
}

// try runs a trial, and prints what it printed if it counts.
func try(dir string, b *build, signals <-chan os.Signal) (code int, sig os.Signal, counts bool) {
	if lasting() {
		return 0, nil, false
	}
	t, err := newTrial(dir)
	if err != nil {
		return 0, nil, false
	}
	defer t.close()
	if code, sig, counts = t.run(b, signals); !counts {
		return 0, nil, false
	}
	b.cancel()
	t.print()
	return code, sig, true
}

// lasting tells that a run leaves more than a verdict, on a real cluster or in reports, or takes as long as it is told: it is
// not begun twice.
func lasting() bool {
	for _, name := range []string{"KAFKA_BROKERS", "KATA_REPORT", "KATA_EXPLORE"} {
		if os.Getenv(name) != "" {
			return true
		}
	}
	report := flag.Lookup("report")
	return report != nil && report.Value.String() != ""
}

// print shows what the trial has printed. Who cannot be shown it, cannot be told so either.
func (t *trial) print() {
	show(os.Stdout, t.out)
	if t.err != t.out {
		show(os.Stderr, t.err)
	}
}

func show(to, from *os.File) {
	if _, err := from.Seek(0, io.SeekStart); err == nil {
		io.Copy(to, from)
	}
}
