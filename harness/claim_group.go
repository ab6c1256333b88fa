package harness

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Balanced claims that every partition of the topics has exactly one owner among these processes, each process is a
// member, and what they own differs by at most one.
//
//go:noinline
func (g *Group) Balanced(members []*Process, topics ...*Topic) Claim {
	return func(w *World) error {
		owners := g.Owners(topics...)
		load := map[string]int{}
		for _, p := range members {
			load[p.Name] = 0
		}
		for _, tp := range partitions(topics) {
			who := owners[tp]
			if len(who) != 1 {
				owned := "has no owner"
				if len(who) > 1 {
					owned = "is owned by " + strings.Join(who, " and ") + " at once"
				}
				return g.unbalanced("%s %s", w.show(tp), owned)
			}
			if _, ok := load[who[0]]; !ok {
				return g.unbalanced("%s is owned by %s, which should own nothing now", w.show(tp), who[0])
			}
			load[who[0]]++
		}
		least, most := len(owners)+1, -1
		for _, n := range load {
			least, most = min(least, n), max(most, n)
		}
		if most-least > 1 {
			return g.unbalanced("group %s is spread unevenly: %s%s", g, loads(load), g.outcasts(members))
		}
		return nil
	}
}

// outcasts names the members that the coordinator has put out and that have not come back.
func (g *Group) outcasts(members []*Process) (text string) {
	for _, p := range members {
		var last Event
		for _, e := range g.events(Joined, Refused) {
			if e.Process == p.Name && (e.Kind == Joined || putOut(e) && last.Kind != Refused) {
				last = e
			}
		}
		if last.Kind == Refused {
			text += fmt.Sprintf("; the group gave %s up, as it heard at %s: it let no rebalance through, or sent no heartbeats", p.Name, seconds(last.At))
		}
	}
	return text
}

