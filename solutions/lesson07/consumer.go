package lesson07

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/ops"
)

// Handler does the work for one record.
//
// The consumer calls it for one record of a partition at a time, in order of offset, and for at most Concurrency
// partitions at once. nil means that the record is done with and may be committed. An error means that it is not: the
// same record comes again after RetryAfter and nothing behind it in its partition is handed over before. A panic counts
// as an error. The record belongs to the handler until it returns.
//
// ctx ends when the partition has to be given up, or the process has to stop, and DrainTimeout has passed; and at once
// when the partition is lost, or will be, because the coordinator has not answered for nearly SessionTimeout. A handler
// must then return: until it has, nobody else may get the partition.
type Handler func(ctx context.Context, record *kgo.Record) error

var (
	// ErrFenced ends Run when another member joined with the same InstanceID. That one is the newer; going on here
	// would be two processes fighting for one name. So it is under ProtocolClassic. Under ProtocolConsumer the older
	// keeps the name while it lives, and the newer is the one that is refused (UNRELEASED_INSTANCE_ID): it waits, and
	// Health says why.
	ErrFenced = errors.New("fenced by a newer member with the same instance id")
	// ErrNoCommit ends Run when Start is StartCommitted and the group has no commit for a partition, or its commit
	// points to records that no longer exist.
	ErrNoCommit = errors.New("no committed offset to start from")
)

// Consumer is one member of a consumer group. Its methods are safe for concurrent use.
type Consumer struct {
	cfg    Config
	handle Handler
	opts   []kgo.Opt

	mu       sync.Mutex // guards what follows, for work in memory alone: never held across a handler, a request or a wait
	started  bool
	failure  error // what Run ended with
	paused   bool
	session  *session // nil while not running
	owned    map[topicPartition]*partition
	rejoins  map[string]time.Duration // by topic: after how long to join anew if it cannot be placed
	line     line
	toDo     sync.Cond // the line has a partition for an idle worker, or the workers' session is over
	idlers   int
	existing map[string]int // how many partitions each topic had when this consumer first looked
	checks   map[string]checked

	since    time.Time
	tallies  map[topicPartition]*tally
	latency  latencies
	failures failures
	alarm    alarm
	extra    map[string]int64
}

// New makes a consumer that calls handle for each record. It returns what Validate says of cfg, and an error for a nil
// handler or an option that the client refuses. It does not wait for the network: a service starts while Kafka is down.
//
// opts are the client's own: brokers, dialer, TLS, SASL, client id, hooks. What cfg decides, and how offsets are
// committed, opts cannot change. ConsumeRegex, BlockRebalanceOnPoll and an InstanceID that cfg does not have, which no
// later option would undo, are an error as well: of New, or of Run where nothing but a client can tell.
func New(cfg Config, handle Handler, opts ...kgo.Opt) (*Consumer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if handle == nil {
		return nil, errors.New("handler is nil: must be a function")
	}
	now := time.Now()
	c := &Consumer{
		cfg: cfg, handle: handle, opts: opts,
		owned:    map[topicPartition]*partition{},
		checks:   map[string]checked{},
		rejoins:  map[string]time.Duration{},
		since:    now,
		tallies:  map[topicPartition]*tally{},
		failures: failures{groups: map[failure]*ops.ErrorGroup{}, maxGroups: cfg.MaxErrorGroups, maxSamples: cfg.ErrorSamples},
		alarm:    alarm{rule: cfg.Alert, alert: ops.Alert{Since: now}},
		extra:    map[string]int64{},
	}
	c.toDo.L = &c.mu
	c.cfg.Topics = slices.Clone(cfg.Topics) // the caller may go on to change his
	excluding := append(c.newSession(context.Background()).options(), kgo.ConsumeExcludeTopics("any"))
	if kgo.ValidateOpts(excluding...) == nil { // the client knows exclusions with patterns alone
		return nil, errors.New("client options: ConsumeRegex would take the names of topics for patterns")
	}
	// The client itself is made by Run: it joins the group the moment it exists.
	if err := kgo.ValidateOpts(c.newSession(context.Background()).options()...); err != nil {
		return nil, fmt.Errorf("client options: %w", err)
	}
	return c, nil
}

// Run joins the group and consumes until ctx ends. Then it takes no more records, lets the ones in work finish
// (DrainTimeout, after which they are cancelled), commits, leaves the group, closes the client, and returns nil. A static
// member does not leave: it is expected back.
//
// An error means that going on would be wrong: ErrFenced, ErrNoCommit. Anything that may pass is waited for and shown by
// Health: a broker that is down, a topic or group that may not be read. Run may be called once.
func (c *Consumer) Run(ctx context.Context) error {
	c.mu.Lock()
	before := c.started
	c.started = true
	c.mu.Unlock()
	if before {
		return errors.New("Run was called before: a consumer runs once")
	}
	for {
		err := c.newSession(ctx).run()
		again := errors.Is(err, errExpelled) || errors.Is(err, errGaveUp)
		switch {
		case again && ctx.Err() == nil:
		case again:
			return nil
		default:
			c.mu.Lock()
			c.failure = err
			c.mu.Unlock()
			return err
		}
		// Nothing that is left of a membership which may be over is worth trusting: not a position, not a queue, not
		// the client's idea of what it owns. Starting over repeats the uncommitted tail, as any crash does.
		slog.Warn("joining the group anew", "group", c.cfg.Group, "error", err)
	}
}

