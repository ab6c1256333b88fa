package lesson10

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kafka-katas/kafka-katas/ops"
	"github.com/kafka-katas/kafka-katas/ops/meter"
)

// The headers that a pipeline adds behind those of the source record.
const (
	HeaderRules  = "rules-version" // on everything that is written
	HeaderOrigin = "origin"        // on everything that is written: topic/partition/offset of the source record
	HeaderReason = "reason"        // in Audit, DeadLetters, Parked and Quarantine
	HeaderScore  = "score"         // in Quarantine, and in Audit of what was rejected: percent
)

// ErrQuality ends Run when more than QualityLimit of the latest QualityWindow events were quarantined or rejected.
var ErrQuality = errors.New("too many events of poor quality")

const readiness = ops.Readiness

// Pipeline is one member of the group that turns raw events into clean ones. Its methods are safe for concurrent use.
//
// What a transaction wrote that was aborted never happened. A record comes to exactly one of these ends, in this order:
//
//   - A null value is a tombstone: the customer is to be forgotten. It goes on, with a null value, to every topic that the
//     rules route to, once to each. Its key is the record's in the normal form of a customer (trimmed, lower case).
//   - What Normalise refuses, what makes a function of the rules panic, what becomes larger than MaxRecordBytes, and
//     what the broker will never take (too large, a topic that does not exist) goes to DeadLetters.
//   - What a filter drops goes to Audit; the reason is the filter's.
//   - What scores below RejectBelow goes to Audit, below QuarantineBelow to Quarantine; score and reason say why.
//   - The reference table knows the Segment and the service the Risk of a customer, whatever the value says of them. A row
//     has the customer as key and the segment as value, plain text both, in any spelling; no value takes the row out. The
//     service is asked GET <Service>/customers/<customer>, the customer escaped for a path; 200 has the risk as body, plain
//     text. Who is not known there (no row; 404) gets Default, or the event goes to Parked. Any other answer and none is a
//     failure, and the request is made again RetryAfter later. An event that ends above causes no request. What the
//     service says, 404 too, is good for CacheTTL.
//   - What is left goes through Expand, and then each event by Route: key is the Customer, value is what Encode says,
//     the timestamp is when it happened.
//
// When it happened is the event's At, which is the source record's timestamp if the value does not say (or if that is
// before 1970, as a timestamp). What does not go on (Audit, Quarantine, Parked, DeadLetters) is the record as it came:
// key, value, timestamp. Everything that is written has all headers of the source record, in their order, and behind
// them the pipeline's own.
//
// Of several outputs of one record either all are written or none: sizes are looked at first. An offset is committed when
// all outputs of its record, and of those before it in its partition, are acknowledged. Events that come from one
// partition are written in its order, whatever has to be waited for, and whoever they are about. An output that is refused
// for now is written again RetryAfter later, before what comes behind it. Meanwhile no more than MaxBatch records are in
// hand.
type Pipeline struct {
	cfg   Config
	opts  []kgo.Opt
	rules atomic.Pointer[Rules]
	meter *meter.Meter

	table   *table
	service *service
	loop    loop

	// committing makes commits one after the other, each with what is done by then: the offset of a partition never goes
	// back. It is a channel because a mutex must not be held across a request.
	committing chan struct{}

	mu        sync.Mutex
	work      context.Context // ends when what is in hand has to be given up
	client    *kgo.Client     // nil while Run does not consume
	member    string          // under which owned is
	paused    bool
	owned     map[partition]*ownership
	batch     []*item
	batchDone chan struct{} // closed when the batch is done with
	progress  map[partition]kgo.EpochOffset
	since     time.Time // of the oldest progress
}

type partition struct {
	topic  string
	number int32
}

// ownership is the time from the assignment of a partition until it is revoked or lost. Nothing is written for it
// afterwards.
type ownership struct {
	ctx    context.Context
	cancel context.CancelFunc
}

