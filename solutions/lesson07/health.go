package lesson07

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

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

// A link is what a session's client knows of the cluster, told by its hooks.
type link struct {
	mu          sync.Mutex
	brokers     map[string]error // by address; nil: the last that was heard of it was good
	coordinator string           // the address where the group's requests went last
	answered    time.Time        // when the coordinator last heard of us for sure; zero: it has not yet
	waiting     bool             // a request to join waits at the coordinator, which counts us as alive meanwhile
	member      bool
	group       error
	commits     error
	fetches     map[topicPartition]standing
}

// standing is an error that holds until it is disproved, or is not repeated in time.
type standing struct {
	err   error
	until time.Time
}

func newLink() *link {
	return &link{brokers: map[string]error{}, fetches: map[topicPartition]standing{}}
}

var (
	_ kgo.HookBrokerConnect = (*link)(nil)
	_ kgo.HookBrokerWrite   = (*link)(nil)
	_ kgo.HookBrokerE2E     = (*link)(nil)
)

// OnBrokerConnect notes that a broker was reached, or why not.
func (l *link) OnBrokerConnect(broker kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.heard(broker, err)
}

// OnBrokerWrite notes a request to join.
func (l *link) OnBrokerWrite(broker kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, err error) {
	switch kmsg.Key(key) {
	case kmsg.JoinGroup, kmsg.SyncGroup:
		l.mu.Lock()
		defer l.mu.Unlock()
		l.coordinator = address(broker)
		l.waiting = err == nil
	}
}

// OnBrokerE2E notes an answer, or why there is none.
func (l *link) OnBrokerE2E(broker kgo.BrokerMetadata, key int16, e2e kgo.BrokerE2E) {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := e2e.Err()
	l.heard(broker, err)
	switch kmsg.Key(key) {
	case kmsg.JoinGroup, kmsg.SyncGroup:
		l.coordinator = address(broker)
		l.waiting = false
		if err == nil {
			l.answered = time.Now() // its clock starts anew as it answers
		}
	case kmsg.Heartbeat, kmsg.ConsumerGroupHeartbeat:
		l.coordinator = address(broker)
		if err == nil {
			l.answered = time.Now().Add(-e2e.DurationE2E()) // its clock started anew no earlier than we asked
		}
	}
}

// heard notes how the latest exchange with a broker ended. Requests that the client itself gave up say nothing.
func (l *link) heard(broker kgo.BrokerMetadata, err error) {
	if !errors.Is(err, context.Canceled) {
		l.brokers[address(broker)] = err
	}
}

func address(b kgo.BrokerMetadata) string { return net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port))) }

// down is why no broker can be reached; nil if one can.
func (l *link) down() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.unreachable()
}

func (l *link) unreachable() error {
	if len(l.brokers) == 0 {
		return errors.New("no broker has been reached yet")
	}
	var err error
	for _, err = range l.brokers {
		if err == nil {
			return nil
		}
	}
	return fmt.Errorf("no broker can be reached: %w", err)
}

// joined notes that the group has us.
func (l *link) joined() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.member, l.group = true, nil
}

func (l *link) groupFailed(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.member, l.group = false, err
}

func (l *link) fetchFailed(tp topicPartition, err error, stands time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fetches[tp] = standing{err, time.Now().Add(stands)}
}

// fetched notes that partitions answer again.
func (l *link) fetched(fetches kgo.Fetches) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.fetches) > 0 {
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			if p.Err == nil {
				delete(l.fetches, topicPartition{p.Topic, p.Partition})
			}
		})
	}
}

// committed keeps what somebody has to do something about; anything else is tried again.
func (l *link) committed(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil || errors.Is(err, kerr.GroupAuthorizationFailed) || errors.Is(err, kerr.TopicAuthorizationFailed) {
		l.commits = err
	}
}

// lease is how long the coordinator counts us as a member for sure, without hearing of us again.
func (l *link) lease(now time.Time, cfg Config) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.answered.IsZero() || l.waiting {
		return cfg.SessionTimeout
	}
	// One heartbeat early, so that handlers are gone when the next owner begins.
	return cfg.SessionTimeout - cfg.HeartbeatInterval - now.Sub(l.answered)
}

// watchLease ends a session that the coordinator may have given up. Cut off from the cluster, nobody tells a member that
// it was expelled: it has to stop by its own clock before others begin.
func (s *session) watchLease() {
	for {
		left := s.link.lease(time.Now(), s.cfg)
		if left <= 0 {
			if len(s.all()) > 0 {
				s.end(fmt.Errorf("%w: the coordinator has not answered for nearly the session timeout", errExpelled))
				return
			}
			left = s.cfg.HeartbeatInterval
		}
		if !pause(s.ctx, left) {
			return
		}
	}
}
