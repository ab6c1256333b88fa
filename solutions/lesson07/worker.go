package lesson07

import (
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

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
