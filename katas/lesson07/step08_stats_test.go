package lesson07

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness"
	"github.com/kafka-katas/kafka-katas/ops"
)

// What came in is what was handled, when everything is done; failed attempts and repeats are counted apart.
func TestStep08_EveryRecordIsAccountedFor(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 3), w.Group("validation")
		orders.Fill(20)

		a := start(w, "a", config(validation, orders), failsFirst(7))

		w.Until(validation.Drained(orders))
		w.Claim(a.accounts(ops.Counts{Received: 60, Processed: 60, Failed: 7, Retried: 7}), a.lagIs(0))
	})
}

// The sum holds at every moment, not only at the end: what is neither done nor given back is in flight.
func TestStep08_TheSumHoldsAtEveryMoment(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 3), w.Group("validation")
		orders.Fill(10)

		a := start(w, "a", config(validation, orders), takes(100*time.Millisecond))

		w.Until(beginsAt(validation, orders, 0, 0)) // on a real cluster joining takes longer than the work
		var wrong error
		for range 30 {
			w.Sleep(70 * time.Millisecond)
			if wrong == nil { // a claim may come true there a moment later
				wrong = a.consistent()(w)
			}
		}
		w.Until(validation.Drained(orders))
		w.Claim(func(*harness.World) error { return wrong }, a.accounts(ops.Counts{Received: 30, Processed: 30}))
	})
}

// A record that comes a second time is counted again, and as a redelivery.
func TestStep08_RedeliveriesAreCountedApart(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 1), w.Group("validation")
		orders.Fill(1)
		first := make(chan struct{}, 1)
		first <- struct{}{}
		a := start(w, "a", config(validation, orders), func(ctx context.Context, r *kgo.Record) error {
			select {
			case <-first:
				return hangs(ctx, r)
			default:
				return nil
			}
		})
		w.Until(a.Busy(1))

		a.Isolate() // long enough for the group to expel it; then it comes back and begins again at the commit
		w.Sleep(2 * time.Minute)
		a.Heal()

		w.Until(validation.Drained(orders))
		w.Claim(a.consistent(), a.reported(func() error {
			got := a.Stats().Totals
			if got.Received != got.Redelivered+1 || got.Redelivered < 1 || got.Processed != 1 {
				return fmt.Errorf("the one record was delivered again after an expulsion; the totals are %+v", got)
			}
			return nil
		}))
	})
}

// What a member did stays counted when the partition goes, and what it had only queued is released.
func TestStep08_WhatWasGivenUpStaysCounted(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 2), w.Group("validation")
		orders.Fill(6)
		a := start(w, "a", config(validation, orders), takes(10*time.Second))
		w.Until(a.Busy(2))

		w.Sleep(time.Second)
		a.Stop()

		w.Claim(a.accounts(ops.Counts{Received: 12, Processed: 2, Released: 10}))
	})
}

// Latency is what the record's sender waits for: from the poll to the handler's success, the queue included.
func TestStep08_LatencyIncludesTheWaitInTheQueue(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 1), w.Group("validation")
		orders.Fill(10)

		a := start(w, "a", config(validation, orders), takes(100*time.Millisecond))

		w.Until(validation.Drained(orders))
		const ms = time.Millisecond
		w.Claim(a.latencies(ops.Latency{Count: 10, Sum: 5500 * ms, P50: 500 * ms, P95: 1000 * ms, P99: 1000 * ms, Max: 1000 * ms}))
	})
}

// Failed attempts and the time between them are part of what its sender waits for.
func TestStep08_LatencyIncludesTheFailedAttempts(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 1), w.Group("validation")
		orders.Fill(1)

		a := start(w, "a", config(validation, orders), failsFirst(2))

		w.Until(validation.Drained(orders))
		const s = time.Second
		w.Claim(a.latencies(ops.Latency{Count: 1, Sum: 2 * s, P50: 2 * s, P95: 2 * s, P99: 2 * s, Max: 2 * s}))
	})
}

