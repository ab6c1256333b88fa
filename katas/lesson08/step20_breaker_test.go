package lesson08

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness"
	"github.com/kafka-katas/kafka-katas/ops"
)

// downUntil is a provider that is away until that story time.
//
//go:noinline
func downUntil(w *harness.World, at time.Duration) Handler {
	return func(context.Context, *kgo.Record) error {
		if w.Now() < at {
			return fmt.Errorf("charge: %w", ErrUnavailable)
		}
		return nil
	}
}

// When the provider is down nothing is attempted: the breaker opens, one record asks now and then, and when it succeeds
// everything goes on. Nothing is given up meanwhile, however long it lasts.
func TestStep20_AnOutageFillsNoDeadLetterTopic(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 4)
		shop.payments.Fill(5)
		cfg := shop.config(func(c *Config) { c.Retry.Attempts, c.Breaker = 3, Breaker{Failures: 3, OpenFor: 30 * time.Second} })

		a := shop.start("a", cfg, downUntil(w, 10*time.Minute))

		w.SleepUntil(9*time.Minute + 55*time.Second)
		w.Claim(shop.nothingGivenUp(), a.ready(false), attemptsAtMost(4+20))
		w.SleepUntil(11 * time.Minute)
		w.Claim(shop.drained(), shop.nothingGivenUp(), shop.desk.HandledOnce(shop.payments), shop.desk.InOrder(shop.payments), shop.safe(), a.ready(true))
	}, harness.Deadline(30*time.Minute))
}

// Wherever failed records wait: an outage is no fault of theirs.
func TestStep20_AnOutageCostsNoAttemptInAnyMode(t *testing.T) {
	for _, stage := range stages[1:] {
		harness.Run(t, func(w *harness.World) {
			shop := stage(w)
			shop.payments.To(0, payment("p-1"), payment("p-2"), payment("p-3"))
			cfg := shop.config(func(c *Config) { c.Retry.Attempts, c.Breaker = 2, Breaker{Failures: 2, OpenFor: 30 * time.Second} })

			shop.start("a", cfg, downUntil(w, 10*time.Minute))

			w.SleepUntil(9*time.Minute + 55*time.Second)
			w.Claim(shop.nothingGivenUp(), attemptsAtMost(2+20))
			w.SleepUntil(12 * time.Minute)
			w.Claim(shop.drained(), shop.nothingGivenUp(), shop.settled(), shop.safe())
		}, harness.Deadline(30*time.Minute))
	}
}

// Failures in a row: a success between them says that the provider works.
func TestStep20_FailuresBetweenSuccessesDoNotOpenIt(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 1)
		shop.payments.Fill(20)
		var n atomic.Int64
		cfg := shop.config(func(c *Config) { c.Breaker = Breaker{Failures: 2, OpenFor: time.Hour} })

		a := shop.start("a", cfg, func(context.Context, *kgo.Record) error {
			if n.Add(1)%2 == 1 {
				return ErrUnavailable
			}
			return nil
		})

		w.Within(time.Minute, shop.drained())
		w.Claim(a.ready(true), shop.nothingGivenUp())
	})
}

// A probe that is refused has found the provider at work.
func TestStep20_ARefusedProbeClosesIt(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 1)
		shop.payments.Produce(payment("p-1"), payment("p-2"))
		cfg := shop.config(func(c *Config) { c.Breaker = Breaker{Failures: 1, OpenFor: 30 * time.Second} })

		a := shop.start("a", cfg, both(downUntil(w, 20*time.Second), fails("p-1", always, ErrDeclined)))

		w.Within(time.Minute, shop.drained())
		w.Claim(shop.dead.Holds(payment("p-1")), handled(w, "p-2", 1), a.ready(true))
	})
}

