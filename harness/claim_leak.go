package harness

import (
	"fmt"

	"github.com/kafka-katas/kafka-katas/harness/internal/stacks"
)

// NoMoreGoroutines looks at how many goroutines the program has now, and claims later that it has no more: what was
// started for one piece of work has ended with it. Take it when the program is idle, and judge it when it is idle again.
// (That nothing outlives a stopped process, every story claims.)
//
//go:noinline
func (w *World) NoMoreGoroutines() Claim {
	w.backend.settle()
	before := w.goroutines()
	return func(w *World) error {
		now := w.goroutines()
		if len(now) <= len(before) {
			return nil
		}
		what := fmt.Sprintf("the program is idle again and has %d goroutines; before the work there were %d", len(now), len(before))
		at := map[string]int{}
		for _, place := range before {
			at[place]--
		}
		for _, place := range now {
			if at[place]++; at[place] == 1 {
				what += "; one more was started at " + place
				break
			}
		}
		return &Leaked{Breach{What: what, Why: "a goroutine for each piece of work that never ends is a slow way to run out of memory"}}
	}
}

// goroutines are the places at which the learner's code has started the goroutines that there are in this story.
func (w *World) goroutines() (places []string) {
	all := stacks.Take() // this goroutine first
	for _, g := range all {
		if g.Bubble == all[0].Bubble && w.mine(g.CreatedBy.File) {
			places = append(places, g.CreatedBy.Place())
		}
	}
	return places
}
