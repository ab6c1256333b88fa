package lesson07

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

type topicPartition struct {
	topic     string
	partition int32
}

func (tp topicPartition) String() string { return fmt.Sprintf("%s/%d", tp.topic, tp.partition) }

// A partition is one that this member owns: one ownership is one value, and what is left of an earlier one never
// reaches a later one. Consumer.mu guards it.
type partition struct {
	topicPartition
	*tally
	ctx    context.Context // what the handler works under
	cancel context.CancelCauseFunc

	batches []batch // records that are not done with, the one in work first
	queued  int     // how many
	done    kgo.EpochOffset
	placed  bool // where to start is known
	full    bool // enough is queued
	failing bool // fetching it failed a moment ago
	paused  bool // for either, the client does not fetch it

	state   state
	run     run
	tries   int           // failed attempts at the first record
	retry   *time.Timer   // when backing off
	retired atomic.Bool   // nothing more is handed out; set under the lock
	idle    chan struct{} // closed when a retired partition's last call returned
	next    *partition    // in the line
}

// batch is records of one poll, and when that was.
type batch struct {
	records []*kgo.Record
	at      time.Time
}

type state uint8

const (
	resting    state = iota // nothing to do
	inLine                  // waits for a worker
	working                 // in the handler
	backingOff              // waits before the next attempt
)

// A run is the records that a worker hands over before it takes the lock again. Each is published as it is done, so
// that whoever holds the lock can count it at once, although the worker may be busy with the next one for hours.
type run struct {
	records []*kgo.Record
	begun   time.Time
	ended   [runLength]time.Duration // after begun: reading the time is the dearest thing here, and this is half of it
	done    atomic.Int32             // how many records are done, by the worker
	counted int32                    // how many are counted, under the lock
}

// A run ends when its partition has been served for long enough while others wait.
const (
	runLength = 128
	runTime   = time.Millisecond
)

// start begins a run with what is left of the first batch.
func (p *partition) start(now time.Time) {
	p.state = working
	records := p.batches[0].records
	p.run.records = records[:min(len(records), runLength)]
	p.run.begun = now
	p.run.counted = 0
	p.run.done.Store(0)
	if p.tries > 0 {
		p.Retried++
	}
}

// busySince is when the handler got the record in work.
func (p *partition) busySince() time.Time {
	if n := p.run.done.Load(); n > 0 {
		return p.run.begun.Add(p.run.ended[n-1])
	}
	return p.run.begun
}

// add appends polled records. It never blocks: the poll loop serves every partition.
func (p *partition) add(records []*kgo.Record, now time.Time) {
	p.batches = append(p.batches, batch{records, now})
	p.queued += len(records)
	p.received(records)
}

// first is the record that comes next, or is in work.
func (p *partition) first() *kgo.Record { return p.batches[0].records[0] }

// count takes note of what the run of p has done since it was last counted.
func (s *session) count(p *partition) {
	if p.state != working {
		return
	}
	done := p.run.done.Load()
	n := int(done - p.run.counted)
	if n == 0 {
		return
	}
	b := &p.batches[0]
	queued := p.run.begun.Sub(b.at)
	for _, ended := range p.run.ended[p.run.counted:done] {
		s.latency.add(queued + ended)
	}
	p.run.counted = done
	last := b.records[n-1]
	p.done = kgo.EpochOffset{Epoch: last.LeaderEpoch, Offset: last.Offset + 1}
	p.LastProgress = p.run.begun.Add(p.run.ended[done-1])
	clear(b.records[:n]) // what is done with must not stay in memory until the batch is
	if b.records = b.records[n:]; len(b.records) == 0 {
		p.batches[0] = batch{}
		p.batches = p.batches[1:]
	}
	p.queued -= n
	p.tries = 0
	p.Processed += int64(n)
	p.InFlight -= int64(n)
	s.progressed()
}

// countAll counts the runs that are under way.
func (s *session) countAll() {
	for _, p := range s.owned {
		s.count(p)
	}
}

// line is the partitions that wait for a worker, first come first served. A partition rejoins it behind the others after
// every run, so that none with a long queue keeps the rest waiting.
type line struct {
	head, tail *partition
	length     atomic.Int32
}

func (l *line) push(p *partition) {
	if l.tail == nil {
		l.head = p
	} else {
		l.tail.next = p
	}
	l.tail = p
	l.length.Add(1)
}

func (l *line) pop() *partition {
	p := l.head
	if l.head = p.next; l.head == nil {
		l.tail = nil
	}
	p.next = nil
	l.length.Add(-1)
	return p
}
