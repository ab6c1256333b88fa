package lesson08

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness"
	"github.com/kafka-katas/kafka-katas/ops"
)

// Jitter takes from a wait, never adds, and takes no more than its part.
func TestStep08_JitterStaysWithinItsBounds(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 1)
		shop.payments.Produce(payment("p-1"))
		cfg := shop.config(func(c *Config) {
			c.Retry.Attempts, c.Retry.Base, c.Retry.Factor, c.Retry.Jitter = 40, 10*time.Second, 1, 0.5
		})

		shop.start("a", cfg, fails("p-1", 39, ErrUnavailable))

		w.Until(shop.drained())
		w.Claim(spread(gaps(w, "a"), 5*time.Second, 10*time.Second))
	}, harness.Deadline(20*time.Minute))
}

// gaps are the waits between the attempts of a process.
func gaps(w *harness.World, name string) (out []time.Duration) {
	events := w.Journal().Events(harness.By(name), harness.Of(harness.Began))
	for i := 1; i < len(events); i++ {
		out = append(out, events[i].At-events[i-1].At)
	}
	return out
}

// spread claims that waits lie within bounds, and make use of them.
//
//go:noinline
func spread(waits []time.Duration, from, to time.Duration) harness.Claim {
	return func(*harness.World) error {
		const why = "clients that failed together come back together; chance is what parts them"
		if len(waits) < 10 {
			return harness.Broke[harness.Stuck](why, "there were %d retries", len(waits))
		}
		low, high := slices.Min(waits), slices.Max(waits)
		if low < from || high > to {
			return harness.Broke[harness.Mistimed](why, "waits lasted from %v to %v; it should be from %v to %v", low, high, from, to)
		}
		if third := (to - from) / 3; low > from+third || high < to-third {
			return harness.Broke[harness.Mistimed](why, "%d waits lie between %v and %v; they should spread from %v to %v", len(waits), low, high, from, to)
		}
		return nil
	}
}

// A seed makes chance repeatable: the same story has the same waits. Without one, two members do not wait in step.
func TestStep08_TwoMembersWaitDifferentlyUnlessTheyAreSeededAlike(t *testing.T) {
	for seed, alike := range map[uint64]bool{0: false, 7: true} {
		var before []time.Duration // of the member in the first story
		for range 2 {
			harness.Run(t, func(w *harness.World) {
				shop := open(w, 1)
				shop.payments.Produce(payment("p-1"))

				shop.start("a", shop.config(func(c *Config) { c.Retry.Attempts, c.Retry.Factor, c.Retry.Jitter, c.Retry.Seed = 20, 1, 0.5, seed }),
					fails("p-1", 15, ErrUnavailable))

				w.Until(shop.drained())
				waits := gaps(w, "a")
				w.Claim(func(w *harness.World) error {
					if got := slices.Equal(before, waits); before != nil && got != alike && w.Exact() {
						return harness.Broke[harness.Mistimed]("members that wait in step meet again at the provider that has just recovered",
							"with seed %d two members wait alike: %t; it should be %t: %v and %v", seed, got, alike, before[:3], waits[:3])
					}
					return nil
				})
				before = waits
			})
		}
	}
}

// While a record waits in its place, what is behind it in its partition waits too, in order; other partitions flow.
func TestStep11_FollowersWaitInOrderAndOtherPartitionsFlow(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 2)
		shop.payments.To(0, payment("p-1"), payment("p-2"), payment("p-3"))
		shop.start("a", shop.config(func(c *Config) { c.Retry.Base, c.Retry.Cap = time.Minute, time.Hour }), fails("p-1", 2, ErrUnavailable))
		first := shop.first("p-1")
		w.SleepUntil(first + 30*time.Second)

		shop.payments.Send(1, 20)

		w.Within(5*time.Second, shop.desk.CommittedAt(shop.payments, 1, 20))
		w.Until(shop.drained())
		w.Claim(shop.desk.InOrder(shop.payments), harness.Times("attempts at p-1", w.Attempts("p-1"), first, first+time.Minute, first+3*time.Minute),
			harness.Due("attempts at p-2", time.Second, w.Attempts("p-2"), first+3*time.Minute), shop.safe())
	}, harness.Deadline(20*time.Minute))
}

