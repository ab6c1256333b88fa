package watch

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/kafka-katas/kafka-katas/internal/desk"
)

// Lines shows a session in lines that are never redrawn: for a screen reader, a log, or a terminal that can do no more.
// With in, a line with a key's letter does what the key does; at the end of in it goes on without. It ends with ctx or by q.
func Lines(ctx context.Context, s *Session, in io.Reader, out io.Writer) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	events, wishes := s.Start(ctx)
	defer func() {
		stop()
		for range events { // until nothing runs any more
		}
	}()
	var keys <-chan string
	say := func(format string, args ...any) error {
		_, err := fmt.Fprintf(out, format+"\n", args...)
		return err
	}
	b := NewBoard(s.Desk, s.Lesson)
	if err := say("watching katas/%s: %s", s.Lesson.Name, s.Lesson.Title); err != nil {
		return err
	}
	if in != nil {
		keys = typed(ctx, in)
		if err := say("keys, each with Enter: %s", Keys); err != nil {
			return err
		}
	}
	for {
		var err error
		select {
		case e, ok := <-events:
			if !ok {
				return nil
			}
			b.Take(e)
			err = say("%s", strings.Join(b.tell(e), "\n"))
		case key, ok := <-keys:
			if !ok {
				keys = nil
				continue
			}
			wish, wished, quit := b.Press(key)
			if quit {
				return nil
			}
			if wished {
				wishes <- wish
				continue
			}
			err = say("%s", b.Body())
		}
		if err != nil {
			return err
		}
	}
}

// tell is an event in lines, each beginning with the time.
func (b *Board) tell(e Event) []string {
	at := e.At.Format(time.TimeOnly) + "  "
	var lines []string
	switch {
	case e.Started && e.All:
		lines = append(lines, at+"running every step")
	case e.Started && b.Verdict == nil:
		lines = append(lines, at+"running; the very first run also builds the Kafka client and the rest: a minute or so")
	case e.Started:
		lines = append(lines, at+"running")
	case e.Polling != "":
		lines = append(lines, at+b.Polling)
	case e.Verdict != nil:
		lines = append(lines, at+desk.Summary(b.Lesson, e.Verdict, b.Progress))
		if e.Verdict.Colour != "green" {
			lines = append(lines, "", strings.TrimRight(b.Body(), "\n"), "")
		} else if b.Foretold != "" {
			lines = append(lines, b.Foretold)
		}
	}
	if e.Err != nil {
		lines = append(lines, at+e.Err.Error())
	}
	return lines
}

// typed are the lines of in, as keys.
func typed(ctx context.Context, in io.Reader) <-chan string {
	out := make(chan string)
	go func() {
		defer close(out)
		for lines := bufio.NewScanner(in); lines.Scan(); {
			key := strings.ToLower(strings.TrimSpace(lines.Text()))
			if key == "" {
				key = "enter"
			}
			select {
			case out <- key:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}
