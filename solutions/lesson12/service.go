package lesson12

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/ops"
	"github.com/kafka-katas/kafka-katas/ops/meter"
)

// Service is one member of the group, with all parts that its configuration switches on. Its methods are safe for
// concurrent use.
//
// Whatever it stores belongs to a partition of the topic that it came from, and whoever owns the partition works on it:
// outgoing messages, webhook deliveries, workflows and their timers. So all of it moves with the partition, and a new
// owner goes on where the old one ended.
type Service struct {
	cfg     Config
	outside Outside
	options []kgo.Opt
	topics  []string
	http    *http.Client
	meter   *meter.Meter
	flows   map[string]flow // by the topic that they read

	endpoints map[string]*endpoint

	mu         sync.Mutex
	client     *kgo.Client // while it runs
	paused     bool
	partitions map[topicPartition]*partition
	accepting  map[string]*acceptance // requests with a key that are being answered
}

type topicPartition struct {
	topic     string
	partition int32
}

func (tp topicPartition) String() string { return fmt.Sprintf("%s/%d", tp.topic, tp.partition) }

// key is the place of something that belongs to the partition: keys of one partition sort together.
func (tp topicPartition) key(kind string) string {
	return fmt.Sprintf("%s/%s/%05d/", kind, tp.topic, tp.partition)
}

// flow is what one part does with the records of its topic. Its methods are called by one goroutine for a partition.
type flow interface {
	// open takes over what an earlier owner of the partition has left.
	open(ctx context.Context, p *partition) error
	handle(ctx context.Context, p *partition, r *kgo.Record) error
	// next is when something of the partition is due; the zero time is never.
	next(p *partition) time.Time
	due(ctx context.Context, p *partition) error
}

// errDead says that a record is done with because it was dead-lettered.
var errDead = errors.New("dead-lettered")

// retryError is an attempt that is to be repeated after a wait of its own.
type retryError struct {
	err   error
	after time.Duration
}

func (e *retryError) Error() string { return e.err.Error() }
func (e *retryError) Unwrap() error { return e.err }

// New makes a service. It returns what Validate says of cfg, and an error for an Outside without a Store or an option
// that the client refuses. It does not wait for the network: a service starts while Kafka is down.
//
// opts are the client's own: brokers, dialer, TLS, SASL. What cfg decides, opts cannot change.
func New(cfg Config, outside Outside, opts ...kgo.Opt) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if outside.Store == nil {
		return nil, errors.New("outside: a service needs a Store")
	}
	s := &Service{
		cfg: cfg, outside: outside,
		partitions: map[topicPartition]*partition{}, accepting: map[string]*acceptance{},
		flows: map[string]flow{}, endpoints: map[string]*endpoint{},
		meter: meter.New(meter.Config{
			Group: cfg.Group, StallAfter: cfg.StallAfter,
			Rules: []meter.Rule{
				{Name: "endpoint_disabled", Threshold: 1, ResolveBelow: 1, Window: time.Hour},
				meter.DefaultRule("handler_failures"),
				{Name: "workflow_stuck", Threshold: 1, ResolveBelow: 1, Window: time.Hour},
			},
		}),
	}
	s.http = newHTTPClient(cfg, outside)
	var topics []string
	reads := func(topic string, f flow) {
		if topic != "" {
			topics, s.flows[topic] = append(topics, topic), f
		}
	}
	reads(cfg.Commands.Topic, &commands{s})
	reads(cfg.Calls.Topic, &calls{s})
	reads(cfg.Webhooks.Topic, &webhooks{s})
	reads(cfg.Workflow.Topic, &workflows{s})
	for _, e := range cfg.Webhooks.Endpoints {
		if cfg.Webhooks.Topic != "" {
			s.endpoints[e.Name] = newEndpoint(s, e)
		}
	}
	for _, name := range []string{"duplicate_commands", "ignored_replies", "webhooks_delivered"} {
		s.meter.Count(name, 0)
	}
	all := append(s.meter.Opts(), opts...)
	all = append(all,
		kgo.ConsumerGroup(cfg.Group),
		kgo.ConsumeTopics(topics...),
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.SessionTimeout(sessionTimeout),
		kgo.RebalanceTimeout(sessionTimeout+5*time.Second), // after the drain comes the commit
		kgo.BlockRebalanceOnPoll(),
		kgo.AutoCommitMarks(),
		kgo.AutoCommitInterval(cfg.CommitInterval),
		kgo.AutoCommitCallback(s.meter.OnCommit),
		kgo.OnPartitionsAssigned(s.assigned),
		kgo.OnPartitionsRevoked(s.revoked),
		kgo.OnPartitionsLost(s.lost),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.ProducerLinger(0),
		kgo.RecordDeliveryTimeout(30*time.Second),
	)
	if err := kgo.ValidateOpts(all...); err != nil {
		return nil, err
	}
	s.options, s.topics = all, topics
	return s, nil
}

