package lesson08

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-katas/kafka-katas/ops"
	"github.com/kafka-katas/kafka-katas/ops/meter"
)

// Handler does the work for one record.
//
// The service calls it for one record of a partition at a time. nil means that the record is done with. An error, or a
// panic, is a failed attempt; its [Class] decides what comes of it. ctx ends when the partition has to be given up or the
// service has to stop and DrainTimeout has passed, and at once when the partition is lost: the handler must then return,
// and an error of it is no failure of the record. A record that comes from a retry topic or the parking topic has the
// timestamp of its origin again, and the headers that this package adds.
type Handler func(ctx context.Context, record *kgo.Record) error

// ErrTopics ends Run before any record is handled when a topic that the service writes to does not exist, or the parking
// topic has fewer partitions than the topic it serves. The error names it.
var ErrTopics = errors.New("a topic is missing or too small")

// Service consumes Topics and sees every record through: handled, or a dead letter. Its methods are safe for concurrent
// use.
type Service struct {
	cfg    Config
	handle Handler
	opts   []kgo.Opt
	meter  *meter.Meter
	gate   *gate // nil: no breaker
	chance *chance
	ran    atomic.Bool

	mu     sync.Mutex
	run    *session
	paused bool
}

// New makes a service that calls handle for each record. It returns what Validate says of cfg, and an error for a nil
// handler or an option that the client refuses. It does not wait for the network. opts are the client's own: brokers,
// dialer, TLS, SASL, client id, hooks. What cfg decides, opts cannot change.
func New(cfg Config, handle Handler, opts ...kgo.Opt) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if handle == nil {
		return nil, errors.New("handler is nil")
	}
	s := &Service{cfg: cfg, handle: handle, opts: slices.Clone(opts), chance: newChance(cfg.Retry)}
	s.meter = meter.New(meter.Config{
		Group: cfg.Group, StallAfter: cfg.StallAfter, MaxErrorGroups: cfg.MaxErrorGroups, MaxErrorSamples: cfg.ErrorSamples, Class: Class,
		Rules: []meter.Rule{{
			Name: "dead_letters", Threshold: cfg.Alert.Threshold, Window: cfg.Alert.Window, For: cfg.Alert.For,
			ResolveBelow: cfg.Alert.ResolveBelow, ResolveAfter: cfg.Alert.ResolveAfter,
		}},
	})
	if cfg.Breaker.Failures > 0 {
		s.gate = newGate(cfg.Breaker, s.meter)
	}
	if err := kgo.ValidateOpts((&session{Service: s}).options()...); err != nil {
		return nil, fmt.Errorf("client options: %w", err)
	}
	return s, nil
}

// Stats returns a snapshot of what the service did; see [ops.Stats]. A record that went to a retry topic or the parking
// topic is Parked there where it failed, and received again where it went. The alert is "dead_letters".
func (s *Service) Stats() ops.Stats { return s.meter.Stats() }

// Health says whether the process should live and whether it may be relied on; it answers from memory. Beside the
// meter's checks it has these, of readiness:
//
//	"handover"  records that have to be passed on (dead letters, retries) are accepted within 10 s
//	"breaker"   the breaker is closed; only with one
func (s *Service) Health() ops.Health { return s.meter.Health() }

// ResetStats starts a new period, as [ops.Controls] describes.
func (s *Service) ResetStats() { s.meter.ResetStats() }

// Pause stops fetching. Membership, the records in hand and their commits go on.
func (s *Service) Pause() { s.pause(true) }

// Resume ends a pause.
func (s *Service) Resume() { s.pause(false) }

func (s *Service) pause(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paused = on
	s.meter.SetPaused(on)
	if s.run != nil {
		s.run.pause(on)
	}
}

