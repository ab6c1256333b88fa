package lesson09

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/ops"
	"github.com/kafka-katas/kafka-katas/ops/meter"
)

// Handler does the work for one record, and its result is the acknowledgement.
//
// nil: the record is done with, and may be committed. [Nack]: it is not, and comes again when the Nack says so. Any other
// error, and a panic: it is not, and comes again after RetryAfter. The time runs from the end of the attempt.
//
// ctx ends when the partition has to be given up, or the process has to stop, and DrainTimeout has passed; and at once
// when the partition is lost. A handler must then return. The record belongs to the handler until it does.
type Handler func(ctx context.Context, record *kgo.Record) error

// Nack is the error of a handler that wants the record again after that long, at once if it is 0 or less. cause may be nil.
func Nack(after time.Duration, cause error) error { return &nack{max(0, after), cause} }

type nack struct {
	after time.Duration
	cause error
}

func (n *nack) Error() string {
	if n.cause == nil {
		return fmt.Sprintf("not done with: again in %v", n.after)
	}
	return fmt.Sprintf("%v (again in %v)", n.cause, n.after)
}

func (n *nack) Unwrap() error { return n.cause }

// Consumer is one member of a consumer group that works on several records of a partition at once and commits what is
// done. Its methods are safe for concurrent use.
//
// The committed offset of a partition is where the first record begins that is not done with: whatever is finished behind
// it has to wait. See [Config.Window] for how much.
type Consumer struct {
	cfg    Config
	handle Handler
	opts   []kgo.Opt
	meter  *meter.Meter

	mu      sync.Mutex // guards what follows, for work in memory alone: never held across a handler, a request or a wait
	started bool
	paused  bool
	session *session // nil while not running
}

// New makes a consumer that calls handle for each record. It returns what Validate says of cfg, and an error for a nil
// handler or an option that the client refuses. It does not wait for the network: a service starts while Kafka is down.
//
// opts are the client's own: brokers, dialer, TLS, SASL, client id, hooks. What cfg decides, and how offsets are
// committed, opts cannot change. Of transactions, only what was committed is read. A group without a commit begins at the
// oldest record.
func New(cfg Config, handle Handler, opts ...kgo.Opt) (*Consumer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if handle == nil {
		return nil, errors.New("handler is nil: must be a function")
	}
	cfg.Topics = slices.Clone(cfg.Topics) // the caller may go on to change his
	c := &Consumer{cfg: cfg, handle: handle, opts: opts, meter: newMeter(cfg, cfg.Group)}
	// The client itself is made by Run: it joins the group the moment it exists.
	if err := kgo.ValidateOpts(c.newSession(context.Background()).options()...); err != nil {
		return nil, fmt.Errorf("client options: %w", err)
	}
	return c, nil
}

func newMeter(cfg Config, group string) *meter.Meter {
	return meter.New(meter.Config{Group: group, StallAfter: cfg.StallAfter, MaxErrorGroups: cfg.MaxErrorGroups, MaxErrorSamples: cfg.ErrorSamples})
}

var errRunOnce = errors.New("Run was called before: a service runs once")

// Run joins the group and consumes until ctx ends. Then it takes no more records, lets the ones in work finish
// (DrainTimeout, after which they are cancelled), commits, leaves the group, closes the client, and returns nil.
//
// Whatever may pass is waited for and shown by Health: a broker that is down, a topic or group that may not be read. A
// member that the group has expelled commits nothing of its old life and joins anew. Run may be called once.
func (c *Consumer) Run(ctx context.Context) (err error) {
	c.mu.Lock()
	before := c.started
	c.started = true
	c.mu.Unlock()
	if before {
		return errRunOnce
	}
	c.meter.Started()
	defer func() { c.meter.Stopped(err) }()
	for {
		err := c.newSession(ctx).run()
		if ctx.Err() != nil {
			return nil
		}
		if !errors.Is(err, errExpelled) {
			return err
		}
		// Nothing that is left of a membership that may be over is worth trusting: not a position, not a queue, not the
		// client's idea of what it owns. Starting over repeats the uncommitted tail, as any crash does.
		slog.Warn("joining the group anew", "group", c.cfg.Group, "error", err)
	}
}

// Stats returns a snapshot of what the consumer did; see [ops.Stats]. A duplicate that an [Inbox] recognised is
// Processed, and counted in Extra beside it.
func (c *Consumer) Stats() ops.Stats { return c.meter.Stats() }

