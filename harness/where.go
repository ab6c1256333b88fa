package harness

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kafka-katas/kafka-katas/harness/internal/stacks"
)

// maxPlaces bounds how many places a failure names.
const maxPlaces = 3

// standing are the places at which the learner's goroutines wait now, "Consumer.handle waits to send to a channel at
// consumer.go:31". Those that look at a context or a clock as well are left out unless all are asked for: they wait
// for work, as they should.
func (w *World) standing(all bool) [][2]string {
	var places [][2]string
	for _, leak := range stacks.Leaks(stacks.Take(), w.mine) {
		what, place, ok := strings.Cut(leak.Sentence, " still ")
		if !ok {
			continue // a client, or what a library runs
		}
		if place, _, _ = strings.Cut(place, ", started in"); !all && (strings.Contains(place, "select") || strings.HasPrefix(place, "sleeps")) {
			continue
		}
		line := [2]string{"where", what + " " + place}
		if !slices.Contains(places, line) && len(places) < maxPlaces {
			places = append(places, line)
		}
	}
	return places
}

// atPlaces adds to the failure where the learner's goroutines stand, while they still do.
func (w *World) atPlaces(all bool) {
	places := w.standing(all)
	if made := w.made(); made != "" && w.silent() != "" {
		places = append(places, [2]string{"where", made})
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.verdict == nil {
		w.places = places
	}
}

// tireless is how many requests of one kind no program needs in a story.
const tireless = 20_000

// restless names what a program asks again and again without letting any time pass. It is called outside the bubble,
// where story time cannot be told.
func (w *World) restless() (notes [][2]string) {
	for _, p := range w.Processes() {
		p.mu.Lock()
		for r, n := range p.requests {
			if n > tireless {
				notes = append(notes, [2]string{"where", fmt.Sprintf("%s has sent %d %v requests: does it wait before it asks again?", p.Name, n, r)})
			}
		}
		p.mu.Unlock()
	}
	return notes
}

// closing tells that a client waits in Close for a rebalance that it blocks itself, and where.
func (w *World) closing() string {
	const kgoClient = "github.com/twmb/franz-go/pkg/kgo.(*Client)."
	for _, g := range stacks.Take() {
		for i, f := range g.Frames {
			if f.Func != kgoClient+"Close" || i+1 == len(g.Frames) || !w.mine(g.Frames[i+1].File) {
				continue
			}
			return "; it waits in kgo's Client.Close at " + g.Frames[i+1].Place() +
				", which waits for a rebalance that the client blocks itself: AllowRebalance first, or CloseAllowingRebalance"
		}
	}
	return ""
}

// made is "kgo.NewClient at consumer.go:20", where the learner's code made a client.
func (w *World) made() string {
	for _, leak := range stacks.Leaks(stacks.Take(), w.mine) {
		if _, place, ok := strings.Cut(leak.Sentence, "never closed"); ok {
			return strings.Trim(place, " ()")
		}
	}
	return ""
}
