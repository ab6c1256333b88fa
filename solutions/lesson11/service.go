package lesson11

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"text/template"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-katas/kafka-katas/ops"
	"github.com/kafka-katas/kafka-katas/ops/meter"
)

// Parts are what a service works with.
type Parts struct {
	Channels  map[string]Channel           // by the names Email, SMS, Push; a channel without one is not used
	Templates map[string]map[string]string // by Trigger.Template and channel; the syntax is text/template's, see View
	Audience  Audience                     // nil: triggers with an audience are dead-lettered
}

// Service is one member of the service that tells users what happened. Its methods are safe for concurrent use.
//
// It works in two stages, with a topic for each channel and priority between them. The planner reads triggers and writes
// a task for each user and channel; each channel reads its own tasks in a consumer group of its own, so that a provider
// that is slow or down holds up nobody else. What must survive a crash or a rebalance is in the log, a compacted topic.
type Service struct {
	cfg       Config
	parts     Parts
	templates map[string]*template.Template // by template and channel
	opts      []kgo.Opt
	meter     *meter.Meter

	mu      sync.Mutex // guards what follows, for work in memory alone
	started bool
	paused  bool
	intakes []*intake
}

// New makes a service. It returns what Validate says of cfg, and an error for a channel or template that is not known or
// does not parse, or an option that the client refuses. It does not wait for the network.
//
// opts are the client's own: brokers, dialer, TLS, SASL, client id, hooks. What cfg decides opts cannot change.
func New(cfg Config, parts Parts, opts ...kgo.Opt) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Service{cfg: cfg, parts: parts, opts: opts, templates: map[string]*template.Template{}}
	if len(parts.Channels) == 0 {
		return nil, errors.New("channels are empty: at least one is needed")
	}
	for name, channel := range parts.Channels {
		if !slices.Contains([]string{Email, SMS, Push}, name) || channel == nil {
			return nil, fmt.Errorf("channel %q is not one of email, sms, push, or is nil", name)
		}
	}
	for name, texts := range parts.Templates {
		for channel, text := range texts {
			t, err := template.New(name + "/" + channel).Option("missingkey=error").Parse(text)
			if err != nil {
				return nil, fmt.Errorf("template %s of channel %s: %w", name, channel, err)
			}
			s.templates[t.Name()] = t
		}
	}
	s.meter = meter.New(meter.Config{Group: "planner-" + cfg.Group, HeartbeatInterval: cfg.HeartbeatInterval, StallAfter: cfg.StallAfter, MaxErrorGroups: cfg.MaxErrorGroups, MaxErrorSamples: cfg.ErrorSamples})
	if err := kgo.ValidateOpts(s.producing()...); err != nil {
		return nil, fmt.Errorf("client options: %w", err)
	}
	return s, nil
}

// common are the options that every client begins with: what the user may change, the user's, and then ours, since the
// later one counts. A partition that is assigned or resumed waits until an idle fetch comes back: by default 5 s.
func (s *Service) common() []kgo.Opt {
	return slices.Concat([]kgo.Opt{kgo.FetchMaxWait(500 * time.Millisecond)}, s.opts, s.meter.Opts())
}

// producing are the options of the client that reads the tables and writes everything.
func (s *Service) producing() []kgo.Opt {
	t := s.cfg.Topics
	return append(s.common(),
		kgo.ConsumeTopics(t.Preferences, t.Log, t.Status),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), // or the end of a table that ends with a transaction's marker is never reached
		kgo.ProducerLinger(0),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)), // one user's tasks are in partitions of one number
		kgo.UnknownTopicRetries(-1),                          // a topic that is missing is waited for, and nothing is skipped
		kgo.RecordRetries(20),                                // and then insist pauses: the client asks for a producer id without a pause
		kgo.RecordDeliveryTimeout(s.cfg.DrainTimeout),
	)
}

