package harness

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// Kind says what an [Event] is.
type Kind uint8

// The kinds of events. Those of the wire are recorded when the broker's reply has been seen, and so mean that
// the thing happened; those of the handler are recorded around the call.
const (
	Started   Kind = iota + 1 // a process began to run
	Stopping                  // a process was asked to stop
	Stopped                   // a process has ended; Err is what it returned
	Crashed                   // a process was cut off in an instant: no more effect from here on
	Isolated                  // a process lost its network and does not know it yet
	Healed                    // an isolated process has its network again
	Joined                    // a process was admitted to Group in Generation
	Assigned                  // a process was told by the coordinator that it owns Partitions, and only those
	Revoked                   // a process gave Partitions up
	Left                      // a process left Group of its own accord
	Expired                   // the coordinator removed a process that no longer heartbeats (inferred from the wire)
	Fenced                    // the broker refused a process because a newer one took its place
	Began                     // a handler was called with a record
	Handled                   // that call returned nil
	Failed                    // that call returned Err
	Committed                 // Group's committed offset of a partition was set to Offset
	Refused                   // the broker refused a request (Text says which) with Err
	Produced                  // a record was acknowledged at Offset
	Called                    // an exchange with somebody outside; Text says what and how it ended
	Affected                  // an effect outside Kafka happened to Key; Text names the effect
	Disturbed                 // the story injected a fault; Text says which
	Noted                     // the story or the program wrote Text into the journal
)

var kindNames = [...]string{
	Started: "started", Stopping: "stopping", Stopped: "stopped", Crashed: "crashed", Isolated: "isolated", Healed: "healed",
	Joined: "joined", Assigned: "owns", Revoked: "gave up", Left: "left", Expired: "session expired", Fenced: "fenced",
	Began: "began", Handled: "handled", Failed: "failed", Committed: "committed", Refused: "refused", Produced: "produced",
	Called: "called", Affected: "affected", Disturbed: "disturbed", Noted: "note",
}

// String is the word that timelines use.
func (k Kind) String() string {
	if int(k) < len(kindNames) && kindNames[k] != "" {
		return kindNames[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// TopicPartition names one partition.
type TopicPartition struct {
	Topic     string
	Partition int32
}

// String is "orders/3".
func (tp TopicPartition) String() string { return fmt.Sprintf("%s/%d", tp.Topic, tp.Partition) }

// Event is one line of the journal. Which fields are set depends on Kind.
type Event struct {
	Seq        int           // 0, 1, 2 … in the order of recording
	At         time.Duration // since the story began
	Process    string        // whose event it is; "" for the cluster and the story itself
	Kind       Kind
	Group      string
	Generation int32
	Topic      string
	Partition  int32
	Offset     int64
	Key        string
	Partitions []TopicPartition // for Assigned and Revoked, sorted
	Call       int              // pairs Began with its Handled or Failed; unique in a story
	Sent       int              // for Committed: how many events there were when the request left the process
	Err        error
	Text       string
}

// TopicPartition is the partition that the event is about.
func (e Event) TopicPartition() TopicPartition { return TopicPartition{e.Topic, e.Partition} }

// Journal is what happened in a story, in order. It is safe for concurrent use.
type Journal struct {
	mu      sync.Mutex
	events  []Event
	changed chan struct{}
	now     func() time.Duration
}

func newJournal(now func() time.Duration) *Journal {
	return &Journal{changed: make(chan struct{}), now: now}
}

// add stamps and records e.
func (j *Journal) add(e Event) Event {
	j.mu.Lock()
	defer j.mu.Unlock()
	e.Seq, e.At = len(j.events), j.now()
	j.events = append(j.events, e)
	close(j.changed)
	j.changed = make(chan struct{})
	return e
}

// all are the events so far, to be read in place: claims that a story waits for look at them ten times a second.
func (j *Journal) all() []Event {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clip(j.events) // events are never changed once recorded
}

// Events returns a copy of the events so far that match every filter.
func (j *Journal) Events(filters ...func(Event) bool) []Event {
	all := j.all()
	if len(filters) == 0 {
		return slices.Clone(all)
	}
	var out []Event
next:
	for _, e := range all {
		for _, keep := range filters {
			if !keep(e) {
				continue next
			}
		}
		out = append(out, e)
	}
	return out
}

// Merge returns the events of all lists in the order in which they happened, each once.
//
//go:noinline
func Merge(lists ...[]Event) []Event {
	all := slices.Concat(lists...)
	slices.SortFunc(all, func(a, b Event) int { return a.Seq - b.Seq })
	return slices.CompactFunc(all, func(a, b Event) bool { return a.Seq == b.Seq })
}

// len is how many events there are.
func (j *Journal) len() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.events)
}

// wait returns a channel that is closed at the next event.
func (j *Journal) wait() <-chan struct{} {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.changed
}

// Of keeps events of these kinds.
//
//go:noinline
func Of(kinds ...Kind) func(Event) bool {
	return func(e Event) bool { return slices.Contains(kinds, e.Kind) }
}

// By keeps events of this process.
//
//go:noinline
func By(process string) func(Event) bool {
	return func(e Event) bool { return e.Process == process }
}