// Lag is what is not committed, whether it was fetched or not: a member that hides it in its queue looks idle.
func TestStep08_LagIsWhatIsNotCommitted(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 1), w.Group("validation")
		orders.Fill(10)
		validation.BeginAt(orders, 0, 3)

		a := start(w, "a", config(validation, orders), hangs)

		w.Until(a.Busy(1))
		w.Sleep(5 * time.Second)
		w.Claim(a.accounts(ops.Counts{Received: 7, InFlight: 7}), a.lagIs(7), a.stands(orders, 0, 3, 10, 10))
	})
}

// What was never committed is not committed at 0: it is unknown, and the lag counts from where the member stands.
func TestStep08_WhatWasNeverCommittedIsUnknown(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 1), w.Group("validation")
		orders.Fill(10)

		a := start(w, "a", config(validation, orders), hangs)

		w.Until(a.Busy(1))
		w.Sleep(5 * time.Second)
		w.Claim(a.stands(orders, 0, ops.Unknown, 10, 10), a.lagIs(0))
	})
}

// Percentiles are by nearest rank: exact values that some record had.
func TestStep08_PercentilesAreExact(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 1), w.Group("validation")
		a := start(w, "a", config(validation, orders), func(ctx context.Context, r *kgo.Record) error {
			n, err := strconv.Atoi(strings.TrimPrefix(string(r.Key), "orders-"))
			if err != nil {
				return err
			}
			return takes(time.Duration(n+1)*10*time.Millisecond)(ctx, r)
		})

		for range 100 { // one by one: nothing queues
			orders.Send(0, 1)
			w.Sleep(2 * time.Second)
		}

		w.Until(validation.Drained(orders))
		const ms = time.Millisecond
		w.Claim(a.latencies(ops.Latency{Count: 100, Sum: 50500 * ms, P50: 500 * ms, P95: 950 * ms, P99: 990 * ms, Max: 1000 * ms}))
	}, harness.Lasts(6*time.Minute))
}

// A snapshot may be taken at any time by anyone, and is one moment's truth.
func TestStep08_SnapshotsAreConsistentWhileWorkGoesOn(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 6), w.Group("validation")
		orders.Fill(50)
		a := start(w, "a", config(validation, orders), takes(5*time.Millisecond))
		broken := make(chan error, 4)
		for range 4 {
			go func() {
				for range 100 {
					if err := a.consistent()(w); err != nil {
						broken <- err
						return
					}
					a.Health()
					time.Sleep(3 * time.Millisecond)
				}
				broken <- nil
			}()
		}

		w.Until(validation.Drained(orders))

		for range 4 {
			err := <-broken
			w.Claim(func(*harness.World) error { return err })
		}
	})
}

// Whoever asked for a snapshot owns it: what happens later does not show in it, nor what its owner does to it elsewhere.
func TestStep08_ASnapshotDoesNotChangeLater(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 2), w.Group("validation")
		orders.Fill(5)
		a := start(w, "a", config(validation, orders, func(c *Config) { c.ErrorSamples = 2 }), failsFirst(20))
		w.Sleep(3500 * time.Millisecond)

		snapshot := a.Stats()
		before := frozen(snapshot)
		w.Until(validation.Drained(orders))

		w.Claim(a.reported(func() error {
			if diff := unlike(before, frozen(snapshot)); diff != "" {
				return fmt.Errorf("a snapshot of %s has changed since it was taken: %s, as it was then", a.Name, diff)
			}
			for i := range snapshot.Partitions {
				snapshot.Partitions[i].Received = -1
			}
			for _, g := range snapshot.Errors {
				clear(g.Samples)
			}
			clear(snapshot.Extra)
			if got := a.Stats(); got.Totals.Received != 10 || emptied(got) {
				return fmt.Errorf("what the owner of a snapshot does to it shows in the next one: %+v", got)
			}
			return nil
		}))
	})
}

// emptied tells that a snapshot has samples with nothing in them.
func emptied(s ops.Stats) bool {
	for _, g := range s.Errors {
		for _, sample := range g.Samples {
			if sample == (ops.ErrorSample{}) {
				return true
			}
		}
	}
	return false
}

