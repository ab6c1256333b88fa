package harness

import (
	"fmt"
	"strings"
	"time"
)

// Keyed keeps events of records with this key.
//
//go:noinline
func Keyed(key string) func(Event) bool {
	return func(e Event) bool { return e.Key == key }
}

// Saying keeps events whose text contains this.
//
//go:noinline
func Saying(text string) func(Event) bool {
	return func(e Event) bool { return strings.Contains(e.Text, text) }
}

// Await lets story time pass until there is an event that matches every filter, and returns the first such event: the
// moment that the story wants to disturb, or to count from. what names it in the failure.
func (w *World) Await(what string, filters ...func(Event) bool) Event {
	w.Until(Happened(what, filters...))
	return w.journal.Events(filters...)[0]
}

// Happened claims that there is an event that matches every filter; what names it in the failure.
//
//go:noinline
func Happened(what string, filters ...func(Event) bool) Claim {
	return func(w *World) error {
		if len(w.journal.Events(filters...)) > 0 {
			return nil
		}
		return &Stuck{Breach{What: fmt.Sprintf("%s has not happened", what)}}
	}
}

// Attempts are the calls of handlers with records of this key, whatever their topic, process or outcome.
//
//go:noinline
func (w *World) Attempts(key string) func() []Event {
	return func() []Event { return w.journal.Events(Of(Began), Keyed(key)) }
}

// Due claims that events were at these story times, or up to lateness later; never earlier, and in their number. It is
// [Times] for what something may hold up, such as a restart.
//
//go:noinline
func Due(what string, lateness time.Duration, events func() []Event, want ...time.Duration) Claim {
	return punctual(what, lateness, events, want)
}

func punctual(what string, lateness time.Duration, events func() []Event, want []time.Duration) Claim {
	return func(w *World) error {
		got := events()
		var seen []int
		for _, e := range got {
			seen = append(seen, e.Seq)
		}
		for i, e := range got {
			if i >= len(want) {
				return &Duplicated{Breach{What: fmt.Sprintf("there were %d %s; it should be %d", len(got), what, len(want)), Seen: seen}}
			}
			late := e.At - want[i]
			if late >= -w.backend.haste() && late <= lateness+w.backend.slack() {
				continue
			}
			b := Breach{What: fmt.Sprintf("number %d of the %s was at %v; it should be at %v", i+1, what, e.At, want[i]), Seen: seen[:i+1]}
			if lateness > 0 {
				b.What += fmt.Sprintf(", or up to %v later", lateness)
			}
			b.Why = "when a thing happens is part of the promise: others plan by it"
			return &Mistimed{b}
		}
		if len(got) < len(want) {
			return &Stuck{Breach{What: fmt.Sprintf("there were %d %s; it should be %d", len(got), what, len(want)), Seen: seen}}
		}
		return nil
	}
}