// Run joins the group and works until ctx ends. Then it takes nothing more in, over HTTP neither, lets the work in hand
// finish (DrainTimeout, after which it is cancelled), commits, leaves the group and returns nil. Run may be called once.
func (s *Service) Run(ctx context.Context) error {
	client, err := kgo.NewClient(s.options...)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.client = client
	if s.paused {
		client.PauseFetchTopics(s.topics...)
	}
	s.mu.Unlock()
	s.meter.Started()
	defer s.meter.Stopped(nil)
	s.poll(ctx, client)

	s.mu.Lock()
	s.client = nil
	s.mu.Unlock()
	s.settle(client, s.take(nil))
	bye, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	if err := client.LeaveGroupContext(bye); err != nil {
		slog.Warn("leaving the group", "group", s.cfg.Group, "error", err)
	}
	client.CloseAllowingRebalance()
	s.http.CloseIdleConnections()
	return nil
}

func (s *Service) poll(ctx context.Context, client *kgo.Client) {
	for ctx.Err() == nil {
		fetches := client.PollRecords(ctx, s.cfg.MaxQueued)
		if ctx.Err() != nil {
			client.AllowRebalance()
			return
		}
		s.meter.Polled(fetches)
		fetches.EachPartition(func(f kgo.FetchTopicPartition) {
			s.mu.Lock()
			p := s.partitions[topicPartition{f.Topic, f.Partition}]
			s.mu.Unlock()
			if p != nil && len(f.Records) > 0 {
				p.push(f.Records)
			}
		})
		client.AllowRebalance()
	}
}

func (s *Service) assigned(_ context.Context, client *kgo.Client, tps map[string][]int32) {
	s.meter.Assigned(tps)
	s.mu.Lock()
	defer s.mu.Unlock()
	for topic, numbers := range tps {
		for _, n := range numbers {
			p := newPartition(s, client, topicPartition{topic, n})
			s.partitions[p.topicPartition] = p
			go p.run()
		}
	}
}

func (s *Service) revoked(_ context.Context, client *kgo.Client, tps map[string][]int32) {
	s.settle(client, s.take(tps))
	s.meter.Revoked(tps)
}

// lost cancels at once and commits nothing: somebody else may own the partitions already.
func (s *Service) lost(_ context.Context, _ *kgo.Client, tps map[string][]int32) {
	gone := s.take(tps)
	for _, p := range gone {
		p.cancel()
	}
	for _, p := range gone {
		p.wait()
	}
	s.meter.Revoked(tps)
}

// take removes partitions, all for nil, from what is owned.
func (s *Service) take(tps map[string][]int32) (gone []*partition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for tp, p := range s.partitions {
		if tps == nil || has(tps[tp.topic], tp.partition) {
			gone = append(gone, p)
			delete(s.partitions, tp)
		}
	}
	return gone
}

func has(list []int32, n int32) bool {
	for _, one := range list {
		if one == n {
			return true
		}
	}
	return false
}

