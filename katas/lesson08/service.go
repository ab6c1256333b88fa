package lesson08

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/ops"
	"github.com/kafka-katas/kafka-katas/ops/meter"
)

// Handler does the work for one record.
//
// The service calls it for one record of a partition at a time. nil means that the record is done with. An error, or a
// panic, is a failed attempt; its [Class] decides what comes of it. ctx ends when the partition has to be given up or the
// service has to stop and DrainTimeout has passed, and at once when the partition is lost: the handler must then return,
// and an error of it is no failure of the record. A record that comes from a retry topic or the parking topic has the
// timestamp of its origin again, and the headers that this package adds.
type Handler func(ctx context.Context, record *kgo.Record) error

// ErrTopics ends Run before any record is handled when a topic that the service writes to does not exist, or the parking
// topic has fewer partitions than the topic it serves. The error names it.
var ErrTopics = errors.New("a topic is missing or too small")

// Service consumes Topics and sees every record through: handled, or a dead letter. Its methods are safe for concurrent
// use.
type Service struct {
	cfg    Config
	handle Handler
	opts   []kgo.Opt
	meter  *meter.Meter // tell it what happens to the records, and it answers for Stats and Health: go doc ./ops/meter

	// TODO: the breaker, the source of chance, and what belongs to the run.
}

// New makes a service that calls handle for each record. It returns what Validate says of cfg, and an error for a nil
// handler or an option that the client refuses. It does not wait for the network. opts are the client's own: brokers,
// dialer, TLS, SASL, client id, hooks. What cfg decides, opts cannot change.
func New(cfg Config, handle Handler, opts ...kgo.Opt) (*Service, error) {
	s := &Service{cfg: cfg, handle: handle, opts: opts}
	s.meter = meter.New(meter.Config{
		Group: cfg.Group, StallAfter: cfg.StallAfter, MaxErrorGroups: cfg.MaxErrorGroups, MaxErrorSamples: cfg.ErrorSamples, Class: Class,
		Rules: []meter.Rule{{
			Name: "dead_letters", Threshold: cfg.Alert.Threshold, Window: cfg.Alert.Window, For: cfg.Alert.For,
			ResolveBelow: cfg.Alert.ResolveBelow, ResolveAfter: cfg.Alert.ResolveAfter,
		}},
	})
	// TODO: refuse what cannot work (kgo.ValidateOpts tells without a client), then return s. Run makes the client: its
	// options are the user's, s.meter.Opts(), and what cfg decides, the later ones win.
	return s, errors.New("lesson08: New is not written yet")
}

// Stats returns a snapshot of what the service did; see [ops.Stats]. A record that went to a retry topic or the parking
// topic is Parked there where it failed, and received again where it went. The alert is "dead_letters".
func (s *Service) Stats() ops.Stats { return s.meter.Stats() }

// Health says whether the process should live and whether it may be relied on; it answers from memory. Beside the
// meter's checks it has these, of readiness:
//
//	"handover"  records that have to be passed on (dead letters, retries) are accepted within 10 s
//	"breaker"   the breaker is closed; only with one
func (s *Service) Health() ops.Health { return s.meter.Health() }

// ResetStats starts a new period, as [ops.Controls] describes.
func (s *Service) ResetStats() { s.meter.ResetStats() }

// Pause stops fetching. Membership, the records in hand and their commits go on.
func (s *Service) Pause() {
	s.meter.SetPaused(true)
	// TODO
}

// Resume ends a pause.
func (s *Service) Resume() {
	s.meter.SetPaused(false)
	// TODO
}

// Run joins the group and consumes until ctx ends. Then it takes no more records, ends every wait, lets the handlers
// finish (DrainTimeout, after which they are cancelled), commits, leaves the group, closes the client, and returns nil.
// It may be called once.
//
// It returns ErrTopics. Whatever may pass is waited for and shown by Health.
func (s *Service) Run(ctx context.Context) error {
	// TODO: check the topics, poll, hand over per partition, commit what is done.
	return errors.New("lesson08: Service.Run is not written yet")
}
