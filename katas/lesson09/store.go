package lesson09

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kgo"
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

// Apply works on one message and returns what it comes to: the writes that are to be kept together with the message's
// mark. It may take its time, read elsewhere and call others; nothing of the service's own is changed yet. A nil Write is
// a message that changes nothing here.
//
// What Apply does elsewhere (a mail, a call to a partner) is done at least once, not exactly once: the process may die
// before the mark is kept. Give the partner the message's id.
type Apply func(ctx context.Context, record *kgo.Record) (Write, error)

// Write changes the service's own state, in the transaction that marks the message as done: both are kept, or neither.
// It must not wait.
type Write func(tx Tx) error

var (
	// ErrNoID is the error for a record that has no business id. Without one there is no telling it from any other.
	ErrNoID = errors.New("the record has no id")
	// ErrZombie is the error for a write of a member whose partition another one works on by now.
	ErrZombie = errors.New("a later owner of the partition has written since")
)

// Inbox applies each message once, however often and wherever it is delivered. A message is known by its business id:
// the sender that repeats it gives it another offset, perhaps another partition, and the same id.
type Inbox struct {
	// TODO: the store, how to tell messages apart, what to apply, and the ids that somebody works on.
}

// NewInbox makes an inbox that tells messages apart by id. nil for any of the three is an error.
func NewInbox(store Store, id func(*kgo.Record) (string, error), apply Apply) (*Inbox, error) {
	// TODO
	return nil, errors.New("lesson09: NewInbox is not written yet")
}

// IDHeader takes the business id from a header. A record without that header, or with an empty one, is ErrNoID.
func IDHeader(name string) func(*kgo.Record) (string, error) {
	return func(r *kgo.Record) (string, error) {
		// TODO
		return "", errors.New("lesson09: IDHeader is not written yet")
	}
}

// Handle is a [Handler]. It returns nil when the message is applied and marked, by this call or an earlier one.
//
// A message that is marked is a duplicate: Apply is not called. Of the same message delivered twice at once, one is
// worked on and the other waits for its end: a duplicate if that went well, worked on if it did not. An error, of Apply,
// of its Write or of the Store, leaves no mark, so that the next delivery tries again.
//
// Under a Consumer, what is written is fenced: when a member has written for a record of a partition, no member of its
// group that owned the partition before it writes for one any more; that is ErrZombie. And the consumer's statistics
// count, under Extra, "duplicates", "evicted" (ids that the store forgot) and "fenced".
func (b *Inbox) Handle(ctx context.Context, r *kgo.Record) error {
	// TODO: known already? Else apply, and then in one transaction: still unknown, still ours, write, mark.
	return errors.New("lesson09: Inbox.Handle is not written yet")
}
