package lesson07

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// poll hands what was fetched to its partitions, until the session ends.
func (s *session) poll() {
	for {
		s.awaitRoom()
		ctx, limit := s.turn()
		if s.ctx.Err() != nil {
			return
		}
		s.accept(s.client.PollRecords(ctx, limit))
	}
}

// turn is the one place where new partitions become owned: between two polls. So records that a poll returned belong to
// the owners of that moment, and cannot be mistaken for those of a partition that went and came back. (The client's
// BlockRebalanceOnPoll would do it too, but then no partition is polled while one of them is drained.)
func (s *session) turn() (context.Context, int) {
	c := s.Consumer
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, tp := range s.arrivals {
		s.own(tp)
	}
	s.arrivals = nil
	if s.arrived != nil {
		close(s.arrived)
		s.arrived = nil
	}
	if s.polling.Err() != nil {
		s.polling, s.interrupt = context.WithCancel(s.ctx)
	}
	// A partition is full at half of MaxQueued, and no poll brings more than the fullest of the others has room for.
	most := 0
	for _, p := range c.owned {
		if !p.paused {
			most = max(most, p.queued)
		}
	}
	return s.polling, max(1, c.cfg.MaxQueued-most)
}

// own begins one ownership, with nothing of an earlier one but its counts.
func (s *session) own(tp topicPartition) {
	c := s.Consumer
	t := c.tallies[tp]
	if t == nil {
		t = newTally(tp)
		c.tallies[tp] = t
	}
	t.Assigned = true
	t.LastProgress = time.Now()
	t.Committed, t.Position = -1, -1
	p := &partition{topicPartition: tp, tally: t, done: kgo.EpochOffset{Epoch: -1, Offset: -1}}
	p.ctx, p.cancel = context.WithCancelCause(s.base)
	c.owned[tp] = p
}

// accept queues what a poll returned and takes note of its errors, without blocking.
func (s *session) accept(fetches kgo.Fetches) {
	c := s.Consumer
	fetches.EachError(s.fetchFailed)
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	fetches.EachPartition(func(f kgo.FetchTopicPartition) {
		p := c.owned[topicPartition{f.Topic, f.Partition}]
		if p == nil || p.retired.Load() || len(f.Records) == 0 {
			return // given up since it was fetched: its next owner gets these
		}
		p.HighWatermark = max(p.HighWatermark, f.HighWatermark)
		p.add(f.Records, now)
		p.full = p.full || p.queued >= (c.cfg.MaxQueued+1)/2
		c.ready(p)
	})
	s.link.fetched(fetches)
}

// fetchFailed judges what a poll returned instead of records. Ignored, each of these looks like an idle topic.
func (s *session) fetchFailed(topic string, number int32, err error) {
	var group *kgo.ErrGroupSession
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, kgo.ErrClientClosed):
	case errors.Is(err, kerr.FencedInstanceID):
		s.end(fmt.Errorf("%w (group %q, instance id %q): %w", ErrFenced, s.cfg.Group, s.cfg.InstanceID, err))
	case errors.Is(err, kerr.OffsetOutOfRange) && s.cfg.Start == StartCommitted:
		s.end(fmt.Errorf("%w (group %q, %s/%d): %w", ErrNoCommit, s.cfg.Group, topic, number, err))
	case errors.As(err, &group):
		s.link.groupFailed(err)
	default:
		s.rest(topicPartition{topic, number}, err)
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

// patience is how long the poll loop waits for a full partition before it pauses its fetching and goes on without it.
// Pausing throws away what the client has fetched ahead, so a partition that is only busy must not be paused; everybody
// else waits along, so a slow one must be.
const patience = 50 * time.Millisecond

// awaitRoom returns when no partition that is fetched is full.
func (s *session) awaitRoom() {
	crowded, polling := s.crowded()
	if !crowded {
		return
	}
	timeUp := time.NewTimer(patience)
	defer timeUp.Stop()
	for crowded {
		select {
		case <-s.room:
			crowded, _ = s.crowded()
			continue
		case <-timeUp.C:
		case <-polling.Done():
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, p := range s.owned {
			s.throttle(p)
		}
		return
	}
}

// crowded reports whether a partition is full although it is fetched, and what ends waiting for it.
func (s *session) crowded() (bool, context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.owned {
		if p.full && !p.paused {
			return true, s.polling
		}
	}
	return false, s.polling
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
