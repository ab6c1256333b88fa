package lesson08

import (
	"context"
	"errors"
	"io"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Headers that this package adds to what it passes on. Each is there once, however often the record was passed on; the
// record's own headers stay as they were, in their order, before them. Times are RFC 3339 in UTC with nanoseconds, numbers
// are decimal. A record of a source topic has come from nowhere: such headers of it are not read, and replaced; except
// HeaderRedrives, which stays. The copy's own timestamp is that of writing.
const (
	HeaderOriginTopic     = "x-origin-topic"
	HeaderOriginPartition = "x-origin-partition"
	HeaderOriginOffset    = "x-origin-offset"
	HeaderOriginTimestamp = "x-origin-timestamp"
	HeaderOriginGroup     = "x-origin-group"
	HeaderErrorClass      = "x-error-class"   // of the last failure, or ClassExpired
	HeaderErrorMessage    = "x-error-message" // of the last failure; at most 1000 bytes
	HeaderAttempts        = "x-attempts"      // failed attempts so far, at all members together
	HeaderFirstFailed     = "x-first-failed"  // when the first attempt failed, or the record expired without one
	HeaderDue             = "x-due"           // in a retry or parking topic: not to be tried before
	HeaderOmitted         = "x-omitted"       // "value,headers" on a dead letter that left them out, because it would have been too large
	HeaderRedrives        = "x-redrives"      // how often the record was redriven
	HeaderReceipt         = "x-receipt"       // Redrive's own note: which dead letter, as partition@offset, it redrove
)

// TODO: the copy of a record for another topic: everything that it had, then what is known of its trip, each header once.

// Selection says which dead letters to redrive; the zero value means all.
type Selection struct {
	Class string // only those of this error class
	Topic string // only those that come from this topic
	Key   []byte // only those with this key
	Limit int    // no more than so many; 0 for no limit
	// DryRun counts and changes nothing.
	DryRun bool
}

// Redriven says what a redrive did.
type Redriven struct {
	Selected   int // dead letters of the selection, each in one of the following
	Sent       int // sent to their topics now; in a dry run, what would be
	Before     int // sent by an earlier redrive
	Capped     int // redriven Config.MaxRedrives times, and here again
	Incomplete int // without value, since the letter would have been too large: nothing to send
	Over       int // beyond the limit
}

// Redrive sends dead letters back to the topics that they come from: with their key, value and own headers, to the
// partition that the key belongs to, as new records with a new trip before them, except that HeaderRedrives says how
// often. A dead letter is sent once, however often and by however many Redrive is called: what is sent, and the receipt
// in the dead-letter topic that says so, are one transaction. It considers the letters that are there when it begins.
// Letters whose origin is none of cfg.Topics are not its business.
//
// It holds the selected letters in memory. An error means that it may be called again.
func Redrive(ctx context.Context, cfg Config, selection Selection, opts ...kgo.Opt) (Redriven, error) {
	// TODO: read the dead-letter topic to its end, choose, and send what is chosen together with its receipt.
	return Redriven{}, errors.New("lesson08: Redrive is not written yet")
}

// RedriveCommand is Redrive for a command line: -class, -topic, -key, -limit, -dry-run. It prints one line of what it
// did, in words of its own: Selected, and behind it each count of [Redriven] that is not 0, as decimal numbers in the
// order of its fields. An unknown flag, or an argument beside the flags, is an error, and then nothing is redriven;
// flag.ErrHelp after -help.
func RedriveCommand(ctx context.Context, cfg Config, args []string, out io.Writer, opts ...kgo.Opt) error {
	// TODO: package flag, with flag.ContinueOnError.
	return errors.New("lesson08: RedriveCommand is not written yet")
}
