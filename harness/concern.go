package harness

import "slices"

// A concern is what a breach is about, so that the rest can be left out.
type concern struct {
	seen       map[int]bool
	last       int
	partitions map[TopicPartition]bool
	processes  map[string]bool
	groups     map[string]bool
	records    map[record]bool
	keys       map[string]bool
}

type record struct {
	TopicPartition
	offset int64
}

func concernOf(events []Event, b *Breach) *concern {
	c := &concern{
		seen: map[int]bool{}, last: -1, partitions: map[TopicPartition]bool{}, processes: map[string]bool{},
		groups: map[string]bool{}, records: map[record]bool{}, keys: map[string]bool{},
	}
	if b != nil {
		for _, seq := range b.Seen {
			c.seen[seq], c.last = true, seq
		}
	}
	for _, e := range events {
		if !c.seen[e.Seq] {
			continue
		}
		if e.Process != "" {
			c.processes[e.Process] = true
		}
		if e.Group != "" {
			c.groups[e.Group] = true
		}
		if e.Key != "" {
			c.keys[e.Key] = true
		}
		switch e.Kind {
		case Began, Handled, Failed, Produced:
			c.records[record{e.TopicPartition(), e.Offset}] = true
			c.partitions[e.TopicPartition()] = true
		case Committed:
			c.partitions[e.TopicPartition()] = true
		case Assigned, Revoked:
			for _, tp := range e.Partitions {
				c.partitions[tp] = true
			}
		}
	}
	// Who owned or handled such a partition is concerned too: the other side of a takeover.
	for _, e := range events {
		if e.Process != "" && c.group(e) && (e.Kind == Assigned || e.Kind == Handled) && c.touched(e) {
			c.processes[e.Process] = true
		}
	}
	return c
}

func (c *concern) group(e Event) bool {
	return e.Group == "" || len(c.groups) == 0 || c.groups[e.Group]
}

func (c *concern) touched(e Event) bool {
	for tp := range c.partitions {
		if touches(e, tp) {
			return true
		}
	}
	return false
}

// tier says how much e matters, 0 most; -1 is not at all.
func (c *concern) tier(e Event, words *phrasebook) int {
	if c.seen[e.Seq] {
		return 0
	}
	all := len(c.seen) == 0 // nothing to go by: an outline of the whole story
	who := all || c.processes[e.Process]
	touched := all && e.Topic != "" || c.touched(e)
	switch e.Kind {
	case Crashed, Isolated, Expired, Fenced:
		if who {
			return 1
		}
		return 4
	case Disturbed:
		return 1
	case Assigned, Revoked:
		switch {
		case !c.group(e):
			return -1
		case all || touched:
			return 1
		case who:
			return 3
		}
		return -1
	case Stopping, Stopped, Left, Healed:
		if who {
			return 2
		}
		return 4
	case Began:
		if words.open(e) && who && (touched || all) {
			return 2
		}
		return -1
	case Handled, Failed, Produced:
		switch {
		case c.records[record{e.TopicPartition(), e.Offset}] && c.group(e), e.Key != "" && c.keys[e.Key] && c.group(e):
			return 1
		case touched && c.group(e) && e.Kind != Produced, all:
			return 3
		}
		return -1
	case Committed:
		if touched && c.group(e) || all {
			return 2
		}
		return -1
	case Refused:
		if who {
			return 2
		}
		return -1
	case Called, Affected, Noted:
		if e.Key != "" && c.keys[e.Key] {
			return 1
		}
		if who || e.Process == "" {
			return 3
		}
		return -1
	case Started, Joined:
		if who {
			return 4
		}
		return -1
	}
	return -1
}

// touches tells whether e is about tp.
func touches(e Event, tp TopicPartition) bool {
	switch e.Kind {
	case Assigned, Revoked:
		return slices.Contains(e.Partitions, tp)
	case Began, Handled, Failed, Committed, Produced, Refused, Disturbed:
		return e.Topic != "" && e.TopicPartition() == tp
	}
	return false
}