// New makes a pipeline. It returns what the Validate methods of cfg and rules say, and an error for options that the
// client refuses. It does not wait for the network. client calls cfg.Service; nil is one of the pipeline's own.
//
// opts are the Kafka client's: brokers, dialer, TLS, SASL, client id, hooks. What cfg decides opts cannot change.
func New(cfg Config, rules Rules, client *http.Client, opts ...kgo.Opt) (*Pipeline, error) {
	if err := errors.Join(cfg.Validate(), rules.Validate()); err != nil {
		return nil, err
	}
	p := &Pipeline{
		cfg:        cfg,
		opts:       opts,
		loop:       loop{quality: window{size: cfg.QualityWindow}, decoder: decoder{piece: 4 << 10}, memory: newMemory()},
		committing: make(chan struct{}, 1),
		owned:      map[partition]*ownership{},
		progress:   map[partition]kgo.EpochOffset{},
		meter: meter.New(meter.Config{
			Group: cfg.Group, StallAfter: cfg.StallAfter, MaxErrorGroups: cfg.MaxErrorGroups, MaxErrorSamples: cfg.ErrorSamples,
			Rules: []meter.Rule{meter.DefaultRule("handler_failures"), {Name: "data_quality", Threshold: 1, Window: time.Hour}},
			Class: class,
		}),
	}
	p.rules.Store(&rules)
	p.loop.series = p.meter.Series()
	if cfg.Reference != "" {
		p.table = &table{rows: map[string]string{}}
	}
	if cfg.Service != "" {
		if client == nil {
			client = &http.Client{Transport: http.DefaultTransport.(*http.Transport).Clone()}
		}
		p.service = &service{
			client: client, url: cfg.Service, timeout: cfg.LookupTimeout, ttl: cfg.CacheTTL,
			places: make(chan struct{}, cfg.MaxLookups), known: map[string]answer{},
		}
	}
	if err := kgo.ValidateOpts(p.options()...); err != nil {
		return nil, err
	}
	return p, nil
}

func class(err error) string {
	if errors.Is(err, ErrUndecodable) {
		return "undecodable"
	}
	return ""
}

func (p *Pipeline) options() []kgo.Opt {
	return slices.Concat(p.opts, p.meter.Opts(), []kgo.Opt{
		kgo.ConsumerGroup(p.cfg.Group),
		kgo.ConsumeTopics(p.cfg.Source),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.SessionTimeout(p.cfg.SessionTimeout),
		kgo.RebalanceTimeout(p.cfg.RebalanceTimeout),
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(p.assigned),
		kgo.OnPartitionsRevoked(p.revoked),
		kgo.OnPartitionsLost(p.lost),
		kgo.ProducerLinger(0),           // a batch is produced at once, and then waited for
		kgo.MaxBufferedRecords(1 << 30), // MaxBatch is the limit: a client that blocks keeps us from giving up
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)),
		kgo.ProducerBatchMaxBytes(int32(max(1_000_012, p.cfg.MaxRecordBytes+1<<16))), // a dead letter has headers more
	})
}

// SetRules replaces the rules, or returns what Validate says and goes on with the old ones. Each record is processed under
// one version from its first stage to its last output, and no record under an older one than its predecessor in its
// partition. Records that were polled before may still be under the old rules.
func (p *Pipeline) SetRules(rules Rules) error {
	if err := rules.Validate(); err != nil {
		return err
	}
	p.rules.Store(&rules)
	return nil
}

