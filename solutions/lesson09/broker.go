package lesson09

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/ops"
	"github.com/kafka-katas/kafka-katas/ops/meter"
)

// Transform makes of one record what is to be written to Kafka, each with its Topic. An error aborts the transaction that
// the record is in; the same records come again after RetryAfter. A panic counts as an error.
//
// ctx ends when the processor stops, and early enough before TransactionTimeout for the transaction to be aborted.
// Whatever else a Transform does is not part of the transaction: it is repeated with it.
type Transform func(ctx context.Context, record *kgo.Record) ([]*kgo.Record, error)

// ErrFenced ends Run when another producer began under the same TransactionalID, or the broker took this one for dead.
// Going on would be two processes writing under one name.
var ErrFenced = errors.New("fenced by a newer producer with the same transactional id")

// Processor reads records, transforms them, and writes what they come to: outputs and offsets are committed together, in
// a transaction, or not at all. To readers of committed transactions each record has its outputs exactly once.
type Processor struct {
	cfg       Config
	transform Transform
	opts      []kgo.Opt
	meter     *meter.Meter
	started   atomic.Bool
}

// NewProcessor makes a processor. It returns what Validate says of cfg, and an error for an empty TransactionalID, a nil
// transform or an option that the client refuses.
func NewProcessor(cfg Config, transform Transform, opts ...kgo.Opt) (*Processor, error) {
	err := cfg.Validate()
	if strings.TrimSpace(cfg.TransactionalID) == "" {
		err = errors.Join(err, fmt.Errorf("transactional_id is %s: must be a name, of this instance alone", strconv.Quote(cfg.TransactionalID)))
	}
	if err != nil {
		return nil, err
	}
	if transform == nil {
		return nil, errors.New("transform is nil: must be a function")
	}
	cfg.Topics = slices.Clone(cfg.Topics)
	p := &Processor{cfg: cfg, transform: transform, opts: opts, meter: newMeter(cfg, cfg.Group)}
	if err := kgo.ValidateOpts(p.options()...); err != nil {
		return nil, fmt.Errorf("client options: %w", err)
	}
	return p, nil
}

func (p *Processor) options() []kgo.Opt {
	cfg := p.cfg
	return slices.Concat(p.opts, p.meter.Opts(), []kgo.Opt{
		kgo.ConsumerGroup(cfg.Group),
		kgo.ConsumeTopics(cfg.Topics...),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), // or it would read what was aborted
		kgo.SessionTimeout(cfg.SessionTimeout),
		kgo.HeartbeatInterval(min(3*time.Second, cfg.SessionTimeout/3)),
		kgo.RebalanceTimeout(cfg.RebalanceTimeout),
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.TransactionalID(cfg.TransactionalID),
		kgo.TransactionTimeout(cfg.TransactionTimeout),
		kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, tps map[string][]int32) { p.meter.Assigned(tps) }),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, tps map[string][]int32) { p.meter.Revoked(tps) }),
		kgo.AdjustFetchOffsetsFn(p.meter.Placed),
	})
}

// Run processes until ctx ends, and returns nil. A transaction that is under way then is aborted, or committed if all of
// its work is done. ErrFenced means that going on would be wrong; whatever may pass is waited for. Run may be called once.
func (p *Processor) Run(ctx context.Context) (err error) {
	if p.started.Swap(true) {
		return errRunOnce
	}
	p.meter.Started()
	defer func() { p.meter.Stopped(err) }()
	for {
		err := p.session(ctx)
		switch {
		case errors.Is(err, kerr.ProducerFenced), errors.Is(err, kerr.InvalidProducerEpoch):
			return fmt.Errorf("%w (%q): %w", ErrFenced, p.cfg.TransactionalID, err)
		case ctx.Err() != nil:
			return nil
		}
		// The producer is in a state from which it does not come back. A new one is; it begins with aborting what this
		// one has left open.
		slog.Warn("beginning anew", "transactional_id", p.cfg.TransactionalID, "error", err)
		pause(ctx, p.cfg.RetryAfter)
	}
}

