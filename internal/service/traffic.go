package service

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// traffic is something that happens steadily.
type traffic struct {
	what   string
	rate   float64 // a second
	bad    float64 // which share is bad
	source *rand.Rand
	next   func(r *rand.Rand, bad bool) func(context.Context)
}

// atOnce is how much of it may be under way.
const atOnce = 1000

// beat is how often what is due is done.
const beat = 10 * time.Millisecond

// run goes on until ctx ends.
func (t traffic) run(ctx context.Context) {
	if t.rate == 0 {
		return
	}
	interval := max(beat, time.Duration(float64(time.Second)/t.rate))
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	var underWay errgroup.Group
	underWay.SetLimit(atOnce)
	defer func() { _ = underWay.Wait() }()
	due := 0.0
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		// Beats that were missed stay missed: a machine that slept does not wake up to a flood.
		for due += t.rate * interval.Seconds(); due >= 1-1e-6 && ctx.Err() == nil; due-- {
			if do := t.next(t.source, t.source.Float64() < t.bad); do != nil {
				underWay.TryGo(func() error { do(ctx); return nil })
			}
		}
	}
}

// complaint logs the first failure of a row, and that it is over.
type complaint struct {
	what    string
	mu      sync.Mutex
	failing bool
}

func (c *complaint) about(err error) {
	c.mu.Lock()
	changed := c.failing != (err != nil)
	c.failing = err != nil
	c.mu.Unlock()
	switch {
	case changed && err != nil:
		slog.Warn(c.what, "error", err)
	case changed:
		slog.Info("no longer: " + c.what)
	}
}
