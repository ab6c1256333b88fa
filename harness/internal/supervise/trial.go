package supervise

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"time"
)

// trialEnv marks a child that has not the tag.
const trialEnv = "KATA_TRIAL"

// In a trial, the limits of a story, and between looks at whether anything moves: whoever is given up too soon has lost nothing.
const (
	trialLimit = 2 * time.Second
	trialProbe = 250 * time.Millisecond
)

// headStart is how long a trial runs before the program with the tag is built beside it. Most trials have ended by then.
const headStart = 250 * time.Millisecond

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
func (t *trial) run(build *build) (code int, sig os.Signal, counts bool) {
	program, err := os.Executable()
	if err != nil {
		return 0, nil, false
	}
	status := filepath.Join(t.dir, "trial")
	if err := os.WriteFile(status, nil, 0o600); err != nil {
		return 0, nil, false
	}
	cmd := command(program, arguments(nil, 0), status, t.out, t.err)
	cmd.Env = append(cmd.Env, trialEnv+"=1")
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, forwarded...)
	defer signal.Stop(signals)
	ended, err := start(cmd)
	if err != nil {
		return 0, nil, false
	}
	later := time.NewTimer(headStart)
	defer later.Stop()
	built, overtaken := build.built, false
	for running := true; running; {
		select {
		case <-later.C:
			build.begin()
		case <-built:
			built, overtaken = nil, true
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
	if overtaken && sig == nil {
		return 0, nil, false
	}
	if slices.ContainsFunc(notes, func(n note) bool { return n.Do == "done" }) {
		return cmd.ProcessState.ExitCode(), nil, true
	}
	return cmd.ProcessState.ExitCode(), sig, sig != nil || len(inFlight(notes)) == 0 && t.timedOut()
}

// timedOut tells that the testing package ended the trial by -timeout.
func (t *trial) timedOut() bool {
	said, err := os.ReadFile(t.err.Name())
	return err == nil && bytes.Contains(append([]byte("\n"), said...), []byte("\n"+timedOut))
}

// try runs a trial, and prints what it printed if it counts.
func try(dir string, b *build) (code int, sig os.Signal, counts bool) {
	if os.Getenv("KAFKA_BROKERS") != "" || os.Getenv("KATA_EXPLORE") != "" {
		return 0, nil, false // what a story leaves behind outlives it there, and what takes minutes is not begun twice
	}
	t, err := newTrial(dir)
	if err != nil {
		return 0, nil, false
	}
	defer t.close()
	if code, sig, counts = t.run(b); !counts {
		return 0, nil, false
	}
	if err := t.print(); err != nil {
		fmt.Fprintln(os.Stderr, "harness: what the tests said cannot be shown:", err)
		code = max(code, 2)
	}
	return code, sig, true
}

// print shows what the trial has printed.
func (t *trial) print() error {
	for _, stream := range []struct{ from, to *os.File }{{t.out, os.Stdout}, {t.err, os.Stderr}} {
		if _, err := stream.from.Seek(0, io.SeekStart); err != nil {
			return err
		}
		if _, err := io.Copy(stream.to, stream.from); err != nil {
			return err
		}
		if t.err == t.out {
			break
		}
	}
	return nil
}
