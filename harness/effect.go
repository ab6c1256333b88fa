package harness

import (
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Effects are what happens outside Kafka under one name, each with a key: mails sent, accounts debited, calls that a
// partner has carried out. A specification's fakes note them, and its claims judge them.
type Effects struct {
	w    *World
	name string

	mu   sync.Mutex
	next []error
}

// Effects names a kind of effect, such as "sms".
func (w *World) Effects(name string) *Effects { return &Effects{w: w, name: name} }

// Next scripts what becomes of the next effects, in order: nil lets one happen, an error refuses it. Then all happen.
func (e *Effects) Next(errs ...error) *Effects {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.next = append(e.next, errs...)
	return e
}

func (e *Effects) scripted() (err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.next) > 0 {
		err, e.next = e.next[0], e.next[1:]
	}
	return err
}

// Do has an effect on behalf of a process, and notes it, unless it is refused: by the script, which is asked first, or
// by do, which may be nil. It is a boundary of the process: it can crash before (nothing is done) and after (done, but
// the process never hears of it).
//
//go:noinline
func (e *Effects) Do(p *Process, key string, do func() error) error {
	return (*life)(p).cross(Effect, func() error {
		if err := e.scripted(); err != nil {
			e.w.journal.add(Event{Kind: Called, Process: p.Name, Key: key, Text: e.name + ": " + key, Err: err})
			return err
		}
		if do != nil {
			if err := do(); err != nil {
				return err
			}
		}
		e.note(p.Name, key)
		return nil
	})
}

func (e *Effects) note(process, key string) {
	e.w.journal.add(Event{Kind: Affected, Process: process, Key: key, Text: e.name})
}

// Of are the effects on a key, in order: what [Times] wants.
//
//go:noinline
func (e *Effects) Of(key string) func() []Event {
	return func() []Event {
		return e.w.journal.Events(Of(Affected), func(a Event) bool { return a.Text == e.name && a.Key == key })
	}
}

// Once claims that exactly these effects happened, each exactly once: none is missing, none was repeated, and there is
// no other.
//
//go:noinline
func (e *Effects) Once(keys ...string) Claim {
	return func(w *World) error {
		if err := e.Unrepeated()(w); err != nil {
			return err
		}
		happened := w.journal.Events(Of(Affected), func(a Event) bool { return a.Text == e.name })
		for _, key := range keys {
			if !slices.ContainsFunc(happened, func(a Event) bool { return a.Key == key }) {
				return &Lost{Breach{What: fmt.Sprintf("%s for %s has not happened", e.name, key), Seen: w.ofKey(key), Why: "what was asked for and is not done is lost, however well the offsets look"}}
			}
		}
		for _, a := range happened {
			if !slices.Contains(keys, a.Key) {
				return &Misrouted{Breach{What: fmt.Sprintf("%s for %s happened at %s by %s; nothing in this story asks for it", e.name, a.Key, seconds(a.At), a.Process), Seen: []int{a.Seq}}}
			}
		}
		return nil
	}
}

// Unrepeated claims that no effect happened twice for one key.
//
//go:noinline
func (e *Effects) Unrepeated() Claim {
	return func(w *World) error {
		first := map[string]Event{}
		for _, a := range w.journal.Events(Of(Affected), func(a Event) bool { return a.Text == e.name }) {
			b, again := first[a.Key]
			if !again {
				first[a.Key] = a
				continue
			}
			return &Duplicated{Breach{
				What: fmt.Sprintf("%s for %s happened again: at %s by %s, at %s by %s", e.name, a.Key, seconds(b.At), b.Process, seconds(a.At), a.Process),
				Why:  "Kafka delivers at least once; what must happen once has to recognise what it has done already",
				Seen: []int{b.Seq, a.Seq},
			}}
		}
		return nil
	}
}

// ofKey are the events of the first record whose key is named in an effect's key.
func (w *World) ofKey(key string) (seen []int) {
	for _, e := range w.journal.Events(Of(Produced, Began, Handled, Failed)) {
		if e.Key != "" && strings.Contains(key, e.Key) {
			seen = append(seen, e.Seq)
		}
	}
	return seen[:min(len(seen), 6)]
}

// cross passes a boundary of the process that is none of Kafka's requests: a crash point before do, and one after it.
func (p *life) cross(boundary Request, do func() error) error {
	if p.point(Before, boundary) {
		return errCrashed
	}
	err := do()
	if p.isDead() || p.point(After, boundary) {
		return errCrashed
	}
	return err
}

// Exchange is one call of the process to somebody outside, such as an HTTP request: journalled as what was asked and
// how it ended, and a boundary at which the process can crash. do returns the answer in a few words.
//
//go:noinline
func (p *Process) Exchange(asked string, do func() (answer string, err error)) error {
	within := (*life)(p)
	return within.cross(Exchange, func() error {
		answer, err := do()
		if within.isDead() {
			return errCrashed
		}
		p.w.journal.add(Event{Kind: Called, Process: p.Name, Text: strings.TrimSuffix(asked+": "+answer, ": "), Err: err})
		return err
	})
}
