package harness

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// The columns of a timeline.
const (
	betweenLanes = 2
	slimLane     = 8 // a lane is not squeezed below this
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

// headings are the names over the lanes. Processes of several groups carry theirs.
func headings(lanes []string, shown []Event) []string {
	groups := map[string]string{}
	distinct := map[string]bool{}
	for _, e := range shown {
		if e.Group != "" && e.Process != "" {
			groups[e.Process], distinct[e.Group] = e.Group, true
		}
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
	if r.kind != other.kind || other.at-r.at > 5*time.Millisecond || r.mark != "" || r.seen != other.seen {
		return false
	}
	if (r.kind == Handled || r.kind == Committed) && (r.seen || other.at != r.at) {
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
	r.mark = other.mark
	return true
}

// lay sets the rows in columns.
func lay(rows []row, heads []string, width int) string {
	times := clock(rows)
	timeWidth := len("time")
	for _, t := range times {
		timeWidth = max(timeWidth, utf8.RuneCountInString(t))
	}
	left := len("> ") + timeWidth + betweenLanes
	starts := columns(rows, heads, width-left)
	var out strings.Builder
	line := func(gutter, at string, cells []string, mark string) {
		texts, _ := fit(cells, starts, roomFor(mark, width-left))
		var b strings.Builder
		fmt.Fprintf(&b, "%s%*s%s", gutter, timeWidth, at, strings.Repeat(" ", betweenLanes))
		used := 0
		for i, text := range texts {
			if text != "" {
				b.WriteString(strings.Repeat(" ", starts[i]-used) + text)
				used = starts[i] + utf8.RuneCountInString(text)
			}
		}
		if mark != "" {
			b.WriteString(strings.Repeat(" ", betweenLanes) + mark)
		}
		out.WriteString(strings.TrimRight(b.String(), " ") + "\n")
	}
	line("  ", "time", heads, "")
	for i, r := range rows {
		gutter := "  "
		if r.seen {
			gutter = "> "
		}
		line(gutter, times[i], r.cells, r.mark)
	}
	return out.String()
}

func roomFor(mark string, room int) int {
	if mark == "" {
		return room
	}
	return room - len(mark) - betweenLanes
}

// fit cuts cells to the space they have. A text may run on over the empty lanes to its right.
func fit(cells []string, starts []int, room int) (texts []string, lost int) {
	texts = make([]string, len(cells))
	end := room
	for i := len(cells) - 1; i >= 0; i-- {
		if cells[i] == "" {
			continue
		}
		if end-starts[i] > 0 {
			texts[i] = cut(cells[i], end-starts[i])
		}
		if texts[i] != cells[i] {
			lost += utf8.RuneCountInString(cells[i]) - utf8.RuneCountInString(texts[i])
		}
		end = starts[i] - betweenLanes
	}
	return texts, lost
}

// columns gives each lane the width of its longest text. When that is too much, it squeezes where least is lost.
func columns(rows []row, heads []string, room int) []int {
	need := make([]int, len(heads))
	least := make([]int, len(heads))
	total := -betweenLanes
	for i, head := range heads {
		need[i] = utf8.RuneCountInString(head)
		least[i] = min(need[i], slimLane)
		for _, r := range rows {
			n := utf8.RuneCountInString(r.cells[i])
			if i == len(heads)-1 && r.mark != "" && n > 0 {
				n += betweenLanes + len(r.mark)
			}
			need[i] = max(need[i], n)
		}
		total += need[i] + betweenLanes
	}
	starts := make([]int, len(heads))
	begin := func() {
		for i := 1; i < len(heads); i++ {
			starts[i] = starts[i-1] + need[i-1] + betweenLanes
		}
	}
	loss := func() int {
		begin()
		_, all := fit(heads, starts, room)
		for _, r := range rows {
			_, lost := fit(r.cells, starts, roomFor(r.mark, room))
			all += lost
		}
		return all
	}
	for ; total > room; total-- {
		best, bestLoss := -1, 0
		for i := range need {
			if need[i] <= least[i] {
				continue
			}
			need[i]--
			if lost := loss(); best < 0 || lost < bestLoss || lost == bestLoss && need[i] >= need[best] {
				best, bestLoss = i, lost
			}
			need[i]++
		}
		if best < 0 {
			break
		}
		need[best]--
	}
	begin()
	return starts
}

// clock writes the times of rows with as few decimals as tell them apart: two, or more where it matters.
func clock(rows []row) []string {
	decimals := 2
	for ; decimals < 6; decimals++ {
		if !slices.ContainsFunc(rows, func(r row) bool { return blurred(rows, r, decimals) }) {
			break
		}
	}
	longest := rows[len(rows)-1].at
	out := make([]string, len(rows))
	for i, r := range rows {
		out[i] = instant(r.at, longest, decimals)
	}
	return out
}

// blurred tells whether another row has another time that would read the same. Below a millisecond only the rows that
// the breach refers to matter.
func blurred(rows []row, r row, decimals int) bool {
	for _, other := range rows {
		if other.at != r.at && (decimals < 3 || r.seen && other.seen) && instant(other.at, 0, decimals) == instant(r.at, 0, decimals) {
			return true
		}
	}
	return false
}

// instant is a point in story time: "45.25s", or "1h02m03.25s" in stories that last longer than ten minutes.
func instant(at, longest time.Duration, decimals int) string {
	if longest < 10*time.Minute {
		return fmt.Sprintf("%.*fs", decimals, at.Seconds())
	}
	h, m := at/time.Hour, at%time.Hour/time.Minute
	seconds := fmt.Sprintf("%0*.*fs", decimals+3, decimals, (at % time.Minute).Seconds())
	if longest < time.Hour {
		return fmt.Sprintf("%dm%s", m, seconds)
	}
	return fmt.Sprintf("%dh%02dm%s", h, m, seconds)
}
