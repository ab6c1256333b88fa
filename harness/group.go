package harness

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// Group is a consumer group, and what can be claimed of it. Its claims take the topics that they are about.
type Group struct {
	w    *World
	name string
	Name string // the group's name on the cluster: give this one to clients

	mu   sync.Mutex
	base map[TopicPartition]int64 // where the group begins, when not at 0
}

// Group names a consumer group. On a real cluster its Name is made unique.
func (w *World) Group(name string) *Group {
	return &Group{w: w, name: name, Name: w.backend.unique(name), base: map[TopicPartition]int64{}}
}

// TransactionalID is the name of a transactional producer on the cluster. On a real one it is unique: a producer of
// another story by that name would fence it.
func (w *World) TransactionalID(name string) string { return w.backend.unique(name) }

// String is the name that the story gave.
func (g *Group) String() string { return g.name }

// BeginAt commits an offset for the group, which must have no members, as an operator would: records before it are none
// of the group's business.
func (g *Group) BeginAt(t *Topic, partition int32, offset int64) {
	offsets := kadm.Offsets{}
	offsets.AddOffset(t.Name, partition, offset, -1)
	responses, err := g.w.admin().CommitOffsets(g.w.ctx, g.Name, offsets)
	g.w.arrange(err)
	g.w.arrange(responses.Error())
	g.setBase(TopicPartition{t.Name, partition}, offset)
	g.w.journal.add(Event{Kind: Committed, Group: g.Name, Topic: t.Name, Partition: partition, Offset: offset, Sent: g.w.journal.len()})
}

// BeginAtEnd says that what the topic holds by now is none of the group's business.
func (g *Group) BeginAtEnd(t *Topic) {
	for p := range t.Partitions() {
		g.setBase(TopicPartition{t.Name, p}, t.End(p))
	}
}

func (g *Group) setBase(tp TopicPartition, offset int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.base[tp] = offset
}

func (g *Group) begin(tp TopicPartition) int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.base[tp]
}

// End is the offset after the last record that the story or its processes produced to the partition.
func (t *Topic) End(partition int32) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.end[partition]
}

// Committed is the group's committed offset of a partition as the wire has shown it, or -1.
func (g *Group) Committed(t *Topic, partition int32) int64 {
	at, _ := g.committed(TopicPartition{t.Name, partition})
	return at
}

func (g *Group) committed(tp TopicPartition) (offset int64, seq int) {
	offset, seq = -1, -1
	all := g.w.journal.all()
	for i := range all {
		if e := &all[i]; e.Kind == Committed && e.Partition == tp.Partition && e.Topic == tp.Topic && e.Group == g.Name {
			offset, seq = e.Offset, e.Seq
		}
	}
	return offset, seq
}

func (g *Group) events(kinds ...Kind) []Event {
	return g.w.journal.Events(func(e Event) bool { return e.Group == g.Name }, Of(kinds...))
}

// partitions are the partitions of these topics, in order.
func partitions(topics []*Topic) []TopicPartition {
	var out []TopicPartition
	for _, t := range topics {
		for p := range t.Partitions() {
			out = append(out, TopicPartition{t.Name, p})
		}
	}
	return out
}

// show is how failures name a partition: by the story's name of its topic.
func (w *World) show(tp TopicPartition) string {
	if t := w.topicNamed(tp.Topic); t != nil {
		return fmt.Sprintf("%s/%d", t.name, tp.Partition)
	}
	return tp.String()
}

// putOut tells the coordinator's word that a process is no member any more: it has given up on it without being asked.
func putOut(e Event) bool { return e.Kind == Refused && errors.Is(e.Err, kerr.UnknownMemberID) }

// memberships are the events that say who is in this group and owns what. A process ends in all its groups at once.
func (g *Group) memberships() []Event {
	return g.w.journal.Events(func(e Event) bool {
		switch e.Kind {
		case Crashed, Stopped:
			return true
		case Joined, Assigned, Revoked, Left, Expired, Fenced:
			return e.Group == g.Name
		}
		return putOut(e) && e.Group == g.Name
	})
}

// Owners says who owns each partition by what the coordinator has told the members, crashed ones left out.
func (g *Group) Owners(topics ...*Topic) map[TopicPartition][]string {
	owns := map[string][]TopicPartition{}
	for _, e := range g.memberships() {
		switch e.Kind {
		case Joined:
		case Assigned:
			owns[e.Process] = e.Partitions
		case Revoked:
			owns[e.Process] = slices.DeleteFunc(slices.Clone(owns[e.Process]), func(tp TopicPartition) bool { return slices.Contains(e.Partitions, tp) })
		default:
			delete(owns, e.Process)
		}
	}
	out := map[TopicPartition][]string{}
	for _, tp := range partitions(topics) {
		for process, tps := range owns {
			if slices.Contains(tps, tp) {
				out[tp] = append(out[tp], process)
			}
		}
		slices.Sort(out[tp])
	}
	return out
}