// settle ends work in order: hand out no more, finish or cancel, commit.
func (s *Service) settle(client *kgo.Client, gone []*partition) {
	if len(gone) == 0 {
		return
	}
	for _, p := range gone {
		p.stop()
	}
	late := time.AfterFunc(s.cfg.DrainTimeout, func() {
		for _, p := range gone {
			p.cancel()
		}
	})
	for _, p := range gone {
		p.wait()
	}
	late.Stop()
	for _, p := range gone {
		p.cancel()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	if err := client.CommitMarkedOffsets(ctx); err != nil {
		s.meter.CommitFailed(err)
		slog.Warn("the last commit", "group", s.cfg.Group, "error", err)
	}
}

// Stats returns a snapshot of what the service did; it answers from memory. A record is Dead if it was dead-lettered
// and Processed otherwise, also if its command was rejected. Extra has "duplicate_commands" (a command id that was known
// already), "ignored_replies" (replies and orders that changed nothing) and "webhooks_delivered". The alerts are
// "handler_failures", by [meter.DefaultRule], and "endpoint_disabled" and "workflow_stuck", which fire with the first
// occurrence and for an hour.
func (s *Service) Stats() ops.Stats { return s.meter.Stats() }

// Health says whether the process should live and whether it may be relied on; it answers from memory. A partner that is
// down, a disabled endpoint and a stuck order leave it healthy: a restart would mend none of them.
func (s *Service) Health() ops.Health { return s.meter.Health() }

// ResetStats starts a new period, as [ops.Controls] describes.
func (s *Service) ResetStats() { s.meter.ResetStats() }

// Pause takes no more records in. The work in hand, timers and deliveries go on, and so does the API: commands wait in
// Kafka. So do the replies of those who do the steps: to an order a pause that is longer than StepTimeout looks like
// their silence.
func (s *Service) Pause() { s.pause(true) }

// Resume ends a pause.
func (s *Service) Resume() { s.pause(false) }

func (s *Service) pause(paused bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paused = paused
	s.meter.SetPaused(paused)
	switch {
	case s.client == nil:
	case paused:
		s.client.PauseFetchTopics(s.topics...)
	default:
		s.client.ResumeFetchTopics(s.topics...)
	}
}

// partition is one ownership of one partition: what waits, and the goroutine that works on it.
type partition struct {
	topicPartition
	s      *Service
	flow   flow
	client *kgo.Client

	intake context.Context // ends when nothing new is to be begun
	stop   context.CancelFunc
	work   context.Context // ends when what is in work is to be given up
	cancel context.CancelFunc
	group  sync.WaitGroup
	news   chan struct{} // holds one token: look again

	mu     sync.Mutex
	queue  []*kgo.Record
	paused bool

	attempt int                  // failed attempts at the record in work
	timers  map[string]time.Time // of the workflow: when something of which order is due
	stored  *kgo.Record          // of the workflow: its change is made, whatever becomes of the messages
	unsent  bool                 // messages wait in the outbox that could not be sent
}

func newPartition(s *Service, client *kgo.Client, tp topicPartition) *partition {
	p := &partition{topicPartition: tp, s: s, flow: s.flows[tp.topic], client: client, news: make(chan struct{}, 1)}
	p.work, p.cancel = context.WithCancel(context.Background())
	p.intake, p.stop = context.WithCancel(p.work)
	p.group.Add(1)
	return p
}

func (p *partition) wait() { p.group.Wait() }

// with runs something beside the partition's records for as long as it takes new work in.
func (p *partition) with(do func()) {
	p.group.Add(1)
	go func() {
		defer p.group.Done()
		do()
	}()
}

func (p *partition) push(records []*kgo.Record) {
	p.mu.Lock()
	p.queue = append(p.queue, records...)
	full := len(p.queue) >= p.s.cfg.MaxQueued && !p.paused
	if full {
		p.paused = true
		p.client.PauseFetchPartitions(map[string][]int32{p.topic: {p.partition}})
	}
	p.mu.Unlock()
	p.nudge()
}

func (p *partition) nudge() {
	select {
	case p.news <- struct{}{}:
	default:
	}
}

func (p *partition) head() *kgo.Record {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.queue) == 0 {
		return nil
	}
	return p.queue[0]
}

func (p *partition) pop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queue[0] = nil
	p.queue = p.queue[1:]
	if p.paused && len(p.queue) <= p.s.cfg.MaxQueued/2 {
		p.paused = false
		p.client.ResumeFetchPartitions(map[string][]int32{p.topic: {p.partition}})
	}
}

