package lesson07

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kafka-katas/kafka-katas/ops"
)

// Health says whether the process should live and whether it may be relied on; it answers from memory, also while
// Kafka hangs. The checks are
//
//	"broker"    readiness: a broker is connected and the group's coordinator answers
//	"group"     readiness: the consumer is a member, and no group, authorisation or fetch error stands
//	"progress"  liveness: no handler has worked on one record for StallAfter
//	"run"       liveness: Run has not ended with an error
//
// A member without partitions, an idle topic and a paused consumer are healthy.
func (c *Consumer) Health() ops.Health {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	broker, group := errors.New("not running"), errors.New("not running")
	if c.session != nil {
		broker, group = c.session.link.judge(now, c.cfg)
	}
	return ops.HealthOf(
		c.check("broker", ops.Readiness, broker, now),
		c.check("group", ops.Readiness, group, now),
		c.check("progress", ops.Liveness, c.wedged(now), now),
		c.check("run", ops.Liveness, c.failure, now),
	)
}

// checked is what Health last said of a check.
type checked struct {
	ok    bool
	since time.Time
}

func (c *Consumer) check(name string, affects ops.Aspect, err error, now time.Time) ops.Check {
	last, known := c.checks[name]
	switch {
	case !known && err == nil:
		last = checked{true, c.since}
	case !known || last.ok != (err == nil):
		last = checked{err == nil, now}
	}
	c.checks[name] = last
	check := ops.Check{Name: name, Affects: affects, OK: last.ok, Since: last.since}
	if err != nil {
		check.Cause = err.Error()
	}
	return check
}

// wedged names the partition whose handler has been busy with one record for too long. Being a member says nothing of
// it: the client's heartbeats go on without us.
func (c *Consumer) wedged(now time.Time) error {
	if c.session != nil {
		c.session.countAll()
	}
	var worst *partition
	for _, p := range c.owned {
		if p.state == working && p.queued > 0 && (worst == nil || p.busySince().Before(worst.busySince())) {
			worst = p
		}
	}
	if worst == nil {
		return nil
	}
	busy := now.Sub(worst.busySince())
	if busy < c.cfg.StallAfter {
		return nil
	}
	return fmt.Errorf("%s: the handler has been at offset %d for %v", worst, worst.first().Offset, busy)
}

// Pause stops fetching. Membership, the records in hand and their commits go on.
func (c *Consumer) Pause() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.paused = true
	if c.session != nil {
		c.session.client.PauseFetchTopics(c.cfg.Topics...)
	}
}

// Resume ends a pause.
func (c *Consumer) Resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.paused = false
	if c.session != nil {
		c.session.client.ResumeFetchTopics(c.cfg.Topics...)
	}
}

// judge says what is wrong with the connection and with the membership.
func (l *link) judge(now time.Time, cfg Config) (broker, group error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	silent := now.Sub(l.answered)
	if broker = l.unreachable(); broker == nil {
		if err := l.brokers[l.coordinator]; err != nil {
			broker = fmt.Errorf("the group's coordinator cannot be reached: %w", err)
		} else if !l.answered.IsZero() && !l.waiting && silent > 3*cfg.HeartbeatInterval {
			broker = fmt.Errorf("the group's coordinator has not answered for %v", silent)
		}
	}
	var failing []topicPartition
	for tp, f := range l.fetches {
		if now.After(f.until) {
			delete(l.fetches, tp)
			continue
		}
		failing = append(failing, tp)
	}
	switch {
	case l.group != nil:
		group = l.group
	case l.commits != nil:
		group = l.commits
	case len(failing) > 0:
		first := slices.MinFunc(failing, func(a, b topicPartition) int {
			return cmp.Or(cmp.Compare(a.topic, b.topic), cmp.Compare(a.partition, b.partition))
		})
		group = fmt.Errorf("fetching %s: %w", first, l.fetches[first].err)
	case !l.member:
		group = errors.New("not a member of the group yet")
	}
	return broker, group
}
