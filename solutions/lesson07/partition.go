package lesson07

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
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
	full    bool // enough is queued
	placed  bool // where to start is known
	failing bool // fetching it failed a moment ago
	paused  bool // for either, the client does not fetch it

	state   state
	begun   time.Time     // when the handler got the record in work
	tries   int           // failed attempts at the first record
	retry   *time.Timer   // when backing off
	retired bool          // nothing more is handed out
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

// add appends polled records. It never blocks: the poll loop serves every partition.
func (p *partition) add(records []*kgo.Record, now time.Time) {
	p.batches = append(p.batches, batch{records, now})
	p.queued += len(records)
	p.received(records)
}

// first is the record that comes next, and when it was polled.
func (p *partition) first() (*kgo.Record, time.Time) { return p.batches[0].records[0], p.batches[0].at }

// finish drops the first record as done with.
func (p *partition) finish(now time.Time) {
	b := &p.batches[0]
	p.done = kgo.EpochOffset{Epoch: b.records[0].LeaderEpoch, Offset: b.records[0].Offset + 1}
	b.records[0] = nil // what is done with must not stay in memory until the batch is
	if b.records = b.records[1:]; len(b.records) == 0 {
		p.batches[0] = batch{}
		p.batches = p.batches[1:]
	}
	p.queued--
	p.tries = 0
	p.Processed++
	p.InFlight--
	p.LastProgress = now
}

// line is the partitions that wait for a worker, first come first served. A partition rejoins it behind the others after
// every record, so that none with a long queue keeps the rest waiting.
type line struct{ head, tail *partition }

func (l *line) push(p *partition) {
	if l.tail == nil {
		l.head = p
	} else {
		l.tail.next = p
	}
	l.tail = p
}

func (l *line) pop() *partition {
	p := l.head
	if l.head = p.next; l.head == nil {
		l.tail = nil
	}
	p.next = nil
	return p
}

// ready puts p in line if it has something to do and nothing else keeps it.
func (c *Consumer) ready(p *partition) {
	if p.state == resting && p.queued > 0 && !p.retired {
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
		if p.retired {
			p.state = resting
			continue
		}
		p.state = working
		p.begun = now
		if p.tries > 0 {
			p.Retried++
		}
		record, polled := p.first()
		c.mu.Unlock()

		err := c.attempt(p.ctx, record)

		now = time.Now()
		c.mu.Lock()
		p.state = resting
		if err == nil {
			p.finish(now)
			c.latency.add(now.Sub(polled))
			s.progressed()
		} else if p.ctx.Err() == nil { // being told to stop is no failure
			s.failed(p, record, err, now)
		}
		if p.retired && p.idle != nil {
			close(p.idle)
			p.idle = nil
		}
		if p.full && p.queued <= c.cfg.MaxQueued/4 {
			p.full = false
			s.throttle(p)
			select {
			case s.room <- struct{}{}:
			default: // it knows
			}
		}
		c.ready(p)
	}
	c.mu.Unlock()
}

// attempt calls the handler. A panic costs one attempt, not the process and all its other partitions.
func (c *Consumer) attempt(ctx context.Context, r *kgo.Record) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{v}
			slog.Error("handler panicked", "group", c.cfg.Group, "topic", r.Topic, "partition", r.Partition, "offset", r.Offset,
				"panic", redact(fmt.Sprint(v), r), "stack", string(debug.Stack()))
		}
	}()
	return c.handle(ctx, r)
}

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
	if p.retired {
		return
	}
	p.state = backingOff
	p.retry = time.AfterFunc(c.cfg.RetryAfter, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if !p.retired {
			p.state = resting
			c.ready(p)
		}
	})
}

// throttle pauses or resumes fetching of one partition. Others that the same broker leads go on.
func (s *session) throttle(p *partition) {
	if p.paused == (p.full || p.failing) {
		return
	}
	p.paused = !p.paused
	these := map[string][]int32{p.topic: {p.partition}}
	if p.paused {
		s.client.PauseFetchPartitions(these)
	} else {
		s.client.ResumeFetchPartitions(these)
	}
}

// rest keeps the client from fetching a partition for a while that it just failed to: by itself it would try again at
// once, for as long as the error stands. If it failed to find where to start, it does not try again at all, and the only
// way to make it is to join anew.
func (s *session) rest(tp topicPartition, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.owned[tp]
	switch {
	case p == nil:
		s.link.fetchFailed(tp, err, joinAgain) // told with the metadata, every few seconds
	case !p.placed:
		s.link.fetchFailed(tp, err, 2*joinAgain)
		time.AfterFunc(joinAgain, func() {
			s.mu.Lock()
			stuck := s.owned[tp] == p && !p.placed
			s.mu.Unlock()
			if stuck {
				s.end(fmt.Errorf("%w: %s: %w", errGaveUp, tp, err))
			}
		})
	default:
		s.link.fetchFailed(tp, err, 10*fetchAgain)
		if p.failing {
			return
		}
		p.failing = true
		s.throttle(p)
		time.AfterFunc(fetchAgain, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			if p.failing = false; s.owned[tp] == p {
				s.throttle(p)
			}
		})
	}
}

const (
	fetchAgain = time.Second
	joinAgain  = 30 * time.Second
)

// retire takes partitions out of work: from now on no record of theirs is handed over, and when it returns no handler
// works on one. Calls that last longer than grace are cancelled with cause. However long they then take they are waited
// for: a partition in work here must not be in work anywhere else.
func (s *session) retire(owned []*partition, grace time.Duration, cause error) {
	c := s.Consumer
	var busy []<-chan struct{}
	c.mu.Lock()
	for _, p := range owned {
		p.retired = true
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
