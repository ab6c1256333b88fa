package lesson09

import (
	"context"
	"errors"
)

// Store keeps what was done and the marks of what was done, both or neither.
//
// Update runs f in a transaction of its own. When it returns nil, everything that f did is kept; when it returns an
// error, be it f's or the store's, and when the process dies, nothing of it is. Transactions are one after the other, so
// what f reads nobody changes before it has written: f must not wait for anything. A context that has ended is an error
// before f is called.
//
// A Store is safe for concurrent use, by several Inboxes too, which then know of each other's marks.
type Store interface {
	Update(ctx context.Context, f func(Tx) error) error
	Close() error
}

// Tx is one transaction of a Store. It is valid until the function that was given it returns, and sees what it has written
// itself.
type Tx interface {
	// Marked says whether the id was marked, less than the TTL ago and not so long ago that MaxEntries others came since.
	Marked(id string) (bool, error)
	// Mark remembers the id from now on, and returns how many ids the store has forgotten for that. It forgets those
	// whose TTL is over, and, if there are still more than MaxEntries, the oldest.
	Mark(id string) (evicted int, err error)
	// Get returns a copy of what is kept under a key; nil if nothing is.
	Get(key string) ([]byte, error)
	// Put keeps a copy of value: the caller may go on to change his.
	Put(key string, value []byte) error
	// Keys are the keys that begin with prefix, in order.
	Keys(prefix string) ([]string, error)
}

// MemoryStore is a Store for as long as the process lives: quick, and enough where redeliveries after a restart do no
// harm or come from elsewhere.
type MemoryStore struct {
	// TODO: the marks with their times, in an order that shows the oldest; the values; what a transaction has written and
	// nobody may see yet.
}

// NewMemoryStore makes an empty store. It returns an error if limits are not positive.
func NewMemoryStore(limits Deduplication) (*MemoryStore, error) {
	// TODO
	return nil, errors.New("lesson09: NewMemoryStore is not written yet")
}

// Update implements [Store].
func (s *MemoryStore) Update(ctx context.Context, f func(Tx) error) error {
	// TODO: hold back what f writes until f has returned nil.
	return errors.New("lesson09: MemoryStore.Update is not written yet")
}

// Close implements [Store].
func (s *MemoryStore) Close() error {
	// TODO
	return errors.New("lesson09: MemoryStore.Close is not written yet")
}

// BoltStore is a Store in one file on disk, which survives the process. It is one process's at a time.
type BoltStore struct {
	// TODO: a *bbolt.DB (go.etcd.io/bbolt), which has transactions of its own.
}

// OpenBoltStore opens the file at path, or makes it. While another process has it open, that is an error after a second.
func OpenBoltStore(path string, limits Deduplication) (*BoltStore, error) {
	// TODO
	return nil, errors.New("lesson09: OpenBoltStore is not written yet")
}

// Update implements [Store]. It returns when what f did is on the disk.
func (s *BoltStore) Update(ctx context.Context, f func(Tx) error) error {
	// TODO
	return errors.New("lesson09: BoltStore.Update is not written yet")
}

// Close implements [Store].
func (s *BoltStore) Close() error {
	// TODO
	return errors.New("lesson09: BoltStore.Close is not written yet")
}
