package watch

import (
	"context"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kafka-katas/kafka-katas/internal/verdict"
)

// paper is what was printed so far.
type paper struct {
	mu sync.Mutex
	b  strings.Builder
}

func (p *paper) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.b.Write(b)
}

func (p *paper) shows(t *testing.T, words string) {
	t.Helper()
	for limit := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		p.mu.Lock()
		text := p.b.String()
		p.mu.Unlock()
		if strings.Contains(text, words) {
			return
		}
		if time.Now().After(limit) {
			t.Fatalf("%q is missing in\n%s", words, text)
		}
	}
}

// A screen reader gets lines in their order, and nothing that moves the cursor or colours.
func TestLinesTellTheSameWithoutRedrawing(t *testing.T) {
	v := make(chan *verdict.Verdict, 8)
	s := aSession(t, func(context.Context, verdict.Request) (*verdict.Verdict, error) { return <-v, nil })
	in, type_ := io.Pipe()
	out := &paper{}
	done := make(chan error, 1)
	go func() { done <- Lines(t.Context(), s, in, out) }()
	out.shows(t, "keys, each with Enter: n next")
	out.shows(t, "looking at the files again and again: as you asked")
	v <- redAt(1)
	out.shows(t, "lesson07 step 1 is red: LOST (0 of 2 steps green")
	out.shows(t, "why    at least once means")
	io.WriteString(type_, "h\n")
	out.shows(t, "Hint for step 1 (1 of 2)")
	save(t, filepath.Join(s.Lesson.Dir(), "a.go"), "package lesson07 // better\n")
	v <- redAt(2)
	out.shows(t, "lesson07 step 2 is red: LOST (1 of 2 steps green")
	io.WriteString(type_, "A\n")
	out.shows(t, "running every step")
	v <- allGreen()
	out.shows(t, "lesson07 is green (2 of 2 steps green")
	io.WriteString(type_, "q\n")
	if err := <-done; err != nil {
		t.Error(err)
	}
	if strings.Contains(out.b.String(), "\x1b") {
		t.Error("there are escape sequences")
	}
}

// Where nobody types it goes on until it is ended.
func TestLinesGoOnWithoutInput(t *testing.T) {
	for _, in := range []io.Reader{nil, strings.NewReader("")} {
		s := aSession(t, func(context.Context, verdict.Request) (*verdict.Verdict, error) { return redAt(1), nil })
		ctx, stop := context.WithCancel(t.Context())
		out := &paper{}
		done := make(chan error, 1)
		go func() { done <- Lines(ctx, s, in, out) }()
		out.shows(t, "lesson07 step 1 is red: LOST")
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
