package lesson09

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-katas/kafka-katas/ops/meter"
)

type topicPartition struct {
	topic     string
	partition int32
}

func (tp topicPartition) String() string { return fmt.Sprintf("%s/%d", tp.topic, tp.partition) }

// A partition is one that this member owns: one ownership is one value, and what is left of an earlier one never reaches
// a later one. Consumer.mu guards it.
type partition struct {
	topicPartition
	ctx    context.Context // what handlers work under; it carries the owner
	cancel context.CancelCauseFunc

	tracker   tracker
	headSince time.Time     // since when the same record is the first that is not done with
	queue     []*kgo.Record // received and not handed out yet
	handed    int           // the number of the next one in the tracker
	again     []attempt     // to be handed out again, now
	committed int64

	inLine  bool
	full    bool          // the window is
	paused  bool          // the client does not fetch it
	busy    int           // calls of the handler that have not returned
	retired bool          // nothing more is handed out
	idle    chan struct{} // closed when a retired partition's last call returned
}

type attempt struct {
	number int // in the tracker
	record *kgo.Record
	tries  int // that failed
}

// lineUp puts p in line if it has something to hand out.
func (s *session) lineUp(p *partition) {
	if p.inLine || p.retired || len(p.queue)+len(p.again) == 0 {
		return
	}
	p.inLine = true
	s.line = append(s.line, p)
	if len(p.queue)+len(p.again) > 1 {
		s.toDo.Broadcast()
	} else {
		s.toDo.Signal()
	}
}

// next takes a record out of the line: one of each partition in turn, so that none with a long queue keeps the others
// waiting, and what comes again before what is new.
func (s *session) next() (p *partition, a attempt) {
	p = s.line[0]
	if s.line[0] = nil; len(s.line) == 1 {
		s.line = s.line[:0]
	} else {
		s.line = s.line[1:]
	}
	p.inLine = false
	if p.retired {
		return nil, a
	}
	if len(p.again) > 0 {
		a, p.again = p.again[0], p.again[1:]
	} else {
		a = attempt{number: p.handed, record: p.queue[0]}
		p.handed++
		p.queue[0] = nil
		p.queue = p.queue[1:]
	}
	if len(p.queue)+len(p.again) > 0 {
		p.inLine = true
		s.line = append(s.line, p)
		s.toDo.Signal() // what came while p was in line has woken nobody
	}
	p.busy++
	return p, a
}

// work hands records over. There are Concurrency workers, and any of them takes any record.
func (s *session) work() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for len(s.line) == 0 && !s.closed {
			s.toDo.Wait()
		}
		if s.closed {
			return
		}
		p, a := s.next()
		if p == nil {
			continue
		}
		s.mu.Unlock()
		if a.tries == 0 {
			s.meter.Began(a.record)
		} else {
			s.meter.Retried(a.record)
		}
		err := call(p.ctx, s.cfg.Group, a.record, s.handle)
		s.mu.Lock()

		switch {
		case err == nil:
			s.ack(p, a)
		case p.ctx.Err() == nil: // being told to stop is no failure
			s.nack(p, a, err)
		}
		if p.busy--; p.busy == 0 && p.idle != nil {
			close(p.idle)
			p.idle = nil
		}
	}
}

// ack takes note that a record is done with.
func (s *session) ack(p *partition, a attempt) {
	s.meter.Ended(a.record, meter.Processed)
	n := p.tracker.done(a.number)
	if n == 0 {
		return // something before it is not: it waits
	}
	if p.tracker.open() > 0 {
		p.headSince = time.Now()
	}
	if p.full && p.tracker.open() <= s.cfg.Window/4 {
		p.full = false
		if p.paused {
			s.throttle(p)
		}
		signal(s.room)
	}
	if s.uncommitted == 0 {
		signal(s.progress)
	}
	before := s.uncommitted
	if s.uncommitted += n; before < s.cfg.CommitEvery && s.uncommitted >= s.cfg.CommitEvery {
		signal(s.enough)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // it knows
	}
}

// nack has a record handed out again in time. What was acknowledged behind it stays so.
func (s *session) nack(p *partition, a attempt, err error) {
	s.meter.Failed(a.record, err)
	after := s.cfg.RetryAfter
	if asked := (*nack)(nil); errors.As(err, &asked) {
		after = asked.after
	}
	a.tries++
	s.meter.Waiting(a.record, time.Now().Add(after))
	time.AfterFunc(after, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !p.retired {
			p.again = append(p.again, a)
			s.lineUp(p)
		}
	})
}

// retire takes partitions out of work: from now on no record of theirs is handed over, and when it returns no handler
// works on one. Calls that last longer than grace are cancelled with cause. However long they then take they are waited
// for.
func (s *session) retire(owned []*partition, grace time.Duration, cause error) {
	var busy []<-chan struct{}
	s.mu.Lock()
	for _, p := range owned {
		p.retired = true
		if p.busy > 0 {
			if p.idle == nil {
				p.idle = make(chan struct{})
			}
			busy = append(busy, p.idle)
		}
	}
	s.mu.Unlock()

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
	gone := map[string][]int32{}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range owned {
		if s.owned[p.topicPartition] != p {
			continue
		}
		delete(s.owned, p.topicPartition)
		p.cancel(errNotOwned)
		p.full = false
		s.throttle(p) // or the client would remember the pause when the partition comes back
		gone[p.topic] = append(gone[p.topic], p.partition)
	}
	s.meter.Revoked(gone)
}