// Run joins the group and consumes until ctx ends. Then it takes no more records, ends every wait, lets the handlers
// finish (DrainTimeout, after which they are cancelled), commits, leaves the group, closes the client, and returns nil.
// It may be called once.
//
// It returns ErrTopics. Whatever may pass is waited for and shown by Health.
func (s *Service) Run(ctx context.Context) error {
	if s.ran.Swap(true) {
		return errors.New("Run may be called once")
	}
	s.meter.Started()
	err := s.consume(ctx)
	s.meter.Stopped(err)
	return err
}

func (s *Service) consume(ctx context.Context) error {
	run := &session{
		Service: s, base: context.WithoutCancel(ctx), parts: map[topicPartition]*partition{}, held: map[*partition]error{},
		begun: make(chan struct{}), ending: make(chan struct{}, 1), committing: make(chan struct{}, 1), room: make(chan struct{}, 1),
	}
	// A client whose context ends cannot finish what is in hand, and asks for its producer id without a pause until it is
	// closed; whoever gave it one meant Run's.
	client, err := kgo.NewClient(append(run.options(), kgo.WithContext(run.base))...)
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	defer client.CloseAllowingRebalance()
	s.mu.Lock()
	run.client, s.run = client, run
	run.pause(s.paused)
	s.mu.Unlock()
	close(run.begun)

	err = run.checkTopics(ctx)
	if err == nil {
		run.serve(ctx)
	}
	run.giveUp(nil, true)
	leaving, cancel := context.WithTimeout(run.base, 5*time.Second)
	defer cancel()
	if err := client.LeaveGroupContext(leaving); err != nil {
		slog.Warn("left the group without a word", "group", s.cfg.Group, "error", err)
	}
	run.giveUp(nil, false) // what was assigned in between
	return err
}

// serve polls until ctx ends, and commits meanwhile.
func (s *session) serve(ctx context.Context) {
	ticking, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.commitEvery(ticking, s.cfg.CommitInterval)
	}()
	s.poll(ctx)
	stop()
	<-done
}

type topicPartition struct {
	topic     string
	partition int32
}

// session is what belongs to one Run.
type session struct {
	*Service
	client *kgo.Client
	base   context.Context // of handlers and of the client: ends with neither Run's context nor anything else

	mu     sync.Mutex
	parts  map[topicPartition]*partition // owned; also parking partitions, which come with their source
	member string                        // under which parts were assigned

	holding sync.Mutex
	held    map[*partition]error // that cannot pass on what they have to

	begun      chan struct{} // closed when client is set: it joins, and calls back, before NewClient has returned
	ending     chan struct{} // full while partitions are given up; a channel, since it lasts
	committing chan struct{} // full while a commit is under way
	room       chan struct{} // a partition is no longer full
}

// options are the user's, then what the service decides: the later one counts.
func (s *session) options() []kgo.Opt {
	cfg := s.cfg
	topics := slices.Clone(cfg.Topics)
	if cfg.Mode == ModeTiers {
		topics = append(topics, cfg.RetryTopics...)
	}
	opts := slices.Concat(s.opts, s.meter.Opts(), producing(cfg), []kgo.Opt{
		kgo.ConsumerGroup(cfg.Group),
		kgo.ConsumeTopics(topics...),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), // a redrive is a transaction
		kgo.SessionTimeout(cfg.SessionTimeout),
		kgo.RebalanceTimeout(cfg.RebalanceTimeout),
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(), // what was polled reaches the partition that it was polled for
		kgo.OnPartitionsAssigned(s.assigned),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, tps map[string][]int32) { s.giveUp(tps, true) }),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, tps map[string][]int32) { s.giveUp(tps, false) }),
	})
	return opts
}

// producing is how whatever is passed on is produced. There is no RecordDeliveryTimeout: the client tries one record
// again without storing it twice, which a second Produce of it could not promise.
func producing(cfg Config) []kgo.Opt {
	return []kgo.Opt{
		kgo.ProducerLinger(0),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(partitioner{kgo.StickyKeyPartitioner(nil), cfg.ParkingTopic}),
	}
}

