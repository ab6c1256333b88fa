package lesson09

import (
	"context"
	"errors"

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
	meter *meter.Meter // given

	// TODO
}

// NewProcessor makes a processor. It returns what Validate says of cfg, and an error for an empty TransactionalID, a nil
// transform or an option that the client refuses.
func NewProcessor(cfg Config, transform Transform, opts ...kgo.Opt) (*Processor, error) {
	// TODO
	return nil, errors.New("lesson09: NewProcessor is not written yet")
}

// Run processes until ctx ends, and returns nil. A transaction that is under way then is aborted, or committed if all of
// its work is done. ErrFenced means that going on would be wrong; whatever may pass is waited for. Run may be called once.
func (p *Processor) Run(ctx context.Context) error {
	// TODO: kgo.NewGroupTransactSession; poll, Begin, transform and produce, End. Look at everything that each of them returns.
	return errors.New("lesson09: Processor.Run is not written yet")
}

// Stats returns a snapshot of what the processor did; see [ops.Stats]. The records of an aborted transaction are
// Released. Extra counts "transactions" (committed) and "aborts".
func (p *Processor) Stats() ops.Stats { return p.meter.Stats() }

// Health says whether the process should live and whether it may be relied on; see [meter.Meter.Health].
func (p *Processor) Health() ops.Health { return p.meter.Health() }

// Reject is the error of a handler that can do nothing with a record, now or later. A ShareConsumer hands it back as
// rejected (Failed, then Dead): it is not delivered again, to anybody. To a Consumer it is a failure like any other.
func Reject(cause error) error {
	// TODO
	return errors.New("lesson09: Reject is not written yet")
}

// ShareConsumer is one member of a share group (KIP-932, Kafka 4.2): a queue. The broker lends records out one by one to
// whoever has time, also those of one partition to several members, and notes for each whether it was accepted, released
// or rejected. There are no offsets to commit, there is no order, and no rebalance gives up what is in work.
type ShareConsumer struct {
	meter *meter.Meter // given; a share group owns no partitions, so it is made by newMeter(cfg, "")

	// TODO
}

// NewShare makes a member of share group cfg.Group. It returns what Validate says of cfg, and an error for a nil handler
// or an option that the client refuses.
func NewShare(cfg Config, handle Handler, opts ...kgo.Opt) (*ShareConsumer, error) {
	// TODO
	return nil, errors.New("lesson09: NewShare is not written yet")
}

// Run works until ctx ends. Then it lets the records in work finish (DrainTimeout, after which they are cancelled), hands
// back what it has not finished, and returns nil. Run may be called once.
//
// nil from the handler accepts a record; [Reject] rejects it; any other error, [Nack] included, and a panic release it:
// the broker delivers it again at once, to any member, until it has been delivered too often (group.share.delivery.count.limit,
// 5 by default) and is archived without a further word.
func (s *ShareConsumer) Run(ctx context.Context) error {
	// TODO: kgo.ShareGroup; poll, hand over, and answer for each record with its Ack before the next poll.
	return errors.New("lesson09: ShareConsumer.Run is not written yet")
}

// Stats returns a snapshot of what the member did; see [ops.Stats]. What was rejected is Dead.
func (s *ShareConsumer) Stats() ops.Stats { return s.meter.Stats() }

// Health says whether the process should live and whether it may be relied on; see [meter.Meter.Health].
func (s *ShareConsumer) Health() ops.Health { return s.meter.Health() }
