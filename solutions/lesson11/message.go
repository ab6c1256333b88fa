package lesson11

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Trigger is the value of a record of the triggers topic, as JSON: something happened that somebody should hear of.
type Trigger struct {
	Event    string            `json:"event"`              // what happened; the same event may come twice, at two offsets
	Template string            `json:"template"`           // which text
	User     string            `json:"user,omitempty"`     // who; or else
	Audience string            `json:"audience,omitempty"` // the name of a list of users, which may be very long
	Critical bool              `json:"critical,omitempty"` // law or safety: overtakes others, ignores opt-out and quiet hours
	Fallback bool              `json:"fallback,omitempty"` // one channel is enough: the next one only if the one before refused for good
	Digest   bool              `json:"digest,omitempty"`   // may wait for others of its kind and go out with them as one message
	Expires  time.Time         `json:"expires,omitzero"`   // worth nothing from this moment on
	Data     map[string]string `json:"data,omitempty"`
}

// Validate says what is wrong with a trigger that was decoded.
func (t Trigger) Validate() error {
	switch {
	case t.Event == "":
		return errors.New("event is missing")
	case t.Template == "":
		return errors.New("template is missing")
	case (t.User == "") == (t.Audience == ""):
		return errors.New("one of user and audience is needed, and not both")
	}
	return nil
}

// Task is the value of a record of a task topic, as JSON: one notification of one user by one channel. The record's key
// is the user.
type Task struct {
	Trigger          // of this User; Audience is empty
	Channel string   `json:"channel"`
	Next    []string `json:"next,omitempty"` // with Fallback: the channels after this one, in order
}

// Preferences are the value of a record of the preferences topic, as JSON, keyed by user. The topic is compacted: the
// newest record of a user counts, and a tombstone means that nothing is known of the user any more. Quiet hours in a zone,
// or at times, that nobody can read may be now: then only what is critical is sent.
type Preferences struct {
	Zone     string             `json:"zone,omitempty"` // IANA name, such as Europe/Berlin; empty is UTC
	Quiet    *Quiet             `json:"quiet,omitempty"`
	Channels map[string]Contact `json:"channels"`
}

// Quiet are hours on the user's own clock, such as 22:00 to 07:00, in which only critical notifications are sent.
type Quiet struct {
	From string `json:"from"` // the first quiet minute
	To   string `json:"to"`   // the first minute that is not quiet any more; on the next day if it is not after From
}

// Contact is how a user is reached by a channel.
type Contact struct {
	Address string `json:"address"`           // blank: there is none
	Enabled *bool  `json:"enabled,omitempty"` // nil: the user has not decided, and Limits.OptIn does
}

// Receipt is the value of a record of the receipts topic and of the status topic, as JSON, keyed by Message.Key.
type Receipt struct {
	Status string    `json:"status"` // accepted, bounced, delivered or read
	At     time.Time `json:"at,omitzero"`
}

// Message is what a provider is given.
type Message struct {
	Key  string // the provider's idempotency key: a provider sends a message whose key it has seen once, and never again
	To   string // the address
	Body string
	Task Task // what it is about; of a digest its first
}

// Channel sends messages by one provider. Send returns nil when the provider has accepted the message. An error is a
// *Throttled, a *Refused, or anything else: then it is not known whether the message was accepted.
type Channel interface {
	Send(ctx context.Context, m Message) error
}

// Throttled is a provider's wish to be left alone: HTTP 429 with Retry-After.
type Throttled struct{ After time.Duration }

// Error says how long.
func (e *Throttled) Error() string { return fmt.Sprintf("too many requests, retry after %v", e.After) }

// Refused is a provider's last word on a message: an address that does not exist, a number that is blocked.
type Refused struct{ Reason string }

// Error says why.
func (e *Refused) Error() string { return "refused for good: " + e.Reason }

// Audience knows the lists of users that a trigger may name.
type Audience interface {
	// Page returns at most limit users of a list, in a fixed order, that come after that user; "" begins the list. Fewer
	// than limit is the end of it; an error is not, and the page is asked for again.
	Page(ctx context.Context, list, after string, limit int) ([]string, error)
}

// View is what a template is executed with. A key of Data or Items that does not exist is an error, not an empty text.
type View struct {
	User, Event string
	Data        map[string]string
	Items       []map[string]string // Data of each trigger of a digest, in the order of their tasks; otherwise of this one alone
}
