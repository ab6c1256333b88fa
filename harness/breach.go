package harness

import (
	"errors"
	"fmt"
)

// A Breach is a broken promise of message delivery, in one of the course's delivery words.
// It is the error of a failed [Claim]; each word is one type, so that errors.As tells them apart.
type Breach struct {
	What string // the sentence: which record, process, partition and offset, and when
	Why  string // why it matters, in one line
	Seen []int  // Seq of the events that show it, the decisive one last
}

func (b *Breach) breach() *Breach { return b }

// The delivery words. README, hint and failure use the same ones.
type (
	// Lost: a record will never be handled, or an output will never appear.
	Lost struct{ Breach }
	// Duplicated: an effect that was promised once happened again.
	Duplicated struct{ Breach }
	// Reordered: a later record of a partition or key was handled before an earlier one.
	Reordered struct{ Breach }
	// Overlapped: a partition or key was in work at two places at the same time.
	Overlapped struct{ Breach }
	// Stuck: something that was promised has not happened although nothing stands in its way.
	Stuck struct{ Breach }
	// CommittedTooEarly: an offset was committed past a record that was not handled.
	CommittedTooEarly struct{ Breach }
	// Rewound: a committed offset went back.
	Rewound struct{ Breach }
	// WronglyDeadLettered: a record that should have been handled was given up.
	WronglyDeadLettered struct{ Breach }
	// Mistimed: the right thing at the wrong time.
	Mistimed struct{ Breach }
	// Unbalanced: partitions without an owner, or unevenly spread.
	Unbalanced struct{ Breach }
	// Misreported: statistics, health or an alert say what is not so.
	Misreported struct{ Breach }
	// Misrouted: a record or document went to the wrong place, or with the wrong content.
	Misrouted struct{ Breach }
	// Leaked: a goroutine, a connection or memory outlived its owner.
	Leaked struct{ Breach }
	// Wasteful: the right result at an unreasonable price, such as a request per record.
	Wasteful struct{ Breach }
	// Broken: the program did not run as a program should: it panicked, hung, or ended with an error.
	Broken struct{ Breach }
)

// Word is the delivery word of a breach, as it stands at the head of a failure: "LOST", "COMMITTED TOO EARLY".
// It is "" for an error that is no breach.
func Word(err error) string {
	said, ok := breachIn(err)
	if !ok {
		return ""
	}
	for _, w := range words { // of several breaches the first speaks, as in BreachOf
		if w.is(said) {
			return w.word
		}
	}
	return ""
}

// Words are all delivery words.
func Words() []string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = w.word
	}
	return out
}

var words = []struct {
	word string
	is   func(error) bool
}{
	{"LOST", as[*Lost]},
	{"DUPLICATED", as[*Duplicated]},
	{"REORDERED", as[*Reordered]},
	{"OVERLAPPED", as[*Overlapped]},
	{"STUCK", as[*Stuck]},
	{"COMMITTED TOO EARLY", as[*CommittedTooEarly]},
	{"REWOUND", as[*Rewound]},
	{"WRONGLY DEAD-LETTERED", as[*WronglyDeadLettered]},
	{"MISTIMED", as[*Mistimed]},
	{"UNBALANCED", as[*Unbalanced]},
	{"MISREPORTED", as[*Misreported]},
	{"MISROUTED", as[*Misrouted]},
	{"LEAKED", as[*Leaked]},
	{"WASTEFUL", as[*Wasteful]},
	{"BROKEN", as[*Broken]},
}

func as[T error](err error) bool {
	var target T
	return errors.As(err, &target)
}

func (b *Breach) sentence(word string) string { return word + ": " + b.What }

func (e *Lost) Error() string                { return e.sentence("LOST") }
func (e *Duplicated) Error() string          { return e.sentence("DUPLICATED") }
func (e *Reordered) Error() string           { return e.sentence("REORDERED") }
func (e *Overlapped) Error() string          { return e.sentence("OVERLAPPED") }
func (e *Stuck) Error() string               { return e.sentence("STUCK") }
func (e *CommittedTooEarly) Error() string   { return e.sentence("COMMITTED TOO EARLY") }
func (e *Rewound) Error() string             { return e.sentence("REWOUND") }
func (e *WronglyDeadLettered) Error() string { return e.sentence("WRONGLY DEAD-LETTERED") }
func (e *Mistimed) Error() string            { return e.sentence("MISTIMED") }
func (e *Unbalanced) Error() string          { return e.sentence("UNBALANCED") }
func (e *Misreported) Error() string         { return e.sentence("MISREPORTED") }
func (e *Misrouted) Error() string           { return e.sentence("MISROUTED") }
func (e *Leaked) Error() string              { return e.sentence("LEAKED") }
func (e *Wasteful) Error() string            { return e.sentence("WASTEFUL") }
func (e *Broken) Error() string              { return e.sentence("BROKEN") }

// BreachOf returns what err says of the broken promise, or nil if err is no breach.
func BreachOf(err error) *Breach {
	if said, ok := breachIn(err); ok {
		return said.breach()
	}
	return nil
}

type breach interface {
	error
	breach() *Breach
}

func breachIn(err error) (b breach, ok bool) {
	ok = errors.As(err, &b)
	return b, ok
}

// says builds a breach's sentence.
func says(why, format string, args ...any) Breach {
	return Breach{What: fmt.Sprintf(format, args...), Why: why}
}
