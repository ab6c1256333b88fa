package lesson07

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

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
