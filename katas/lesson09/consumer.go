package lesson09

import (
	"context"
	"errors"
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
func Nack(after time.Duration, cause error) error {
	// TODO: an error type of your own that carries after, and unwraps to cause.
	return errors.New("lesson09: Nack is not written yet")
}

// Consumer is one member of a consumer group that works on several records of a partition at once and commits what is
// done. Its methods are safe for concurrent use.
//
// The committed offset of a partition is where the first record begins that is not done with: whatever is finished behind
// it has to wait. See [Config.Window] for how much.
type Consumer struct {
	meter *meter.Meter // given: what lesson 07 taught; see its doc comment for what it wants to be told

	// TODO: the configuration, the handler, the client, and the partitions that it owns.
}

// New makes a consumer that calls handle for each record. It returns what Validate says of cfg, and an error for a nil
// handler or an option that the client refuses. It does not wait for the network: a service starts while Kafka is down.
//
// opts are the client's own: brokers, dialer, TLS, SASL, client id, hooks. What cfg decides, and how offsets are
// committed, opts cannot change. Of transactions, only what was committed is read. A group without a commit begins at the
// oldest record.
func New(cfg Config, handle Handler, opts ...kgo.Opt) (*Consumer, error) {
	// TODO: validate, make the meter by newMeter(cfg, cfg.Group), and check the options by kgo.ValidateOpts: opts first, the
	// meter's Opts, then what cfg decides. Run makes the client.
	return nil, errors.New("lesson09: New is not written yet")
}

func newMeter(cfg Config, group string) *meter.Meter {
	return meter.New(meter.Config{Group: group, StallAfter: cfg.StallAfter, MaxErrorGroups: cfg.MaxErrorGroups, MaxErrorSamples: cfg.ErrorSamples})
}

// Run joins the group and consumes until ctx ends. Then it takes no more records, lets the ones in work finish
// (DrainTimeout, after which they are cancelled), commits, leaves the group, closes the client, and returns nil.
//
// Whatever may pass is waited for and shown by Health: a broker that is down, a topic or group that may not be read. A
// member that the group has expelled commits nothing of its old life and joins anew. Run may be called once.
func (c *Consumer) Run(ctx context.Context) error {
	// TODO: poll, hand over to Concurrency workers, commit what is done. Tell the meter: Started, Polled, Began, Ended, …
	return errors.New("lesson09: Consumer.Run is not written yet")
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
	// TODO: the check "window", by c.meter.Check.
	return c.meter.Health()
}

// Pause stops fetching, also of partitions that come later. Membership, the records in hand and their commits go on.
func (c *Consumer) Pause() {
	// TODO
}

// Resume ends a pause.
func (c *Consumer) Resume() {
	// TODO
}
