package meter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A link is what the service's clients know of the cluster, told by their hooks and by polls.
type link struct {
	name        string // of the group; empty: there is none
	heartbeat   time.Duration
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
	until time.Time // zero: it is told once and not repeated
}

func (s standing) over(now time.Time) bool { return !s.until.IsZero() && now.After(s.until) }

// fetchStands is how long: the client repeats what stands with its metadata, every few seconds.
const fetchStands = 30 * time.Second

var (
	_ kgo.HookNewClient        = (*link)(nil)
	_ kgo.HookBrokerConnect    = (*link)(nil)
	_ kgo.HookBrokerWrite      = (*link)(nil)
	_ kgo.HookBrokerE2E        = (*link)(nil)
	_ kgo.HookGroupManageError = (*link)(nil)
)

// OnNewClient begins a new membership if the client is the group's.
func (l *link) OnNewClient(client *kgo.Client) {
	if group, _ := client.OptValue(kgo.ConsumerGroup).(string); group != "" && group == l.name {
		l.reset()
	}
}

// reset forgets what an earlier client was told.
func (l *link) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.brokers)
	clear(l.fetches)
	l.coordinator, l.answered, l.waiting = "", time.Time{}, false
	l.member, l.group, l.commits = false, nil, nil
}

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

// OnGroupManageError notes why we are no member, and logs it when it is news.
func (l *link) OnGroupManageError(err error) {
	if errors.Is(err, context.Canceled) || errors.Is(err, kgo.ErrClientClosed) {
		return
	}
	l.mu.Lock()
	news := l.group == nil
	l.member, l.group = false, err
	l.mu.Unlock()
	if news {
		slog.Warn("no member of the group, which is tried again", "group", l.name, "error", err)
	}
}

// joined notes that the group has us.
func (l *link) joined() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.member, l.group = true, nil
}

// polled takes note of the errors of a poll, and of partitions that answer again. Ignored, an error looks like an idle
// topic. Of a partition that is stuck it is told once.
func (l *link) polled(fetches kgo.Fetches, stuck func(topicPartition) bool) {
	now := time.Now()
	var news []kgo.FetchTopicPartition
	l.mu.Lock()
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		var (
			tp    = topicPartition{p.Topic, p.Partition}
			group *kgo.ErrGroupSession
			loss  *kgo.ErrDataLoss
		)
		switch {
		case p.Err == nil:
			if len(l.fetches) > 0 {
				delete(l.fetches, tp)
			}
		case errors.Is(p.Err, context.Canceled), errors.Is(p.Err, context.DeadlineExceeded), errors.Is(p.Err, kgo.ErrClientClosed):
		case errors.As(p.Err, &group), errors.As(p.Err, &loss): // the former the hook tells; after the latter it goes on
		default:
			if last, known := l.fetches[tp]; !known || last.over(now) {
				news = append(news, p)
			}
			stands := standing{p.Err, now.Add(fetchStands)}
			if stuck(tp) {
				stands.until = time.Time{}
			}
			l.fetches[tp] = stands
		}
	})
	l.mu.Unlock()
	for _, p := range news {
		slog.Warn("cannot fetch, which is tried again", "group", l.name, "topic", p.Topic, "partition", p.Partition, "error", p.Err)
	}
}

// forget drops what stands on a partition that is not ours any more.
func (l *link) forget(tp topicPartition) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.fetches, tp)
}

// committed keeps what somebody has to do something about; anything else is tried again.
func (l *link) committed(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil || errors.Is(err, kerr.GroupAuthorizationFailed) || errors.Is(err, kerr.TopicAuthorizationFailed) {
		l.commits = err
	}
}

// judge says what is wrong with the connection, and with the membership or the partitions.
func (l *link) judge(now time.Time) (broker, group error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	silent := now.Sub(l.answered)
	if broker = l.unreachable(); broker == nil {
		if err := l.brokers[l.coordinator]; err != nil {
			broker = fmt.Errorf("the group's coordinator cannot be reached: %w", err)
		} else if !l.answered.IsZero() && !l.waiting && silent > 3*l.heartbeat {
			broker = fmt.Errorf("the group's coordinator has not answered for %v", silent)
		}
	}
	var failing []topicPartition
	for tp, f := range l.fetches {
		if f.over(now) {
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
	case !l.member && l.name != "":
		group = errors.New("not a member of the group yet")
	}
	return broker, group
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