// A partition that waits for a retry does not fill the memory: fetching it pauses.
func TestStep11_WhatWaitsIsBounded(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 2)
		shop.payments.To(0, payment("p-1"))
		a := shop.start("a", shop.config(func(c *Config) { c.Retry.Base, c.Retry.Cap, c.MaxQueued = 10*time.Minute, time.Hour, 20 }), fails("p-1", 1, ErrUnavailable))
		first := shop.first("p-1")

		for range 30 {
			shop.payments.Send(0, 10)
			w.Sleep(time.Second)
		}
		w.Claim(a.reported(func() error {
			if n := a.Stats().Totals.InFlight; n > 40 {
				return fmt.Errorf("%d records are in flight; with a MaxQueued of 20 it should be at most 40", n)
			}
			return nil
		}))

		w.Until(shop.drained())
		w.Claim(harness.Times("attempts at p-1", w.Attempts("p-1"), first, first+10*time.Minute), shop.desk.InOrder(shop.payments), shop.desk.HandledOnce(shop.payments))
	}, harness.Deadline(30*time.Minute))
}

// A wait that is longer than the rebalance timeout gets nobody expelled, and keeps nobody out: who has to give the
// partition up ends the wait, and the next owner begins at the record that waited.
func TestStep12_ALongWaitKeepsNobodyOut(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 2)
		shop.payments.To(0, payment("p-1"), payment("p-2"))
		shop.payments.To(1, payment("q-1"), payment("q-2"))
		long := func(c *Config) { c.Retry.Base, c.Retry.Cap = 10*time.Minute, 10*time.Minute }
		a := shop.start("a", shop.config(long), both(fails("p-1", 1, ErrUnavailable), fails("q-1", 1, ErrUnavailable)))
		shop.first("q-1")
		shop.first("p-1")
		w.Sleep(2 * time.Minute)

		b := shop.start("b", shop.config(long), atOnce)

		w.Within(20*time.Second, shop.desk.Balanced([]*harness.Process{a.Process, b.Process}, shop.payments))
		w.Until(shop.drained())
		w.Claim(shop.settled(), shop.desk.InOrder(shop.payments), shop.desk.HandledOnce(shop.payments), shop.safe(), shop.nothingGivenUp(), harness.All(neverExpelled("a")))
	}, harness.Deadline(30*time.Minute))
}

// What is in hand when a partition has to be given up is finished, and committed before the next owner begins.
func TestStep12_WhatIsInHandIsFinishedAndCommitted(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 2)
		shop.payments.To(0, payment("p-1"), payment("p-2"))
		shop.payments.To(1, payment("q-1"), payment("q-2"))
		slow := func(c *Config) { c.CommitInterval = 10 * time.Minute }
		a := shop.start("a", shop.config(slow), takes(20*time.Second))
		shop.first("p-1")
		shop.first("q-1")

		b := shop.start("b", shop.config(slow), takes(20*time.Second))

		w.Until(harness.All(shop.desk.Balanced([]*harness.Process{a.Process, b.Process}, shop.payments), shop.desk.Handled(shop.payments)))
		w.Claim(shop.desk.HandledOnce(shop.payments), begunOnce, shop.desk.InOrder(shop.payments), shop.safe())
	})
}

// Whoever was expelled and comes back commits nothing for its old life: the next owner is further, and its offsets would go back.
func TestStep12_WhoComesBackTakesNoCommitBack(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 1)
		short := func(c *Config) { c.SessionTimeout = 6 * time.Second }
		shop.payments.Produce(payment("p-1"), payment("p-2"))
		a := shop.start("a", shop.config(short), atOnce)
		a.Fault(harness.Fail(harness.OffsetCommit, kerr.CoordinatorNotAvailable).Times(1 << 30))
		w.Until(shop.desk.Handled(shop.payments))
		w.Sleep(10 * time.Second)
		a.Isolate()
		shop.start("b", shop.config(short), atOnce)
		w.Until(shop.drained())
		shop.payments.Produce(payment("p-3"))
		w.Until(shop.drained())

		a.ClearFaults()
		a.Heal()

		w.Within(2*time.Minute, shop.desk.Member(a.Process))
		w.Sleep(20 * time.Second)
		w.Claim(shop.safe(), shop.drained())
	})
}

