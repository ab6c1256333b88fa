package lesson07

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// progressed tells the commit loop that there is something to commit. It is called for every record and so costs little.
func (s *session) progressed() {
	if s.uncommitted {
		return
	}
	s.uncommitted = true
	select {
	case s.progress <- struct{}{}:
	default: // it knows
	}
}

// commitRegularly commits CommitInterval after there is something to commit: nothing when idle, one request when busy.
func (s *session) commitRegularly() {
	for {
		select {
		case <-s.progress:
		case <-s.ctx.Done():
			return
		}
		again := true
		for again {
			if !pause(s.ctx, s.cfg.CommitInterval) {
				return
			}
			s.mu.Lock()
			s.uncommitted = false
			s.mu.Unlock()
			ctx, cancel := context.WithTimeout(s.base, s.commitTimeout())
			err := s.commit(ctx, s.all())
			cancel()
			// What a commit could not do, and what a run that is under way gets done, the next one takes along.
			again = err != nil || s.busy()
		}
	}
}

func (s *session) busy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.owned {
		if p.state == working {
			return true
		}
	}
	return false
}

// commitFinally commits what is done on retired partitions: the last chance to, so it is tried until time is up.
func (s *session) commitFinally(owned []*partition) {
	ctx, cancel := context.WithTimeout(s.base, s.commitTimeout())
	defer cancel()
	wait := 50 * time.Millisecond
	for {
		err := s.commit(ctx, owned)
		if err == nil || errors.Is(err, errExpelled) || errors.Is(err, ErrFenced) {
			return
		}
		if wait *= 2; !pause(ctx, min(wait, time.Second)) {
			slog.Warn("progress was not committed and will be repeated", "group", s.cfg.Group, "error", err)
			return
		}
	}
}

// commitTimeout leaves a revocation half of what draining left of the rebalance timeout.
func (s *session) commitTimeout() time.Duration {
	return (s.cfg.RebalanceTimeout - s.cfg.DrainTimeout) / 2
}

// commit commits how far partitions are done, in one request; nil if there was nothing to or all of it is committed. No
// commit error is fatal but being fenced: what is not committed now is committed next time, or repeated by the next
// owner.
func (s *session) commit(ctx context.Context, owned []*partition) error {
	// One at a time: of two at once, the older could be the later to arrive.
	select {
	case s.committing <- struct{}{}:
		defer func() { <-s.committing }()
	case <-ctx.Done():
		return ctx.Err()
	}
	due := s.due(owned)
	if len(due) == 0 {
		return nil
	}
	// The client signs a commit with the membership it has when it sends it. A member that was expelled and joined
	// again would be believed and take its successor's progress back. So the request is looked at last.
	ctx = kgo.PreCommitFnContext(ctx, func(req *kmsg.OffsetCommitRequest) error {
		if req.MemberID != s.name() {
			return errExpelled
		}
		return nil
	})
	var failed error
	s.client.CommitOffsetsSync(ctx, due, func(_ *kgo.Client, req *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		failed = err
		if err == nil {
			failed = s.committed(due, req, resp)
		}
	})
	s.mu.Lock()
	s.extra["commits"]++
	if failed != nil {
		s.extra["commit_failures"]++
	}
	s.mu.Unlock()
	s.link.committed(failed)
	switch {
	case errors.Is(failed, kerr.FencedInstanceID):
		failed = fmt.Errorf("%w (group %q, instance id %q): %w", ErrFenced, s.cfg.Group, s.cfg.InstanceID, failed)
		s.end(failed)
	case errors.Is(failed, kerr.UnknownMemberID), errors.Is(failed, errExpelled):
		failed = fmt.Errorf("%w: %w", errExpelled, failed)
		s.end(failed)
	}
	return failed
}

// due is what is done and not committed.
func (s *session) due(owned []*partition) map[string]map[int32]kgo.EpochOffset {
	s.mu.Lock()
	defer s.mu.Unlock()
	due := map[string]map[int32]kgo.EpochOffset{}
	for _, p := range owned {
		s.count(p)
		if s.owned[p.topicPartition] != p || p.done.Offset <= p.Committed {
			continue
		}
		if due[p.topic] == nil {
			due[p.topic] = map[int32]kgo.EpochOffset{}
		}
		due[p.topic][p.partition] = p.done
	}
	return due
}

// committed takes note of the answer to a commit, partition by partition.
func (s *session) committed(due map[string]map[int32]kgo.EpochOffset, req *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse) error {
	names := map[[16]byte]string{}
	for _, t := range req.Topics {
		names[t.TopicID] = t.Topic
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var failed error
	for _, t := range resp.Topics {
		topic := t.Topic
		if topic == "" { // newer brokers answer with the id alone
			topic = names[t.TopicID]
		}
		for _, a := range t.Partitions {
			if err := kerr.ErrorForCode(a.ErrorCode); err != nil {
				failed = errors.Join(failed, fmt.Errorf("commit of %s/%d: %w", topic, a.Partition, err))
			} else if p := s.owned[topicPartition{topic, a.Partition}]; p != nil {
				p.Committed = due[topic][a.Partition].Offset
			}
		}
	}
	return failed
}