// Run works until ctx ends. Then it takes no more records, lets sends under way finish (DrainTimeout, after which they
// are cancelled), sends the digests that wait, commits, leaves its groups, and returns nil. Kafka being down, and
// anything else that may pass, is waited for and shown by Health. Run may be called once.
func (s *Service) Run(ctx context.Context) error {
	s.mu.Lock()
	before := s.started
	s.started = true
	s.mu.Unlock()
	if before {
		return errors.New("Run was called before: a service runs once")
	}
	base, cut := context.WithCancel(context.WithoutCancel(ctx)) // outlives ctx: for what has to be finished
	defer cut()
	tables, err := s.openTables(base)
	if err != nil {
		return err
	}
	defer tables.close()

	intakes := []*intake{newPlanner(s, tables), newReceiver(s, tables)}
	for _, name := range slices.Sorted(maps.Keys(s.parts.Channels)) {
		intakes = append(intakes, newSender(s, tables, name))
	}
	for _, in := range intakes {
		if err := in.open(base); err != nil {
			for _, opened := range intakes {
				opened.close()
			}
			return err
		}
	}
	s.mu.Lock()
	s.intakes = intakes
	if s.paused {
		s.pauseAll()
	}
	s.mu.Unlock()
	s.meter.Started()
	var all sync.WaitGroup
	for _, in := range intakes {
		all.Go(func() { in.run(ctx) })
	}
	all.Wait()
	s.meter.Stopped(nil)
	return nil
}

// Stats returns a consistent snapshot, from memory. Records of all topics are in it. A trigger that has become tasks, a
// task that was sent, and a receipt that was news are Processed. What is not to be sent (skipped, expired, recognised, refused)
// and a receipt that was no news are Filtered; what was deferred or waits in a digest is Parked. Errors has the failed
// sends, and the refused ones.
//
// Extra counts messages, by channel ("email_sent"): sent, retried, throttled, refused, deferred, deduplicated, expired,
// dead, and skipped_ with a reason: opted_out, no_address. The planner counts skipped_unknown_user,
// skipped_bad_preferences and expired.
func (s *Service) Stats() ops.Stats { return s.meter.Stats() }

// ResetStats starts a new period, as [ops.Controls] describes.
func (s *Service) ResetStats() { s.meter.ResetStats() }

// Health answers from memory. To what the meter checks it adds one check for each channel, "channel_email", on
// readiness: its provider is not taken to be down.
func (s *Service) Health() ops.Health { return s.meter.Health() }

// Pause stops taking records in. What is in hand, deferred or in a digest goes on.
func (s *Service) Pause() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paused = true
	s.pauseAll()
	s.meter.SetPaused(true)
}

func (s *Service) pauseAll() {
	for _, in := range s.intakes {
		in.client.PauseFetchTopics(in.topics...)
	}
}

// Resume ends a pause.
func (s *Service) Resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paused = false
	for _, in := range s.intakes {
		in.client.ResumeFetchTopics(in.topics...)
	}
	s.meter.SetPaused(false)
}

// An intake is one consumer group of the service. It hands records to a stage, each of which is done with in its own
// time, and commits of each partition what is done with from its front on.
type intake struct {
	*Service
	tables *tables
	group  string
	topics []string
	client *kgo.Client
	base   context.Context

	take   func(*item)                           // takes an item over, without blocking
	adopt  func(*part)                           // a partition is new, and the tables are caught up; may be nil
	settle func(ctx context.Context, of []*part) // partitions are given up, or lost if ctx has ended; may be nil
	work   func(ctx context.Context, in *intake) // runs along with the intake; may be nil

	mu         sync.Mutex
	owned      map[partitionID]*part
	member     string // under which they are owned
	helpers    sync.WaitGroup
	committing chan struct{} // full while a commit is under way
}

type partitionID struct {
	topic  string
	number int32
}