// Run loads the reference table, joins the group and processes until ctx ends. Then it takes up no more records, waits
// DrainTimeout for those in hand, commits, leaves the group and returns nil. Run may be called once.
//
// ErrQuality is the one error. What may pass is waited for and shown by Health: a broker or service that is down, a
// topic that may not be written.
func (p *Pipeline) Run(ctx context.Context) (err error) {
	p.meter.Started()
	defer func() { p.meter.Stopped(err) }()
	if p.service != nil {
		defer p.service.client.CloseIdleConnections()
	}
	if p.table != nil {
		stop, err := p.load(ctx)
		if err != nil || stop == nil {
			return err
		}
		defer stop()
	}
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		if sleep(work, p.cfg.DrainTimeout) {
			cancel()
		}
	})()
	p.mu.Lock()
	p.work = work
	p.mu.Unlock()
	client, err := kgo.NewClient(p.options()...)
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.client = client
	if p.paused {
		client.PauseFetchTopics(p.cfg.Source)
	}
	p.mu.Unlock()
	defer p.leave(client)
	defer context.AfterFunc(work, client.UnsafeAbortBufferedRecords)() // what was given up would keep it open for ever
	for ctx.Err() == nil {
		p.commitDue(work)
		items := p.poll(ctx, work)
		halt := p.process(work, items)
		p.settle()
		if halt {
			slog.Error("the pipeline stops", "error", ErrQuality)
			p.meter.Signal("data_quality")
			return ErrQuality
		}
	}
	return nil
}

// load reads the reference table to its end. Joining before that would enrich with what is not there yet. It returns
// nil if ctx ends first.
func (p *Pipeline) load(ctx context.Context) (stop func(), err error) {
	client, err := kgo.NewClient(slices.Concat(p.opts, []kgo.Opt{
		kgo.ConsumerGroup(""),
		kgo.ConsumeTopics(p.cfg.Reference),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(),
	})...)
	if err != nil {
		return nil, err
	}
	p.meter.Check("reference", readiness, errors.New("the reference table is not loaded"))
	ctx, cancel := context.WithCancel(ctx)
	loaded, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		p.table.follow(ctx, client, p.cfg.Reference, p.cfg.RetryAfter, loaded)
	}()
	stop = func() {
		cancel()
		<-over
		client.Close()
	}
	select {
	case <-loaded:
		p.meter.Check("reference", readiness, nil)
		return stop, nil
	case <-ctx.Done():
		stop()
		return nil, nil
	}
}

// poll takes up the next records. They belong to partitions that are owned: while it polls nothing is revoked.
func (p *Pipeline) poll(ctx, work context.Context) []*item {
	if due, ok := p.due(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, due)
		defer cancel()
	}
	fetches := p.client.PollRecords(ctx, p.cfg.MaxBatch)
	defer p.client.AllowRebalance()
	p.meter.Polled(fetches)
	fetches.EachError(func(topic string, number int32, err error) {
		if !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
			slog.Warn("fetching failed", "topic", topic, "partition", number, "error", err)
		}
	})
	rules := p.rules.Load()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.loop.items = slices.Grow(p.loop.items[:0], fetches.NumRecords())[:fetches.NumRecords()]
	clear(p.loop.items)
	items := make([]*item, 0, len(p.loop.items))
	fetches.EachPartition(func(ftp kgo.FetchTopicPartition) {
		own := p.owned[partition{ftp.Topic, ftp.Partition}]
		if own == nil {
			return
		}
		for _, r := range ftp.Records {
			it := &p.loop.items[len(items)]
			it.record, it.rules, it.own = r, rules, own
			items = append(items, it)
		}
	})
	if len(items) > 0 {
		p.batch, p.batchDone = items, make(chan struct{})
	}
	return items
}

// settle ends a batch: what is done with is progress.
func (p *Pipeline) settle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.batch == nil {
		return
	}
	p.advance()
	close(p.batchDone)
	p.batch = nil
}

// advance makes progress of what is done with: in each partition everything before the first record that is not. p.mu is held.
func (p *Pipeline) advance() {
	stuck := map[*ownership]bool{}
	for items := range runs(p.batch) {
		own, tp := items[0].own, partition{items[0].record.Topic, items[0].record.Partition}
		n := slices.IndexFunc(items, func(it *item) bool { return !it.done })
		if n < 0 {
			n = len(items)
		}
		if n == 0 || stuck[own] || p.owned[tp] != own {
			stuck[own] = true
			continue
		}
		stuck[own] = n < len(items)
		if len(p.progress) == 0 {
			p.since = time.Now()
		}
		last := items[n-1].record
		p.progress[tp] = kgo.EpochOffset{Epoch: last.LeaderEpoch, Offset: last.Offset + 1}
	}
}

