package opshttp

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// gate lets one question at a time through to the service. A service that hangs therefore holds one goroutine, not one
// more for every probe and every scrape until memory is gone; those who wait behind it get their answer in time too.
type gate struct {
	turn    chan struct{}
	timeout time.Duration
}

func newGate(timeout time.Duration) *gate {
	return &gate{turn: make(chan struct{}, 1), timeout: timeout}
}

// ask calls f and returns what it says, or a sentence: when f panics, or has not answered within the gate's timeout.
func ask[T any](ctx context.Context, g *gate, method string, f func() T) (T, error) {
	var none T
	ctx, cancel := context.WithTimeout(ctx, g.timeout)
	defer cancel()
	late := func() error {
		if errors.Is(ctx.Err(), context.Canceled) {
			return fmt.Errorf("nobody waits for %s any more: %w", method, ctx.Err())
		}
		return fmt.Errorf("%s has not answered within %v: it must answer from memory, without waiting for Kafka or for a lock that is held across I/O", method, g.timeout)
	}

	select {
	case g.turn <- struct{}{}:
	case <-ctx.Done():
		return none, late()
	}
	type answer struct {
		value T
		err   error
	}
	answers := make(chan answer, 1) // buffered: a late answer has nobody to wait for
	go func() {
		var a answer
		returned := false
		defer func() {
			if p := recover(); p != nil {
				a.err = fmt.Errorf("%s panicked: %v", method, p)
			} else if !returned {
				a.err = fmt.Errorf("%s ended its goroutine instead of answering", method)
			}
			<-g.turn
			answers <- a
		}()
		a.value = f()
		returned = true
	}()
	select {
	case a := <-answers:
		return a.value, a.err
	case <-ctx.Done():
		return none, late()
	}
}
