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

	"github.com/twmb/franz-go/pkg/kgo"
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

// A knower is a Store that can say what is marked without a transaction that might write: there nothing has to wait in
// line.
type knower interface {
	knows(ctx context.Context, id string) (bool, error)
}

// MemoryStore is a Store for as long as the process lives: quick, and enough where redeliveries after a restart do no
// harm or come from elsewhere.
type MemoryStore struct {
	limits Deduplication

	mu     sync.Mutex // held while f runs, which does not wait
	closed bool
	epoch  time.Time // times are kept as durations since
	order  register  // of marks, oldest first
	seed   maphash.Seed
	marks  map[uint32]uint32 // hash of an id to its number: nothing to follow, and small, for a look-up is a cache miss
	others map[string]int    // ids whose hash another one has
	latest lookup            // of an id, which is asked for several times in a row
	values map[string][]byte
	tx     memoryTx // the one there is at a time
}

type memoryMark struct {
	id string
	at int64
}

// A register is marks in the order that they came, numbered for ever. It grows by pages: to copy a million marks would keep
// everybody waiting.
type register struct {
	pages  []*[pageLength]memoryMark
	torn   int // how many pages there were before
	oldest int // the number of the oldest mark
	next   int // the number that the next one gets
}

const pageLength = 1024

func (r *register) mark(n int) *memoryMark { return &r.pages[n/pageLength-r.torn][n%pageLength] }

func (r *register) add(m memoryMark) (n int) {
	if r.next%pageLength == 0 {
		r.pages = append(r.pages, new([pageLength]memoryMark))
	}
	n = r.next
	r.next++
	*r.mark(n) = m
	return n
}

// number is that of the mark whose number ends like that. There are never so many that it could be two.
func (r *register) number(low uint32) int { return r.oldest + int(low-uint32(r.oldest)) }

// drop takes the oldest mark out.
func (r *register) drop() (id string, n int) {
	n = r.oldest
	id, r.mark(n).id = r.mark(n).id, ""
	if r.oldest++; r.oldest%pageLength == 0 {
		r.pages[0] = nil
		r.pages = r.pages[1:]
		r.torn++
	}
	return id, n
}