// session processes with one client until ctx ends or the client cannot go on.
func (p *Processor) session(ctx context.Context) error {
	base := context.WithoutCancel(ctx)
	cut, cancel := context.WithCancel(base)
	defer cancel()
	session, err := kgo.NewGroupTransactSession(append(p.options(), kgo.WithContext(cut))...)
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	defer leave(base, session.Client(), cancel, p.cfg)
	for ctx.Err() == nil {
		fetches := session.PollRecords(ctx, p.cfg.TransactionBatch)
		p.meter.Polled(fetches)
		records := fetches.Records()
		if len(records) == 0 {
			if len(fetches.Errors()) > 0 {
				pause(ctx, fetchAgain)
			}
			continue
		}
		if err := p.transact(ctx, session, records); err != nil {
			return err
		}
	}
	return nil
}

// transact takes records through one transaction. An error means that the client is of no more use.
func (p *Processor) transact(ctx context.Context, session *kgo.GroupTransactSession, records []*kgo.Record) error {
	if err := session.Begin(); err != nil {
		return err
	}
	// The broker aborts what lasts longer, and fences us. So we end it first, whatever the handler does.
	work, cancel := context.WithTimeout(ctx, p.cfg.TransactionTimeout*3/4)
	defer cancel()
	outputs := kgo.AbortingFirstErrPromise(session.Client())
	failed := p.produce(work, session, records, outputs)
	if failed == nil {
		failed = session.Client().Flush(work) // the promise itself would wait for a broker that may be gone, whatever the context
	}
	if failed == nil {
		// An output that failed is the transaction's failure: End does not know of it.
		failed = outputs.Err()
	}

	end, cancelEnd := context.WithTimeout(context.WithoutCancel(ctx), max(p.cfg.TransactionTimeout/4, time.Second))
	defer cancelEnd()
	committed, err := session.End(end, kgo.TransactionEndTry(failed == nil))
	// false and no error is a rebalance meanwhile: nothing was committed, and the session has gone back to what is.
	outcome := meter.Released
	if committed && err == nil {
		outcome = meter.Processed
		p.meter.Count("transactions", 1)
	} else {
		p.meter.Count("aborts", 1)
	}
	for _, r := range records {
		p.meter.Ended(r, outcome)
	}
	if outcome == meter.Processed {
		p.noteCommit(session)
	}
	if err != nil {
		return err
	}
	if failed != nil && ctx.Err() == nil {
		slog.Warn("transaction aborted", "transactional_id", p.cfg.TransactionalID, "error", failed)
		pause(ctx, p.cfg.RetryAfter)
	}
	return nil
}

// produce makes the outputs of records and hands them to the client.
func (p *Processor) produce(ctx context.Context, session *kgo.GroupTransactSession, records []*kgo.Record, outputs *kgo.FirstErrPromise) error {
	for _, r := range records {
		p.meter.Began(r)
		var outs []*kgo.Record
		err := call(ctx, p.cfg.Group, r, func(ctx context.Context, r *kgo.Record) (err error) {
			outs, err = p.transform(ctx, r)
			return err
		})
		if err != nil {
			if ctx.Err() == nil || errors.Is(ctx.Err(), context.DeadlineExceeded) {
				p.meter.Failed(r, err)
			}
			return err
		}
		for _, out := range outs {
			session.Produce(ctx, out, outputs.Promise())
		}
	}
	return ctx.Err()
}

func (p *Processor) noteCommit(session *kgo.GroupTransactSession) {
	for topic, partitions := range session.Client().CommittedOffsets() {
		for number, at := range partitions {
			p.meter.Committed(topic, number, at.Offset)
		}
	}
}

// Stats returns a snapshot of what the processor did; see [ops.Stats]. The records of an aborted transaction are
// Released. Extra counts "transactions" (committed) and "aborts".
func (p *Processor) Stats() ops.Stats { return p.meter.Stats() }

// Health says whether the process should live and whether it may be relied on; see [meter.Meter.Health].
func (p *Processor) Health() ops.Health { return p.meter.Health() }

// Reject is the error of a handler that can do nothing with a record, now or later. A ShareConsumer hands it back as
// rejected (Failed, then Dead): it is not delivered again, to anybody. To a Consumer it is a failure like any other.
func Reject(cause error) error { return &reject{cause} }

type reject struct{ cause error }

func (r *reject) Error() string { return fmt.Sprintf("rejected: %v", r.cause) }
func (r *reject) Unwrap() error { return r.cause }

// ShareConsumer is one member of a share group (KIP-932, Kafka 4.2): a queue. The broker lends records out one by one to
// whoever has time, also those of one partition to several members, and notes for each whether it was accepted, released
// or rejected. There are no offsets to commit, there is no order, and no rebalance gives up what is in work.
type ShareConsumer struct {
	cfg     Config
	handle  Handler
	opts    []kgo.Opt
	meter   *meter.Meter
	started atomic.Bool
}

