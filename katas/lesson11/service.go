package lesson11

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/ops"
	"github.com/kafka-katas/kafka-katas/ops/meter"
)

// Parts are what a service works with.
type Parts struct {
	Channels  map[string]Channel           // by the names Email, SMS, Push; a channel without one is not used
	Templates map[string]map[string]string // by Trigger.Template and channel; the syntax is text/template's, see View
	Audience  Audience                     // nil: triggers with an audience are dead-lettered
}

// Service is one member of the service that tells users what happened. Its methods are safe for concurrent use.
//
// It works in two stages, with a topic for each channel and priority between them. The planner reads triggers and writes
// a task for each user and channel; each channel reads its own tasks in a consumer group of its own, so that a provider
// that is slow or down holds up nobody else. What must survive a crash or a rebalance is in the log, a compacted topic.
type Service struct {
	cfg   Config
	parts Parts
	opts  []kgo.Opt
	meter *meter.Meter

	// TODO: the parsed templates, and whatever Pause has to reach.
}

// New makes a service. It returns what Validate says of cfg, and an error for a channel or template that is not known or
// does not parse, or an option that the client refuses. It does not wait for the network.
//
// opts are the client's own: brokers, dialer, TLS, SASL, client id, hooks. What cfg decides opts cannot change.
func New(cfg Config, parts Parts, opts ...kgo.Opt) (*Service, error) {
	// TODO: what cannot work is refused here: cfg.Validate(), unknown channels, templates that do not parse
	// (text/template with Option("missingkey=error")).
	s := &Service{cfg: cfg, parts: parts, opts: opts, meter: meter.New(meter.Config{
		// The groups come and go together; the planner's stands for all of them.
		Group: "planner-" + cfg.Group, HeartbeatInterval: cfg.HeartbeatInterval, StallAfter: cfg.StallAfter,
		MaxErrorGroups: cfg.MaxErrorGroups, MaxErrorSamples: cfg.ErrorSamples,
	})}
	_ = s
	return nil, errors.New("lesson11: New is not written yet")
}

// Run works until ctx ends. Then it takes no more records, lets sends under way finish (DrainTimeout, after which they
// are cancelled), sends the digests that wait, commits, leaves its groups, and returns nil. Kafka being down, and
// anything else that may pass, is waited for and shown by Health. Run may be called once.
func (s *Service) Run(ctx context.Context) error {
	// TODO: one client that reads the tables (preferences, log, status) without a group and produces everything; one
	// client in a group of its own for the planner, for the receipts, and for each channel. s.meter.Opts() comes before
	// the options of your own, in each of them. fanout.go and delivery.go say what the stages do.
	return errors.New("lesson11: Run is not written yet")
}

// Stats returns a consistent snapshot, from memory. Records of all topics are in it. A trigger that has become tasks, a
// task that was sent, and a receipt that was news are Processed. What is not to be sent (skipped, expired, recognised, refused)
// and a receipt that was no news are Filtered; what was deferred or waits in a digest is Parked. Errors has the failed
// sends, and the refused ones.
//
// Extra counts messages, by channel ("email_sent"): sent, retried, throttled, refused, deferred, deduplicated, expired,
// dead, and skipped_ with a reason: opted_out, no_address. The planner counts skipped_unknown_user,
// skipped_bad_preferences and expired.
func (s *Service) Stats() ops.Stats { return s.meter.Stats() }

// ResetStats starts a new period, as [ops.Controls] describes.
func (s *Service) ResetStats() { s.meter.ResetStats() }

// Health answers from memory. To what the meter checks it adds one check for each channel, "channel_email", on
// readiness: its provider is not taken to be down.
func (s *Service) Health() ops.Health { return s.meter.Health() }

// Pause stops taking records in. What is in hand, deferred or in a digest goes on.
func (s *Service) Pause() {
	// TODO: PauseFetchTopics of every group's client, and s.meter.SetPaused(true).
}

// Resume ends a pause.
func (s *Service) Resume() {
	// TODO
}