// ResetStats starts a new period, as [ops.Controls] describes.
func (c *Consumer) ResetStats() { c.meter.ResetStats() }

// Health says whether the process should live and whether it may be relied on; it answers from memory. The checks are
// those of [meter.Meter.Health], and
//
//	"window"    readiness: no record has held up its partition for StallAfter, failing or in work (then "progress" fails too)
func (c *Consumer) Health() ops.Health {
	c.meter.Check("window", ops.Readiness, c.heldUp())
	return c.meter.Health()
}

// heldUp names a partition whose commit does not get on although its records are received.
func (c *Consumer) heldUp() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session == nil {
		return nil
	}
	c.session.settleAll()
	for _, p := range c.session.owned {
		if p.tracker.open() > 0 && time.Since(p.headSince) >= c.cfg.StallAfter {
			return fmt.Errorf("%s: offset %d has held up its partition for %v, with %d records behind it", p, p.tracker.entries[0].offset, time.Since(p.headSince), p.tracker.open()-1)
		}
	}
	return nil
}

// Pause stops fetching, also of partitions that come later. Membership, the records in hand and their commits go on.
func (c *Consumer) Pause() { c.setPaused(true) }

// Resume ends a pause.
func (c *Consumer) Resume() { c.setPaused(false) }

func (c *Consumer) setPaused(paused bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.paused = paused
	c.meter.SetPaused(paused)
	if c.session == nil {
		return
	}
	if paused {
		c.session.client.PauseFetchTopics(c.cfg.Topics...)
	} else {
		c.session.client.ResumeFetchTopics(c.cfg.Topics...)
	}
}

// A session is one membership, from joining to leaving, with a client of its own.
type session struct {
	*Consumer
	ctx    context.Context // ends when the session has to
	end    context.CancelCauseFunc
	base   context.Context // outlives ctx: for what has to be finished
	client *kgo.Client
	member string // the name under which everything owned was assigned

	owned  map[topicPartition]*partition
	line   []*partition // those with records to hand out, first come first served
	toDo   sync.Cond
	runs   []*run // one for each worker
	closed bool   // workers go home

	finished    atomic.Int64  // records that were done since the last commit
	uncommitted int           // those that a commit would cover, as far as the runs are settled
	progress    chan struct{} // there is something to commit
	enough      chan struct{} // there are CommitEvery of it
	room        chan struct{} // a full partition has room again
	committing  chan struct{} // full while a commit is under way; a channel, since it lasts
}

func (c *Consumer) newSession(ctx context.Context) *session {
	s := &session{
		Consumer:   c,
		base:       context.WithoutCancel(ctx),
		owned:      map[topicPartition]*partition{},
		progress:   make(chan struct{}, 1),
		enough:     make(chan struct{}, 1),
		room:       make(chan struct{}, 1),
		committing: make(chan struct{}, 1),
	}
	s.ctx, s.end = context.WithCancelCause(ctx)
	s.toDo.L = &c.mu
	for range c.cfg.Concurrency {
		s.runs = append(s.runs, new(run))
	}
	return s
}

// fetchWait bounds, unless the user's options say otherwise, how long a fetch waits for records that there are none of.
// A partition that is resumed, or comes, is not fetched before the fetch that is under way returns.
const fetchWait = 500 * time.Millisecond

// options are the user's, then what the consumer decides: the later one counts.
func (s *session) options() []kgo.Opt {
	cfg := s.cfg
	return slices.Concat([]kgo.Opt{kgo.FetchMaxWait(fetchWait)}, s.opts, s.meter.Opts(), []kgo.Opt{
		kgo.ConsumerGroup(cfg.Group),
		kgo.ConsumeTopics(cfg.Topics...),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), // what is aborted has never been
		kgo.SessionTimeout(cfg.SessionTimeout),
		kgo.HeartbeatInterval(min(3*time.Second, cfg.SessionTimeout/3)),
		kgo.RebalanceTimeout(cfg.RebalanceTimeout),
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.DisableAutoCommit(), // the client knows what was polled, not what is done
		// So that records that a poll returned belong to the owners of that moment.
		kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(s.assigned),
		kgo.OnPartitionsRevoked(s.revoked),
		kgo.OnPartitionsLost(s.lost),
		kgo.AdjustFetchOffsetsFn(s.meter.Placed),
	})
}