// partitioner keeps keys together, as the producer of the source did, except in the parking topic: there a record goes to
// the partition that it names, which is that of its source.
type partitioner struct {
	kgo.Partitioner
	parking string
}

func (p partitioner) ForTopic(topic string) kgo.TopicPartitioner {
	if topic == p.parking {
		return kgo.ManualPartitioner().ForTopic(topic)
	}
	return p.Partitioner.ForTopic(topic)
}

// checkTopics waits until Kafka says whether every topic is there that records are passed on to. Better now than with the
// first record that fails.
func (s *session) checkTopics(ctx context.Context) error {
	needed := []string{s.cfg.DeadLetterTopic}
	switch s.cfg.Mode {
	case ModeTiers:
		needed = append(needed, s.cfg.RetryTopics...)
	case ModeOrdered:
		needed = append(needed, s.cfg.ParkingTopic)
	}
	admin := kadm.NewClient(s.client)
	for {
		asking, cancel := context.WithTimeout(ctx, 10*time.Second)
		topics, err := admin.ListTopics(asking, append(needed, s.cfg.Topics...)...)
		cancel()
		for _, name := range needed {
			if err == nil && topics[name].Err != nil && !errors.Is(topics[name].Err, kerr.UnknownTopicOrPartition) {
				err = fmt.Errorf("topic %s: %w", name, topics[name].Err)
			}
		}
		s.meter.Check("handover", ops.Readiness, err)
		if err == nil {
			return s.judgeTopics(needed, topics)
		}
		slog.Warn("cannot check the topics yet", "error", err)
		if !sleep(ctx.Done(), time.Second) {
			return nil
		}
	}
}

func (s *session) judgeTopics(needed []string, topics kadm.TopicDetails) error {
	var problems []error
	for _, name := range needed {
		if !topics.Has(name) {
			problems = append(problems, fmt.Errorf("%w: %s does not exist", ErrTopics, name))
			continue
		}
		if source := s.cfg.Topics[0]; s.cfg.Mode == ModeOrdered && name == s.cfg.ParkingTopic {
			if has, needs := len(topics[name].Partitions), len(topics[source].Partitions); has < needs {
				problems = append(problems, fmt.Errorf("%w: %s has %d partitions, and %s has %d", ErrTopics, name, has, source, needs))
			}
		}
	}
	return errors.Join(problems...)
}

// poll hands records to their partitions until ctx ends. It never waits for a handler.
func (s *session) poll(ctx context.Context) {
	defer s.client.AllowRebalance()
	for s.awaitRoom(ctx); ctx.Err() == nil; s.awaitRoom(ctx) {
		fetches := s.client.PollRecords(ctx, s.cfg.MaxQueued)
		if ctx.Err() != nil {
			return
		}
		s.meter.Polled(fetches)
		fetches.EachPartition(func(f kgo.FetchTopicPartition) {
			if len(f.Records) == 0 {
				return
			}
			s.mu.Lock()
			p := s.parts[topicPartition{f.Topic, f.Partition}]
			s.mu.Unlock()
			if p != nil {
				p.add(f.Records)
			}
		})
		failed := false
		fetches.EachError(func(topic string, partition int32, err error) {
			failed = true
			slog.Warn("fetch failed", "topic", topic, "partition", partition, "error", err)
		})
		s.client.AllowRebalance()
		if failed && fetches.Empty() { // the client asks again at once, as long as the error stands
			sleep(ctx.Done(), 250*time.Millisecond)
		}
	}
}

// patience is how long the poll loop waits for a full partition before it pauses its fetching and goes on without it.
// Pausing throws away what the client has fetched ahead, so a partition that is only busy must not be paused; everybody
// else waits along, so one that waits must be.
const patience = 50 * time.Millisecond

