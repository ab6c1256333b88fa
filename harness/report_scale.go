package harness

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// A timeScale maps story time to columns of a chart. Busy stretches get the room; in idle ones, time is compressed and
// said to be: a 45-second session timeout must not push everything else into a corner.
type timeScale struct {
	times []time.Duration // distinct, ascending
	at    []float64       // the column of each
	gaps  []idleGap
}

// An idleGap is a stretch in which nothing happens.
type idleGap struct {
	from, to float64
	lasts    time.Duration
}

const (
	gapColumns = 62.0 // the width of an idle gap
	gapShare   = 0.45 // of the chart, at most, goes to idle gaps
	leastIdle  = 500 * time.Millisecond
	idleFactor = 12 // how much longer than usual an idle stretch is
)

// newTimeScale lays the times of events out between the columns left and right.
func newTimeScale(events []Event, left, right float64) *timeScale {
	s := &timeScale{}
	for _, e := range events {
		s.times = append(s.times, e.At)
	}
	slices.Sort(s.times)
	s.times = slices.Compact(s.times)
	s.at = make([]float64, len(s.times))
	if len(s.times) == 0 {
		return s
	}
	steps := make([]time.Duration, len(s.times)-1)
	for i := range steps {
		steps[i] = s.times[i+1] - s.times[i]
	}
	idle := idleSteps(steps, int((right-left)*gapShare/gapColumns))
	free := right - left - gapColumns*float64(len(idle))
	weights, total := make([]float64, len(steps)), 0.0
	for i, step := range steps {
		if !idle[i] {
			weights[i] = stepRoom(step)
			total += weights[i]
		}
	}
	x := left
	for i := range steps {
		s.at[i] = x
		switch {
		case idle[i]:
			s.gaps = append(s.gaps, idleGap{x, x + gapColumns, steps[i]})
			x += gapColumns
		case total > 0:
			x += free * weights[i] / total
		}
	}
	s.at[len(s.at)-1] = x
	return s
}

// stepRoom grows ever more slowly with its length: ten times the time is two and a half times the room.
func stepRoom(step time.Duration) float64 { return math.Pow(float64(step), 0.4) }

// idleSteps picks the steps that are much longer than usual, at most so many, the longest first.
func idleSteps(steps []time.Duration, atMost int) map[int]bool {
	if len(steps) == 0 {
		return nil
	}
	sorted := slices.Sorted(slices.Values(steps))
	usual := max(leastIdle, idleFactor*sorted[len(sorted)/4])
	var found []int
	for i, step := range steps {
		if step >= usual {
			found = append(found, i)
		}
	}
	slices.SortStableFunc(found, func(a, b int) int { return cmp.Compare(steps[b], steps[a]) })
	idle := map[int]bool{}
	for _, i := range found[:min(atMost, len(found))] {
		idle[i] = true
	}
	return idle
}

// column is where t lies.
func (s *timeScale) column(t time.Duration) float64 {
	i, found := slices.BinarySearch(s.times, t)
	switch {
	case found:
		return s.at[i]
	case len(s.at) == 0:
		return 0
	case i == 0:
		return s.at[0]
	case i == len(s.times):
		return s.at[i-1]
	}
	part := float64(t-s.times[i-1]) / float64(s.times[i]-s.times[i-1])
	return s.at[i-1] + part*(s.at[i]-s.at[i-1])
}

// A tick is a labelled column.
type tick struct {
	at   float64
	text string
}

// ticks are times of events, apart enough to be read. The sides of idle gaps come first.
func (s *timeScale) ticks(apart float64) []tick {
	if len(s.times) == 0 {
		return nil
	}
	var chosen []int
	take := func(i int) {
		for _, c := range chosen {
			if d := s.at[c] - s.at[i]; d < apart && d > -apart {
				return
			}
		}
		chosen = append(chosen, i)
	}
	take(0)
	take(len(s.times) - 1)
	for _, g := range s.gaps {
		i, _ := slices.BinarySearch(s.at, g.to)
		take(min(i, len(s.at)-1))
	}
	for i := range s.times {
		take(i)
	}
	slices.Sort(chosen)
	rows := make([]row, len(chosen))
	for i, c := range chosen {
		rows[i] = row{at: s.times[c]}
	}
	texts := clock(rows)
	out := make([]tick, len(chosen))
	for i, c := range chosen {
		out[i] = tick{s.at[c], texts[i]}
	}
	return out
}