// Pause stops new records and nothing else; Resume goes on where it stopped.
func TestStep08_APausedMemberStaysAMember(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 2), w.Group("validation")
		orders.Fill(1)
		a := start(w, "a", config(validation, orders), atOnce)
		w.Until(validation.Drained(orders))

		a.Pause()
		w.Sleep(10 * time.Second)
		orders.Fill(5)
		w.Sleep(2 * time.Minute)
		w.Claim(validation.Owns(a.Process, 2, orders), a.healthy(true, true), a.paused(true),
			a.counts("records received", 2, func(c ops.Counts) int64 { return c.Received }))

		a.Resume()
		w.Until(validation.Drained(orders))
		w.Claim(validation.Handled(orders), validation.HandledOnce(orders), a.paused(false))
	})
}

// A pause stops fetching, not the work: the records in hand are handled and committed while it lasts.
func TestStep08_APauseLetsTheRecordsInHandGoOn(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 1), w.Group("validation")
		orders.Fill(5)
		a := start(w, "a", config(validation, orders), takes(3*time.Second))
		w.Until(a.Busy(1))

		a.Pause()

		w.Within(20*time.Second, validation.CommittedAt(orders, 0, 5))
		w.Claim(a.paused(true), validation.HandledOnce(orders))
	})
}

// A pause is the member's, not that of the partitions which it happens to own when it is asked: what it is given later
// is paused too, and flows when it resumes.
func TestStep08_APauseOutlastsARebalance(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 2), w.Group("validation")
		a := start(w, "a", config(validation, orders), atOnce)
		b := start(w, "b", config(validation, orders), atOnce)
		w.Within(time.Minute, validation.Balanced(processes(a, b), orders))

		a.Pause()
		b.Stop()
		w.Within(time.Minute, validation.Owns(a.Process, 2, orders))
		w.Sleep(10 * time.Second)
		orders.Fill(5)
		w.Sleep(time.Minute)
		w.Claim(a.counts("records received", 0, func(c ops.Counts) int64 { return c.Received }), a.healthy(true, true), a.paused(true))

		a.Resume()
		w.Within(time.Minute, validation.Drained(orders))
		w.Claim(validation.Handled(orders), validation.HandledOnce(orders))
	})
}

// Resetting the statistics starts a new period; what is in work then still counts in it.
func TestStep08_AResetStartsANewPeriod(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 1), w.Group("validation")
		orders.Fill(5)
		a := start(w, "a", config(validation, orders), failsFirst(3))
		w.Until(validation.Drained(orders))

		a.ResetStats()
		w.Claim(a.accounts(ops.Counts{}), a.latencies(ops.Latency{}), a.lagIs(0), a.stands(orders, 0, 5, 5, 5), a.healthy(true, true),
			a.reported(func() error {
				switch s := a.Stats(); {
				case len(s.Errors) > 0:
					return fmt.Errorf("%s still reports errors of the period that is over: %+v", a.Name, s.Errors)
				case w.Exact() && !s.Since.Equal(s.At):
					return fmt.Errorf("%s says that its statistics are since %v; they were reset at %v", a.Name, s.Since, s.At)
				case a.alert().Value != 3:
					return fmt.Errorf("an alert is no count: its value was 3 and is %v after the reset", a.alert().Value)
				}
				return nil
			}))
		orders.Fill(3)

		w.Until(validation.Drained(orders))
		w.Claim(a.accounts(ops.Counts{Received: 3, Processed: 3}), a.lagIs(0))
	})
}

// A record that was in work when the new period began counts as received in it, or the sum would not hold at its end.
func TestStep08_AResetCountsWhatIsInWork(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 1), w.Group("validation")
		orders.Fill(5)
		a := start(w, "a", config(validation, orders), takes(time.Second))
		w.Until(a.Busy(1))
		w.Sleep(2500 * time.Millisecond)

		a.ResetStats()
		w.Claim(a.accounts(ops.Counts{Received: 3, InFlight: 3}))

		w.Until(validation.Drained(orders))
		w.Claim(a.accounts(ops.Counts{Received: 3, Processed: 3}))
	})
}