// begunOnce claims that no attempt was broken off and made again elsewhere.
func begunOnce(w *harness.World) error {
	began := map[string]bool{}
	for _, e := range w.Journal().Events(harness.Of(harness.Began)) {
		if began[e.Key] {
			return harness.Shown(harness.Broke[harness.Wasteful]("an attempt that is broken off has charged the card, or not; DrainTimeout is there so that it need not be",
				"%s began payment %s again at %v, although its first attempt had time to finish", e.Process, e.Key, e.At), last(w, 6, harness.Keyed(e.Key))...)
		}
		began[e.Key] = true
	}
	return nil
}

// neverExpelled claims that a member joined once, and then stayed through every rebalance.
//
//go:noinline
func neverExpelled(name string) harness.Claim {
	return func(w *harness.World) error {
		if gone := w.Journal().Events(harness.By(name), harness.Of(harness.Expired, harness.Fenced)); len(gone) > 0 {
			return harness.Shown(harness.Broke[harness.Stuck]("an expelled member's work is done again by somebody else, and its commits are refused",
				"%s was expelled from its group", name), gone...)
		}
		return nil
	}
}

// Waiting for a retry is no reason to be restarted, and a stop does not wait for it either. What was waiting has not
// failed once more, is not given up, and comes again.
func TestStep13_AStopEndsTheWaitAndCountsNoFailure(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 1)
		shop.payments.Produce(payment("p-1"), payment("p-2"))
		cfg := shop.config(func(c *Config) { c.Retry.Attempts, c.Retry.Base, c.Retry.Cap = 2, 20*time.Minute, 20*time.Minute })
		a := shop.start("a", cfg, fails("p-1", 1, ErrUnavailable))
		shop.first("p-1")
		w.Sleep(10 * time.Minute)
		w.Claim(a.ready(true)) // StallAfter has passed, but nobody works

		asked := w.Now()
		a.Stop()
		w.Claim(harness.AtMost("the stop during a wait", w.Now()-asked, 3*time.Second), shop.nothingGivenUp(),
			a.ended(ops.Counts{Failed: 1}))
		a.restart()

		w.Within(time.Minute, shop.drained())
		w.Claim(shop.settled(), shop.nothingGivenUp(), shop.safe())
	}, harness.Deadline(40*time.Minute))
}

// A handler that is cancelled because the service stops returns an error. It says nothing of the record.
func TestStep13_ACancelledHandlerIsNoFailure(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 1)
		shop.payments.Produce(payment("p-1"))
		cfg := shop.config(func(c *Config) { c.Retry.Attempts, c.DrainTimeout = 1, 10*time.Second })
		a := shop.start("a", cfg, takes(time.Hour))
		shop.first("p-1")

		asked := w.Now()
		a.Stop()
		w.Claim(harness.AtMost("the stop with a hanging handler and a DrainTimeout of 10 s", w.Now()-asked, 15*time.Second), shop.nothingGivenUp(),
			a.accounts(ops.Counts{Received: 1, Released: 1}))

		shop.start("b", cfg, atOnce)
		w.Within(time.Minute, shop.drained())
		w.Claim(shop.settled(), shop.safe(), shop.nothingGivenUp())
	})
}

// A handler that gave up a call of its own says "context canceled" as well. Nobody has asked the service to stop.
func TestStep13_ACancellationOfTheHandlersOwnIsAFailure(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 1)
		shop.payments.Produce(payment("p-1"), payment("p-2"))

		a := shop.start("a", shop.config(), fails("p-1", 1, fmt.Errorf("charge: %w", context.Canceled)))

		first := shop.first("p-1")
		w.Within(10*time.Second, shop.drained())
		w.Claim(harness.Times("attempts at p-1", w.Attempts("p-1"), first, first+time.Second), a.accounts(ops.Counts{Received: 2, Processed: 2, Failed: 1, Retried: 1}))
	})
}