// due is when progress has to be committed.
func (p *Pipeline) due() (time.Time, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.since.Add(p.cfg.CommitInterval), len(p.progress) > 0
}

func (p *Pipeline) commitDue(ctx context.Context) {
	if due, ok := p.due(); ok && !time.Now().Before(due) {
		p.commit(ctx)
	}
}

// keepUp commits what is done with while the rest of a batch waits, however long that takes.
func (p *Pipeline) keepUp(ctx context.Context) {
	p.mu.Lock()
	p.advance()
	p.mu.Unlock()
	p.commitDue(ctx)
}

// commitTimeout is how long one commit may take: a rebalance or a stop may wait for it.
const commitTimeout = 5 * time.Second

// commit commits all progress. What fails is tried again after CommitInterval.
func (p *Pipeline) commit(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	select {
	case p.committing <- struct{}{}:
		defer func() { <-p.committing }()
	case <-ctx.Done():
		return
	}
	p.mu.Lock()
	p.since = time.Now()
	asked := maps.Clone(p.progress)
	client, member := p.client, p.member
	p.mu.Unlock()
	if len(asked) == 0 || client == nil {
		return
	}
	offsets := map[string]map[int32]kgo.EpochOffset{}
	for tp, o := range asked {
		if offsets[tp.topic] == nil {
			offsets[tp.topic] = map[int32]kgo.EpochOffset{}
		}
		offsets[tp.topic][tp.number] = o
	}
	// The client signs a commit with the membership that it has when it sends it. A member that was expelled and joined
	// again would be believed, so the request is looked at last.
	ctx = kgo.PreCommitFnContext(ctx, func(req *kmsg.OffsetCommitRequest) error {
		if req.MemberID != member {
			return fmt.Errorf("what member %q did is not %q's to commit", member, req.MemberID)
		}
		return nil
	})
	failed := map[partition]bool{}
	failedAll := true
	client.CommitOffsetsSync(ctx, offsets, func(c *kgo.Client, req *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		p.meter.OnCommit(c, req, resp, err)
		if err != nil || resp == nil {
			slog.Warn("commit failed", "error", err)
			return
		}
		failedAll = false
		meter.EachCommit(req, resp, func(topic string, number int32, err error) {
			if err != nil {
				failed[partition{topic, number}] = true
				slog.Warn("commit refused", "topic", topic, "partition", number, "error", err)
			}
		})
	})
	if failedAll {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for tp, o := range asked {
		if !failed[tp] && p.progress[tp] == o {
			delete(p.progress, tp)
		}
	}
}

func (p *Pipeline) assigned(_ context.Context, client *kgo.Client, tps map[string][]int32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.member, _ = client.GroupMetadata()
	each(tps, func(tp partition) {
		o := &ownership{}
		o.ctx, o.cancel = context.WithCancel(p.work)
		p.owned[tp] = o
	})
	p.meter.Assigned(tps)
}

// revoked lets the records in hand be finished, commits what is done with and lets go.
func (p *Pipeline) revoked(ctx context.Context, _ *kgo.Client, tps map[string][]int32) {
	p.mu.Lock()
	done := p.batchDone
	affected := slices.ContainsFunc(p.batch, func(it *item) bool { return slices.Contains(tps[it.record.Topic], it.record.Partition) })
	p.mu.Unlock()
	if affected { // a rebalance calls this with nothing as well, and must not wait for that
		drain, cancel := context.WithTimeout(ctx, p.cfg.DrainTimeout)
		defer cancel()
		select {
		case <-done:
		case <-drain.Done():
		}
	}
	p.mu.Lock()
	if p.batch != nil {
		p.advance()
	}
	each(tps, p.disown)
	p.mu.Unlock()
	p.commit(ctx)
	p.lose(tps)
}

func (p *Pipeline) lost(_ context.Context, _ *kgo.Client, tps map[string][]int32) { p.lose(tps) }

// lose forgets partitions. They are somebody else's: nothing is written or committed for them any more.
func (p *Pipeline) lose(tps map[string][]int32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	each(tps, func(tp partition) {
		p.disown(tp)
		delete(p.progress, tp)
	})
	p.meter.Revoked(tps)
}

// disown stops the work on a partition. p.mu is held.
func (p *Pipeline) disown(tp partition) {
	if o := p.owned[tp]; o != nil {
		o.cancel()
		delete(p.owned, tp)
	}
}

func each(tps map[string][]int32, f func(partition)) {
	for topic, numbers := range tps {
		for _, n := range numbers {
			f(partition{topic, n})
		}
	}
}

// leave commits what is done with and leaves the group. A broker that is gone does not hold it up for long.
func (p *Pipeline) leave(client *kgo.Client) {
	ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
	defer cancel()
	p.settle()
	p.commit(ctx)
	if err := client.LeaveGroupContext(ctx); err != nil {
		slog.Warn("leaving failed", "error", err)
	}
	client.CloseAllowingRebalance()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.client = nil
	for tp := range p.owned {
		p.disown(tp)
	}
}

// Stats returns a snapshot of what the pipeline did: see [ops.Stats] for the laws that it keeps. Processed are events
// whose outputs are acknowledged, tombstones among them; Filtered are those that were filtered or rejected; Parked those
// that were parked or quarantined; Dead those that were dead-lettered. Failed counts failed requests to the service,
// outputs that were refused, and what was dead-lettered; Retried the requests that were made again.
//
// Extra has "filtered_<reason>" for each reason, "rejected", "quarantined" and "parked". The alerts are
// "handler_failures", as the meter has it by default, and "data_quality", which fires when ErrQuality ends Run.
func (p *Pipeline) Stats() ops.Stats { return p.meter.Stats() }

// ResetStats starts a new period, as [ops.Controls] describes.
func (p *Pipeline) ResetStats() { p.meter.ResetStats() }

// Health says whether the process should live and whether it may be relied on, from memory. Beside the checks of
// [meter.Meter] there are, all on readiness:
//
//	"reference"  the reference table is loaded
//	"service"    the latest request to the service was answered
//	"output"     no output waits for a retry, and none has been without an acknowledgement for 10 s
func (p *Pipeline) Health() ops.Health { return p.meter.Health() }

// Pause stops taking records in. Membership and the records in hand go on.
func (p *Pipeline) Pause() { p.pause(true) }

// Resume ends a pause.
func (p *Pipeline) Resume() { p.pause(false) }

func (p *Pipeline) pause(paused bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.paused = paused
	p.meter.SetPaused(paused)
	switch {
	case p.client == nil:
	case paused:
		p.client.PauseFetchTopics(p.cfg.Source)
	default:
		p.client.ResumeFetchTopics(p.cfg.Source)
	}
}

// window counts the bad among the latest.
type window struct {
	size   int
	latest []bool
	next   int
	bad    int
}

func (w *window) add(bad bool) (count int) {
	if len(w.latest) < w.size {
		w.latest = append(w.latest, false)
	} else if w.latest[w.next] {
		w.bad--
	}
	w.latest[w.next] = bad
	w.next = (w.next + 1) % w.size
	if bad {
		w.bad++
	}
	return w.bad
}

// key is the normal form of a customer as a record's key.
func key(raw []byte) string {
	return settled(tidy(strings.ToValidUTF8(string(raw), "\uFFFD")), strings.ToLower)
}

var errWaiting = fmt.Errorf("an output has not been acknowledged for %v", ackPatience)