// awaitRoom returns when no partition that is fetched is full.
func (s *session) awaitRoom(ctx context.Context) {
	var timeUp *time.Timer
	for {
		crowded := s.crowded()
		if len(crowded) == 0 {
			return
		}
		if timeUp == nil {
			timeUp = time.NewTimer(patience)
			defer timeUp.Stop()
		}
		select {
		case <-s.room:
		case <-ctx.Done():
			return
		case <-timeUp.C:
			for _, p := range crowded {
				p.pause()
			}
			return
		}
	}
}

// crowded are the partitions that are full and fetched all the same. Parking partitions have clients of their own.
func (s *session) crowded() (out []*partition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.parts {
		if p.role != parking && p.crowded() {
			out = append(out, p)
		}
	}
	return out
}

// handedOver says whether p can pass on what it has to. It is one check for all of them: what one can says nothing of the
// others, whose letters another broker may have to take.
func (s *session) handedOver(p *partition, err error) {
	s.holding.Lock()
	defer s.holding.Unlock()
	if err != nil {
		s.held[p] = err
	} else {
		delete(s.held, p)
	}
	for _, other := range s.held {
		err = other
	}
	s.meter.Check("handover", ops.Readiness, err)
}

func (s *session) pause(on bool) {
	do := (*kgo.Client).ResumeFetchTopics
	if on {
		do = func(c *kgo.Client, topics ...string) { c.PauseFetchTopics(topics...) }
	}
	do(s.client, append(slices.Clone(s.cfg.Topics), s.cfg.RetryTopics...)...)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.parts {
		if p.lane != nil {
			p.lane.pause(on)
		}
	}
}

// assigned begins ownerships.
func (s *session) assigned(_ context.Context, client *kgo.Client, tps map[string][]int32) {
	<-s.begun
	s.meter.Assigned(tps)
	s.Service.mu.Lock() // a pause that comes meanwhile has to find the lanes
	defer s.Service.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.member, _ = client.GroupMetadata()
	for topic, numbers := range tps {
		for _, number := range numbers {
			p := s.newPartition(topic, number)
			if slices.Contains(s.cfg.RetryTopics, topic) && s.cfg.Mode == ModeTiers {
				p.role = tier
			}
			s.parts[topicPartition{topic, number}] = p
			if s.cfg.Mode == ModeOrdered {
				p.lane = newLane(p, s.newPartition(s.cfg.ParkingTopic, number))
				p.lane.paused = s.paused
				s.meter.Assigned(p.lane.names())
				s.parts[topicPartition{s.cfg.ParkingTopic, number}] = p.lane.partition
				go p.lane.run()
			}
			go p.work()
		}
	}
}

// giveUp ends ownerships, of all partitions if tps is nil: no new work, the work in hand finished or cancelled, progress
// committed, everything forgotten, in this order. What is lost is somebody else's already: cancelled at once, and nothing
// committed.
func (s *session) giveUp(tps map[string][]int32, ours bool) {
	<-s.begun
	s.ending <- struct{}{}
	defer func() { <-s.ending }()

	s.mu.Lock()
	gone := map[topicPartition]*partition{}
	for tp, p := range s.parts {
		if tps == nil || slices.Contains(tps[tp.topic], tp.partition) {
			gone[tp] = p
			if p.lane != nil {
				gone[topicPartition{p.lane.topic, p.lane.number}] = p.lane.partition
			}
		}
	}
	s.mu.Unlock()
	cancel := func() {
		for _, p := range gone {
			p.cancel()
		}
	}
	for _, p := range gone {
		p.given.Store(!ours)
		close(p.stop)
	}
	if ours {
		defer time.AfterFunc(s.cfg.DrainTimeout, cancel).Stop()
	} else {
		cancel()
	}
	for _, p := range gone {
		<-p.finished
	}
	cancel()
	if ours {
		s.commitFor(gone, min(10*time.Second, (s.cfg.RebalanceTimeout-s.cfg.DrainTimeout)/2))
	}
	for _, p := range gone {
		p.given.Store(true)
	}

	names := map[string][]int32{}
	s.mu.Lock()
	for tp, p := range gone {
		if s.parts[tp] == p {
			delete(s.parts, tp)
		}
		names[tp.topic] = append(names[tp.topic], tp.partition)
		p.leave()
	}
	s.mu.Unlock()
	for _, p := range gone {
		s.handedOver(p, nil)
	}
	s.meter.Revoked(names)
}

