package harness

import "fmt"

// handled counts how often each record of the group was handled to its end.
func (g *Group) handled() map[record][]int {
	out := map[record][]int{}
	for _, e := range g.events(Handled) {
		r := record{e.TopicPartition(), e.Offset}
		out[r] = append(out[r], e.Seq)
	}
	return out
}

// records are the offsets that hold one, by the journal. Not every offset does: the end of a transaction takes one as well.
type records map[TopicPartition]*known

type known struct {
	offsets map[int64]bool
	end     int64
}

func (w *World) records() records {
	out := records{}
	for _, e := range w.journal.Events(Of(Produced)) {
		k := out[e.TopicPartition()]
		if k == nil {
			k = &known{offsets: map[int64]bool{}}
			out[e.TopicPartition()] = k
		}
		k.offsets[e.Offset] = true
		k.end = max(k.end, e.Offset+1)
	}
	return out
}

// at says whether there may be a record: it is known, or lies where the journal knows nothing.
func (all records) at(r record) bool {
	k := all[r.TopicPartition]
	return k == nil || r.offset >= k.end || k.offsets[r.offset]
}

// Handled claims that every record of the topics was handled at least once.
//
//go:noinline
func (g *Group) Handled(topics ...*Topic) Claim {
	return func(w *World) error {
		handled := g.handled()
		exists := w.records()
		var first *record
		missing := 0
		for _, tp := range partitions(topics) {
			for o := g.begin(tp); o < g.w.topicNamed(tp.Topic).End(tp.Partition); o++ {
				if r := (record{tp, o}); len(handled[r]) == 0 && exists.at(r) {
					if first == nil {
						first = &r
					}
					missing++
				}
			}
		}
		if first == nil {
			return nil
		}
		seen := w.about(first.TopicPartition, first.offset)
		if missing > 1 {
			return &Lost{Breach{What: fmt.Sprintf("%s was never handled by group %s, nor were %d other records", w.record(*first), g, missing-1), Seen: seen, Why: whyLost}}
		}
		return &Lost{Breach{What: fmt.Sprintf("%s was never handled by group %s", w.record(*first), g), Seen: seen, Why: whyLost}}
	}
}

const whyLost = "at least once means: each record is handled, whatever crashes; nobody will ask for it again"

// about are the events that show what became of a record: its production, and the commits around it.
func (w *World) about(tp TopicPartition, offset int64) (seen []int) {
	passed := false
	all := w.journal.all()
	for i := range all {
		e := &all[i]
		switch {
		case e.Partition != tp.Partition || e.Topic != tp.Topic:
		case e.Kind == Produced && e.Offset == offset:
			seen = append(seen, e.Seq)
		case (e.Kind == Began || e.Kind == Failed) && e.Offset == offset:
			seen = append(seen, e.Seq)
		case e.Kind == Committed && e.Offset > offset && !passed:
			passed = true
			seen = append(seen, e.Seq)
		}
	}
	return seen
}

// record is "orders/0 offset 7 (key orders-42)".
func (w *World) record(r record) string {
	for _, e := range w.journal.Events(func(e Event) bool {
		return e.Offset == r.offset && e.TopicPartition() == r.TopicPartition && e.Key != ""
	}) {
		return fmt.Sprintf("%s offset %d (key %s)", w.show(r.TopicPartition), r.offset, e.Key)
	}
	return fmt.Sprintf("%s offset %d", w.show(r.TopicPartition), r.offset)
}

// HandledOnce claims that no record was handled to its end twice.
//
//go:noinline
func (g *Group) HandledOnce(topics ...*Topic) Claim {
	return func(w *World) error {
		handled := g.handled()
		for _, tp := range partitions(topics) {
			for o := range g.w.topicNamed(tp.Topic).End(tp.Partition) {
				if seqs := handled[record{tp, o}]; len(seqs) > 1 {
					return w.duplicated(record{tp, o}, seqs, "this story gives no reason for a redelivery, so nothing may be handled twice")
				}
			}
		}
		return nil
	}
}

// RedeliveredOnlyUncommitted claims that a record is handled again only if it had not been committed by then: a crash
// may repeat the uncommitted tail, and nothing else.
//
//go:noinline
func (g *Group) RedeliveredOnlyUncommitted(topics ...*Topic) Claim {
	of := map[TopicPartition]bool{}
	return func(w *World) error {
		for _, tp := range partitions(topics) {
			of[tp] = true
		}
		committed := map[TopicPartition]int64{}
		first := map[record]int{}
		for _, e := range g.events(Began, Handled, Committed) {
			tp := e.TopicPartition()
			r := record{tp, e.Offset}
			switch {
			case !of[tp]:
			case e.Kind == Committed:
				committed[tp] = e.Offset
			case e.Kind == Handled:
				if _, ok := first[r]; !ok {
					first[r] = e.Seq
				}
			case committed[tp] > e.Offset:
				if seq, again := first[r]; again {
					return w.duplicated(r, []int{seq, e.Seq}, "its offset had been committed: Kafka would not have delivered it again to a consumer that starts where the commit is")
				}
			}
		}
		return nil
	}
}

func (w *World) duplicated(r record, seqs []int, why string) error {
	events := w.journal.Events()
	text := ""
	for i, seq := range seqs[:2] {
		if i > 0 {
			text += ", "
		}
		text += fmt.Sprintf("at %s by %s", seconds(events[seq].At), events[seq].Process)
	}
	return &Duplicated{Breach{What: fmt.Sprintf("%s was handled %d times: %s", w.record(r), len(seqs), text), Why: why, Seen: seqs}}
}

// InOrder claims that each record of a partition was begun only when all earlier ones had been handled: order is kept,
// and no two records of a partition are in work at once.
//
//go:noinline
func (g *Group) InOrder(topics ...*Topic) Claim {
	return func(w *World) error {
		of := map[TopicPartition]bool{}
		for _, tp := range partitions(topics) {
			of[tp] = true
		}
		next := map[TopicPartition]int64{} // the lowest offset that was not handled yet
		done := map[record]bool{}
		begun := map[record]Event{} // the last word on it: Began or Failed
		exists := w.records()
		for _, e := range g.events(Began, Handled, Failed) {
			tp := e.TopicPartition()
			if !of[tp] {
				continue
			}
			if _, ok := next[tp]; !ok {
				next[tp] = g.begin(tp)
			}
			for r := (record{tp, next[tp]}); done[r] || r.offset < e.Offset && !exists.at(r); r.offset++ {
				next[tp] = r.offset + 1
			}
			switch e.Kind {
			case Began:
				if e.Offset > next[tp] {
					seen, verb := w.about(tp, next[tp]), "had not been begun"
					switch before := begun[record{tp, next[tp]}]; before.Kind {
					case Began:
						seen, verb = append(seen, before.Seq), "was still in work"
						if before.Process != e.Process {
							verb = "had been begun and not handled"
						}
					case Failed:
						seen, verb = append(seen, before.Seq), "had failed"
					}
					return &Reordered{Breach{
						What: fmt.Sprintf("%s was begun at %s by %s when offset %d %s", w.record(record{tp, e.Offset}), seconds(e.At), e.Process, next[tp], verb),
						Why:  "Kafka keeps the order of a partition; a consumer that hands records on out of order takes it away from everyone behind it",
						Seen: append(seen, e.Seq),
					}}
				}
				begun[record{tp, e.Offset}] = e
			case Failed:
				begun[record{tp, e.Offset}] = e
			case Handled:
				done[record{tp, e.Offset}] = true
			}
		}
		return nil
	}
}
