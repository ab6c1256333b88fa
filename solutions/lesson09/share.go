package lesson09

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/ops"
	"github.com/kafka-katas/kafka-katas/ops/meter"
)

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