// A part is one ownership of a partition. What belongs to an older one finds it gone.
type part struct {
	partitionID
	in        *intake
	ctx       context.Context // ends when the partition is gone and its work has had its time
	cancel    context.CancelFunc
	window    []*item // in order of offset, from the first that is not done with
	next      int64   // what to commit; -1 is nothing yet
	committed int64
	ready     bool // the tables are caught up
	paused    bool
	gone      bool
	working   int
	idle      chan struct{} // not nil while somebody waits for working to be 0
	timers    map[*item]*time.Timer
}

// An item is a record in hand, or one that was parked and has no record any more.
type item struct {
	part    *part
	record  *kgo.Record // nil if it was parked
	place   int64       // the offset of its task, also of one that was parked
	fresh   bool        // preferences are at least as new as the record
	offered bool
	done    bool

	task       Task // of a sender
	id         string
	attempts   int
	collecting bool // it has been in a digest's queue before
	digest     *digest
}

func (s *Service) newIntake(t *tables, name string, topics ...string) *intake {
	return &intake{
		Service: s, tables: t, group: name + "-" + s.cfg.Group, topics: topics,
		owned: map[partitionID]*part{}, committing: make(chan struct{}, 1),
	}
}

func (in *intake) open(base context.Context) error {
	cfg := in.cfg
	in.base = base
	opts := append(in.common(),
		kgo.ConsumerGroup(in.group),
		kgo.ConsumeTopics(in.topics...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.SessionTimeout(cfg.SessionTimeout),
		kgo.HeartbeatInterval(cfg.HeartbeatInterval),
		kgo.RebalanceTimeout(cfg.RebalanceTimeout),
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(), // what was polled reaches the ownership that it was polled for
		kgo.OnPartitionsAssigned(in.assigned),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, gone map[string][]int32) { in.giveUp(gone, false) }),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, gone map[string][]int32) { in.giveUp(gone, true) }),
	)
	var err error
	if in.client, err = kgo.NewClient(opts...); err != nil {
		return fmt.Errorf("client of group %s: %w", in.group, err)
	}
	return nil
}

func (in *intake) close() {
	if in.client != nil {
		in.client.Close()
	}
}

// run consumes until ctx ends, and then winds up.
func (in *intake) run(ctx context.Context) {
	busy, stop := context.WithCancel(in.base)
	if in.work != nil {
		in.helpers.Go(func() { in.work(busy, in) })
	}
	in.helpers.Go(func() { in.commitRegularly(busy) })
	for ctx.Err() == nil {
		fetches := in.client.PollRecords(ctx, in.portion())
		if fetches.IsClientClosed() {
			break
		}
		in.meter.Polled(fetches)
		items := in.accept(fetches)
		in.client.AllowRebalance()
		if len(items) == 0 {
			if len(fetches.Errors()) > 0 { // the client asks again at once, as long as the error stands
				pause(ctx, 250*time.Millisecond)
			}
			continue
		}
		// Whatever a user decided before a record was written is known before the record is looked at.
		if in.tables.catchUp(ctx) != nil {
			break
		}
		in.mu.Lock()
		for _, it := range items {
			it.fresh = true
		}
		in.mu.Unlock()
		in.offer(items)
	}
	in.client.AllowRebalance()
	in.giveUp(in.all(), false)
	stop()
	goodbye, done := context.WithTimeout(in.base, 5*time.Second)
	defer done()
	if err := in.client.LeaveGroupContext(goodbye); err != nil {
		slog.Warn("could not leave the group, its session has to time out", "group", in.group, "error", err)
	}
	in.client.Close()
	in.helpers.Wait()
}

func (in *intake) all() map[string][]int32 {
	in.mu.Lock()
	defer in.mu.Unlock()
	all := map[string][]int32{}
	for id := range in.owned {
		all[id.topic] = append(all[id.topic], id.number)
	}
	return all
}

// portion is how many records are polled at once: half of what a partition may have in memory.
func (in *intake) portion() int { return max(1, in.cfg.MaxQueued/2) }

