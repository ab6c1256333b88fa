package lesson13

import (
	"context"
	"errors"
)

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