// commitEvery commits what is done, by the clock.
func (s *session) commitEvery(ctx context.Context, interval time.Duration) {
	for sleep(ctx.Done(), interval) {
		s.mu.Lock()
		owned := make(map[topicPartition]*partition, len(s.parts))
		for tp, p := range s.parts {
			owned[tp] = p
		}
		s.mu.Unlock()
		asking, cancel := context.WithTimeout(ctx, 10*time.Second) // Kafka may hang; a stop must not wait for it
		err := s.commit(asking, owned)
		cancel()
		if err != nil {
			slog.Warn("commit failed; it is tried again", "group", s.cfg.Group, "error", err)
		}
	}
}

// commitFor tries for a while to commit the last of what was done; what cannot be committed comes again.
func (s *session) commitFor(parts map[topicPartition]*partition, d time.Duration) {
	ctx, cancel := context.WithTimeout(s.base, d)
	defer cancel()
	for {
		err := s.commit(ctx, parts)
		if err == nil {
			return
		}
		if errors.Is(err, errExpelled) || errors.Is(err, kerr.UnknownMemberID) || !sleep(ctx.Done(), 250*time.Millisecond) {
			slog.Warn("gave partitions up without a commit", "group", s.cfg.Group, "error", err)
			return
		}
	}
}

var errExpelled = errors.New("what was done is no longer this member's to commit")

// commit says how far these partitions are done with, where that is news.
func (s *session) commit(ctx context.Context, parts map[topicPartition]*partition) error {
	select {
	case s.committing <- struct{}{}:
		defer func() { <-s.committing }()
	case <-ctx.Done():
		return ctx.Err()
	}
	offsets := map[string]map[int32]kgo.EpochOffset{}
	for tp, p := range parts {
		if done := p.done.Load(); done > p.committed && !p.given.Load() {
			if offsets[tp.topic] == nil {
				offsets[tp.topic] = map[int32]kgo.EpochOffset{}
			}
			offsets[tp.topic][tp.partition] = kgo.EpochOffset{Epoch: -1, Offset: done}
		}
	}
	if len(offsets) == 0 {
		return nil
	}
	s.mu.Lock()
	member := s.member
	s.mu.Unlock()
	// The client signs a commit with the membership that it has when it sends it. A member that was expelled and joined
	// again would be believed, so the request is looked at last.
	ctx = kgo.PreCommitFnContext(ctx, func(req *kmsg.OffsetCommitRequest) error {
		if req.MemberID != member {
			return fmt.Errorf("%w: member %q is %q now", errExpelled, member, req.MemberID)
		}
		return nil
	})
	var failed error
	s.client.CommitOffsetsSync(ctx, offsets, func(c *kgo.Client, req *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		s.meter.OnCommit(c, req, resp, err)
		if failed = err; err != nil {
			return
		}
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				failed = errors.Join(failed, kerr.ErrorForCode(p.ErrorCode))
			}
		}
	})
	if failed != nil {
		return failed // some may have been taken; saying it again does no harm
	}
	for topic, ps := range offsets {
		for partition, at := range ps {
			parts[topicPartition{topic, partition}].committed = at.Offset
		}
	}
	return nil
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // it knows
	}
}

// sleep waits for d, and says whether it did: no, if done was closed first.
func sleep(done <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(max(d, 0))
	defer t.Stop()
	select {
	case <-done:
		return false
	case <-t.C:
		return true
	}
}