func (p *partition) run() {
	defer p.group.Done()
	defer p.client.ResumeFetchPartitions(map[string][]int32{p.topic: {p.partition}})
	for {
		err := p.flow.open(p.work, p)
		if err == nil {
			break
		}
		p.s.meter.Signal("handler_failures") // it is nobody's attempt, and must not go unseen
		slog.Warn("taking a partition over", "partition", p.topicPartition, "error", err)
		if !sleep(p.intake, p.s.cfg.RetryAfter) {
			return
		}
	}
	for p.intake.Err() == nil {
		if at := p.flow.next(p); !at.IsZero() && !time.Now().Before(at) {
			if err := p.flow.due(p.work, p); err != nil {
				p.s.meter.Signal("handler_failures")
				slog.Warn("a timer", "partition", p.topicPartition, "error", err)
				if !sleep(p.intake, p.s.cfg.RetryAfter) {
					return
				}
			}
			continue
		}
		if r := p.head(); r != nil {
			if wait := p.try(r); wait > 0 && !sleep(p.intake, wait) {
				return
			}
			continue
		}
		p.rest()
	}
}

// rest waits for news, for what is due next, or for the end.
func (p *partition) rest() {
	var alarm <-chan time.Time
	if at := p.flow.next(p); !at.IsZero() {
		timer := time.NewTimer(time.Until(at))
		defer timer.Stop()
		alarm = timer.C
	}
	select {
	case <-p.news:
	case <-alarm:
	case <-p.intake.Done():
	}
}

// try makes one attempt at a record. It returns how long to wait before the next attempt; 0 if the record is done with.
func (p *partition) try(r *kgo.Record) time.Duration {
	s := p.s
	if p.attempt > 0 {
		s.meter.Retried(r)
	} else {
		s.meter.Began(r)
	}
	dead := false
	attempt := func(ctx context.Context, r *kgo.Record) error {
		err := p.guarded(ctx, r)
		if dead = errors.Is(err, errDead); dead {
			return nil
		}
		return err
	}
	if s.outside.Attempt != nil {
		attempt = s.outside.Attempt(attempt)
	}
	err := attempt(p.work, r)
	if p.work.Err() != nil && err != nil {
		return time.Nanosecond // given up, not failed
	}
	if err != nil {
		p.attempt++
		s.meter.Failed(r, err)
		slog.Warn("an attempt failed", "partition", p.topicPartition, "offset", r.Offset, "error", err)
		wait := s.cfg.RetryAfter
		if own := (*retryError)(nil); errors.As(err, &own) {
			wait = own.after
		}
		s.meter.Waiting(r, time.Now().Add(wait))
		return wait
	}
	p.attempt = 0
	p.pop()
	if dead {
		s.meter.Ended(r, meter.Dead)
	} else {
		s.meter.Ended(r, meter.Processed)
	}
	p.client.MarkCommitRecords(r)
	return 0
}

// guarded makes a panic a failure of its record alone.
func (p *partition) guarded(ctx context.Context, r *kgo.Record) (err error) {
	defer func() {
		if v := recover(); v != nil {
			slog.Error("a panic", "partition", p.topicPartition, "offset", r.Offset, "stack", string(debug.Stack()))
			err = &meter.PanicError{Value: v}
		}
	}()
	return p.flow.handle(ctx, p, r)
}

// produce waits until the record is acknowledged, or for the end of ctx. Then nobody knows: a record that is on its way
// may still arrive.
func produce(ctx context.Context, client *kgo.Client, record *kgo.Record) error {
	_, err := produceEach(ctx, client, []*kgo.Record{record})
	return err
}

// produceEach is produce for several records, and says which of them were acknowledged.
func produceEach(ctx context.Context, client *kgo.Client, records []*kgo.Record) (acknowledged []bool, err error) {
	type ack struct {
		i   int
		err error
	}
	acks := make(chan ack, len(records))
	for i, r := range records {
		client.Produce(ctx, r, func(_ *kgo.Record, err error) { acks <- ack{i, err} })
	}
	acknowledged = make([]bool, len(records))
	var problems []error
	for range records {
		select {
		case a := <-acks:
			acknowledged[a.i] = a.err == nil
			problems = append(problems, a.err)
		case <-ctx.Done():
			return acknowledged, ctx.Err()
		}
	}
	return acknowledged, errors.Join(problems...)
}

// sleep waits and says whether the time is up; ctx ends it earlier.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
