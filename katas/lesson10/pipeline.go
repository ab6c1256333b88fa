package lesson10

import (
	"context"
	"errors"
	"net/http"

	"github.com/twmb/franz-go/pkg/kgo"

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
	meter *meter.Meter // what lesson 07 taught; tell it what happens to each record
	// TODO: the client, the rules of the moment, the partitions that are owned, what is in hand and how far it is done.
}

// New makes a pipeline. It returns what the Validate methods of cfg and rules say, and an error for options that the
// client refuses. It does not wait for the network. client calls cfg.Service; nil is one of the pipeline's own.
//
// opts are the Kafka client's: brokers, dialer, TLS, SASL, client id, hooks. What cfg decides opts cannot change.
func New(cfg Config, rules Rules, client *http.Client, opts ...kgo.Opt) (*Pipeline, error) {
	// TODO: validate; check the options by kgo.ValidateOpts: opts first, then the meter's, then what cfg decides.
	return nil, errors.New("lesson10: New is not written yet")
}

// SetRules replaces the rules, or returns what Validate says and goes on with the old ones. Each record is processed under
// one version from its first stage to its last output, and no record under an older one than its predecessor in its
// partition. Records that were polled before may still be under the old rules.
func (p *Pipeline) SetRules(rules Rules) error {
	// TODO
	return errors.New("lesson10: Pipeline.SetRules is not written yet")
}

// Run loads the reference table, joins the group and processes until ctx ends. Then it takes up no more records, waits
// DrainTimeout for those in hand, commits, leaves the group and returns nil. Run may be called once.
//
// ErrQuality is the one error. What may pass is waited for and shown by Health: a broker or service that is down, a
// topic that may not be written.
func (p *Pipeline) Run(ctx context.Context) (err error) {
	p.meter.Started()
	defer func() { p.meter.Stopped(err) }()
	// TODO: load the table, then: poll, take through the stages, wait for the acknowledgements, commit.
	return errors.New("lesson10: Pipeline.Run is not written yet")
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
func (p *Pipeline) Pause() {
	// TODO: PauseFetchTopics, and tell the meter.
}

// Resume ends a pause.
func (p *Pipeline) Resume() {
	// TODO
}
