package lesson13

import (
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// The headers of a request. They are the agreement between services; their values are text.
const (
	// HeaderCorrelationID is on a request and on every reply to it. A responder copies it and reads nothing into it.
	HeaderCorrelationID = "correlation-id"
	// HeaderReplyTo is the topic for replies. Without it nobody waits for a reply, and none is sent.
	HeaderReplyTo = "reply-to"
	// HeaderReplyPartition is the partition for replies, in decimal. Without it any partition will do, the same for all
	// parts of an answer.
	HeaderReplyPartition = "reply-partition"
	// HeaderDeadline is when the requester gives up, as FormatDeadline writes it. Without it the requester never does.
	HeaderDeadline = "deadline"
)

// The headers of a reply, next to HeaderCorrelationID.
const (
	// HeaderResponder is the name of the service that replies: ResponderConfig.Name.
	HeaderResponder = "responder"
	// HeaderPart numbers the parts of an answer from 0, in decimal. Without it a reply is part 0.
	HeaderPart = "part"
	// HeaderEnd is on the last part of an answer, with any value. A reply without HeaderPart is the last one anyway.
	HeaderEnd = "end"
	// HeaderError makes a reply an error: its value is RemoteError.Code. It is the last part, and need not be numbered: an
	// answer may turn out to be too large after its first parts.
	HeaderError = "error"
	// HeaderErrorMessage is RemoteError.Message.
	HeaderErrorMessage = "error-message"
)

// The headers that a dead letter has in addition to those of the request.
const (
	HeaderDeadReason = "dead-reason" // a word and a sentence: "reply_topic: prices-typo is not in reply_topics"
	HeaderDeadOrigin = "dead-origin" // "price-requests/2@1702": topic, partition and offset of the request
)

// Header is the value of r's first header with that key, and whether there is one.
func Header(r *kgo.Record, key string) (string, bool) {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value), true
		}
	}
	return "", false
}

// FormatDeadline writes a deadline for HeaderDeadline: RFC 3339 in UTC, to the nanosecond.
func FormatDeadline(at time.Time) string { return at.UTC().Format(time.RFC3339Nano) }

// ParseDeadline reads what FormatDeadline wrote.
func ParseDeadline(text string) (time.Time, error) { return time.Parse(time.RFC3339Nano, text) }

// RemoteError is an error that the other side replied. Codes are few and stable, so that a program can tell them apart;
// messages are for people. A responder's handler returns one, wrapped or not, to choose both.
type RemoteError struct {
	Code    string // "unknown_article"
	Message string
}

// Codes that a Responder chooses itself.
const (
	CodeInternal = "internal"        // the handler failed with an error of its own, or panicked: no word of it is told
	CodeTooLarge = "reply_too_large" // the answer does not fit into a record
)

// Error is the code and the message.
func (e *RemoteError) Error() string { return fmt.Sprintf("%s: %s", e.Code, e.Message) }
