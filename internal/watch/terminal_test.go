//go:build unix

package watch

import (
	"context"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/kafka-katas/kafka-katas/internal/ptytest"
	"github.com/kafka-katas/kafka-katas/internal/verdict"
)

// play runs a session on the screen until the test presses q.
func play(t *testing.T, s *ptytest.Screen, session *Session) (ended <-chan error) {
	t.Helper()
	done := make(chan error, 1)
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(stop)
	go func() { done <- Terminal(ctx, session, s.TTY, s.TTY) }()
	return done
}

func TestATerminalOf80By24ShowsStepPromiseFailureAndProgress(t *testing.T) {
	t.Setenv("TERM", "xterm-256color")
	v := make(chan *verdict.Verdict, 8)
	s := aSession(t, func(context.Context, verdict.Request) (*verdict.Verdict, error) { return <-v, nil })
	sc := ptytest.New(t, 80, 24)
	ended := play(t, sc, s)
	sc.Shows(`running  step 1: A configuration says`)
	v <- redAt(1)
	text := sc.Shows(`RED LOST  step 1: A configuration says everything that is wrong with it`)
	for _, want := range []string{
		"Lesson 07  Consumer groups", "white x  brown .", "all is said", "LOST: orders/0 offset 0", "produced 0/0",
		"why    at least once means", "looking at the files again and again: as you asked", "n next  h hint", "q quit",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	for line := range strings.Lines(text) {
		if n := len([]rune(strings.TrimRight(line, "\n"))); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	sc.Press("h")
	sc.Shows(`Hint for step 1 \(1 of 2\)`)
	sc.Press("h")
	sc.Shows(`Collect errors in a slice`)
	sc.Press("d")
	sc.Shows(`press d again to peek`)
	sc.Press("d")
	sc.Shows(`\+var answer = 42`)
	sc.Press("n")
	sc.Shows(`What is judged`)
	sc.Press("t")
	sc.Shows(`/reports/x.html`)

	save(t, filepath.Join(s.Lesson.Dir(), "a.go"), "package lesson07 // better\n")
	sc.Shows(`running  step 1`)
	v <- redAt(2)
	sc.Shows(`RED LOST  step 2: A crash loses nothing`)
	sc.Shows(`white #  brown x`)
	sc.Press("a")
	sc.Shows(`running`)
	v <- allGreen()
	sc.Shows(`GREEN  every step is green`)
	if !strings.Contains(sc.Raw(), "\x1b[1;32m") && !strings.Contains(sc.Raw(), "32") {
		t.Error("green is not green")
	}
	sc.Press("q")
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

var colour = regexp.MustCompile(`\x1b\[[0-9;]*3[0-9](;[0-9;]*)?m`)

func TestWithoutColourTheWordsSayIt(t *testing.T) {
	t.Setenv("TERM", "xterm-256color")
	t.Setenv("NO_COLOR", "1")
	s := aSession(t, func(context.Context, verdict.Request) (*verdict.Verdict, error) { return redAt(1), nil })
	sc := ptytest.New(t, 80, 24)
	ended := play(t, sc, s)
	sc.Shows(`RED LOST  step 1`)
	sc.Press("q")
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if m := colour.FindString(sc.Raw()); m != "" {
		t.Errorf("there is colour: %q", m)
	}
}

// A terminal may be small, and what does not fit is reached by scrolling.
func TestASmallTerminalScrolls(t *testing.T) {
	t.Setenv("TERM", "xterm")
	s := aSession(t, func(context.Context, verdict.Request) (*verdict.Verdict, error) { return redAt(1), nil })
	sc := ptytest.New(t, 40, 14)
	ended := play(t, sc, s)
	sc.Shows(`more lines: down`)
	sc.Press("  ")
	sc.Shows(`ask for it again`)
	sc.Press("g")
	sc.Shows(`all is said`)
	sc.Press("\x03")
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
