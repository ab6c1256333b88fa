package lesson09

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

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

	mu      sync.Mutex // for work in memory alone
	working map[string]flight
}

// A flight is an id that somebody works on.
type flight struct{ landed chan struct{} } // made by the first who waits, closed at the end

// NewInbox makes an inbox that tells messages apart by id. nil for any of the three is an error.
func NewInbox(store Store, id func(*kgo.Record) (string, error), apply Apply) (*Inbox, error) {
	if store == nil || id == nil || apply == nil {
		return nil, errors.New("an inbox needs a store, an id and something to apply")
	}
	return &Inbox{store: store, id: id, apply: apply, working: map[string]flight{}}, nil
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
	if err := b.takeOff(ctx, id); err != nil {
		return err
	}
	defer b.land(id)

	d := recycled.Get().(*delivery)
	d.id, d.owner, d.write, d.known, d.evicted = id, ownerOf(ctx), nil, false, 0
	err = b.once(ctx, r, d)
	switch {
	case errors.Is(err, ErrZombie):
		d.owner.count("fenced", 1)
	case err == nil && d.known:
		d.owner.count("duplicates", 1)
	case err == nil && d.evicted > 0:
		d.owner.count("evicted", int64(d.evicted))
	}
	recycled.Put(d)
	return err
}

// once applies the message unless it is marked.
func (b *Inbox) once(ctx context.Context, r *kgo.Record, d *delivery) (err error) {
	if err = b.store.Update(ctx, d.look); err != nil || d.known {
		return err
	}
	if d.write, err = b.apply(ctx, r); err != nil {
		return err
	}
	// What is worked out is kept, also if the partition is to be given up by now: it is still ours, or fenced.
	return b.store.Update(context.WithoutCancel(ctx), d.keep)
}

// A delivery is what its two transactions have to know. It is used again, and so are the functions: each would be made
// anew for every record otherwise, with all that it refers to.
type delivery struct {
	id         string
	owner      *owner
	write      Write
	known      bool
	evicted    int
	look, keep func(Tx) error
}

var recycled = sync.Pool{New: func() any {
	d := new(delivery)
	d.look, d.keep = d.isKnown, d.writeAndMark
	return d
}}

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

// takeOff waits until nobody else works on the id.
func (b *Inbox) takeOff(ctx context.Context, id string) error {
	for {
		b.mu.Lock()
		f, busy := b.working[id]
		if !busy {
			b.working[id] = flight{}
			b.mu.Unlock()
			return nil
		}
		if f.landed == nil {
			f.landed = make(chan struct{})
			b.working[id] = f
		}
		b.mu.Unlock()
		select {
		case <-f.landed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (b *Inbox) land(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if f := b.working[id]; f.landed != nil {
		close(f.landed)
	}
	delete(b.working, id)
}

// An owner is one member's ownership of one partition, as the handler's context carries it.
type owner struct {
	fenceKey string // where the store keeps the latest epoch of the partition
	epoch    int64  // grows with each owner
	count    func(name string, n int64)
}

type ownerKey struct{}

func (o *owner) in(ctx context.Context) context.Context {
	return context.WithValue(ctx, ownerKey{}, o)
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
