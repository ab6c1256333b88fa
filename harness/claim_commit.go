package harness

import "fmt"

// Drained claims that the group has committed every partition of the topics to its end: lag is 0.
//
//go:noinline
func (g *Group) Drained(topics ...*Topic) Claim {
	return func(w *World) error {
		for _, tp := range partitions(topics) {
			end := w.topicNamed(tp.Topic).End(tp.Partition)
			begin := g.begin(tp)
			if end == begin {
				continue
			}
			at, seq := g.committed(tp)
			if at == end {
				continue
			}
			b := Breach{Why: "lag that does not fall although the members are healthy means that somebody waits for what will not come", Seen: w.about(tp, max(at, begin))}
			if seq >= 0 {
				b.Seen = append(b.Seen, seq)
			}
			if at < 0 {
				b.What = fmt.Sprintf("group %s has committed nothing of %s, which holds %d records", g, w.show(tp), end-begin)
				if name := w.silent(); name != "" {
					b.What += ", and " + name + " has sent no request to Kafka at all"
					b.Why = "a client that is made without the options that its process hands out is on another network; one that nobody polls is silent"
				} else if e, ok := g.elsewhere(); ok {
					b.What += fmt.Sprintf("; nobody has joined that group: %s is a member of %s", e.Process, e.Group)
					b.Why = "a group is known by its name: who joins another one takes up other offsets, and shares partitions with other services"
					b.Seen = append(b.Seen, e.Seq)
				}
			} else {
				b.What = fmt.Sprintf("group %s has committed %s up to offset %d of %d", g, w.show(tp), at, end)
			}
			return &Stuck{b}
		}
		return nil
	}
}

// elsewhere is how a process joined another group although nobody has joined this one.
func (g *Group) elsewhere() (joined Event, ok bool) {
	if len(g.events(Joined, Assigned)) > 0 {
		return Event{}, false
	}
	all := g.w.journal.Events(Of(Joined), func(e Event) bool { return e.Process != "" })
	if len(all) == 0 {
		return Event{}, false
	}
	return all[0], true
}

// silent is the name of a living process that has never spoken to Kafka, or "".
func (w *World) silent() string {
	for _, p := range w.live() {
		p.mu.Lock()
		n := len(p.requests)
		p.mu.Unlock()
		if n == 0 {
			return p.Name
		}
	}
	return ""
}

// CommitSafe claims that no offset was ever committed past a record that had not been handled when the commit left,
// and that no committed offset ever went down.
//
//go:noinline
func (g *Group) CommitSafe(topics ...*Topic) Claim {
	return func(w *World) error {
		of := map[TopicPartition]bool{}
		for _, tp := range partitions(topics) {
			of[tp] = true
		}
		handledAt := map[record]int{} // Seq of the first time
		for r, seqs := range g.handled() {
			handledAt[r] = seqs[0]
		}
		exists := w.records()
		committed := map[TopicPartition]Event{}
		for _, e := range g.events(Committed) {
			tp := e.TopicPartition()
			if !of[tp] {
				continue
			}
			if e.Process == "" { // an operator's word goes
				committed[tp] = e
				continue
			}
			from := g.begin(tp)
			if last, ok := committed[tp]; ok {
				from = last.Offset
				if e.Offset < last.Offset {
					return &Rewound{Breach{
						What: fmt.Sprintf("the committed offset of %s went back from %d (by %s at %s) to %d (by %s at %s)", w.show(tp), last.Offset, last.Process, seconds(last.At), e.Offset, e.Process, seconds(e.At)),
						Why:  "the broker accepts it without an error, and whoever owns the partition next handles those records again",
						Seen: []int{last.Seq, e.Seq},
					}}
				}
			}
			for o := from; o < e.Offset; o++ {
				r := record{tp, o}
				if seq, ok := handledAt[r]; ok && seq < e.Sent || !exists.at(r) {
					continue
				}
				return &CommittedTooEarly{Breach{
					What: fmt.Sprintf("%s committed %s up to offset %d at %s when offset %d had not been handled", e.Process, w.show(tp), e.Offset, seconds(e.At), o),
					Why:  "a crash now loses that record: the next owner starts behind it",
					Seen: append(w.about(tp, o), e.Seq),
				}}
			}
			committed[tp] = e
		}
		return nil
	}
}

// CommittedAt claims that the group's committed offset of a partition is exactly that.
//
//go:noinline
func (g *Group) CommittedAt(t *Topic, partition int32, want int64) Claim {
	return func(w *World) error {
		tp := TopicPartition{t.Name, partition}
		got, seq := g.committed(tp)
		if got == want {
			return nil
		}
		b := Breach{What: fmt.Sprintf("group %s has committed %s up to offset %d; it should be %d", g, w.show(tp), got, want)}
		if got < 0 {
			b.What = fmt.Sprintf("group %s has committed nothing of %s; it should be offset %d", g, w.show(tp), want)
		}
		if seq >= 0 {
			b.Seen = []int{seq}
		}
		if got > want {
			b.Why = "records behind it will not be delivered again, whether they were handled or not"
			return &CommittedTooEarly{b}
		}
		b.Why = "what was handled and not committed is handled again by the next owner"
		return &Duplicated{b}
	}
}
