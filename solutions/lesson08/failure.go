package lesson08

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/ops"
	"github.com/kafka-katas/kafka-katas/ops/meter"
)

// Classed is an error that knows its class: one word that policy, statistics and dead letters call it by. Handlers may
// bring their own.
type Classed interface {
	error
	ErrorClass() string
}

// The failures of a payment that have a name.
var (
	// ErrUnavailable: the provider does not answer, or not sensibly. Class "unavailable".
	ErrUnavailable error = sentinel{"unavailable", "the provider is unavailable"}
	// ErrDeclined: the provider will not take this payment, now or later. Class "declined".
	ErrDeclined error = sentinel{"declined", "the provider declined the payment"}
	// ErrUndecodable: the record's bytes are not a payment. Class "undecodable".
	ErrUndecodable error = sentinel{"undecodable", "the record cannot be decoded"}
)

type sentinel struct{ class, text string }

func (e sentinel) Error() string      { return e.text }
func (e sentinel) ErrorClass() string { return e.class }

// InvalidError says which field of a payment is wrong. Class "invalid".
type InvalidError struct{ Field, Reason string }

// Error names the field and what is wrong with it.
func (e *InvalidError) Error() string { return fmt.Sprintf("%s is invalid: %s", e.Field, e.Reason) }

// ErrorClass is "invalid".
func (e *InvalidError) ErrorClass() string { return "invalid" }

// PanicError is what a handler's panic becomes. Class "panic".
type PanicError struct {
	Value any
	Stack []byte
}

// Error is the value that the handler panicked with.
func (e *PanicError) Error() string { return fmt.Sprintf("the handler panicked: %v", e.Value) }

// ErrorClass is "panic".
func (e *PanicError) ErrorClass() string { return "panic" }

// ClassExpired is the class of a dead letter whose record had exceeded [Config.MaxAge].
const ClassExpired = "expired"

// Class is the class of a handler's error, however deeply it is wrapped or joined: that of the first [Classed] in its
// tree; else "timeout" for context.DeadlineExceeded and whatever has a method Timeout that returns true; else "other".
func Class(err error) string {
	var classed Classed
	var slow interface{ Timeout() bool }
	switch {
	case errors.As(err, &classed):
		return classed.ErrorClass()
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &slow) && slow.Timeout():
		return "timeout"
	}
	return "other"
}

// Retries says whether a failure of this class is tried again: not if it is Fatal; otherwise if it is Retryable, or if
// nothing is listed there.
func (r Retry) Retries(class string) bool {
	if slices.Contains(r.Fatal, class) {
		return false
	}
	return len(r.Retryable) == 0 || slices.Contains(r.Retryable, class)
}

// Delay is the wait after the n-th failed attempt, from 1, before jitter: Base * Factor^(n-1), and never more than Cap,
// however large n is.
func (r Retry) Delay(n int) time.Duration {
	// In floating point to the end: a factor of 1.5 must not become 1, and 2^80 must not become negative.
	d := float64(r.Base) * math.Pow(r.Factor, float64(n-1))
	if d >= float64(r.Cap) {
		return r.Cap
	}
	return time.Duration(d)
}

// chance draws jitter. It is shared by all partitions of a service.
type chance struct {
	part float64
	mu   sync.Mutex
	rand *rand.Rand
}

func newChance(r Retry) *chance {
	seed := r.Seed
	if seed == 0 {
		seed = rand.Uint64() // members that wait in step meet again at the provider
	}
	return &chance{part: r.Jitter, rand: rand.New(rand.NewPCG(seed, seed))}
}

func (c *chance) jitter(d time.Duration) time.Duration {
	if c.part == 0 {
		return d
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return d - time.Duration(c.rand.Float64()*c.part*float64(d))
}

// gate lets attempts pass while the breaker is closed, and one when it has been open for long enough. A nil gate lets
// everything pass.
type gate struct {
	breaker *gobreaker.TwoStepCircuitBreaker[any]
	openFor time.Duration

	mu      sync.Mutex
	changed chan struct{} // closed when the state changes
	opened  time.Time
}

func newGate(cfg Breaker, m *meter.Meter) *gate {
	g := &gate{openFor: cfg.OpenFor, changed: make(chan struct{})}
	m.Check("breaker", ops.Readiness, nil)
	g.breaker = gobreaker.NewTwoStepCircuitBreaker[any](gobreaker.Settings{
		Name: "handler", MaxRequests: 1, Timeout: cfg.OpenFor,
		ReadyToTrip: func(c gobreaker.Counts) bool { return int(c.ConsecutiveFailures) >= cfg.Failures },
		OnStateChange: func(_ string, from, to gobreaker.State) {
			slog.Warn("breaker", "from", from, "to", to)
			var err error
			if to != gobreaker.StateClosed {
				err = fmt.Errorf("%v since %v", to, time.Now().Format(time.RFC3339))
			}
			m.Check("breaker", ops.Readiness, err)
			if to == gobreaker.StateOpen {
				m.Count("breaker_opened", 1)
			}
			g.mu.Lock()
			defer g.mu.Unlock()
			g.opened = time.Now()
			close(g.changed)
			g.changed = make(chan struct{})
		},
	})
	return g
}

// Why a record does not pass the gate.
var (
	errTooOld  = errors.New("the record is too old")
	errGivenUp = errors.New("the partition has to be given up")
)

// pass waits until an attempt may be made, and returns where to report what became of it, or why there is none. Whoever
// is let through has to report, so a record that is too old by then must not be.
func (g *gate) pass(p *partition, r *kgo.Record, tooOld func() bool) (report func(error), err error) {
	for {
		if tooOld() {
			return nil, errTooOld
		}
		if g == nil {
			return func(error) {}, nil
		}
		g.mu.Lock()
		changed, until := g.changed, g.opened.Add(g.openFor+1) // the breaker wants more than its timeout
		g.mu.Unlock()
		report, err := g.breaker.Allow()
		if err == nil {
			return report, nil
		}
		wait := time.Hour // for the one that tries
		if errors.Is(err, gobreaker.ErrOpenState) {
			wait = time.Until(until)
		}
		p.alone()
		p.s.meter.Waiting(r, time.Now().Add(wait))
		t := time.NewTimer(wait)
		select {
		case <-changed:
		case <-t.C:
		case <-p.stop:
			t.Stop()
			return nil, errGivenUp
		}
		t.Stop()
	}
}

func (g *gate) isOpen() bool { return g != nil && g.breaker.State() != gobreaker.StateClosed }
