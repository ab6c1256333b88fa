package harness

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// What a chart shows as bars: who owned a partition, which calls were under way, when a process ran.

// forever is the end of what still went on when the story ended.
const forever = time.Duration(math.MaxInt64)

// A callSpan is one call of a handler.
type callSpan struct {
	process  string
	from, to time.Duration // to is forever if nothing ended it
	began    Event
	end      Event // Handled or Failed; its Kind is 0 if the call never ended
}

func callSpans(events []Event) []callSpan {
	open := map[int]int{} // by call
	var spans []callSpan
	for _, e := range events {
		switch e.Kind {
		case Began:
			open[e.Call] = len(spans)
			spans = append(spans, callSpan{process: e.Process, from: e.At, to: forever, began: e})
		case Handled, Failed:
			if i, ok := open[e.Call]; ok {
				spans[i].to, spans[i].end = e.At, e
				delete(open, e.Call)
				continue
			}
			spans = append(spans, callSpan{process: e.Process, from: e.At, to: e.At, began: e, end: e})
		case Crashed, Stopped: // what a process had in work ends with it
			for call, i := range open {
				if spans[i].process == e.Process {
					spans[i].to = e.At
					delete(open, call)
				}
			}
		}
	}
	return spans
}

// An ownSpan is a time in which the coordinator held one process to be the owner of a partition.
type ownSpan struct {
	owned
	process  string
	from, to time.Duration
	gone     time.Duration // when the owner was cut off while it still counted as one; -1 if it never was
	seq      int
}

// owned names a partition as one group sees it.
type owned struct {
	group string
	TopicPartition
}

func ownSpans(events []Event) []ownSpan {
	var spans []ownSpan
	current := map[owned]int{}
	end := func(at time.Duration, match func(owned, *ownSpan) bool) {
		for o, i := range current {
			if match(o, &spans[i]) {
				spans[i].to = at
				delete(current, o)
			}
		}
	}
	for _, e := range events {
		switch e.Kind {
		case Assigned:
			end(e.At, func(o owned, s *ownSpan) bool {
				return o.group == e.Group && s.process == e.Process && !slices.Contains(e.Partitions, o.TopicPartition)
			})
			for _, tp := range e.Partitions {
				o := owned{e.Group, tp}
				if i, ok := current[o]; ok {
					if spans[i].process == e.Process && spans[i].gone < 0 {
						continue
					}
					spans[i].to = e.At
				}
				current[o] = len(spans)
				spans = append(spans, ownSpan{owned: o, process: e.Process, from: e.At, to: forever, gone: -1, seq: e.Seq})
			}
		case Revoked:
			end(e.At, func(o owned, s *ownSpan) bool {
				return o.group == e.Group && s.process == e.Process && slices.Contains(e.Partitions, o.TopicPartition)
			})
		case Left, Expired, Fenced, Stopped:
			end(e.At, func(o owned, s *ownSpan) bool {
				return s.process == e.Process && (e.Group == "" || e.Group == o.group)
			})
		case Crashed, Isolated:
			for _, i := range current {
				if spans[i].process == e.Process && spans[i].gone < 0 {
					spans[i].gone = e.At
				}
			}
		case Healed:
			for _, i := range current {
				if spans[i].process == e.Process {
					spans[i].gone = -1
				}
			}
		}
	}
	return spans
}

// ownable are the partitions with a history, in the order in which they are shown.
func ownable(events []Event) []owned {
	seen := map[owned]bool{}
	var order []string
	for _, e := range events {
		switch e.Kind {
		case Assigned:
			for _, tp := range e.Partitions {
				seen[owned{e.Group, tp}] = true
			}
		case Handled, Failed, Began, Committed:
			seen[owned{e.Group, e.TopicPartition()}] = true
		default:
			continue
		}
		if !slices.Contains(order, e.Group) {
			order = append(order, e.Group)
		}
	}
	var out []owned
	for o := range seen {
		out = append(out, o)
	}
	slices.SortFunc(out, func(a, b owned) int {
		return cmp.Or(cmp.Compare(slices.Index(order, a.group), slices.Index(order, b.group)), cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return out
}

// A lifeSpan is a time in which a process ran, or ran without a network.
type lifeSpan struct {
	from, to time.Duration
	isolated bool
}

func lifeSpans(events []Event, process string) []lifeSpan {
	var spans []lifeSpan
	open := false
	start := func(at time.Duration, isolated bool) {
		if open {
			spans[len(spans)-1].to = at
		}
		spans, open = append(spans, lifeSpan{at, forever, isolated}), true
	}
	for _, e := range events {
		if e.Process != process {
			continue
		}
		switch e.Kind {
		case Started, Healed:
			start(e.At, false)
		case Isolated:
			start(e.At, true)
		case Crashed, Stopped:
			if open {
				spans[len(spans)-1].to, open = e.At, false
			}
		default:
			if !open && len(spans) == 0 && e.Kind != Expired {
				start(e.At, false) // a journal that does not tell of the start
			}
		}
	}
	return spans
}

// processesOf are the processes in the order of their first appearance.
func processesOf(events []Event) []string {
	var out []string
	for _, e := range events {
		if e.Process != "" && !slices.Contains(out, e.Process) {
			out = append(out, e.Process)
		}
	}
	return out
}

// colours gives each process one of eight colours.
type colours map[string]string

func processColours(events []Event) colours {
	c := colours{}
	for i, p := range processesOf(events) {
		c[p] = "p" + string(rune('0'+i%8))
	}
	return c
}

func (c colours) of(process string) string {
	if class, ok := c[process]; ok {
		return class
	}
	return "none"
}
