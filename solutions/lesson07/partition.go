package lesson07

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
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
	awaited bool // it is not, and the session ends if that stays so
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
	gone    bool // from a log that there is no more
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
	p.batches = append(p.batches, batch{records: records, at: now})
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
	before := p.done
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
	if b.gone {
		p.done = before
	}
	if b.records = b.records[n:]; len(b.records) == 0 {
		p.batches[0] = batch{}
		p.batches = p.batches[1:]
	}
	p.queued -= n
	s.makeRoom(p)
	p.tries = 0
	p.Processed += int64(n)
	p.InFlight -= int64(n)
	s.progressed()
}

// makeRoom has p fetched again when it is no longer full. Each count asks, not just the end of a run: a run of slow
// records would keep a partition paused for long after its queue has drained.
func (s *session) makeRoom(p *partition) {
	if !p.full || p.queued > s.cfg.MaxQueued/4 {
		return
	}
	p.full = false
	s.throttle(p)
	select {
	case s.room <- struct{}{}:
	default: // it knows
	}
}

// wentBack judges records that come at an earlier offset than was read already. Of a topic that was made anew or cut off,
// the log is shorter than what is committed, or has records of a later leader where older ones were. Then the commit is
// of a log that is gone: it counts as unknown, or nothing would be committed until the new one is as long. Otherwise the
// client just reads again what is there still, and what is committed holds. What is queued of the old log is handed over
// all the same, but is no progress in the new one.
func (s *session) wentBack(p *partition, first *kgo.Record, end int64) {
	s.count(p)
	replaced := p.done.Epoch >= 0 && first.LeaderEpoch > p.done.Epoch && first.Offset < p.done.Offset
	if end >= p.Committed && !replaced {
		return
	}
	slog.Error("a log went back", "group", s.cfg.Group, "topic", p.topic, "partition", p.partition, "committed", p.Committed,
		"goes_on_at", first.Offset, "end", end)
	for i := range p.batches {
		p.batches[i].gone = true
	}
	p.Committed, p.HighWatermark = -1, end
	if p.done.Offset > first.Offset {
		p.done = kgo.EpochOffset{Epoch: -1, Offset: first.Offset}
	}
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

// ready puts p in line if it has something to do and nothing else keeps it.
func (c *Consumer) ready(p *partition) {
	if p.state == resting && p.queued > 0 && !p.retired.Load() {
		p.state = inLine
		c.line.push(p)
		if c.idlers > 0 {
			c.toDo.Signal()
		}
	}
}

// work hands records over, one at a time. There are Concurrency workers; a partition is with one of them at most.
func (s *session) work() {
	c := s.Consumer
	c.mu.Lock()
	now := time.Now()
	for {
		for c.line.head == nil && !s.closed {
			c.idlers++
			c.toDo.Wait()
			c.idlers--
			now = time.Now()
		}
		if s.closed {
			break
		}
		p := c.line.pop()
		if p.retired.Load() {
			p.state = resting
			continue
		}
		p.start(now)
		s.progressed() // soon; nobody will say so while the run lasts
		c.mu.Unlock()

		err := c.handOver(p)

		now = time.Now()
		c.mu.Lock()
		s.count(p)
		p.state = resting
		if err != nil && p.ctx.Err() == nil { // being told to stop is no failure
			s.failed(p, p.first(), err, now)
		}
		if p.retired.Load() && p.idle != nil {
			close(p.idle)
			p.idle = nil
		}
		c.ready(p)
	}
	c.mu.Unlock()
}

// handOver gives the records of a run to the handler, one after the other. It ends early with the handler's first error,
// and when others have waited for long enough. A panic costs one attempt, not the process and all its other partitions.
func (c *Consumer) handOver(p *partition) (err error) {
	r := &p.run
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{v}
			record := r.records[r.done.Load()]
			slog.Error("handler panicked", "group", c.cfg.Group, "topic", record.Topic, "partition", record.Partition,
				"offset", record.Offset, "panic", redact(fmt.Sprint(v), record), "stack", string(debug.Stack()))
		}
	}()
	for i, record := range r.records {
		if err := c.handle(p.ctx, record); err != nil {
			return err
		}
		ended := time.Since(r.begun)
		r.ended[i] = ended
		r.done.Store(int32(i + 1))
		if p.retired.Load() || ended >= runTime && c.line.length.Load() > 0 {
			return nil
		}
	}
	return nil
}

// panicError is a handler's panic, as the failed attempt that it is.
type panicError struct{ value any }

func (p *panicError) Error() string { return fmt.Sprintf("panic: %v", p.value) }

// failed takes note of a failed attempt, and lets p wait for the next one.
func (s *session) failed(p *partition, r *kgo.Record, err error, now time.Time) {
	c := s.Consumer
	if p.tries == 0 { // once a record: a poison pill must not fill the log as well
		slog.Warn("handler failed", "group", c.cfg.Group, "topic", r.Topic, "partition", r.Partition, "offset", r.Offset,
			"error", redact(err.Error(), r), "again", c.cfg.RetryAfter)
	}
	p.tries++
	p.Failed++
	c.failures.add(err, r, now)
	c.alarm.fail(now)
	if p.retired.Load() {
		return
	}
	p.state = backingOff
	p.retry = time.AfterFunc(c.cfg.RetryAfter, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if !p.retired.Load() {
			p.state = resting
			c.ready(p)
		}
	})
}

// retire takes partitions out of work: from now on no record of theirs is handed over, and when it returns no handler
// works on one. Calls that last longer than grace are cancelled with cause. However long they then take they are waited
// for: a partition in work here must not be in work anywhere else.
func (s *session) retire(owned []*partition, grace time.Duration, cause error) {
	c := s.Consumer
	var busy []<-chan struct{}
	c.mu.Lock()
	for _, p := range owned {
		p.retired.Store(true)
		if p.retry != nil {
			p.retry.Stop()
		}
		switch {
		case p.state == backingOff:
			p.state = resting
		case p.state == working && p.idle == nil:
			p.idle = make(chan struct{})
			fallthrough
		case p.state == working:
			busy = append(busy, p.idle)
		}
	}
	c.mu.Unlock()

	timeUp := time.NewTimer(grace)
	defer timeUp.Stop()
	for _, idle := range busy {
		select {
		case <-idle:
			continue
		case <-timeUp.C:
		}
		for _, p := range owned {
			p.cancel(cause)
		}
		break
	}
	for _, idle := range busy {
		<-idle
	}
}

// forget ends the ownership of retired partitions. What they still have queued is somebody else's to handle.
func (s *session) forget(owned []*partition) {
	c := s.Consumer
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range owned {
		if c.owned[p.topicPartition] != p {
			continue
		}
		delete(c.owned, p.topicPartition)
		p.cancel(errNotOwned)
		p.Assigned = false
		p.Released += int64(p.queued)
		p.InFlight -= int64(p.queued)
		p.full, p.failing = false, false
		s.throttle(p) // or the client would remember the pause when the partition comes back
	}
}
