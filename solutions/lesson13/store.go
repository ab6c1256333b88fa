package lesson13

import (
	"context"
	"sync"
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
	answer, found, err := s.store.Load(ctx, id)
	switch {
	case err != nil:
		return Status{}, err
	case found:
		return Status{StateDone, answer}, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.working[id] > 0 {
		return Status{State: StateWorking}, nil
	}
	return Status{}, nil
}

// MemoryStore is a Store for tests and for work that may be done twice: a restart forgets it. Its size is bounded; beyond
// it the oldest answers are forgotten.
type MemoryStore struct {
	mu      sync.Mutex
	answers map[string]Answer
	order   []string // a ring of ids, oldest at next when it is full
	next    int
	size    int
}

// NewMemoryStore makes a store of at most size answers; a size below 1 counts as 1.
func NewMemoryStore(size int) *MemoryStore {
	return &MemoryStore{answers: map[string]Answer{}, size: max(1, size)}
}

// Load returns the answer to a request.
func (m *MemoryStore) Load(_ context.Context, id string) (Answer, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a, found := m.answers[id]
	return a, found, nil
}

// Save keeps the answer to a request. A second answer to the same one replaces the first.
func (m *MemoryStore) Save(_ context.Context, id string, answer Answer) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, known := m.answers[id]; !known {
		if len(m.order) < m.size {
			m.order = append(m.order, id)
		} else {
			delete(m.answers, m.order[m.next])
			m.order[m.next] = id
			m.next = (m.next + 1) % m.size
		}
	}
	m.answers[id] = answer
	return nil
}
