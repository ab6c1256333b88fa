package lesson12

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
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
