package watch

import (
	"context"
	"time"

	"github.com/kafka-katas/kafka-katas/internal/desk"
	"github.com/kafka-katas/kafka-katas/internal/history"
	"github.com/kafka-katas/kafka-katas/internal/lesson"
	"github.com/kafka-katas/kafka-katas/internal/verdict"
)

// A Session runs a lesson at each save.
type Session struct {
	Desk   *desk.Desk
	Lesson *lesson.Lesson
	Files  Files
	By     string             // the command, for the log
	Note   func(*history.Run) // adds to what is kept of a run; nil for nothing

	// run is replaced in tests.
	run func(context.Context, verdict.Request) (*verdict.Verdict, error)
}

// An Event is what a session has to tell.
type Event struct {
	Started   bool             // a run has begun; an earlier one was cancelled if it was under way
	All       bool             // it runs every step although an earlier one is red
	Verdict   *verdict.Verdict // it has ended
	Progress  *history.Progress
	Predicted *history.Prediction
	Err       error  // it could not run, or could not be noted
	Polling   string // why the files are looked at again and again
	At        time.Time
}

// A Wish is what a session can be asked for.
type Wish int

// Wishes.
const (
	Again Wish = iota // run it
	All               // run every step
)

// Start begins the session with a run. It ends with ctx, and then closes its channel once nothing runs any more.
func (s *Session) Start(ctx context.Context) (<-chan Event, chan<- Wish) {
	if s.run == nil {
		s.run = s.Desk.Run
	}
	if s.Files.Dir == "" {
		s.Files.Dir = s.Lesson.Dir()
	}
	events, wishes := make(chan Event, 16), make(chan Wish, 16)
	go s.loop(ctx, events, wishes)
	return events, wishes
}

type result struct {
	v   *verdict.Verdict
	err error
}

func (s *Session) loop(ctx context.Context, events chan<- Event, wishes <-chan Wish) {
	defer close(events)
	send := func(e Event) {
		e.At = time.Now()
		select {
		case events <- e:
		case <-ctx.Done():
		}
	}
	changes := s.Files.Watch(ctx)
	cancel := func() {}
	var done chan result // of the run under way, nil for none
	begin := func(all bool) {
		if done != nil { // overtaken: what it would say is about another text
			cancel()
			<-done
		}
		if ctx.Err() != nil {
			return
		}
		var running context.Context
		running, cancel = context.WithCancel(ctx)
		mine := make(chan result, 1)
		done = mine
		send(Event{Started: true, All: all})
		go func() {
			v, err := s.run(running, verdict.Request{Lesson: s.Lesson, All: all})
			mine <- result{v, err}
		}()
	}
	begin(false)
	for {
		select {
		case <-ctx.Done():
			cancel()
			if done != nil {
				<-done
			}
			return
		case c, ok := <-changes:
			switch {
			case !ok:
				changes = nil
			case c.Polling != "":
				send(Event{Polling: c.Polling})
			default:
				begin(false)
			}
		case w := <-wishes:
			begin(w == All)
		case r := <-done:
			cancel()
			done = nil
			if r.err != nil {
				send(Event{Err: r.err})
				continue
			}
			if r.v.Colour == verdict.Cancelled {
				continue
			}
			send(s.note(r.v))
		}
	}
}

// note keeps the verdict. A place where nothing can be kept does not take the verdict away.
func (s *Session) note(v *verdict.Verdict) Event {
	var more []func(*history.Run)
	if s.Note != nil {
		more = append(more, s.Note)
	}
	predicted, p, err := s.Desk.Note(s.By, v, more...)
	if p == nil {
		p = s.Desk.Book.Progress()
	}
	return Event{Verdict: v, Progress: p, Predicted: predicted, Err: err}
}