// A session is one membership, from joining to leaving, with a client of its own.
type session struct {
	*Consumer
	ctx    context.Context // ends when the session has to
	end    context.CancelCauseFunc
	base   context.Context // outlives ctx: for what has to be finished
	owner  context.Context // ends when nothing is owned any more
	disown context.CancelFunc
	client *kgo.Client
	link   *link

	polling     context.Context // ends to let arrivals in
	interrupt   context.CancelFunc
	arrivals    []topicPartition
	arrived     chan struct{} // closed when arrivals are owned
	member      string        // the name under which everything owned was assigned
	closed      bool          // workers go home
	uncommitted bool          // there is progress that the commit loop was told of
	progress    chan struct{}
	room        chan struct{} // a full partition has room again
	committing  chan struct{} // full while a commit is under way; a channel, since it lasts
}

func (c *Consumer) newSession(ctx context.Context) *session {
	s := &session{
		Consumer:   c,
		base:       context.WithoutCancel(ctx),
		link:       newLink(c.cfg.Group),
		progress:   make(chan struct{}, 1),
		room:       make(chan struct{}, 1),
		committing: make(chan struct{}, 1),
	}
	s.ctx, s.end = context.WithCancelCause(ctx)
	s.owner, s.disown = context.WithCancel(s.base)
	s.polling, s.interrupt = context.WithCancel(s.ctx)
	return s
}

// options are the user's, then what the consumer decides: the later one counts.
func (s *session) options() []kgo.Opt {
	cfg := s.cfg
	start := map[Start]kgo.Offset{
		StartEarliest:  kgo.NewOffset().AtStart(),
		StartLatest:    kgo.NewOffset().AtEnd(),
		StartCommitted: kgo.NewOffset().AtCommitted(),
	}
	opts := append(s.opts[:len(s.opts):len(s.opts)],
		kgo.ConsumerGroup(cfg.Group),
		kgo.ConsumeTopics(cfg.Topics...),
		kgo.ConsumeStartOffset(start[cfg.Start]),
		kgo.SessionTimeout(cfg.SessionTimeout),
		kgo.HeartbeatInterval(cfg.HeartbeatInterval),
		kgo.RebalanceTimeout(cfg.RebalanceTimeout),
		kgo.MetadataMaxAge(cfg.MetadataMaxAge),
		kgo.MetadataMinAge(min(cfg.MetadataMaxAge, 5*time.Second)),
		kgo.WithHooks(s.link),
		// The client's own commits carry whatever membership it has when they leave. Ours carry the one under which
		// the work was done; see commit.
		kgo.DisableAutoCommit(),
		kgo.OnPartitionsAssigned(s.assigned),
		kgo.OnPartitionsRevoked(s.revoked),
		kgo.OnPartitionsLost(s.lost),
		kgo.AdjustFetchOffsetsFn(s.starting),
	)
	switch cfg.Protocol {
	case ProtocolClassic:
		// Cooperative: what does not move goes on. Sticky: little moves. Range would give one member the first
		// partitions of every topic.
		opts = append(opts, kgo.Balancers(kgo.CooperativeStickyBalancer()))
	case ProtocolConsumer:
		opts = append(opts, kgo.ServerSideBalancer(), kgo.Balancers(kgo.StickyBalancer())) // the broker's "uniform"
	}
	if cfg.InstanceID != "" {
		opts = append(opts, kgo.InstanceID(cfg.InstanceID))
	}
	if cfg.Start == StartCommitted {
		opts = append(opts, kgo.ConsumeResetOffset(kgo.NoResetOffset())) // or a user's would choose the place
	}
	return opts
}

// refuse says which option of the user stands although the consumer decides otherwise. Only a client tells.
func (s *session) refuse(client *kgo.Client) error {
	if blocks, _ := client.OptValue(kgo.BlockRebalanceOnPoll).(bool); blocks {
		return errors.New("client options: BlockRebalanceOnPoll would keep a whole member waiting for one slow partition")
	}
	if id, _ := client.OptValue(kgo.InstanceID).(string); id != s.cfg.InstanceID {
		return fmt.Errorf("client options: InstanceID %q: the configuration has %q, and it decides", id, s.cfg.InstanceID)
	}
	return nil
}

