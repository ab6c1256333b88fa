package lesson09

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/bbolt"
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
	limits Deduplication

	mu     sync.Mutex // held while f runs, which does not wait
	closed bool
	epoch  time.Time    // times are kept as durations since
	order  []memoryMark // of marks, oldest first
	gone   int          // how many of order are evicted
	first  int          // the number of order's first; they count on for ever
	seed   maphash.Seed
	marks  map[uint64]int // hash of an id to its number: no strings that a look-up, or the collector, would have to follow
	others map[string]int // ids whose hash another one has
	values map[string][]byte
	tx     memoryTx // the one there is at a time
}

type memoryMark struct {
	id string
	at int64
}

// NewMemoryStore makes an empty store. It returns an error if limits are not positive.
func NewMemoryStore(limits Deduplication) (*MemoryStore, error) {
	if err := limits.validate(); err != nil {
		return nil, err
	}
	return &MemoryStore{limits: limits, epoch: time.Now(), seed: maphash.MakeSeed(), marks: map[uint64]int{}, others: map[string]int{}, values: map[string][]byte{}}, nil
}

func (d Deduplication) validate() error {
	if d.TTL <= 0 || d.MaxEntries <= 0 {
		return fmt.Errorf("deduplication of %v and %d entries: ttl and max_entries must be positive", d.TTL, d.MaxEntries)
	}
	return nil
}

var errClosed = errors.New("the store is closed")

// Update implements [Store].
func (s *MemoryStore) Update(ctx context.Context, f func(Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	tx := &s.tx
	*tx = memoryTx{s: s}
	if err := f(tx); err != nil {
		return err
	}
	for range tx.evicted {
		s.forget()
	}
	for _, id := range tx.marks { // after the evictions: an id whose time was over may be marked anew
		s.remember(id, tx.now)
	}
	maps.Copy(s.values, tx.values)
	return nil
}

// number returns the number of an id's mark, or -1.
func (s *MemoryStore) number(id string) int {
	if n, ok := s.marks[maphash.String(s.seed, id)]; ok && s.order[n-s.first].id == id {
		return n
	}
	if n, ok := s.others[id]; ok {
		return n
	}
	return -1
}

func (s *MemoryStore) remember(id string, at int64) {
	hash, n := maphash.String(s.seed, id), s.first+len(s.order)
	if _, taken := s.marks[hash]; taken {
		s.others[id] = n
	} else {
		s.marks[hash] = n
	}
	s.order = append(s.order, memoryMark{id, at})
}

// forget forgets the oldest id.
func (s *MemoryStore) forget() {
	id := s.order[s.gone].id
	if hash := maphash.String(s.seed, id); s.marks[hash] == s.first+s.gone {
		delete(s.marks, hash)
	} else {
		delete(s.others, id)
	}
	s.order[s.gone] = memoryMark{}
	if s.gone++; s.gone > 1024 && s.gone > len(s.order)/2 {
		s.order = slices.Delete(s.order, 0, s.gone)
		s.first += s.gone
		s.gone = 0
	}
}

// Close implements [Store].
func (s *MemoryStore) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

// memoryTx holds back what is written until it is known to be kept.
type memoryTx struct {
	s       *MemoryStore
	now     int64 // 0: nobody has asked yet
	marks   []string
	evicted int
	values  map[string][]byte
	one     [1]string
}

// clock is when the transaction is, in terms of the store's epoch.
func (tx *memoryTx) clock() int64 {
	if tx.now == 0 {
		tx.now = 1 + int64(time.Since(tx.s.epoch))
	}
	return tx.now
}

func (tx *memoryTx) expired(at int64) bool { return tx.clock()-at >= int64(tx.s.limits.TTL) }

func (tx *memoryTx) Marked(id string) (bool, error) {
	s := tx.s
	if slices.Contains(tx.marks, id) {
		return true, nil
	}
	n := s.number(id)
	return n >= s.first+s.gone+tx.evicted && !tx.expired(s.order[n-s.first].at), nil
}

func (tx *memoryTx) Mark(id string) (evicted int, err error) {
	if marked, _ := tx.Marked(id); marked {
		return 0, nil
	}
	if tx.marks == nil {
		tx.marks = tx.one[:0]
	}
	tx.marks = append(tx.marks, id)
	tx.clock()
	s := tx.s
	for s.gone+tx.evicted < len(s.order) {
		kept := len(s.order) - s.gone - tx.evicted + len(tx.marks)
		if kept <= s.limits.MaxEntries && !tx.expired(s.order[s.gone+tx.evicted].at) {
			break
		}
		tx.evicted++
		evicted++
	}
	return evicted, nil
}

func (tx *memoryTx) Get(key string) ([]byte, error) {
	if v, ok := tx.values[key]; ok {
		return bytes.Clone(v), nil
	}
	return bytes.Clone(tx.s.values[key]), nil
}

func (tx *memoryTx) Put(key string, value []byte) error {
	if tx.values == nil {
		tx.values = map[string][]byte{}
	}
	tx.values[key] = append([]byte{}, value...)
	return nil
}

func (tx *memoryTx) Keys(prefix string) ([]string, error) {
	var keys []string
	for _, values := range []map[string][]byte{tx.s.values, tx.values} {
		for key := range values {
			if strings.HasPrefix(key, prefix) {
				keys = append(keys, key)
			}
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys), nil
}

// BoltStore is a Store in one file on disk, which survives the process. It is one process's at a time.
type BoltStore struct {
	limits Deduplication
	db     *bbolt.DB
}

var (
	bucketMarks  = []byte("marks")  // id to its key in order
	bucketOrder  = []byte("order")  // time and a running number to id
	bucketValues = []byte("values") // what was put
)

// openTimeout is how long to wait for another process to let go of the file: a predecessor that is just ending.
const openTimeout = time.Second

// OpenBoltStore opens the file at path, or makes it. While another process has it open, that is an error after a second.
func OpenBoltStore(path string, limits Deduplication) (*BoltStore, error) {
	if err := limits.validate(); err != nil {
		return nil, err
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: openTimeout})
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", path, err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{bucketMarks, bucketOrder, bucketValues} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("store %s: %w", path, err), db.Close())
	}
	return &BoltStore{limits, db}, nil
}

