package harness

import (
	"fmt"
	"slices"
	"time"
)

// A row is one line of a timeline.
type row struct {
	at    time.Duration
	seq   int // of its first event
	kind  Kind
	seen  bool
	cells []string // by lane
	mark  string   // "<-- again" on the row that decides
}

// timeline tells in plain text, in at most width columns, what led to b: one lane for each process concerned, the last
// one for the broker, and only the few events that matter. Rows that b refers to begin with ">". It is "" when nothing
// happened that could be told.
func timeline(events []Event, b *Breach, width int) string {
	rows, heads := summary(events, b)
	if len(rows) == 0 {
		return ""
	}
	return lay(rows, heads, width)
}

// summary is the rows of a timeline and the names of its lanes.
func summary(events []Event, b *Breach) (rows []row, heads []string) {
	words := newPhrasebook(events)
	c := concernOf(events, b)
	steps := evidence(events, c, words)
	if len(steps) == 0 {
		return nil, nil
	}
	var shown []Event
	for _, s := range steps {
		shown = append(shown, s.run...)
	}
	words.nameTopics(shown)
	lanes := lanesOf(events, steps)
	rows = merge(rowsOf(events, steps, lanes, c, words))
	heads = headings(lanes, shown)
	// The broker's lane may have nothing to say.
	last := len(heads) - 1
	if last > 0 && !slices.ContainsFunc(rows, func(r row) bool { return r.cells[last] != "" }) {
		heads = heads[:last]
		for i := range rows {
			rows[i].cells = rows[i].cells[:last]
		}
	}
	return rows, heads
}

// lanesOf names the lanes that have something to say: processes in the order of their first appearance, then the broker.
func lanesOf(events []Event, steps []*step) []string {
	used := map[string]bool{}
	for _, s := range steps {
		used[s.lane] = true
	}
	var lanes []string
	for _, e := range events {
		if e.Process != "" && used[e.Process] && !slices.Contains(lanes, e.Process) {
			lanes = append(lanes, e.Process)
		}
	}
	return append(lanes, "")
}

// headings are the names over the lanes. Where there are several groups, processes carry theirs, but for one that is in
// more than one of them.
func headings(lanes []string, shown []Event) []string {
	groups := map[string]string{}
	distinct := map[string]bool{}
	for _, e := range shown {
		if e.Group == "" || e.Process == "" {
			continue
		}
		if before, known := groups[e.Process]; known && before != e.Group {
			groups[e.Process] = ""
		} else {
			groups[e.Process] = e.Group
		}
		distinct[e.Group] = true
	}
	out := make([]string, len(lanes))
	for i, lane := range lanes {
		switch {
		case lane == "":
			out[i] = "broker"
		case len(distinct) > 1 && groups[lane] != "" && groups[lane] != lane:
			out[i] = fmt.Sprintf("%s (%s)", oneLine(lane), oneLine(groups[lane]))
		default:
			out[i] = oneLine(lane)
		}
	}
	return out
}

func rowsOf(events []Event, steps []*step, lanes []string, c *concern, words *phrasebook) []row {
	rows := make([]row, len(steps))
	broker := len(lanes) - 1
	for i, s := range steps {
		e := s.run[0]
		r := row{at: e.At, seq: e.Seq, kind: e.Kind, seen: s.seen, cells: make([]string, len(lanes))}
		r.cells[slices.Index(lanes, s.lane)] = words.say(s.run...)
		if s.lane != "" {
			r.cells[broker] = background(events, e, c, words)
		}
		if s.last {
			r.mark = mark(events, e, c)
		}
		rows[i] = r
	}
	return rows
}

// background is what the broker knew at e: where a new owner starts, or where an offset stood before it went back.
func background(events []Event, e Event, c *concern, words *phrasebook) string {
	switch e.Kind {
	case Committed:
		if was, ok := committedBefore(events, e, e.TopicPartition()); ok && was > e.Offset {
			return fmt.Sprintf("%s was at %d", words.partition(e.TopicPartition()), was)
		}
	case Assigned:
		for _, tp := range e.Partitions {
			if !c.hasRecordOf(tp) {
				continue
			}
			if at, ok := committedBefore(events, e, tp); ok {
				return fmt.Sprintf("%s committed at %d", words.partition(tp), at)
			}
			return words.partition(tp) + " never committed"
		}
	}
	return ""
}

func (c *concern) hasRecordOf(tp TopicPartition) bool {
	for r := range c.records {
		if r.TopicPartition == tp {
			return true
		}
	}
	return false
}

// committedBefore is the offset that e's group had committed for tp when e happened.
func committedBefore(events []Event, e Event, tp TopicPartition) (offset int64, ok bool) {
	for _, other := range events {
		if other.Seq >= e.Seq {
			break
		}
		if other.Kind == Committed && other.Group == e.Group && other.TopicPartition() == tp {
			offset, ok = other.Offset, true
		}
	}
	return offset, ok
}

// mark points at the row that decides, with the one word that can be told from the events.
func mark(events []Event, e Event, c *concern) string {
	switch e.Kind {
	case Committed:
		if was, ok := committedBefore(events, e, e.TopicPartition()); ok && was > e.Offset {
			return "<-- back"
		}
	case Began:
		for _, other := range events {
			if other.Seq < e.Seq && other.Kind == Began && c.seen[other.Seq] && !endedBefore(events, other.Call, e.Seq) {
				return "<-- meanwhile"
			}
		}
	case Handled, Produced, Called:
		for _, other := range events {
			if other.Seq >= e.Seq {
				break
			}
			same := other.Key == e.Key && e.Key != "" || other.TopicPartition() == e.TopicPartition() && other.Offset == e.Offset && other.Text == e.Text
			if c.seen[other.Seq] && other.Kind == e.Kind && other.Group == e.Group && same {
				return "<-- again"
			}
		}
	}
	return "<--"
}

func endedBefore(events []Event, call, seq int) bool {
	return slices.ContainsFunc(events, func(e Event) bool {
		return e.Seq < seq && e.Call == call && (e.Kind == Handled || e.Kind == Failed)
	})
}

// merge puts what happened to several processes at one moment into one row: "owns 0 1 | owns 2 3".
func merge(rows []row) []row {
	var out []row
	for _, r := range rows {
		if len(out) > 0 && out[len(out)-1].absorb(r) {
			continue
		}
		out = append(out, r)
	}
	return out
}

func (r *row) absorb(other row) bool {
	switch r.kind {
	case Started, Stopping, Stopped, Joined, Assigned, Revoked, Left, Handled, Committed:
	default:
		return false
	}
	if r.kind != other.kind || other.at-r.at > 5*time.Millisecond || r.mark != "" {
		return false
	}
	if (r.kind == Handled || r.kind == Committed) && (r.seen || other.seen || other.at != r.at) {
		return false
	}
	for i := range r.cells {
		if r.cells[i] != "" && other.cells[i] != "" {
			return false
		}
	}
	for i, cell := range other.cells {
		if cell != "" {
			r.cells[i] = cell
		}
	}
	r.mark, r.seen = other.mark, r.seen || other.seen
	return true
}