// accept puts records into their partition's window. A partition that has no room for another portion is not fetched for
// a while. Pausing and resuming take place under the lock, which is work in memory: in the other order a partition would
// stay paused.
func (in *intake) accept(fetches kgo.Fetches) (items []*item) {
	full := map[string][]int32{}
	in.mu.Lock()
	defer in.mu.Unlock()
	fetches.EachPartition(func(f kgo.FetchTopicPartition) {
		p := in.owned[partitionID{f.Topic, f.Partition}]
		if p == nil {
			return
		}
		for _, r := range f.Records {
			it := &item{part: p, record: r, place: r.Offset}
			p.window = append(p.window, it)
			items = append(items, it)
		}
		if len(p.window)+in.portion() > in.cfg.MaxQueued && !p.paused {
			p.paused = true
			full[f.Topic] = append(full[f.Topic], f.Partition)
		}
	})
	if len(full) > 0 {
		in.client.PauseFetchPartitions(full)
	}
	return items
}

// offer hands items to the stage that are ready for it and have not been handed over.
func (in *intake) offer(items []*item) {
	for _, it := range items {
		in.mu.Lock()
		now := it.part.ready && it.fresh && !it.offered && !it.part.gone
		it.offered = it.offered || now
		in.mu.Unlock()
		if now {
			in.take(it)
		}
	}
}

// assigned begins ownerships. Their first item waits until the tables hold all that an earlier owner has written.
func (in *intake) assigned(_ context.Context, client *kgo.Client, added map[string][]int32) {
	in.meter.Assigned(added)
	in.mu.Lock()
	in.member, _ = client.GroupMetadata()
	in.mu.Unlock()
	for topic, numbers := range added {
		for _, number := range numbers {
			p := &part{partitionID: partitionID{topic, number}, in: in, next: -1, committed: -1, timers: map[*item]*time.Timer{}}
			p.ctx, p.cancel = context.WithCancel(in.base)
			in.mu.Lock()
			in.owned[p.partitionID] = p
			in.mu.Unlock()
			in.helpers.Go(func() {
				if in.tables.catchUp(p.ctx) != nil {
					return
				}
				if in.adopt != nil {
					in.adopt(p)
				}
				in.mu.Lock()
				p.ready = true
				waiting := slices.Clone(p.window)
				in.mu.Unlock()
				in.offer(waiting)
			})
		}
	}
}

// giveUp ends ownerships, in this order: begin nothing more, finish what is under way or cancel it, commit.
func (in *intake) giveUp(gone map[string][]int32, lost bool) {
	var parts []*part
	in.mu.Lock()
	for topic, numbers := range gone {
		for _, number := range numbers {
			if p := in.owned[partitionID{topic, number}]; p != nil {
				delete(in.owned, p.partitionID)
				p.gone = true
				for _, timer := range p.timers {
					timer.Stop()
				}
				p.timers = nil
				parts = append(parts, p)
			}
		}
	}
	in.mu.Unlock()
	if len(parts) == 0 {
		return
	}
	grace, done := context.WithTimeout(in.base, in.cfg.DrainTimeout)
	defer done()
	if lost {
		done()
	}
	for _, p := range parts {
		p.drain(grace)
	}
	if in.settle != nil {
		in.settle(grace, parts)
	}
	resumed := map[string][]int32{}
	for _, p := range parts {
		p.cancel()
		p.drain(context.WithoutCancel(grace))
		if p.paused {
			resumed[p.topic] = append(resumed[p.topic], p.number) // the client remembers a pause beyond an ownership
		}
	}
	in.client.ResumeFetchPartitions(resumed)
	if !lost {
		in.commit(parts)
	}
	in.meter.Revoked(gone)
}

// drain waits until nothing of the partition is under way.
func (p *part) drain(ctx context.Context) {
	p.in.mu.Lock()
	var idle chan struct{}
	if p.working > 0 {
		idle = make(chan struct{})
		p.idle = idle
	}
	p.in.mu.Unlock()
	if idle != nil {
		select {
		case <-idle:
		case <-ctx.Done():
		}
	}
}