var (
	errExpelled = errors.New("the group may have expelled this member")
	errRevoked  = errors.New("the partition has to be given up and its drain timeout has passed")
	errLost     = errors.New("the partition was lost")
	errStopping = errors.New("the consumer stops and its drain timeout has passed")
	errNotOwned = errors.New("the partition is owned no longer")
)

// run consumes until the session has to end, and says why; nil if it was asked to.
func (s *session) run() error {
	defer s.end(nil)
	cut, cancel := context.WithCancel(s.base)
	defer cancel()
	client, err := kgo.NewClient(append(s.options(), kgo.WithContext(cut))...)
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	c := s.Consumer
	c.mu.Lock()
	s.client = client
	c.session = s
	if c.paused {
		client.PauseFetchTopics(c.cfg.Topics...)
	}
	c.mu.Unlock()

	var helpers sync.WaitGroup
	for _, r := range s.runs {
		helpers.Go(func() { s.work(r) })
	}
	helpers.Go(s.commitRegularly)
	s.poll()

	why := context.Cause(s.ctx)
	owned := s.all()
	if errors.Is(why, errExpelled) {
		s.retire(owned, 0, errLost)
	} else {
		s.retire(owned, s.cfg.DrainTimeout, errStopping)
	}
	// While the client waits to join, it lets no commit through, whatever context that has. It waits for as long as the
	// network is away.
	defer time.AfterFunc(2*s.commitTimeout(), cancel).Stop()
	if !errors.Is(why, errExpelled) {
		s.commitFinally(owned)
	}
	s.forget(owned)
	c.mu.Lock()
	c.session = nil
	s.closed = true
	s.toDo.Broadcast()
	c.mu.Unlock()
	helpers.Wait()
	leave(s.base, client, cancel, s.cfg)
	return why
}

// leave says goodbye, so that the partitions move at once, and closes the client. A cluster out of reach is told by the
// session timeout as well.
func leave(base context.Context, client *kgo.Client, cut context.CancelFunc, cfg Config) {
	ctx, done := context.WithTimeout(base, goodbye)
	defer done()
	client.AllowRebalance()
	if err := client.LeaveGroupContext(ctx); err != nil {
		slog.Warn("could not leave the group, its session has to time out", "group", cfg.Group, "error", err)
	}
	if ctx.Err() != nil {
		cut() // or Close would wait for a group that does not answer
	}
	client.CloseAllowingRebalance()
}

const goodbye = 5 * time.Second

// poll hands what was fetched to its partitions, until the session ends.
func (s *session) poll() {
	for {
		limit := s.awaitRoom()
		if s.ctx.Err() != nil {
			return
		}
		fetches := s.client.PollRecords(s.ctx, limit)
		s.meter.Polled(fetches)
		s.accept(fetches)
		s.client.AllowRebalance()
		if len(fetches.Errors()) > 0 && fetches.NumRecords() == 0 {
			pause(s.ctx, fetchAgain) // a refusal comes back at once, for as long as it stands
		}
	}
}

const fetchAgain = time.Second

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

// accept queues what a poll returned, without blocking.
func (s *session) accept(fetches kgo.Fetches) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settleAll()
	fetches.EachPartition(func(f kgo.FetchTopicPartition) {
		p := s.owned[topicPartition{f.Topic, f.Partition}]
		if p == nil || p.retired.Load() || len(f.Records) == 0 {
			return
		}
		if p.tracker.open() == 0 {
			p.headSince = now
		}
		p.queue = append(p.queue, &span{number: p.tracker.add(f.Records), records: f.Records})
		p.full = p.full || p.tracker.open() >= s.cfg.Window
		s.lineUp(p)
	})
}

// patience is how often the poll loop looks whether a full partition gets on. One that is only busy is waited for:
// pausing it throws away what the client has fetched ahead, and the fetch that brings it back waits for the one that is
// under way for the others. One that is held up is paused, since everybody else waits along.
const patience = 50 * time.Millisecond

