package lesson12

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	bolt "go.etcd.io/bbolt"
)

// OrderMessage is what the workflow reads. As JSON it is the value of a record of Workflow.Topic, whose key is the order.
type OrderMessage struct {
	Type    string          `json:"type"` // "placed" begins an order, "reply" answers a Task
	Order   string          `json:"order"`
	Details json.RawMessage `json:"details,omitempty"` // of a placed order: handed on with each task

	// Of a reply:
	Task    string `json:"task,omitempty"`    // the Task's Task
	Attempt int    `json:"attempt,omitempty"` // the Task's Attempt; 0 is taken for the latest
	Status  string `json:"status,omitempty"`  // "done", or "failed": nothing has been done
	Reason  string `json:"reason,omitempty"`
}

// Task asks somebody for a step or a compensation. As JSON it is the value of a record of Workflow.Tasks, whose key is
// the order. Whoever does it must do it once for each Task, however often it is asked for, and reply to Workflow.Topic.
type Task struct {
	Task    string          `json:"task"` // "order/step" or "order/compensation": one and the same, whatever the attempt
	Order   string          `json:"order"`
	Step    string          `json:"step"`    // the name of the step or of the compensation
	Attempt int             `json:"attempt"` // from 1
	Details json.RawMessage `json:"details,omitempty"`
}

// The ends of an order.
const (
	Confirmed = "confirmed" // every step is done
	Cancelled = "cancelled" // what was done is undone
	StuckFast = "stuck"     // a compensation failed too often: somebody must look
)

// Outcome is how an order ended. As JSON it is the value of a record of Workflow.Outcomes, whose key is the order.
type Outcome struct {
	Order      string `json:"order"`
	Status     string `json:"status"`
	FailedStep string `json:"failed_step,omitempty"` // the step that failed or timed out
	Reason     string `json:"reason,omitempty"`      // why: the reply's reason, or "timeout"
}

// workflows is the part of WorkflowConfig.
type workflows struct{ s *Service }

const undoing = "undoing"

// order is where an order stands.
type order struct {
	ID      string
	Details json.RawMessage
	Status  string    // "running", "undoing", or how it ended
	Step    int       // the one that is asked for, while it runs
	Due     time.Time // when that has an unknown end
	Unknown *int      // the step that has one
	Undo    []undo    // what is still to be undone, the next first
	Outcome Outcome
}

// undo is a compensation.
type undo struct {
	Step    int
	Attempt int // 0: not asked for yet
	Refused bool
	GivenUp bool
	Due     time.Time
}

func (f *workflows) open(ctx context.Context, p *partition) error {
	p.timers = map[string]time.Time{}
	err := f.s.outside.Store.View(func(tx Tx) error {
		return tx.Scan(p.key("order"), func(key string, value []byte) error {
			var o order
			if err := json.Unmarshal(value, &o); err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
			p.remember(&o)
			return nil
		})
	})
	if err != nil {
		return err
	}
	return p.relay(ctx)
}

func (p *partition) remember(o *order) {
	if at := o.next(); at.IsZero() {
		delete(p.timers, o.ID)
	} else {
		p.timers[o.ID] = at
	}
}

func (f *workflows) next(p *partition) (first time.Time) {
	if p.unsent {
		return time.Unix(0, 0) // long due: nobody else would send it before the next reply or timer
	}
	for _, at := range p.timers {
		if first.IsZero() || at.Before(first) {
			first = at
		}
	}
	return first
}

func (f *workflows) handle(ctx context.Context, p *partition, r *kgo.Record) error {
	var m OrderMessage
	if json.Unmarshal(r.Value, &m) != nil || m.Order == "" {
		f.s.meter.Count("ignored_replies", 1)
		return nil
	}
	if p.stored == r {
		return p.relay(ctx) // its second attempt is not a second reply
	}
	err := f.change(p, m.Order, func(o *order, t *turn) bool {
		switch {
		case m.Type == "placed" && o.Status == "":
			o.ID, o.Details, o.Status = m.Order, m.Details, "running"
			t.ask(o)
		case m.Type == "reply" && o.Status != "":
			return o.reply(t, m)
		default:
			return false
		}
		return true
	})
	if err != nil {
		return err
	}
	p.stored = r
	return p.relay(ctx)
}

func (f *workflows) due(ctx context.Context, p *partition) error {
	if p.unsent {
		return p.relay(ctx)
	}
	now := time.Now()
	for id, at := range p.timers {
		if at.After(now) {
			continue
		}
		err := f.change(p, id, func(o *order, t *turn) bool {
			o.timeout(t)
			return true
		})
		if err != nil {
			return err
		}
	}
	return p.relay(ctx)
}