// run consumes until the session has to end, and says why; nil if it was asked to.
func (s *session) run() error {
	defer s.end(nil)
	defer s.disown()
	cut, cancel := context.WithCancel(s.base)
	defer cancel()
	client, err := kgo.NewClient(append(s.options(), kgo.WithContext(cut))...)
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	if err := s.refuse(client); err != nil {
		client.CloseAllowingRebalance()
		return err
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
	for range s.cfg.Concurrency {
		helpers.Go(s.work)
	}
	helpers.Go(s.commitRegularly)
	helpers.Go(s.watchLease)
	helpers.Go(s.watchEnds)
	s.poll()

	why := context.Cause(s.ctx)
	s.windUp(why)
	s.disown()
	c.mu.Lock()
	c.session = nil
	s.closed = true
	c.toDo.Broadcast()
	c.mu.Unlock()
	helpers.Wait()
	s.leave(cut, cancel)
	for _, ours := range []error{errExpelled, errGaveUp, ErrFenced, ErrNoCommit} {
		if errors.Is(why, ours) {
			return why
		}
	}
	return nil // the caller ended it
}

// windUp brings the work to an end and commits it, unless it is not ours to commit any more.
func (s *session) windUp(why error) {
	owned := s.all()
	if errors.Is(why, errExpelled) || errors.Is(why, ErrFenced) {
		s.retire(owned, 0, errLost)
	} else {
		s.retire(owned, s.cfg.DrainTimeout, errStopping)
		s.commitFinally(owned)
	}
	s.forget(owned)
}

// leave says goodbye, so that the partitions move at once, and closes the client. A rebalance under way has to end
// first; a cluster out of reach is told by the session timeout as well.
func (s *session) leave(cut context.Context, cancel context.CancelFunc) {
	goodbye := s.cfg.DrainTimeout
	if s.link.down() != nil {
		goodbye = time.Second
	}
	ctx, done := context.WithTimeout(cut, goodbye)
	defer done()
	if err := s.client.LeaveGroupContext(ctx); err != nil {
		slog.Warn("could not leave the group, its session has to time out", "group", s.cfg.Group, "error", err)
	}
	if ctx.Err() != nil {
		cancel() // or Close would wait for a group that does not answer
	}
	s.client.Close()
}

// What a handler's context was cancelled for, and what ends a session.
var (
	errNotOwned = errors.New("the partition is owned no longer")
	errRevoked  = errors.New("the partition has to be given up and its drain timeout has passed")
	errLost     = errors.New("the partition was lost")
	errStopping = errors.New("the consumer stops and its drain timeout has passed")
	errExpelled = errors.New("the group may have expelled this member")
	errGaveUp   = errors.New("the client gave up on a partition")
)

func (s *session) all() []*partition {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.owned))
}

func (s *session) those(wanted map[string][]int32) []*partition {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*partition
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
		queued := p.queued
		if p.full { // it is paused, and may be resumed with this many while the poll waits
			queued = min(queued, c.cfg.MaxQueued/4)
		}
		most = max(most, queued)
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
		if first := f.Records[0]; first.Offset < p.Position {
			s.wentBack(p, first, f.HighWatermark)
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
	var (
		group *kgo.ErrGroupSession
		loss  *kgo.ErrDataLoss
	)
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, kgo.ErrClientClosed):
	case errors.Is(err, kerr.FencedInstanceID):
		s.end(fmt.Errorf("%w (group %q, instance id %q): %w", ErrFenced, s.cfg.Group, s.cfg.InstanceID, err))
	case errors.As(err, &loss):
		// The client reads again from there. Whether the records are really gone it cannot know for sure: accept judges.
		slog.Error("Kafka lost records that had been read", "group", s.cfg.Group, "topic", topic, "partition", number,
			"read_to", loss.ConsumedTo, "in_epoch", loss.ConsumedToEpoch, "goes_on_at", loss.ResetTo)
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
	stands := joinAgain // told with the metadata, every few seconds
	switch p := s.owned[tp]; {
	case p == nil:
	case !p.placed:
		stands += s.rejoin(p, err)
	default:
		stands = 10 * fetchAgain
		s.skip(p)
	}
	s.mu.Unlock()
	s.link.fetchFailed(tp, err, stands)
}

// rejoin ends the session after a while unless p is placed by then, and says after how long. Joining anew costs every
// topic a rebalance for the sake of one, so it is done half as often each time that it did not help.
func (s *session) rejoin(p *partition, err error) time.Duration {
	wait := max(joinAgain, s.rejoins[p.topic])
	if p.awaited {
		return wait
	}
	p.awaited = true
	time.AfterFunc(wait, func() {
		s.mu.Lock()
		stuck := s.owned[p.topicPartition] == p && !p.placed
		if stuck {
			s.rejoins[p.topic] = min(2*wait, joinAtLast)
		}
		s.mu.Unlock()
		if stuck {
			s.end(fmt.Errorf("%w: %s: %w", errGaveUp, p, err))
		}
	})
	return wait
}

// skip has p not fetched for a while.
func (s *session) skip(p *partition) {
	if p.failing {
		return
	}
	p.failing = true
	s.throttle(p)
	time.AfterFunc(fetchAgain, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if p.failing = false; s.owned[p.topicPartition] == p {
			s.throttle(p)
		}
	})
}

const (
	fetchAgain = time.Second
	joinAgain  = 30 * time.Second // the first time; then it doubles
	joinAtLast = 10 * time.Minute
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
