package harness

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// Calls are callers that the story has sent off at once: users of an API that a process offers.
type Calls struct {
	what string
	mu   sync.Mutex
	all  []call
}

type call struct {
	from, to time.Duration
	over     bool
	err      error
}

// Call sends n callers off at the same time, numbered from 0, and goes on at once. Their context ends with the story.
// what names one of them in a failure, such as "price request".
func (w *World) Call(what string, n int, do func(ctx context.Context, i int) error) *Calls {
	c := &Calls{what: what, all: make([]call, n)}
	for i := range n {
		c.all[i].from = w.Now()
		go func() {
			err := guarded(w, func() error { return do(w.ctx, i) })
			c.mu.Lock()
			defer c.mu.Unlock()
			c.all[i].to, c.all[i].over, c.all[i].err = w.Now(), true, err
		}()
	}
	return c
}

func guarded(w *World, do func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = panicked("a caller", v, debug.Stack(), w.mine)
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.panicked == nil {
				w.panicked = err
			}
		}
	}()
	return do()
}

func (w *World) callerPanicked() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.panicked
}

// Done claims that every caller has its answer, whatever it is: what a story waits for.
//
//go:noinline
func (c *Calls) Done() Claim {
	return func(w *World) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		for i, one := range c.all {
			if !one.over {
				return &Stuck{says("a caller that waits for ever holds whoever waits for it", "%s %d, made at %s, has not returned", c.what, i, seconds(one.from))}
			}
		}
		return nil
	}
}

// Returned claims that every caller has its answer: an error that is target, or success if target is nil. A caller that
// returns a breach says itself what is wrong.
//
//go:noinline
func (c *Calls) Returned(target error) Claim {
	return func(w *World) error {
		c.mu.Lock()
		for _, one := range c.all {
			if BreachOf(one.err) != nil || isUnwritten(one.err) {
				c.mu.Unlock()
				return one.err
			}
		}
		c.mu.Unlock()
		if err := c.Done()(w); err != nil {
			return err
		}
		for i, one := range c.all {
			if !errors.Is(one.err, target) {
				return &Broken{Breach{What: fmt.Sprintf("%s %d, made at %s, returned %v at %s; it should be %v", c.what, i, seconds(one.from), orSuccess(one.err), seconds(one.to), orSuccess(target))}}
			}
		}
		return nil
	}
}

func orSuccess(err error) any {
	if err == nil {
		return "success"
	}
	return err
}

// Within claims that no caller has waited longer than limit, with the backend's slack in real time.
//
//go:noinline
func (c *Calls) Within(limit time.Duration) Claim {
	return c.took(func(w *World, took time.Duration) error { return AtMost(c.what, took, limit)(w) })
}

// Took claims that each caller waited exactly that long, with the backend's slack in real time.
//
//go:noinline
func (c *Calls) Took(want time.Duration) Claim {
	return c.took(func(w *World, took time.Duration) error { return Took(c.what, took, want)(w) })
}

func (c *Calls) took(judge func(*World, time.Duration) error) Claim {
	return func(w *World) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, one := range c.all {
			if !one.over {
				one.to = w.Now()
			}
			if err := judge(w, one.to-one.from); err != nil {
				return err
			}
		}
		return nil
	}
}