// change takes an order one turn further: its new state and all that this gives rise to are one update of the store.
func (f *workflows) change(p *partition, id string, do func(o *order, t *turn) bool) error {
	key := p.key("order") + url.PathEscape(id)
	var o *order
	var t *turn
	changed := false
	err := f.s.outside.Store.Update(func(tx Tx) (err error) {
		if o, err = get[order](tx, key); err != nil {
			return err
		}
		if o == nil {
			o = &order{}
		}
		t = &turn{cfg: f.s.cfg.Workflow, now: time.Now()}
		if changed = do(o, t); !changed {
			return nil
		}
		if t.err != nil {
			return t.err
		}
		if err := put(tx, key, o); err != nil {
			return err
		}
		return post(tx, p.topicPartition, t.messages...)
	})
	if err != nil {
		return err
	}
	if !changed {
		f.s.meter.Count("ignored_replies", 1)
	}
	if o.ID == "" {
		delete(p.timers, id)
	} else {
		p.remember(o)
	}
	if t.stuck {
		f.s.meter.Signal("workflow_stuck")
	}
	return nil
}

// turn is one change of an order: when it happens, and what it gives rise to.
type turn struct {
	cfg      WorkflowConfig
	now      time.Time
	messages []message
	stuck    bool
	err      error
}

func (t *turn) send(topic, key string, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		t.err = err
		return
	}
	t.messages = append(t.messages, message{Topic: topic, Key: []byte(key), Value: text})
}

func (t *turn) task(o *order, step string, attempt int) {
	t.send(t.cfg.Tasks, o.ID, Task{Task: o.ID + "/" + step, Order: o.ID, Step: step, Attempt: attempt, Details: o.Details})
}

// ask asks for the step that the order has come to.
func (t *turn) ask(o *order) {
	o.Due = t.now.Add(t.cfg.StepTimeout)
	t.task(o, t.cfg.Steps[o.Step].Name, 1)
}

// undo asks for a compensation, for the first time or again.
func (t *turn) undo(o *order, u *undo) {
	u.Attempt++
	u.Refused, u.Due = false, t.now.Add(t.cfg.StepTimeout)
	t.task(o, t.cfg.Steps[u.Step].Compensation, u.Attempt)
}

// end tells how the order ended, unless that was told already.
func (t *turn) end(o *order, status string) {
	o.Status = status
	if o.Outcome.Status == status {
		return
	}
	o.Outcome.Order, o.Outcome.Status = o.ID, status
	t.send(t.cfg.Outcomes, o.ID, o.Outcome)
	t.stuck = status == StuckFast
}

// next is when something of the order is due.
func (o *order) next() (first time.Time) {
	if o.Status == "running" {
		return o.Due
	}
	for _, u := range o.Undo {
		if u.Attempt > 0 && !u.GivenUp && (first.IsZero() || u.Due.Before(first)) {
			first = u.Due
		}
	}
	return first
}

// reply says whether the reply was waited for.
func (o *order) reply(t *turn, m OrderMessage) bool {
	done := m.Status == "done"
	if !done && m.Status != "failed" {
		return false
	}
	if o.Status == "running" && m.Task == o.ID+"/"+t.cfg.Steps[o.Step].Name {
		switch {
		case !done:
			o.fail(t, m.Reason)
		case o.Step == len(t.cfg.Steps)-1:
			t.end(o, Confirmed)
		default:
			o.Step++
			t.ask(o)
		}
		return true
	}
	if o.Unknown != nil && done && m.Task == o.ID+"/"+t.cfg.Steps[*o.Unknown].Name {
		late := undo{Step: *o.Unknown}
		o.Unknown = nil
		t.undo(o, &late)
		o.Undo = slices.Insert(o.Undo, 0, late)
		return true
	}
	for i := range o.Undo {
		u := &o.Undo[i]
		if u.Attempt == 0 || m.Task != o.ID+"/"+t.cfg.Steps[u.Step].Compensation {
			continue
		}
		switch {
		case done:
			o.Undo = slices.Delete(o.Undo, i, i+1)
			o.goOn(t)
		case u.Refused || u.GivenUp || m.Attempt != 0 && m.Attempt != u.Attempt:
			return false
		case u.Attempt >= t.cfg.UndoAttempts:
			u.GivenUp = true
			o.goOn(t)
		default:
			u.Refused, u.Due = true, t.now.Add(t.cfg.UndoRetry)
		}
		return true
	}
	return false
}

// fail turns round: what was done before this step is to be undone.
func (o *order) fail(t *turn, reason string) {
	o.Status = undoing
	o.Outcome.FailedStep, o.Outcome.Reason = t.cfg.Steps[o.Step].Name, reason
	for i := o.Step - 1; i >= 0; i-- {
		o.Undo = append(o.Undo, undo{Step: i})
	}
	o.goOn(t)
}

