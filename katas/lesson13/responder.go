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

// Answer is what a request came to, as it is stored: its parts, or an error.
type Answer struct {
	Parts [][]byte
	Err   *RemoteError
}

// Store keeps answers by correlation id, so that a request that comes again is answered again and not worked on again.
// To survive a crash it must be outside the process, best of all where the work has its effect, in one transaction with
// it. It is safe for concurrent use. An error is taken for one that passes.
type Store interface {
	Load(ctx context.Context, id string) (answer Answer, found bool, err error)
	Save(ctx context.Context, id string, answer Answer) error
}

// State is how far a submitted request is.
type State uint8

// The states.
const (
	StateUnknown State = iota // not begun, or forgotten by now
	StateWorking              // in work at this instance
	StateDone                 // answered
)

// Status is what is known of a request; Answer is set when it is StateDone.
type Status struct {
	State  State
	Answer Answer
}

// Status says how far a request is, by its correlation id: what a status page or a polling client is told. A finished one
// is known to every instance that shares the store; one in work to the instance that works on it.
func (s *Responder) Status(ctx context.Context, id string) (Status, error) {
	// TODO: what the store knows, else whether it is in work here.
	return Status{}, errors.New("lesson13: Responder.Status is not written yet")
}

// MemoryStore is a Store for tests and for work that may be done twice: a restart forgets it. Its size is bounded; beyond
// it the oldest answers are forgotten.
type MemoryStore struct {
	// TODO
}

// NewMemoryStore makes a store of at most size answers; a size below 1 counts as 1.
func NewMemoryStore(size int) *MemoryStore {
	// TODO
	return &MemoryStore{}
}

// Load returns the answer to a request.
func (m *MemoryStore) Load(_ context.Context, id string) (Answer, bool, error) {
	// TODO
	return Answer{}, false, errors.New("lesson13: MemoryStore.Load is not written yet")
}

// Save keeps the answer to a request. A second answer to the same one replaces the first.
func (m *MemoryStore) Save(_ context.Context, id string, answer Answer) error {
	// TODO: the oldest goes when there is no room.
	return errors.New("lesson13: MemoryStore.Save is not written yet")
}