// A probe whose partition is lost meanwhile comes to no end. There must be another.
func TestStep20_AProbeThatIsCancelledIsFollowedByAnother(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 1)
		shop.payments.Produce(payment("p-1"), payment("p-2"))
		cfg := shop.config(func(c *Config) { c.Breaker = Breaker{Failures: 1, OpenFor: 30 * time.Second} })
		var n atomic.Int64
		a := shop.start("a", cfg, func(ctx context.Context, _ *kgo.Record) error {
			switch n.Add(1) {
			case 1:
				return ErrUnavailable
			case 2: // the probe
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		})
		first := shop.first("p-1")
		w.SleepUntil(first + 40*time.Second)

		a.Fault(harness.Fail(harness.Heartbeat, kerr.UnknownMemberID))

		w.Within(3*time.Minute, shop.drained())
		w.Claim(shop.settled(), shop.safe(), a.ready(true))
	})
}

// attemptsAtMost claims how many attempts there were in all.
//
//go:noinline
func attemptsAtMost(n int) harness.Claim {
	return func(w *harness.World) error {
		if tried := w.Journal().Events(harness.Of(harness.Began)); len(tried) > n {
			return harness.Shown(harness.Broke[harness.Wasteful]("a provider that comes back up under the load of everybody's retries goes down again",
				"there were %d attempts by %v, with the provider down; it should be at most %d", len(tried), w.Now(), n), tried[n])
		}
		return nil
	}
}

// Exactly OpenFor after it opened there is one probe, not one for each partition; if it fails, the same again.
func TestStep20_OneProbeAtATimeAndOnTime(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 4)
		for p := range int32(4) {
			shop.payments.To(p, payment(fmt.Sprint("p-", p)), payment(fmt.Sprint("q-", p)))
		}
		cfg := shop.config(func(c *Config) { c.Retry.Attempts, c.Breaker = 5, Breaker{Failures: 4, OpenFor: 30 * time.Second} })

		shop.start("a", cfg, both(takes(100*time.Millisecond), downUntil(w, 45*time.Second)), often)

		w.SleepUntil(2 * time.Minute)
		w.Claim(probes(30*time.Second, 60*time.Second), shop.drained(), shop.nothingGivenUp(), shop.safe())
	})
}

// probes claims that after the first four attempts there was one at each of these times after them, and when the last
// had succeeded all the others at once.
//
//go:noinline
func probes(after ...time.Duration) harness.Claim {
	return func(w *harness.World) error {
		tried := w.Journal().Events(harness.Of(harness.Began))
		if len(tried) < 4 {
			return harness.Broke[harness.Stuck]("", "there were %d attempts", len(tried))
		}
		opened := tried[3].At
		var want []time.Duration
		for _, at := range after {
			want = append(want, opened+at)
		}
		for len(want) < 2+7 { // seven records are left when the second probe has succeeded
			want = append(want, want[1])
		}
		return harness.Due("attempts after the breaker opened", time.Second, func() []harness.Event { return tried[4:] }, want...)(w)
	}
}

// A record that is refused says that the provider works: dead letters open no breaker.
func TestStep20_RefusalsDoNotOpenTheBreaker(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 1)
		for i := range 10 {
			shop.payments.Produce(payment(fmt.Sprint("p-", i)))
		}
		cfg := shop.config(func(c *Config) { c.Breaker = Breaker{Failures: 2, OpenFor: time.Minute} })

		a := shop.start("a", cfg, func(context.Context, *kgo.Record) error { return ErrDeclined })

		w.Within(15*time.Second, shop.drained())
		w.Claim(a.accounts(ops.Counts{Received: 10, Dead: 10, Failed: 10}), a.ready(true))
	})
}

// Waiting for the breaker is waiting: a stop does not wait for it, and it is not wedged.
func TestStep20_AStopDoesNotWaitForTheBreaker(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 2)
		shop.payments.Fill(2)
		cfg := shop.config(func(c *Config) { c.Breaker = Breaker{Failures: 1, OpenFor: time.Hour} })
		a := shop.start("a", cfg, downUntil(w, 24*time.Hour))
		w.SleepUntil(20 * time.Minute)
		w.Claim(a.ready(false)) // and live

		asked := w.Now()
		a.Stop()

		w.Claim(harness.AtMost("the stop while the breaker is open", w.Now()-asked, 3*time.Second), shop.nothingGivenUp(), shop.safe())
	}, harness.Deadline(time.Hour))
}
