package lesson09

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
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
	headSince time.Time           // since when the same record is the first that is not done with
	queue     []*span             // received and not handed out yet
	again     []attempt           // to be handed out again, now
	waiting   map[int]*time.Timer // until then, by number
	committed int64

	inLine   bool
	full     bool          // the window is
	paused   bool          // the client does not fetch it
	lookedAt int           // where the tracker was when the poll loop looked at a full window
	busy     int           // workers that have a record of it
	retired  atomic.Bool   // nothing more is handed out; set under the lock
	idle     chan struct{} // closed when a retired partition's last call returned
}

// A span is records that were received together. Workers take them one by one, in order, without the lock.
type span struct {
	number  int // the first one's in the tracker
	records []*kgo.Record
	taken   atomic.Int32 // how many, at least
}

// take takes the next record up and says which it is; there may be none.
func (s *span) take() (n int, ok bool) {
	n = int(s.taken.Add(1)) - 1
	return n, n < len(s.records)
}

type attempt struct {
	number int // in the tracker
	record *kgo.Record
	tries  int // that failed
}

// A run is what a worker hands over before it takes the lock again. Each record is published as it is done, so that
// whoever holds the lock can count it at once, although the worker may be busy with the next one for hours.
type run struct {
	p       *partition // nil: the worker has none
	span    *span
	begun   time.Time
	current int // which of the span is in work, to the worker alone

	finished [runLength]finish
	done     atomic.Int32 // how many are finished, by the worker
	settled  int          // how many are acknowledged, under the lock
}

// A finish is a record that is done with.
type finish struct {
	which int // of the span
	at    time.Time
}

// A run ends after so many records, or when it has lasted for so long: others may wait.
const (
	runLength = 128
	runTime   = time.Millisecond
)

// begin begins a run with the next record of a span.
func (r *run) begin(p *partition, records *span) (ok bool) {
	if r.current, ok = records.take(); ok {
		r.p, r.span, r.begun, r.settled = p, records, time.Now(), 0
		r.done.Store(0)
		p.busy++
	}
	return ok
}

// waits reports whether p has something to hand out.
func (p *partition) waits() bool {
	for len(p.queue) > 0 && int(p.queue[0].taken.Load()) >= len(p.queue[0].records) {
		p.queue[0] = nil
		p.queue = p.queue[1:]
	}
	return len(p.again)+len(p.queue) > 0
}

// lineUp puts p in line if it has something to hand out, and wakes a worker: each that comes wakes another one if there
// is more.
func (s *session) lineUp(p *partition) {
	if p.inLine || p.retired.Load() || !p.waits() {
		return
	}
	p.inLine = true
	s.line = append(s.line, p)
	s.toDo.Signal()
}

// next begins a run with what is first in the line: one partition after the other, so that none with a long queue keeps
// the others waiting, and what comes again before what is new.
func (s *session) next(r *run) (a attempt, ok bool) {
	p := s.line[0]
	if s.line[0] = nil; len(s.line) == 1 {
		s.line = s.line[:0]
	} else {
		s.line = s.line[1:]
	}
	p.inLine = false
	switch {
	case p.retired.Load() || !p.waits():
	case len(p.again) > 0:
		a, p.again = p.again[0], p.again[1:]
		ok = r.begin(p, &span{number: a.number, records: []*kgo.Record{a.record}})
	default:
		ok = r.begin(p, p.queue[0])
	}
	s.lineUp(p)
	return a, ok
}

// work hands records over. There are Concurrency workers, and any of them takes any record.
func (s *session) work(r *run) {
	series := s.meter.Series()
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for len(s.line) == 0 && !s.closed {
			s.toDo.Wait()
		}
		if s.closed {
			return
		}
		a, ok := s.next(r)
		if !ok {
			continue
		}
		if len(r.span.records) > 1 {
			signal(s.progress) // soon; nobody will say so while the run lasts
		}
		s.mu.Unlock()
		err := s.handOver(r, a, series)
		s.mu.Lock()

		p := r.p
		s.settleAll()
		if err != nil && p.ctx.Err() == nil { // being told to stop is no failure
			s.nack(p, attempt{r.span.number + r.current, r.span.records[r.current], a.tries}, err)
		}
		s.lineUp(p)
		r.p, r.span = nil, nil
		if p.busy--; p.busy == 0 && p.idle != nil {
			close(p.idle)
			p.idle = nil
		}
	}
}

// handOver gives the records of a run to the handler, one after the other, until its first error, or the run has lasted
// for long enough.
func (s *session) handOver(r *run, a attempt, series *meter.Series) error {
	if a.tries > 0 {
		s.meter.Retried(a.record)
	}
	series.Begin(r.span.records[r.current:])
	defer series.End()
	for n := 0; ; {
		if err := call(r.p.ctx, s.cfg.Group, r.span.records[r.current], s.handle); err != nil {
			return err
		}
		now := series.Done()
		r.finished[n] = finish{r.current, now}
		n++
		r.done.Store(int32(n))
		if enough := s.finished.Add(1) == int64(s.cfg.CommitEvery); enough || n == runLength || now.Sub(r.begun) >= runTime || r.p.retired.Load() {
			return nil
		}
		next, ok := r.span.take()
		if !ok {
			return nil
		}
		if next != r.current+1 { // others have taken what is in between
			series.Begin(r.span.records[next:])
		}
		r.current = next
	}
}

// settleAll acknowledges what the runs have done.
func (s *session) settleAll() {
	for _, r := range s.runs {
		if r.p == nil {
			continue
		}
		for done := int(r.done.Load()); r.settled < done; r.settled++ {
			f := &r.finished[r.settled]
			s.ack(r.p, r.span.number+f.which, f.at)
		}
	}
}

// ack takes note that a record is done with.
func (s *session) ack(p *partition, number int, at time.Time) {
	n := p.tracker.done(number)
	if n == 0 {
		return // something before it is not: it waits
	}
	p.headSince = at
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
	if a.tries == 0 { // once a record: a poison pill must not fill the log as well
		slog.Warn("handler failed", "group", s.cfg.Group, "topic", p.topic, "partition", p.partition, "offset", a.record.Offset,
			"error", meter.Redact(err.Error(), a.record), "again", after)
	}
	a.tries++
	s.meter.Waiting(a.record, time.Now().Add(after))
	if p.retired.Load() {
		return // it is somebody else's to handle
	}
	p.waiting[a.number] = time.AfterFunc(after, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(p.waiting, a.number)
		if !p.retired.Load() {
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
		p.retired.Store(true)
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
		for _, t := range p.waiting {
			t.Stop() // it may be due in days, and holds on to all of this
		}
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
		if s.running() {
			signal(s.progress)
		}
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

// running reports whether a run is under way that does not say when it gets on.
func (s *session) running() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.runs, func(r *run) bool { return r.p != nil && len(r.span.records) > 1 })
}

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
	s.settleAll()
	s.uncommitted = 0
	s.finished.Store(0)
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
func (s *session) committed(due map[string]map[int32]kgo.EpochOffset, req *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse) (failed error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	meter.EachCommit(req, resp, func(topic string, partition int32, err error) {
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("commit of %s/%d: %w", topic, partition, err))
		} else if p := s.owned[topicPartition{topic, partition}]; p != nil {
			p.committed = due[topic][partition].Offset
		}
	})
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

// add takes records in and returns the number of the first.
func (t *tracker) add(records []*kgo.Record) int {
	number := t.first + len(t.entries)
	for _, r := range records {
		t.entries = append(t.entries, entry{r.Offset, r.LeaderEpoch, false})
	}
	return number
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