// enter begins work on an item; false means that it is not ours any more.
func (it *item) enter() bool {
	in := it.part.in
	in.mu.Lock()
	defer in.mu.Unlock()
	if it.part.gone {
		return false
	}
	it.part.working++
	return true
}

// keep begins work on an item although its partition is given up.
func (it *item) keep() {
	in := it.part.in
	in.mu.Lock()
	defer in.mu.Unlock()
	it.part.working++
}

// leave ends work on an item without being done with it.
func (it *item) leave() {
	in := it.part.in
	in.mu.Lock()
	defer in.mu.Unlock()
	p := it.part
	p.working--
	if p.working == 0 && p.idle != nil {
		close(p.idle)
		p.idle = nil
	}
}

// finish ends work on an item that is done with: what became of it is on record, and its offset may be committed as soon
// as those before it may.
func (it *item) finish(o meter.Outcome) {
	if it.record != nil {
		in, p := it.part.in, it.part
		in.meter.Ended(it.record, o)
		in.mu.Lock()
		it.done = true
		for len(p.window) > 0 && p.window[0].done {
			p.next = p.window[0].record.Offset + 1
			p.window[0] = nil
			p.window = p.window[1:]
		}
		if p.paused && !p.gone && len(p.window) <= in.cfg.MaxQueued/2 {
			p.paused = false
			in.client.ResumeFetchPartitions(map[string][]int32{p.topic: {p.number}})
		}
		in.mu.Unlock()
	}
	it.leave()
}

// subject is the record that an item is about, for reports.
func (it *item) subject() *kgo.Record {
	if it.record != nil {
		return it.record
	}
	return &kgo.Record{Topic: it.part.topic, Partition: it.part.number, Offset: -1}
}

func (in *intake) commitRegularly(ctx context.Context) {
	for pause(ctx, in.cfg.CommitInterval) {
		in.commit(nil)
	}
}

// commit commits the finished front of these partitions, or of all that are owned, if it has advanced. What fails is
// committed the next time, if they are owned by then.
func (in *intake) commit(parts []*part) {
	in.committing <- struct{}{}
	defer func() { <-in.committing }()
	offsets := map[string]map[int32]kgo.EpochOffset{}
	in.mu.Lock()
	if parts == nil {
		parts = slices.Collect(maps.Values(in.owned))
	}
	member := in.member
	for _, p := range parts {
		if p.next > p.committed {
			if offsets[p.topic] == nil {
				offsets[p.topic] = map[int32]kgo.EpochOffset{}
			}
			offsets[p.topic][p.number] = kgo.EpochOffset{Epoch: -1, Offset: p.next}
		}
	}
	in.mu.Unlock()
	if len(offsets) == 0 {
		return
	}
	ctx, done := context.WithTimeout(in.base, 5*time.Second)
	defer done()
	// The client signs a commit with the membership that it has when it sends it. A member that was expelled and joined
	// again would be believed, so the request is looked at last.
	ctx = kgo.PreCommitFnContext(ctx, func(req *kmsg.OffsetCommitRequest) error {
		if req.MemberID != member {
			return fmt.Errorf("what member %q did is not %q's to commit", member, req.MemberID)
		}
		return nil
	})
	in.client.CommitOffsetsSync(ctx, offsets, func(_ *kgo.Client, req *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		if err != nil {
			in.meter.CommitFailed(err)
			return
		}
		in.mu.Lock()
		defer in.mu.Unlock()
		meter.EachCommit(req, resp, func(topic string, number int32, err error) {
			if err != nil {
				in.meter.CommitFailed(err)
				return
			}
			at := offsets[topic][number].Offset
			in.meter.Committed(topic, number, at)
			for _, p := range parts {
				if p.topic == topic && p.number == number {
					p.committed = at
				}
			}
		})
	})
}

// pause waits, unless ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
