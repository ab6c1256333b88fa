package lesson13

import (
	"errors"
	"fmt"
	"time"
)

// Config is both sides, as config.yaml has them: a service that asks may answer too.
type Config struct {
	Requester RequesterConfig `doc:"The side that asks."`
	Responder ResponderConfig `doc:"The side that answers."`
}

// DefaultConfig is both sides' defaults.
func DefaultConfig() Config {
	return Config{Requester: DefaultRequesterConfig(), Responder: DefaultResponderConfig()}
}

// RequesterConfig is everything about a requester that an operator may want to change.
type RequesterConfig struct {
	Topic          string        `doc:"Topic that requests are sent to."`
	ReplyTopic     string        `doc:"Topic that replies come back on."`
	ReplyPartition int32         `doc:"Partition of reply_topic that this instance listens to; instances may share one."`
	CallbackTopic  string        `doc:"Topic for the answers to submitted requests; empty: they are only stored, for who asks for their status."`
	Timeout        time.Duration `doc:"How long a request waits for its reply unless it says otherwise."`
	MaxInFlight    int           `doc:"Requests that may wait for replies at once."`
	WhenFull       WhenFull      `doc:"What happens to a request beyond max_in_flight: fail (at once) or wait (within its timeout)."`
	StreamBuffer   int           `doc:"Parts of one streamed answer that may wait for their reader; more end the stream."`
}

// ResponderConfig is everything about a responder that an operator may want to change.
type ResponderConfig struct {
	Name            string        `doc:"Name that replies carry; all instances of a service have the same."`
	Group           string        `doc:"Consumer group; its members share the requests."`
	Topics          []string      `doc:"Topics of requests."`
	ReplyTopics     []string      `doc:"Topics that replies may go to; a request that names another is dead-lettered."`
	DeadLetterTopic string        `doc:"Topic for requests that cannot be answered where they ask for it."`
	StoredReplies   int           `doc:"Answers that the in-memory store keeps; beyond, the oldest are forgotten."`
	CommitInterval  time.Duration `doc:"How long progress may stay uncommitted."`
	RetryAfter      time.Duration `doc:"A reply or an answer that could not be stored or sent is tried again after this."`
	DrainTimeout    time.Duration `doc:"How long stopping waits for the work in hand before cancelling it."`
	StallAfter      time.Duration `doc:"A handler that works on one request for this long is wedged, and the process not live."`
}

// Validate is both sides' Validate.
func (c Config) Validate() error {
	return errors.Join(c.Requester.Validate(), c.Responder.Validate())
}

// WhenFull is what happens to a request when MaxInFlight others wait for their replies.
type WhenFull uint8

// The policies.
const (
	FullFails WhenFull = iota // ErrTooMany at once
	FullWaits                 // it waits for its turn, and its deadline includes the wait
)

var whenFull = [...]string{FullFails: "fail", FullWaits: "wait"}

// String is "fail" or "wait".
func (f WhenFull) String() string {
	if int(f) < len(whenFull) {
		return whenFull[f]
	}
	return fmt.Sprintf("WhenFull(%d)", uint8(f))
}

// MarshalText is String, so that configuration is written as it is read.
func (f WhenFull) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText accepts what String returns.
func (f *WhenFull) UnmarshalText(text []byte) error {
	for i, w := range whenFull {
		if w == string(text) {
			*f = WhenFull(i)
			return nil
		}
	}
	return fmt.Errorf("%q is none of %q", text, whenFull)
}

// DefaultRequesterConfig is a working configuration for a shop that asks for prices.
func DefaultRequesterConfig() RequesterConfig {
	return RequesterConfig{
		Topic:        "price-requests",
		ReplyTopic:   "price-replies",
		Timeout:      10 * time.Second,
		MaxInFlight:  1000,
		StreamBuffer: 1000,
	}
}

// DefaultResponderConfig is a working configuration for the service that knows the prices.
func DefaultResponderConfig() ResponderConfig {
	return ResponderConfig{
		Name:            "pricing",
		Group:           "pricing",
		Topics:          []string{"price-requests"},
		ReplyTopics:     []string{"price-replies"},
		DeadLetterTopic: "price-requests-dlt",
		StoredReplies:   100_000,
		CommitInterval:  time.Second,
		RetryAfter:      time.Second,
		DrainTimeout:    30 * time.Second,
		StallAfter:      5 * time.Minute,
	}
}

// Validate reports everything that is wrong with c, joined into one error. Each problem is one line: the field by the
// name it has in config.yaml, the value it has, and what would be allowed.
//
// Topic and ReplyTopic are named and not the same; ReplyPartition is 0 or above; Timeout is positive; MaxInFlight and
// StreamBuffer are at least 1; WhenFull is one that exists. CallbackTopic may be empty.
func (c RequesterConfig) Validate() error {
	// TODO: collect the problems with errors.Join; "max_in_flight is 0: must be at least 1".
	return errors.New("lesson13: RequesterConfig.Validate is not written yet")
}

// Validate reports everything that is wrong with c, as RequesterConfig's does.
//
// Name, Group, DeadLetterTopic, every topic and every reply topic are named; there is at least one topic and one reply
// topic; no reply topic and not the dead-letter topic is among the topics; StoredReplies is at least 1; durations are
// positive.
func (c ResponderConfig) Validate() error {
	// TODO: as above; a reply topic that is a request topic is a loop.
	return errors.New("lesson13: ResponderConfig.Validate is not written yet")
}
