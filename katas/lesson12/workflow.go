package lesson12

import (
	"encoding/json"
	"errors"
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

// TODO: where an order stands, and what each message and each timer makes of it: one function from state and message to
// new state and messages. Store both in one update, then relay.

// BoltStore is a Store in one file, which one process has open at a time.
type BoltStore struct {
	// TODO: a *bbolt.DB with one bucket.
}

// OpenStore opens the file, and makes it if it is not there. Somebody who has it open already is waited for, for a
// second; then it is an error.
func OpenStore(path string) (*BoltStore, error) {
	// TODO: bbolt.Open with a Timeout; the other stories of the lesson have a database of their own and can do without.
	return nil, errors.New("lesson12: OpenStore is not written yet")
}

// Close waits for what runs and closes the file.
func (b *BoltStore) Close() error {
	return errors.New("lesson12: BoltStore.Close is not written yet")
}

// Update is Store's.
func (b *BoltStore) Update(change func(tx Tx) error) error {
	return errors.New("lesson12: BoltStore.Update is not written yet")
}

// View is Store's.
func (b *BoltStore) View(look func(tx Tx) error) error {
	return errors.New("lesson12: BoltStore.View is not written yet")
}

// TODO: what the parts have in common: an outbox in the store, and how it is relayed to Kafka.
