package stacks

import (
	"fmt"
	"slices"
	"strings"
)

// A Leak is something that a story left running: goroutines with one origin, or a client.
type Leak struct {
	Sentence   string // what was left and where it came from; no full stop
	Goroutines int
	At         Frame // the learner's line that started it; zero if none was found
}

// String is the sentence.
func (l Leak) String() string { return l.Sentence }

const kgo = "github.com/twmb/franz-go/pkg/kgo."

// Leaks lists what remains in the newest bubble: the learner's goroutines first, then clients that were not
// closed, then what else libraries run there. The goroutines that run the bubble, and those of the harness, which
// outlive a story only because something of the learner's does, are left out.
//
// Where a client was created is known only under GODEBUG=tracebackancestors, which supervise sets for its child.
func Leaks(gs []Goroutine, mine func(file string) bool) []Leak {
	var own, clients, others []Leak
	made := map[string]bool{} // by a client's sentence: it names where the client was made, and not where it was used
	add := func(to *[]Leak, l Leak) {
		if i := slices.IndexFunc(*to, func(o Leak) bool { return o.Sentence == l.Sentence }); i >= 0 {
			(*to)[i].Goroutines++
			return
		}
		l.Goroutines = 1
		*to = append(*to, l)
	}
	for _, g := range newest(gs) {
		if g.Bubble == 0 || infrastructure(g) || g.State == "running" && g.has("runtime.Stack", "runtime/debug.Stack") {
			continue
		}
		at, mineStarted := g.originOf(mine)
		if f, ok := g.mineOf(mine); ok {
			from := ""
			if mineStarted {
				from = ", started in " + at.Name(false) + " at " + at.Place()
			} else {
				at = f
			}
			add(&own, Leak{Sentence: f.Name(false) + " still " + doing(g) + " at " + f.Place() + from, At: at})
			continue
		}
		if leaving(g) {
			continue
		}
		if ofClient(g) {
			sentence := "a kgo client that was never closed"
			if mineStarted {
				at = at.near("New")
				sentence += " (kgo.NewClient at " + at.Place() + ")"
			}
			add(&clients, Leak{Sentence: sentence, At: at})
			made[sentence] = made[sentence] || mineStarted && g.startedIn(kgo+"NewClient")
			continue
		}
		if mineStarted && !slices.ContainsFunc(g.Frames, ours) {
			outer := g.Frames[len(g.Frames)-1]
			add(&own, Leak{Sentence: fmt.Sprintf("%s, started in %s at %s", outer.Name(true), at.Name(false), at.Place()), At: at})
			continue
		}
		if f, ok := library(g); ok {
			add(&others, Leak{Sentence: f.Name(true) + " still " + doing(g)})
		}
	}
	// A client's goroutines have different depths of ancestors; those without a known origin belong to the known one, and
	// those that a poll started to the one that NewClient started.
	if len(clients) > 1 {
		clients = slices.DeleteFunc(clients, func(l Leak) bool { return l.At.Func == "" })
	}
	if slices.ContainsFunc(clients, func(l Leak) bool { return made[l.Sentence] }) {
		clients = slices.DeleteFunc(clients, func(l Leak) bool { return !made[l.Sentence] })
	}
	// A connection of kfake lives as long as the client at its other end.
	if len(own)+len(clients) > 0 {
		others = nil
	}
	return slices.Concat(own, clients, others)
}

// ofClient tells the goroutines that a kgo client runs from a learner's call into a client, or a callback.
func ofClient(g Goroutine) bool {
	if slices.ContainsFunc(g.Ancestors, func(f Frame) bool { return strings.HasPrefix(f.Func, kgo) }) {
		return true
	}
	return strings.HasPrefix(g.CreatedBy.Func, kgo) || len(g.Frames) > 0 && strings.HasPrefix(g.Frames[len(g.Frames)-1].Func, kgo)
}

// startedIn says whether g, or a goroutine before it, was started while that function ran.
func (g Goroutine) startedIn(function string) bool {
	return slices.ContainsFunc(append([]Frame{g.CreatedBy}, g.Ancestors...), func(f Frame) bool { return f.Func == function })
}

// Leaving tells that there are goroutines in the newest bubble that kgo itself leaves behind, which Leaks leaves out.
func Leaving(gs []Goroutine) bool { return slices.ContainsFunc(newest(gs), leaving) }

// leaving tells a goroutine that kgo itself leaves behind: a LeaveGroup that was given up, by its context or a second
// one in Close, waits for ever for a rebalance to be allowed (kgo v1.22.2). Nothing that the learner wrote could end it;
// a client that was not closed at all has other goroutines too.
func leaving(g Goroutine) bool {
	return strings.HasPrefix(g.CreatedBy.Func, kgo+"(*Client).LeaveGroupContext")
}

// library is the frame to name a goroutine by that has nothing to do with the learner's code.
func library(g Goroutine) (Frame, bool) {
	if len(g.Frames) == 0 || slices.ContainsFunc(append(g.Frames[:len(g.Frames):len(g.Frames)], g.CreatedBy), ours) {
		return Frame{}, false
	}
	return g.Frames[len(g.Frames)-1], true
}

// ours are the harness and its broker: they serve the other end of what the learner's code left open.
func ours(f Frame) bool {
	return strings.Contains(f.Func, "/harness.") || strings.Contains(f.Func, "/harness/internal/") || strings.Contains(f.Func, "/kfake.")
}