// awaitRoom returns when no partition that is fetched is full, and how many records the next poll may bring.
func (s *session) awaitRoom() int {
	if s.crowded() {
		look := time.NewTicker(patience)
		defer look.Stop()
		for waiting := true; waiting; {
			select {
			case <-s.room:
				waiting = s.crowded()
			case <-look.C:
				waiting = s.getsOn()
			case <-s.ctx.Done():
				waiting = false
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	most := 0
	for _, p := range s.owned {
		s.throttle(p)
		open := p.tracker.open()
		if p.paused { // it may be resumed with this many while the poll waits
			open = s.cfg.Window / 4
		}
		most = max(most, open)
	}
	return max(1, s.cfg.Window-most) // any partition may bring all of them
}

// crowded reports whether a partition is full although it is fetched.
func (s *session) crowded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settleAll()
	crowded := false
	for _, p := range s.owned {
		if p.full && !p.paused {
			crowded = true
			p.lookedAt = p.tracker.first
		}
	}
	return crowded
}

// getsOn reports whether each full partition is done with so much since it was last looked at that it has room soon.
func (s *session) getsOn() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settleAll()
	for _, p := range s.owned {
		if p.full && !p.paused {
			if p.tracker.first-p.lookedAt <= s.cfg.Window/8 {
				return false
			}
			p.lookedAt = p.tracker.first
		}
	}
	return true
}

// throttle pauses or resumes fetching of one partition. Others go on.
func (s *session) throttle(p *partition) {
	if p.paused == p.full {
		return
	}
	p.paused = p.full
	these := map[string][]int32{p.topic: {p.partition}}
	if p.paused {
		s.client.PauseFetchPartitions(these)
	} else {
		s.client.ResumeFetchPartitions(these)
	}
}

// assigned begins the ownership of partitions. The client fetches none of them before it returns.
func (s *session) assigned(_ context.Context, client *kgo.Client, added map[string][]int32) {
	s.meter.Assigned(added)
	member, generation := client.GroupMetadata()
	s.mu.Lock()
	defer s.mu.Unlock()
	if member != s.member && len(s.owned) > 0 {
		// The group expelled us and the client joined again by itself, under a new name. What it kept it did not keep:
		// others may have owned it in between, and committed further than we are.
		s.end(fmt.Errorf("%w: it was %s and is %s", errExpelled, s.member, member))
		return
	}
	s.member = member
	for topic, numbers := range added {
		for _, number := range numbers {
			tp := topicPartition{topic, number}
			p := &partition{topicPartition: tp, tracker: newTracker(), waiting: map[int]*time.Timer{}, committed: -1}
			p.ctx, p.cancel = context.WithCancelCause(s.base)
			p.ctx = (&owner{fenceKey: "owner of " + tp.String() + " in " + s.cfg.Group, epoch: int64(generation), count: s.meter.Count}).in(p.ctx)
			s.owned[tp] = p
		}
	}
}

// revoked gives partitions up. When it returns somebody else may own them.
func (s *session) revoked(_ context.Context, client *kgo.Client, gone map[string][]int32) {
	owned := s.those(gone)
	if len(owned) == 0 {
		return
	}
	if member, _ := client.GroupMetadata(); member != s.name() {
		s.lost(s.base, client, gone) // given up under another name than it was owned under
		return
	}
	s.retire(owned, s.cfg.DrainTimeout, errRevoked)
	s.commitFinally(owned)
	s.forget(owned)
}

// lost drops partitions that somebody else may own already. Committing them could only take that one's progress back.
func (s *session) lost(_ context.Context, _ *kgo.Client, gone map[string][]int32) {
	owned := s.those(gone)
	s.retire(owned, 0, errLost)
	s.forget(owned)
}

func (s *session) all() []*partition {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.owned))
}

func (s *session) those(wanted map[string][]int32) (out []*partition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for topic, numbers := range wanted {
		for _, number := range numbers {
			if p := s.owned[topicPartition{topic, number}]; p != nil {
				out = append(out, p)
			}
		}
	}
	return out
}

func (s *session) name() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.member
}

// call gives a record to the handler. A panic costs one attempt, not the process and all its other partitions.
func call(ctx context.Context, group string, r *kgo.Record, handle Handler) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &meter.PanicError{Value: v}
			slog.Error("handler panicked", "group", group, "topic", r.Topic, "partition", r.Partition, "offset", r.Offset,
				"panic", meter.Redact(fmt.Sprint(v), r), "stack", string(debug.Stack()))
		}
	}()
	return handle(ctx, r)
}