// Update implements [Store]. It returns when what f did is on the disk.
func (s *BoltStore) Update(ctx context.Context, f func(Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	tx, err := s.db.Begin(true)
	if err != nil {
		return err
	}
	defer tx.Rollback() // of what is not committed
	t := &boltTx{s: s, now: time.Now(), marks: tx.Bucket(bucketMarks), order: tx.Bucket(bucketOrder), values: tx.Bucket(bucketValues)}
	if err := f(t); err != nil || !t.wrote {
		return err // what has only read need not wait for the disk
	}
	return tx.Commit()
}

// Close implements [Store].
func (s *BoltStore) Close() error { return s.db.Close() }

type boltTx struct {
	s                    *BoltStore
	now                  time.Time
	marks, order, values *bbolt.Bucket
	wrote                bool
}

func (tx *boltTx) Marked(id string) (bool, error) {
	at := tx.marks.Get([]byte(id))
	return at != nil && tx.now.Sub(markedAt(at)) < tx.s.limits.TTL, nil
}

func (tx *boltTx) Mark(id string) (evicted int, err error) {
	if marked, _ := tx.Marked(id); marked {
		return 0, nil
	}
	tx.wrote = true
	kept := tx.marks.Sequence() // their number: to count them would read the whole file
	cursor := tx.order.Cursor()
	for at, oldest := cursor.First(); at != nil; at, oldest = cursor.First() {
		if kept < uint64(tx.s.limits.MaxEntries) && tx.now.Sub(markedAt(at)) < tx.s.limits.TTL {
			break
		}
		if err := errors.Join(tx.marks.Delete(bytes.Clone(oldest)), tx.order.Delete(bytes.Clone(at))); err != nil {
			return 0, err
		}
		kept--
		evicted++
	}
	n, err := tx.order.NextSequence()
	if err != nil {
		return 0, err
	}
	at := binary.BigEndian.AppendUint64(nil, uint64(tx.now.UnixNano()))
	at = binary.BigEndian.AppendUint64(at, n)
	return evicted, errors.Join(tx.order.Put(at, []byte(id)), tx.marks.Put([]byte(id), at), tx.marks.SetSequence(kept+1))
}

func markedAt(at []byte) time.Time { return time.Unix(0, int64(binary.BigEndian.Uint64(at))) }

func (tx *boltTx) Get(key string) ([]byte, error) {
	return bytes.Clone(tx.values.Get([]byte(key))), nil
}

func (tx *boltTx) Put(key string, value []byte) error {
	tx.wrote = true
	return tx.values.Put([]byte(key), bytes.Clone(value)) // which bbolt reads when it commits
}

func (tx *boltTx) Keys(prefix string) (keys []string, err error) {
	cursor := tx.values.Cursor()
	for key, _ := cursor.Seek([]byte(prefix)); key != nil && bytes.HasPrefix(key, []byte(prefix)); key, _ = cursor.Next() {
		keys = append(keys, string(key))
	}
	return keys, nil
}
