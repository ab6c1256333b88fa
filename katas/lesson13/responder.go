package lesson13

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/ops"
)

// Handler does the work for one request and returns the answer: one part, or several for a stream; none is an empty
// reply. An error is replied too: a *RemoteError as it is, anything else (a panic as well) as CodeInternal, without a word of what it says. ctx
// ends at the request's deadline, and when a stop has lasted for DrainTimeout.
//
// Requests of one partition are handled in order, one at a time.
type Handler func(ctx context.Context, request *kgo.Record) (parts [][]byte, err error)

// Responder is one instance of a service that answers. Its methods are safe for concurrent use.
type Responder struct {
	// TODO: the client, the store, what is in work, and a meter.Meter (see ops/meter) for Stats and Health.
}

// NewResponder makes a responder. A nil store is NewMemoryStore(cfg.StoredReplies). It returns what Validate says of cfg,
// and an error for a nil handler or options that the client refuses; it does not wait for the network.
func NewResponder(cfg ResponderConfig, store Store, handle Handler, opts ...kgo.Opt) (*Responder, error) {
	// TODO: validate, then check the options by kgo.ValidateOpts. Run makes the client.
	return nil, errors.New("lesson13: NewResponder is not written yet")
}

// Run joins the group and answers until ctx ends. Then it takes no more requests, lets those in work finish
// (DrainTimeout, after which they are cancelled and handed back: neither answered nor committed), commits, leaves the group and returns nil. A request is committed when
// its reply, or its dead letter, is durable. What may pass (a broker, a store or a dead-letter topic that is away) is
// waited for, and shown by Health. Run may be called once.
func (s *Responder) Run(ctx context.Context) (err error) {
	// TODO: poll, answer, and commit what is answered.
	return errors.New("lesson13: Responder.Run is not written yet")
}

// Stats returns a snapshot, from memory. Processed requests were answered, Filtered ones had expired, Dead ones are in the
// dead-letter topic; Failed counts handler errors, which are answers too. Extra has
//
//	expired         requests whose deadline had passed
//	stored_replies  requests that came again and got the stored answer
func (s *Responder) Stats() ops.Stats {
	// TODO: the meter's.
	return ops.Stats{}
}

// Health says whether the process should live and whether it may be relied on, from memory: the checks of ops/meter, and
// "store", "replies" and "dead_letter_topic", on readiness, while what they name keeps failing.
func (s *Responder) Health() ops.Health {
	// TODO: the meter's.
	return ops.Health{}
}

// ResetStats starts a new period, as [ops.Controls] describes.
func (s *Responder) ResetStats() {
	// TODO
}

// Pause stops fetching requests. Membership, and those in hand, go on.
func (s *Responder) Pause() {
	// TODO
}

// Resume ends a pause.
func (s *Responder) Resume() {
	// TODO
}