func loads(load map[string]int) string {
	var out []string
	for name, n := range load {
		out = append(out, fmt.Sprintf("%s owns %d", name, n))
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

func (g *Group) unbalanced(format string, args ...any) error {
	b := says("a partition without an owner is not consumed; one with two is consumed twice; an uneven spread makes one member the bottleneck", format, args...)
	last := map[string]int{}
	for _, e := range g.events(Assigned) {
		last[e.Process] = e.Seq
	}
	for _, seq := range last {
		b.Seen = append(b.Seen, seq)
	}
	slices.Sort(b.Seen)
	return &Unbalanced{b}
}

// Owns claims that the process owns exactly that many partitions of the topics.
//
//go:noinline
func (g *Group) Owns(p *Process, n int, topics ...*Topic) Claim {
	return func(w *World) error {
		got := 0
		for _, who := range g.Owners(topics...) {
			if slices.Contains(who, p.Name) {
				got++
			}
		}
		if got != n {
			return g.unbalanced("%s owns %d partitions; it should be %d", p.Name, got, n)
		}
		return nil
	}
}

// MovedOnly claims that since the story time at, the process gave up at most n partitions in all.
//
//go:noinline
func (g *Group) MovedOnly(p *Process, since time.Duration, n int) Claim {
	return func(w *World) error {
		gone := 0
		var seen []int
		var owned []TopicPartition
		for _, e := range w.journal.Events(By(p.Name), Of(Assigned, Revoked, Left, Crashed, Stopped)) {
			if e.Group != g.Name && e.Group != "" {
				continue
			}
			var keeps, lost []TopicPartition
			switch e.Kind {
			case Assigned: // a cooperative member is told what to give up by an assignment without it
				keeps, lost = e.Partitions, without(owned, e.Partitions)
			case Revoked:
				keeps, lost = without(owned, e.Partitions), e.Partitions
			}
			if e.At >= since && len(lost) > 0 {
				gone += len(lost)
				seen = append(seen, e.Seq)
			}
			owned = keeps
		}
		if gone <= n {
			return nil
		}
		return &Unbalanced{Breach{
			What: fmt.Sprintf("%s gave up %d partitions since %s; only %d had to move", p.Name, gone, seconds(since), n),
			Why:  "a partition that is given up stands still, and its work in flight is repeated; a cooperative rebalance moves only what must move",
			Seen: seen,
		}}
	}
}

func without(all, some []TopicPartition) []TopicPartition {
	return slices.DeleteFunc(slices.Clone(all), func(tp TopicPartition) bool { return slices.Contains(some, tp) })
}

// OneAtATime claims that no partition and no key was ever in work at two places at once within the group: neither at
// two members nor twice at one. A crashed process's work ends with the crash.
//
//go:noinline
func (g *Group) OneAtATime(topics ...*Topic) Claim {
	return func(w *World) error {
		of := map[TopicPartition]bool{}
		for _, tp := range partitions(topics) {
			of[tp] = true
		}
		working := map[int]Event{} // by call
		for _, e := range w.journal.Events(Of(Began, Handled, Failed, Crashed)) {
			switch {
			case e.Kind == Crashed:
				maps.DeleteFunc(working, func(_ int, b Event) bool { return b.Process == e.Process })
			case e.Group != g.Name || !of[e.TopicPartition()]:
			case e.Kind == Began:
				if b, ok := overlapping(working, e); ok {
					return w.overlapped(b, e)
				}
				working[e.Call] = e
			default:
				delete(working, e.Call)
			}
		}
		return nil
	}
}

// overlapping finds the oldest work in hand on the same partition or the same key.
func overlapping(working map[int]Event, e Event) (oldest Event, ok bool) {
	for _, b := range working {
		same := b.TopicPartition() == e.TopicPartition() || b.Key != "" && b.Key == e.Key
		if same && (!ok || b.Seq < oldest.Seq) {
			oldest, ok = b, true
		}
	}
	return oldest, ok
}

func (w *World) overlapped(b, e Event) error {
	held := fmt.Sprintf("offset %d of it", b.Offset)
	if b.TopicPartition() != e.TopicPartition() {
		held = fmt.Sprintf("%s offset %d (key %s)", w.show(b.TopicPartition()), b.Offset, b.Key)
	}
	return &Overlapped{Breach{
		What: fmt.Sprintf("%s was begun at %s by %s when %s still had %s in work, since %s",
			w.record(record{e.TopicPartition(), e.Offset}), seconds(e.At), e.Process, other(b, e), held, seconds(b.At)),
		Why:  "two that work on one partition or key at once overtake each other, and what the slower one writes last wins",
		Seen: []int{b.Seq, e.Seq},
	}}
}

func other(b, e Event) string {
	if b.Process == e.Process {
		return "it"
	}
	return b.Process
}

// InWork is how many records the process has in work now, and the most it ever had at once.
func (p *Process) InWork() (now, most int) {
	for _, e := range p.w.journal.Events(By(p.Name), Of(Began, Handled, Failed, Crashed)) {
		switch e.Kind {
		case Began:
			now++
			most = max(most, now)
		case Crashed:
			now = 0
		default:
			now--
		}
	}
	return now, most
}

// Busy claims that the process has exactly n records in work now.
//
//go:noinline
func (p *Process) Busy(n int) Claim {
	return func(w *World) error {
		now, _ := p.InWork()
		if now == n {
			return nil
		}
		b := Breach{What: fmt.Sprintf("%s has %d records in work at %s; it should be %d", p.Name, now, seconds(w.Now()), n), Seen: w.lastOf(p.Name, Began)}
		if now > n {
			b.Why = "more at once than was asked for takes the ground from under limits, pools and partners"
			return &Overlapped{b}
		}
		b.Why = "partitions are the unit of parallelism: work on one must not wait for another"
		return &Stuck{b}
	}
}

// lastOf are the newest few events of that kind.
func (w *World) lastOf(process string, kind Kind) (seen []int) {
	events := w.journal.Events(By(process), Of(kind))
	for _, e := range events[max(0, len(events)-4):] {
		seen = append(seen, e.Seq)
	}
	return seen
}

// Member claims that the process is a member of the group, whatever it owns.
//
//go:noinline
func (g *Group) Member(p *Process) Claim {
	return func(w *World) error {
		in := false
		for _, e := range g.memberships() {
			if e.Process == p.Name && e.Kind != Assigned && e.Kind != Revoked {
				in = e.Kind == Joined
			}
		}
		if in && p.Alive() {
			return nil
		}
		return &Stuck{says("a process that is in no group gets no records, however healthy it looks", "%s is not a member of group %s", p.Name, g)}
	}
}