// goOn asks for the next compensation, once the one before it is done.
func (o *order) goOn(t *turn) {
	switch {
	case len(o.Undo) == 0:
		t.end(o, Cancelled)
	case o.Undo[0].GivenUp:
		t.end(o, StuckFast)
	case o.Undo[0].Attempt == 0:
		o.Status = undoing
		t.undo(o, &o.Undo[0])
	}
}

func (o *order) timeout(t *turn) {
	if o.Status == "running" && !o.Due.After(t.now) {
		step := o.Step
		o.Unknown = &step
		o.fail(t, "timeout")
		return
	}
	for i := range o.Undo {
		u := &o.Undo[i]
		switch {
		case u.Attempt == 0 || u.GivenUp || u.Due.After(t.now):
		case u.Attempt >= t.cfg.UndoAttempts:
			u.GivenUp = true
			o.goOn(t)
			return
		default:
			t.undo(o, u)
		}
	}
}

// BoltStore is a Store in one file, which one process has open at a time.
type BoltStore struct {
	db *bolt.DB
}

var bucket = []byte("shop")

// OpenStore opens the file, and makes it if it is not there. Somebody who has it open already is waited for, for a
// second; then it is an error.
func OpenStore(path string) (*BoltStore, error) {
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: time.Second})
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bucket)
		return err
	})
	if err != nil {
		db.Close()
		return nil, err
	}
	return &BoltStore{db}, nil
}

// Close waits for what runs and closes the file.
func (b *BoltStore) Close() error { return b.db.Close() }

// Update is Store's.
func (b *BoltStore) Update(change func(tx Tx) error) error {
	return b.db.Update(func(tx *bolt.Tx) error { return change(boltTx{tx.Bucket(bucket)}) })
}

// View is Store's.
func (b *BoltStore) View(look func(tx Tx) error) error {
	return b.db.View(func(tx *bolt.Tx) error { return look(boltTx{tx.Bucket(bucket)}) })
}

type boltTx struct{ b *bolt.Bucket }

func (t boltTx) Get(key string) []byte { return bytes.Clone(t.b.Get([]byte(key))) }

func (t boltTx) Put(key string, value []byte) error { return t.b.Put([]byte(key), value) }

func (t boltTx) Delete(key string) error { return t.b.Delete([]byte(key)) }

func (t boltTx) Scan(prefix string, each func(key string, value []byte) error) error {
	c := t.b.Cursor()
	for k, v := c.Seek([]byte(prefix)); k != nil && bytes.HasPrefix(k, []byte(prefix)); k, v = c.Next() {
		if err := each(string(k), bytes.Clone(v)); err != nil {
			return err
		}
	}
	return nil
}

// get reads a value that was put by put; nil if there is none.
func get[T any](tx Tx, key string) (*T, error) {
	text := tx.Get(key)
	if text == nil {
		return nil, nil
	}
	v := new(T)
	if err := json.Unmarshal(text, v); err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return v, nil
}

func put(tx Tx, key string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return tx.Put(key, text)
}

// message is a record that waits in the outbox.
type message struct {
	Topic   string
	Key     []byte
	Value   []byte
	Headers []kgo.RecordHeader
}

// post puts messages into the outbox of a partition, within the change that gives rise to them: either both are there or
// neither.
func post(tx Tx, tp topicPartition, messages ...message) error {
	if len(messages) == 0 {
		return nil
	}
	counter := tp.key("posted")
	var n uint64
	if text := tx.Get(counter); len(text) == 8 {
		n = binary.BigEndian.Uint64(text)
	}
	for _, m := range messages {
		if err := put(tx, fmt.Sprintf("%s%020d", tp.key("outbox"), n), m); err != nil {
			return err
		}
		n++
	}
	return tx.Put(counter, binary.BigEndian.AppendUint64(nil, n))
}

// relay produces what waits in the partition's outbox, in order, and removes it when it is acknowledged. A crash in
// between repeats it: byte for byte, so that readers recognise it by its id.
func (p *partition) relay(ctx context.Context) error {
	p.unsent = true // until it is known better
	var keys []string
	var records []*kgo.Record
	err := p.s.outside.Store.View(func(tx Tx) error {
		keys, records = nil, nil
		return tx.Scan(p.key("outbox"), func(key string, value []byte) error {
			var m message
			if err := json.Unmarshal(value, &m); err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
			keys = append(keys, key)
			records = append(records, &kgo.Record{Topic: m.Topic, Key: m.Key, Value: m.Value, Headers: m.Headers})
			return nil
		})
	})
	if err != nil || len(keys) == 0 {
		p.unsent = err != nil
		return err
	}
	sent, problem := produceEach(ctx, p.client, records)
	err = p.s.outside.Store.Update(func(tx Tx) error {
		for i, key := range keys {
			if !sent[i] { // with the next attempt, and without those that have been sent
				continue
			}
			if err := tx.Delete(key); err != nil {
				return err
			}
		}
		return nil
	})
	p.unsent = problem != nil || err != nil
	return errors.Join(problem, err)
}