// NewMemoryStore makes an empty store. It returns an error if limits are not positive.
func NewMemoryStore(limits Deduplication) (*MemoryStore, error) {
	if err := limits.validate(); err != nil {
		return nil, err
	}
	return &MemoryStore{limits: limits, epoch: time.Now(), seed: maphash.MakeSeed(), marks: map[uint32]uint32{}, others: map[string]int{}, values: map[string][]byte{}}, nil
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

// A lookup is what the store knows of an id.
type lookup struct {
	id     string
	hash   uint32
	taken  bool // the hash is, by this id's mark or another one's
	number int  // of its mark, or -1
	stands bool // nothing was marked or forgotten since
}

// find looks an id up.
func (s *MemoryStore) find(id string) *lookup {
	l := &s.latest
	if l.stands && l.id == id {
		return l
	}
	*l = lookup{id: id, hash: s.hash(id), number: -1, stands: true}
	low, taken := s.marks[l.hash]
	if n := s.order.number(low); taken && s.order.mark(n).id == id {
		l.number = n
	} else if n, ok := s.others[id]; ok {
		l.number = n
	}
	l.taken = taken
	return l
}

func (s *MemoryStore) hash(id string) uint32 { return uint32(maphash.String(s.seed, id)) }

func (s *MemoryStore) remember(id string, at int64) {
	found := s.find(id)
	n := s.order.add(memoryMark{id, at})
	if found.taken {
		s.others[id] = n
	} else {
		s.marks[found.hash] = uint32(n)
	}
	s.latest.stands = false
}

// forget forgets the oldest id.
func (s *MemoryStore) forget() {
	id, n := s.order.drop()
	hash := s.hash(id)
	if low, ok := s.marks[hash]; ok && low == uint32(n) {
		delete(s.marks, hash)
	} else {
		delete(s.others, id)
	}
	s.latest.stands = false
}

// knows implements [knower].
func (s *MemoryStore) knows(ctx context.Context, id string) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false, errClosed
	}
	tx := memoryTx{s: s}
	return tx.Marked(id)
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
	n := s.find(id).number
	return n >= s.order.oldest+tx.evicted && !tx.expired(s.order.mark(n).at), nil
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
	for oldest := s.order.oldest; oldest+tx.evicted < s.order.next; {
		kept := s.order.next - oldest - tx.evicted + len(tx.marks)
		if kept <= s.limits.MaxEntries && !tx.expired(s.order.mark(oldest+tx.evicted).at) {
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
	if err := prepare(db); err != nil {
		return nil, errors.Join(fmt.Errorf("store %s: %w", path, err), db.Close())
	}
	return &BoltStore{limits, db}, nil
}

// prepare makes the buckets, unless they are there: to open a file again writes nothing.
func prepare(db *bbolt.DB) error {
	tx, err := db.Begin(true)
	if err != nil {
		return err
	}
	defer tx.Rollback() // of what is not committed
	if tx.Bucket(bucketValues) != nil {
		return nil
	}
	for _, name := range [][]byte{bucketMarks, bucketOrder, bucketValues} {
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	return tx.Commit()
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

// knows implements [knower]. It waits for nobody's disk.
func (s *BoltStore) knows(ctx context.Context, id string) (known bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	err = s.db.View(func(tx *bbolt.Tx) error {
		known, err = (&boltTx{s: s, now: time.Now(), marks: tx.Bucket(bucketMarks)}).Marked(id)
		return err
	})
	return known, err
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
	store Store
	id    func(*kgo.Record) (string, error)
	apply Apply

	mu      sync.Mutex           // for work in memory alone
	working map[string]*delivery // by id
	spare   []*delivery          // as many as were worked on at once
}

// NewInbox makes an inbox that tells messages apart by id. nil for any of the three is an error.
func NewInbox(store Store, id func(*kgo.Record) (string, error), apply Apply) (*Inbox, error) {
	if store == nil || id == nil || apply == nil {
		return nil, errors.New("an inbox needs a store, an id and something to apply")
	}
	return &Inbox{store: store, id: id, apply: apply, working: map[string]*delivery{}}, nil
}

// IDHeader takes the business id from a header. A record without that header, or with an empty one, is ErrNoID.
func IDHeader(name string) func(*kgo.Record) (string, error) {
	return func(r *kgo.Record) (string, error) {
		for _, h := range r.Headers {
			if h.Key == name && len(h.Value) > 0 {
				return string(h.Value), nil
			}
		}
		return "", fmt.Errorf("header %q: %w", name, ErrNoID)
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
	id, err := b.id(r)
	if err == nil && id == "" {
		err = ErrNoID
	}
	if err != nil {
		return err
	}
	d, err := b.takeOff(ctx, id)
	if err != nil {
		return err
	}
	defer b.land(d)

	d.owner = ownerOf(ctx)
	err = b.once(ctx, r, d)
	switch {
	case errors.Is(err, ErrZombie):
		d.owner.count("fenced", 1)
	case err == nil && d.known:
		d.owner.count("duplicates", 1)
	case err == nil && d.evicted > 0:
		d.owner.count("evicted", int64(d.evicted))
	}
	return err
}

// once applies the message unless it is marked.
func (b *Inbox) once(ctx context.Context, r *kgo.Record, d *delivery) (err error) {
	if d.known, err = b.knows(ctx, d); err != nil || d.known {
		return err
	}
	if d.write, err = b.apply(ctx, r); err != nil {
		return err
	}
	// What is worked out is kept, also if the partition is to be given up by now: it is still ours, or fenced.
	return b.store.Update(d.owner.withoutEnd(ctx), d.keep)
}

// knows says whether the message is marked.
func (b *Inbox) knows(ctx context.Context, d *delivery) (bool, error) {
	if store, ok := b.store.(knower); ok {
		return store.knows(ctx, d.id)
	}
	err := b.store.Update(ctx, d.look)
	return d.known, err
}

// A delivery is what its transactions have to know. It is used again, and so are the functions: each would be made anew
// for every record otherwise, with all that it refers to.
type delivery struct {
	id         string
	owner      *owner
	write      Write
	known      bool
	evicted    int
	look, keep func(Tx) error
	landed     chan struct{} // made by the first who waits for its end
}

func (d *delivery) isKnown(tx Tx) (err error) {
	d.known, err = tx.Marked(d.id)
	return err
}

func (d *delivery) writeAndMark(tx Tx) (err error) {
	// Asked again, in the transaction that writes: another process may have been here since.
	if d.known, err = tx.Marked(d.id); err != nil || d.known {
		return err
	}
	if err = d.owner.fence(tx); err != nil {
		return err
	}
	if d.write != nil {
		if err = d.write(tx); err != nil {
			return err
		}
	}
	d.evicted, err = tx.Mark(d.id)
	return err
}

// takeOff waits until nobody else works on the id, and begins to.
func (b *Inbox) takeOff(ctx context.Context, id string) (*delivery, error) {
	for {
		b.mu.Lock()
		other := b.working[id]
		if other == nil {
			d := b.delivery()
			d.id = id
			b.working[id] = d
			b.mu.Unlock()
			return d, nil
		}
		if other.landed == nil {
			other.landed = make(chan struct{})
		}
		landed := other.landed
		b.mu.Unlock()
		select {
		case <-landed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// delivery returns a blank one.
func (b *Inbox) delivery() *delivery {
	if last := len(b.spare) - 1; last >= 0 {
		d := b.spare[last]
		b.spare = b.spare[:last]
		return d
	}
	d := new(delivery)
	d.look, d.keep = d.isKnown, d.writeAndMark
	return d
}

func (b *Inbox) land(d *delivery) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.working, d.id)
	if d.landed != nil {
		close(d.landed)
	}
	*d = delivery{look: d.look, keep: d.keep}
	b.spare = append(b.spare, d)
}

// An owner is one member's ownership of one partition, as the handler's context carries it.
type owner struct {
	fenceKey string // where the store keeps the latest epoch of the partition
	epoch    int64  // grows with each owner
	count    func(name string, n int64)

	ctx     context.Context // that carries it
	endless context.Context // the same without an end
}

type ownerKey struct{}

func (o *owner) in(ctx context.Context) context.Context {
	o.ctx = context.WithValue(ctx, ownerKey{}, o)
	o.endless = context.WithoutCancel(o.ctx)
	return o.ctx
}

// withoutEnd is ctx without its end. It is not made anew for a handler that passes on the context that it was given.
func (o *owner) withoutEnd(ctx context.Context) context.Context {
	if ctx == o.ctx {
		return o.endless
	}
	return context.WithoutCancel(ctx)
}

// ownerOf is the ownership that ctx carries; outside of a consumer one that neither fences nor counts.
func ownerOf(ctx context.Context) *owner {
	if o, ok := ctx.Value(ownerKey{}).(*owner); ok {
		return o
	}
	return &nobody
}

var nobody = owner{count: func(string, int64) {}}

// fence refuses the transaction if a later owner has written, and keeps earlier ones from writing from now on.
func (o *owner) fence(tx Tx) error {
	if o.fenceKey == "" {
		return nil
	}
	latest, err := tx.Get(o.fenceKey)
	if err != nil {
		return err
	}
	epoch := int64(-1)
	if len(latest) == 8 {
		epoch = int64(binary.BigEndian.Uint64(latest))
	}
	switch {
	case epoch > o.epoch:
		return fmt.Errorf("%s: epoch %d: %w (in epoch %d)", o.fenceKey, o.epoch, ErrZombie, epoch)
	case epoch < o.epoch:
		return tx.Put(o.fenceKey, binary.BigEndian.AppendUint64(nil, uint64(o.epoch)))
	}
	return nil
}
