package stacks

import (
	"fmt"
	"slices"
)

// Growth says where a program grows that has outgrown its limit, which is what the sentence begins with: where most
// of its goroutines were started, or which of the learner's code runs just now.
func Growth(kind Kind, sentence string, gs []Goroutine, mine func(file string) bool) Diagnosis {
	s := &stall{gs: newest(gs), mine: mine}
	if kind == Goroutines {
		const why = "bound the number of goroutines: a fixed set of workers, or a semaphore before each go statement"
		if at, n := commonest(s.gs, mine); n > len(s.gs)/2 {
			return Diagnosis{kind, sentence + ", most of them in " + at.Name(false) + " at " + at.Place(), why, at}
		}
		return Diagnosis{kind, sentence, why, Frame{}}
	}
	const why = "bound what is kept: every buffer, map and channel that grows with the input needs a limit"
	if at, n := commonest(s.gs, mine); n > 1000 {
		return Diagnosis{kind, fmt.Sprintf("%s, and %d goroutines were started in %s at %s", sentence, n, at.Name(false), at.Place()), why, at}
	}
	busy, _ := s.prefer(func(g Goroutine) bool { return running(g) && !infrastructure(g) })
	at, found := busy.mineOf(mine)
	if !found { // who allocates is out of its bubble while it helps the collector, or waits to start it (runtime.gcAssistAlloc)
		s.gs = gs
		busy, _ = s.prefer(func(g Goroutine) bool { return g.Bubble == 0 && (running(g) || g.State == "semacquire") })
		at, found = busy.mineOf(mine)
	}
	if found {
		return Diagnosis{kind, sentence + " while " + at.Name(false) + " (" + at.Place() + ") ran", why, at}
	}
	return Diagnosis{kind, sentence, why, Frame{}}
}

// commonest is the learner's line that started the most goroutines.
func commonest(gs []Goroutine, mine func(string) bool) (at Frame, n int) {
	counts := map[Frame]int{}
	for _, g := range gs {
		if f, ok := g.originOf(mine); ok {
			counts[Frame{Func: f.Func, File: f.File, Line: f.Line}]++
		}
	}
	for f, c := range counts {
		if c > n || c == n && slices.Compare([]string{f.Func, f.Place()}, []string{at.Func, at.Place()}) < 0 {
			at, n = f, c
		}
	}
	return at, n
}
