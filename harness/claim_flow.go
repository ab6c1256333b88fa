package harness

import (
	"errors"
	"fmt"
	"time"
)

// Flow is what became of the records that came in, as a ledger. Everything must be accounted for.
type Flow struct {
	In                               int
	OK, Filtered, Parked, Dead, Held int // Held is in flight
}

// Conserved claims that what came in equals what was handled, filtered, parked, dead-lettered and is still in flight.
//
//go:noinline
func Conserved(what string, count func() Flow) Claim {
	return func(w *World) error {
		f := count()
		out := f.OK + f.Filtered + f.Parked + f.Dead + f.Held
		b := Breach{What: fmt.Sprintf("of %d %s, %d are accounted for: ok %d, filtered %d, parked %d, dead-lettered %d, in flight %d", f.In, what, out, f.OK, f.Filtered, f.Parked, f.Dead, f.Held)}
		switch {
		case out < f.In:
			b.Why = "a record that is in no column is gone without anybody knowing"
			return &Lost{b}
		case out > f.In:
			b.Why = "a record in two columns had two effects"
			return &Duplicated{b}
		}
		return nil
	}
}

// Once claims that a list names each of these exactly once, and nothing else, in any order: what the program's own store
// holds, or what its API returns. Effects that a story's fakes have are judged by [Effects.Once].
//
//go:noinline
func Once(what string, list func() []string, want ...string) Claim {
	return func(*World) error {
		times := map[string]int{}
		for _, name := range list() {
			times[name]++
		}
		for _, name := range want {
			switch n := times[name]; {
			case n == 0:
				return &Lost{Breach{What: fmt.Sprintf("%s is not among the %s", name, what), Why: "what was asked for and is not there is lost, however well the offsets look"}}
			case n > 1:
				return &Duplicated{Breach{What: fmt.Sprintf("%s is among the %s %d times", name, what, n), Why: "Kafka delivers at least once; what must happen once has to recognise what it has done already"}}
			}
			delete(times, name)
		}
		for name := range times {
			return &Misrouted{Breach{What: fmt.Sprintf("%s is among the %s; nothing in this story asks for it", name, what)}}
		}
		return nil
	}
}

// Rate claims that the process sent at most perRecord requests of a kind for each record that it handled; up to allowed
// requests in all are free, since joining and leaving cost some.
//
//go:noinline
func (p *Process) Rate(r Request, perRecord float64, allowed int) Claim {
	return func(w *World) error {
		handled := len(w.journal.Events(By(p.Name), Of(Handled)))
		sent := p.Requests(r)
		if sent <= allowed || float64(sent) <= perRecord*float64(handled) {
			return nil
		}
		return &Wasteful{Breach{
			What: fmt.Sprintf("%s sent %d %v requests for %d records", p.Name, sent, r, handled),
			Why:  "a request per record costs a round trip each and loads the coordinator that everybody shares; batch them by count and time",
			Seen: w.lastOf(p.Name, Committed),
		}}
	}
}

// Times claims that events were at these story times: to the nanosecond in virtual time, and within the backend's bounds
// in real time. what names the events in the failure, such as "attempts".
//
//go:noinline
func Times(what string, events func() []Event, want ...time.Duration) Claim {
	return punctual(what, 0, events, want)
}

// Took claims that d is want: exactly in virtual time, with the backend's slack in real time.
//
//go:noinline
func Took(what string, d, want time.Duration) Claim {
	return func(w *World) error {
		if late := d - want; late < -w.backend.haste() || late > w.backend.slack() {
			return &Mistimed{Breach{What: fmt.Sprintf("%s took %v; it should be %v", what, d, want)}}
		}
		return nil
	}
}

// AtMost claims that d is not above limit, with the backend's slack in real time.
//
//go:noinline
func AtMost(what string, d, limit time.Duration) Claim {
	return func(w *World) error {
		if d > limit+w.backend.slack() {
			return &Mistimed{Breach{What: fmt.Sprintf("%s took %v; it may be %v at most", what, d, limit)}}
		}
		return nil
	}
}

// Reported claims that what a program reports is true: nil if so, otherwise say what it reported and what is the case.
// It is for statistics, health and alerts.
//
//go:noinline
func Reported(check func() error) Claim {
	return func(*World) error {
		err := check()
		if err == nil || BreachOf(err) != nil {
			return err
		}
		return &Misreported{Breach{What: err.Error(), Why: "an operator acts on what a service reports; a wrong number is worse than none"}}
	}
}

// Broke turns an unmet expectation about a program's own result into a breach in a word of the caller's choice.
func Broke[T any, P interface {
	*T
	error
	breach() *Breach
}](why, format string, args ...any) error {
	p := P(new(T))
	*p.breach() = says(why, format, args...)
	return p
}

// Ends claims that the program ended by itself with an error that is target.
//
//go:noinline
func (p *Process) Ends(target error) Claim {
	return func(w *World) error {
		select {
		case <-p.done:
		default:
			return &Stuck{Breach{What: fmt.Sprintf("%s still runs; it should have ended with: %v", p.Name, target), Seen: w.lastOf(p.Name, Fenced)}}
		}
		if err := p.Err(); !errors.Is(err, target) {
			return &Broken{Breach{What: fmt.Sprintf("%s ended with %v; it should be %v", p.Name, err, target), Seen: w.lastOf(p.Name, Stopped)}}
		}
		return nil
	}
}
