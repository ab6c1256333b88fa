package lesson07

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// assigned begins the ownership of partitions. The client fetches none of them before it returns.
func (s *session) assigned(ctx context.Context, client *kgo.Client, added map[string][]int32) {
	c := s.Consumer
	member, _ := client.GroupMetadata()
	c.mu.Lock()
	if member != s.member && len(c.owned) > 0 {
		// The group expelled us and the client joined again by itself, under a new name. What it kept it did not
		// keep: others may have owned it in between, and committed further than we are.
		c.mu.Unlock()
		s.end(fmt.Errorf("%w: it was %s and is %s", errExpelled, s.member, member))
		return
	}
	s.member = member
	for topic, numbers := range added {
		for _, number := range numbers {
			s.arrivals = append(s.arrivals, topicPartition{topic, number})
		}
	}
	arrived := make(chan struct{})
	s.arrived = arrived
	s.interrupt()
	c.mu.Unlock()

	if s.cfg.Start == StartLatest && !s.looked() {
		if _, err := s.ends(ctx, client); err != nil {
			slog.Debug("partitions could not be counted yet", "group", s.cfg.Group, "error", err)
		}
	}
	select {
	case <-arrived:
	case <-s.ctx.Done():
	}
	s.link.joined()
	slog.Debug("assigned", "group", s.cfg.Group, "partitions", added)
}

// revoked gives partitions up. When it returns somebody else may own them.
func (s *session) revoked(_ context.Context, client *kgo.Client, gone map[string][]int32) {
	owned := s.those(gone)
	if len(owned) == 0 {
		return // also called at the end of every membership, with nothing
	}
	if member, _ := client.GroupMetadata(); member != s.name() {
		s.lost(s.base, client, gone) // given up under another name than it was owned under
		return
	}
	s.retire(owned, s.cfg.DrainTimeout, errRevoked)
	s.commitFinally(owned)
	s.forget(owned)
	slog.Debug("revoked", "group", s.cfg.Group, "partitions", gone)
}

// lost drops partitions that somebody else may own already. Committing them could only take that one's progress back.
func (s *session) lost(_ context.Context, _ *kgo.Client, gone map[string][]int32) {
	owned := s.those(gone)
	s.retire(owned, 0, errLost)
	s.forget(owned)
	if len(owned) > 0 {
		slog.Warn("lost", "group", s.cfg.Group, "partitions", gone)
	}
}

// starting learns where the group stands on new partitions, and decides where to begin without a commit.
func (s *session) starting(ctx context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	if err := s.ctx.Err(); err != nil {
		return nil, err
	}
	var ends kadm.ListedOffsets
	if s.cfg.Start == StartLatest && anyWithoutCommit(offsets) {
		var err error
		// Asked until it is known: an error would have the client drop everything that this member owns.
		for ends, err = s.ends(ctx, s.client); err != nil; ends, err = s.ends(ctx, s.client) {
			if !pause(ctx, time.Second) {
				return nil, ctx.Err()
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for topic, numbers := range offsets {
		for number, offset := range numbers {
			tp := topicPartition{topic, number}
			p := s.owned[tp]
			if p == nil {
				continue
			}
			if _, counted := s.existing[topic]; s.cfg.Start == StartLatest && offset.EpochOffset().Offset < 0 && !counted {
				return nil, fmt.Errorf("what %s held when this consumer first looked is not known", tp) // the client comes again
			}
			delete(s.rejoins, topic)
			p.placed = true
			switch at := offset.EpochOffset(); {
			case at.Offset >= 0:
				p.done, p.Committed, p.Position = at, at.Offset, at.Offset
			case s.cfg.Start == StartCommitted:
				s.end(fmt.Errorf("%w (group %q, %s)", ErrNoCommit, s.cfg.Group, tp)) // others are wound up in order
			case s.cfg.Start == StartLatest && int(number) >= s.existing[topic]:
				numbers[number] = kgo.NewOffset().AtStart() // added since: nothing in it is old
			case s.cfg.Start == StartLatest:
				end, ok := ends.Lookup(topic, number)
				if end.Err != nil {
					return nil, fmt.Errorf("the end of %s is not known: %w", tp, end.Err)
				}
				if !ok {
					return nil, fmt.Errorf("the end of %s is not known", tp)
				}
				// From here on it is a position like any other, committed before anything is handled: a restart must
				// not jump over what arrives until then.
				numbers[number] = kgo.NewOffset().At(end.Offset)
				p.done, p.Position = kgo.EpochOffset{Epoch: -1, Offset: end.Offset}, end.Offset
				s.progressed()
			}
		}
	}
	return offsets, nil
}

func anyWithoutCommit(offsets map[string]map[int32]kgo.Offset) bool {
	for _, numbers := range offsets {
		for _, offset := range numbers {
			if offset.EpochOffset().Offset < 0 {
				return true
			}
		}
	}
	return false
}

// looked reports whether the partitions that there were at first have been counted.
func (s *session) looked() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, topic := range s.cfg.Topics {
		if _, counted := s.existing[topic]; !counted {
			return false
		}
	}
	return true
}

// ends asks where the partitions end, and the first time counts them.
func (s *session) ends(ctx context.Context, client *kgo.Client) (kadm.ListedOffsets, error) {
	ctx, cancel := context.WithTimeout(ctx, s.commitTimeout())
	defer cancel()
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, s.cfg.Topics...)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.existing == nil {
		s.existing = map[string]int{}
	}
	for _, topic := range s.cfg.Topics {
		if _, counted := s.existing[topic]; counted {
			continue
		}
		// A topic that is not there has no partitions yet; any other error does not say that there are none.
		if none, failed := ends.Lookup(topic, -1); !failed {
			s.existing[topic] = len(ends[topic])
		} else if errors.Is(none.Err, kerr.UnknownTopicOrPartition) {
			s.existing[topic] = 0
		}
	}
	return ends, nil
}

// endsEvery is how often the ends of partitions that are not fetched are asked for.
const endsEvery = 5 * time.Second

// watchEnds keeps the lag of paused partitions true: no fetch tells how it grows.
func (s *session) watchEnds() {
	for pause(s.ctx, endsEvery) {
		s.mu.Lock()
		blind := s.paused && len(s.owned) > 0
		for _, p := range s.owned {
			blind = blind || p.full || p.HighWatermark < 0
		}
		s.mu.Unlock()
		if !blind {
			continue
		}
		ends, err := s.ends(s.ctx, s.client)
		if err != nil {
			continue // readiness shows it
		}
		s.mu.Lock()
		for _, p := range s.owned {
			if end, ok := ends.Lookup(p.topic, p.partition); ok && end.Err == nil {
				p.HighWatermark = max(p.HighWatermark, end.Offset)
			}
		}
		s.mu.Unlock()
	}
}

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

// commitTimeout leaves a revocation half of what draining left of the rebalance timeout, and never too little for a
// request: without commits everything would be repeated.
func (s *session) commitTimeout() time.Duration {
	return max(time.Second, (s.cfg.RebalanceTimeout-s.cfg.DrainTimeout)/2)
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

// due is what is done and not committed. For a log that went back, what is committed is unknown; see wentBack.
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
				if at := due[topic][a.Partition].Offset; at <= p.done.Offset { // or its log went back meanwhile
					p.Committed = at
				}
			}
		}
	}
	return failed
}