// NewShare makes a member of share group cfg.Group. It returns what Validate says of cfg, and an error for a nil handler
// or an option that the client refuses.
func NewShare(cfg Config, handle Handler, opts ...kgo.Opt) (*ShareConsumer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if handle == nil {
		return nil, errors.New("handler is nil: must be a function")
	}
	cfg.Topics = slices.Clone(cfg.Topics)
	s := &ShareConsumer{cfg: cfg, handle: handle, opts: opts, meter: newMeter(cfg, "")}
	if err := kgo.ValidateOpts(s.options()...); err != nil {
		return nil, fmt.Errorf("client options: %w", err)
	}
	return s, nil
}

func (s *ShareConsumer) options() []kgo.Opt {
	return slices.Concat(s.opts, s.meter.Opts(), []kgo.Opt{
		kgo.ShareGroup(s.cfg.Group),
		kgo.ConsumeTopics(s.cfg.Topics...),
		// Whatever is fetched is lent to us alone, and for a limited time: no more than is worked on.
		kgo.ShareMaxRecords(int32(s.cfg.Concurrency)),
		kgo.ShareMaxRecordsStrict(),
	})
}

// Run works until ctx ends. Then it lets the records in work finish (DrainTimeout, after which they are cancelled), hands
// back what it has not finished, and returns nil. Run may be called once.
//
// nil from the handler accepts a record; [Reject] rejects it; any other error, [Nack] included, and a panic release it:
// the broker delivers it again at once, to any member, until it has been delivered too often (group.share.delivery.count.limit,
// 5 by default) and is archived without a further word.
func (s *ShareConsumer) Run(ctx context.Context) (err error) {
	if s.started.Swap(true) {
		return errRunOnce
	}
	s.meter.Started()
	defer func() { s.meter.Stopped(err) }()
	base := context.WithoutCancel(ctx)
	cut, cancel := context.WithCancel(base)
	defer cancel()
	client, err := kgo.NewClient(append(s.options(), kgo.WithContext(cut))...)
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	work, stop := context.WithCancelCause(base)
	defer stop(nil)
	defer context.AfterFunc(ctx, func() {
		if pause(work, s.cfg.DrainTimeout) {
			stop(errStopping)
		}
	})()
	for ctx.Err() == nil {
		fetches := client.PollRecords(ctx, s.cfg.Concurrency)
		s.meter.Polled(fetches)
		if len(fetches.Errors()) > 0 && fetches.NumRecords() == 0 {
			pause(ctx, fetchAgain)
			continue
		}
		var calls sync.WaitGroup
		fetches.EachRecord(func(r *kgo.Record) {
			calls.Go(func() { s.work(work, r) })
		})
		// The next poll accepts what has no answer by then. So each has one first.
		calls.Wait()
	}
	stop(nil)
	flush, done := context.WithTimeout(base, goodbye)
	defer done()
	if err := client.FlushAcks(flush); err != nil {
		slog.Warn("acknowledgements were not sent; the records come again", "group", s.cfg.Group, "error", err)
	}
	if flush.Err() != nil {
		cancel()
	}
	client.Close()
	return nil
}

// work handles one record and answers for it.
func (s *ShareConsumer) work(ctx context.Context, r *kgo.Record) {
	s.meter.Began(r)
	owner := &owner{count: s.meter.Count}
	err := call(owner.in(ctx), s.cfg.Group, r, s.handle)
	var rejected *reject
	switch {
	case err == nil:
		r.Ack(kgo.AckAccept)
		s.meter.Ended(r, meter.Processed)
	case errors.As(err, &rejected):
		r.Ack(kgo.AckReject)
		s.meter.Failed(r, err)
		s.meter.Ended(r, meter.Dead)
	default:
		r.Ack(kgo.AckRelease)
		if ctx.Err() == nil {
			s.meter.Failed(r, err)
		}
		s.meter.Ended(r, meter.Released)
	}
}

// Stats returns a snapshot of what the member did; see [ops.Stats]. What was rejected is Dead.
func (s *ShareConsumer) Stats() ops.Stats { return s.meter.Stats() }

// Health says whether the process should live and whether it may be relied on; see [meter.Meter.Health].
func (s *ShareConsumer) Health() ops.Health { return s.meter.Health() }
