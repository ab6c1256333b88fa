package harness

import (
	"cmp"
	"slices"
)

// A step is one cell of a timeline: an event, or a run of events that read as one.
type step struct {
	lane string // "" is the broker's
	run  []Event
	seen bool // the breach refers to it
	last bool // it decides
	tier int
}

// How many rows a timeline aims at. What the breach refers to is shown even beyond that.
const (
	rowsAtMost = 14
	rowsOfSome = 9 // what merely gives context does not fill a timeline further than this,
	rowsOfFew  = 7 // and what is hardly news no further than that
)

// evidence picks the few steps that matter, in order.
func evidence(events []Event, c *concern, words *phrasebook) []*step {
	steps := fold(events, c, words)
	// Once the deed is done, only what is about the same thing still matters.
	if i := slices.IndexFunc(steps, func(s *step) bool { return s.last && deed(s.run[0].Kind) }); i >= 0 {
		after := slices.DeleteFunc(steps[i+1:], func(s *step) bool { return s.tier > 1 })
		steps = steps[:i+1+len(after)]
	}
	return pick(steps)
}

// deed tells which kinds are a thing done, rather than a thing that then waits for somebody.
func deed(k Kind) bool {
	switch k {
	case Began, Handled, Failed, Committed, Called:
		return true
	}
	return false
}

// folds tells which kinds read as well in a run, "handled 0/0-8", as one by one.
func folds(k Kind) bool {
	switch k {
	case Began, Handled, Failed, Committed, Produced, Called, Affected, Refused, Noted, Disturbed:
		return true
	}
	return false
}

// fold turns the events that matter into steps. Runs may interleave ("handled" and "committed", turn by turn),
// but never reach across anything else, so that before stays before.
func fold(events []Event, c *concern, words *phrasebook) []*step {
	var steps []*step
	var open []*step
	many := len(c.seen) > rowsAtMost/2
	owns := map[string][]TopicPartition{} // by process and group
	for _, e := range events {
		tier := c.tier(e, words)
		if tier < 0 {
			continue
		}
		seen := c.seen[e.Seq]
		last := e.Seq == c.last
		if folds(e.Kind) && !last && (!seen || many) {
			if i := slices.IndexFunc(open, func(s *step) bool { return s.takes(e, seen, len(c.records) > 0, words) }); i >= 0 {
				open[i].run = append(open[i].run, e)
				open[i].tier = min(open[i].tier, tier)
				continue
			}
		}
		switch e.Kind {
		case Assigned:
			member := e.Process + "\x00" + e.Group
			before, known := owns[member]
			if owns[member] = e.Partitions; known && !seen && slices.Equal(before, e.Partitions) {
				continue // the same again is no news
			}
		case Revoked, Crashed, Stopped, Expired, Left, Healed:
			delete(owns, e.Process+"\x00"+e.Group)
		}
		if e.Kind == Assigned { // that it joined goes without saying
			steps = slices.DeleteFunc(steps, func(s *step) bool {
				f := s.run[0]
				return f.Kind == Joined && !s.seen && f.Process == e.Process && f.Group == e.Group
			})
		}
		s := &step{lane: laneOf(e), run: []Event{e}, seen: seen, last: last, tier: tier}
		steps = append(steps, s)
		if !folds(e.Kind) || last || seen && !many {
			open = nil
		} else {
			open = append(open, s)
		}
	}
	return steps
}

// takes tells whether e can be told in the same breath as s. Where no single record matters, partitions need not be told apart.
func (s *step) takes(e Event, seen, exact bool, words *phrasebook) bool {
	f := s.run[len(s.run)-1]
	if s.seen != seen || laneOf(f) != laneOf(e) || f.Kind != e.Kind || f.Group != e.Group || f.Text != e.Text ||
		because(f.Err) != because(e.Err) || words.open(f) != words.open(e) {
		return false
	}
	if f.TopicPartition() != e.TopicPartition() {
		return !seen && (e.Kind == Refused || !exact && (e.Kind == Handled || e.Kind == Produced || e.Kind == Committed))
	}
	if e.Kind == Affected && e.At != f.At {
		return false // each has its time, which is often what matters
	}
	return e.Kind != Committed || f.Offset <= e.Offset // a step back is news
}

// laneOf names the lane of an event: the process says what it did, the broker what it found out about processes.
func laneOf(e Event) string {
	switch e.Kind {
	case Expired, Refused:
		return ""
	}
	return e.Process
}

// pick keeps the steps that matter most, nearest to what was seen first.
func pick(steps []*step) []*step {
	var seen []int
	for i, s := range steps {
		if s.seen {
			seen = append(seen, i)
		}
	}
	if len(steps) == 0 {
		return nil
	}
	if len(seen) == 0 { // an outline ends where the story ended
		seen = []int{len(steps) - 1}
	}
	cost := make(map[*step]int, len(steps))
	for i, s := range steps {
		near := len(steps)
		for _, at := range seen {
			near = min(near, max(at-i, 2*(i-at))) // what came before explains more than what came after
		}
		cost[s] = s.tier*4 + min(near, 12)
		if i > seen[0] && i < seen[len(seen)-1] {
			cost[s] -= 4
		}
	}
	ranked := slices.Clone(steps)
	slices.SortStableFunc(ranked, func(a, b *step) int { return cmp.Compare(cost[a], cost[b]) })
	keep := map[*step]bool{}
	for _, s := range ranked {
		limit := rowsAtMost
		switch s.tier {
		case 3:
			limit = rowsOfSome
		case 4:
			limit = rowsOfFew
		}
		if s.seen || len(keep) < limit {
			keep[s] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(steps), func(s *step) bool { return !keep[s] })
}