// commitRegularly commits when there is enough to commit, or CommitInterval after there is something: nothing when idle,
// a request in a while when busy.
func (s *session) commitRegularly() {
	for {
		select {
		case <-s.progress:
		case <-s.ctx.Done():
			return
		}
		interval := time.NewTimer(s.cfg.CommitInterval)
		select {
		case <-s.enough:
		case <-interval.C:
		case <-s.ctx.Done():
		}
		interval.Stop()
		for s.ctx.Err() == nil {
			ctx, cancel := context.WithTimeout(s.base, s.commitTimeout())
			err := s.commit(ctx, s.all())
			cancel()
			if err == nil || !pause(s.ctx, min(s.cfg.CommitInterval, commitAgain)) {
				break
			}
		}
	}
}

const commitAgain = time.Second

// commitFinally commits what is done on retired partitions: the last chance to, so it is tried until time is up.
func (s *session) commitFinally(owned []*partition) {
	ctx, cancel := context.WithTimeout(s.base, s.commitTimeout())
	defer cancel()
	wait := 50 * time.Millisecond
	for {
		err := s.commit(ctx, owned)
		if err == nil || errors.Is(err, errExpelled) {
			return
		}
		if wait *= 2; !pause(ctx, min(wait, time.Second)) {
			slog.Warn("progress was not committed and will be repeated", "group", s.cfg.Group, "error", err)
			return
		}
	}
}

// commitTimeout leaves a revocation half of what draining left of the rebalance timeout, and never too little for a
// request.
func (s *session) commitTimeout() time.Duration {
	return min(max(time.Second, (s.cfg.RebalanceTimeout-s.cfg.DrainTimeout)/2), 5*time.Second)
}

// commit commits how far partitions are done, in one request; nil if there was nothing to or all of it is committed.
//
// An error falls in one of three classes. What may pass (a coordinator that moves or loads) is tried again. So is what
// may have been done or not (a timeout, a broken connection): to commit the same once more does no harm. But a member that
// is none any more must drop what it has: its partitions are somebody else's, who may be further.
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
	// The client signs a commit with the membership that it has when it sends it. A member that was expelled and joined
	// again would be believed. So the request is looked at last.
	ctx = kgo.PreCommitFnContext(ctx, func(req *kmsg.OffsetCommitRequest) error {
		if req.MemberID != s.name() {
			return errExpelled
		}
		return nil
	})
	var failed error
	s.client.CommitOffsetsSync(ctx, due, func(client *kgo.Client, req *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		s.meter.OnCommit(client, req, resp, err)
		if failed = err; err == nil {
			failed = s.committed(due, req, resp)
		}
	})
	if errors.Is(failed, kerr.UnknownMemberID) || errors.Is(failed, errExpelled) {
		failed = fmt.Errorf("%w: %w", errExpelled, failed)
		s.end(failed)
	}
	return failed
}

// due is what is done and not committed.
func (s *session) due(owned []*partition) map[string]map[int32]kgo.EpochOffset {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.uncommitted = 0
	due := map[string]map[int32]kgo.EpochOffset{}
	for _, p := range owned {
		if s.owned[p.topicPartition] != p || p.tracker.prefix.Offset <= p.committed {
			continue
		}
		if due[p.topic] == nil {
			due[p.topic] = map[int32]kgo.EpochOffset{}
		}
		due[p.topic][p.partition] = p.tracker.prefix
	}
	return due
}

// committed takes note of the answer to a commit, partition by partition: the request may succeed and a partition fail.
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
				p.committed = due[topic][a.Partition].Offset
			}
		}
	}
	return failed
}

// A tracker knows which records of a partition are done with, and how far that goes without a gap. It goes by the
// records that were received, one after the other, and not by their offsets: where offsets are missing (compacted,
// aborted, taken by the end of a transaction) there is nothing to wait for.
type tracker struct {
	entries []entry // received and not behind the prefix, oldest first
	first   int     // the number of the first of them
	prefix  kgo.EpochOffset
}

type entry struct {
	offset int64
	epoch  int32
	done   bool
}

func newTracker() tracker { return tracker{prefix: kgo.EpochOffset{Epoch: -1, Offset: -1}} }

// add takes a record in and returns its number.
func (t *tracker) add(r *kgo.Record) int {
	t.entries = append(t.entries, entry{r.Offset, r.LeaderEpoch, false})
	return t.first + len(t.entries) - 1
}

// done takes note that a record is done with, and returns by how many records the prefix grows.
func (t *tracker) done(number int) int {
	t.entries[number-t.first].done = true
	n := 0
	for n < len(t.entries) && t.entries[n].done {
		n++
	}
	if n == 0 {
		return 0
	}
	last := t.entries[n-1]
	// The offset after it, which is the next one to read: Kafka counts what is still to do.
	t.prefix = kgo.EpochOffset{Epoch: last.epoch, Offset: last.offset + 1}
	t.first += n
	if t.entries = t.entries[n:]; len(t.entries) == 0 {
		t.entries = t.entries[:0]
	}
	return n
}

// open is how many records are not behind the prefix.
func (t *tracker) open() int { return len(t.entries) }