// What can finish in time does, and is committed. What is queued behind it is not begun.
func TestStep13_AStopLetsTheHandlerFinish(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 1)
		shop.payments.Produce(payment("p-1"), payment("p-2"), payment("p-3"))
		a := shop.start("a", shop.config(), takes(5*time.Second))
		shop.first("p-1")

		a.Stop()

		w.Claim(shop.desk.CommittedAt(shop.payments, 0, 1), a.ended(ops.Counts{Processed: 1}), shop.desk.HandledOnce(shop.payments))
	})
}

// A panic is a failure of its record, retried and given up like any other; the next record is handled.
func TestStep14_APanicIsAFailureLikeAnyOther(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 1)
		shop.payments.Produce(payment("p-1"), payment("p-2"))
		var none []int

		a := shop.start("a", shop.config(func(c *Config) { c.Retry.Attempts = 2 }), func(_ context.Context, r *kgo.Record) error {
			if string(r.Key) == "p-1" {
				return fmt.Errorf("item %d", none[len(r.Key)])
			}
			return nil
		})

		first := shop.first("p-1")
		w.Until(shop.drained())
		w.Claim(harness.Times("attempts at p-1", w.Attempts("p-1"), first, first+time.Second),
			shop.dead.Holds(with(with(payment("p-1"), HeaderErrorClass, "panic"), HeaderAttempts, "2")),
			shop.settled(), shop.safe(), a.accounts(ops.Counts{Received: 2, Processed: 1, Dead: 1, Failed: 2, Retried: 1}))
	})
}

// What fails is counted by class, and what is given up in numbers wakes somebody: after its time, once, until it is over.
func TestStep15_DeadLettersRaiseAnAlert(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		shop := open(w, 1)
		cfg := shop.config(func(c *Config) {
			c.Alert = Alert{Threshold: 3, Window: time.Minute, For: 10 * time.Second, ResolveBelow: 1, ResolveAfter: 20 * time.Second}
		})
		a := shop.start("a", cfg, func(_ context.Context, r *kgo.Record) error {
			if string(r.Value) == "bad" {
				return fmt.Errorf("p: %w", ErrDeclined)
			}
			return nil
		})
		bad := func(n int) {
			for i := range n {
				shop.payments.Produce(&kgo.Record{Key: []byte(fmt.Sprint("p-", i)), Value: []byte("bad")})
			}
		}
		w.Sleep(10 * time.Second)

		bad(2)
		w.Sleep(20 * time.Second)
		w.Claim(a.alertIs(ops.Inactive, 0))
		bad(1)
		since := w.Now()
		w.SleepUntil(since + 9*time.Second)
		w.Claim(a.alertIs(ops.Pending, 0))
		w.SleepUntil(since + 11*time.Second)
		w.Claim(a.alertIs(ops.Firing, 1), a.failedBy("declined", 3))

		w.SleepUntil(since + 3*time.Minute)
		w.Claim(a.alertIs(ops.Inactive, 1), a.ready(true))
	})
}

// alertIs claims where the alert on dead letters stands and how often it has fired.
//
//go:noinline
func (m *member) alertIs(state ops.AlertState, fired int64) harness.Claim {
	return func(w *harness.World) error {
		return m.reported(func() error {
			for _, a := range m.Stats().Alerts {
				if a.Name != "dead_letters" {
					continue
				}
				if a.State != state || a.Fired != fired {
					return fmt.Errorf("at %v alert dead_letters of %s is %v and has fired %d times; it should be %v, fired %d times", w.Now(), m.Name, a.State, a.Fired, state, fired)
				}
				return nil
			}
			return fmt.Errorf("%s reports no alert dead_letters", m.Name)
		})(w)
	}
}

// failedBy claims how many failed attempts are counted under a class.
//
//go:noinline
func (m *member) failedBy(class string, want int64) harness.Claim {
	return m.reported(func() error {
		var n int64
		for _, g := range m.Stats().Errors {
			if g.Class == class {
				n += g.Count
			}
		}
		if n != want {
			return fmt.Errorf("%s counts %d failures of class %q; it should be %d: %+v", m.Name, n, class, want, m.Stats().Errors)
		}
		return nil
	})
}
