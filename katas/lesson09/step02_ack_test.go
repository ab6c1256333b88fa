package lesson09

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness"
)

// What is handled is committed: the offset after it, which is the next one to read. Then nothing is left to do.
func TestStep02_WhatIsHandledIsCommittedAsTheNextOffset(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		transfers, bank := w.Topic("transfers", 3), w.Group("bank")
		transfers.Fill(10)

		start(w, "a", config(bank, transfers), atOnce)

		w.Until(bank.Drained(transfers))
		w.Claim(bank.Handled(transfers), bank.HandledOnce(transfers), bank.CommitSafe(transfers), bank.CommittedAt(transfers, 0, 10))
	})
}

// What failed is not done with, so it is not committed: after a restart it is delivered again.
func TestStep02_WhatFailedIsDeliveredAgainAfterARestart(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		transfers, bank := w.Topic("transfers", 1), w.Group("bank")
		transfers.Fill(5)
		a := start(w, "a", config(bank, transfers), always("transfers-2", errFlaky))
		w.Sleep(10 * time.Second)
		w.Claim(bank.CommittedAt(transfers, 0, 2))

		a.Stop()
		start(w, "b", config(bank, transfers), atOnce)

		w.Until(bank.Drained(transfers))
		w.Claim(bank.Handled(transfers), bank.CommitSafe(transfers))
	})
}

// A record that fails comes again after RetryAfter, until it is done with.
func TestStep02_WhatFailedComesAgain(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		transfers, bank := w.Topic("transfers", 1), w.Group("bank")
		transfers.Fill(3)

		a := start(w, "a", config(bank, transfers), failsOn("transfers-1", errFlaky, errFlaky))

		w.Until(bank.Drained(transfers))
		w.Claim(bank.Handled(transfers), bank.CommitSafe(transfers), attempts("transfers-1", 0, time.Second, 2*time.Second))
		a.Stop()
	})
}

// One bad record must not end the process and with it the work on everything else.
func TestStep02_APanicIsAFailureOfItsRecordAlone(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		transfers, bank := w.Topic("transfers", 2), w.Group("bank")
		transfers.Fill(3)
		once := failsOn("transfers-2", errFlaky)

		start(w, "a", config(bank, transfers), func(ctx context.Context, r *kgo.Record) error {
			if once(ctx, r) != nil {
				panic("index out of range [3] with length 3")
			}
			return nil
		})

		w.Until(bank.Drained(transfers))
		w.Claim(bank.Handled(transfers), bank.CommitSafe(transfers))
	})
}

// What is in work is not done with, however long it takes and whatever else the clock says.
func TestStep02_WhatIsInWorkIsNotCommitted(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		transfers, bank := w.Topic("transfers", 1), w.Group("bank")
		transfers.Fill(20)
		a := start(w, "a", config(bank, transfers, func(c *Config) { c.Concurrency = 1 }), slowOn("transfers-3", time.Minute))
		w.Until(begun("transfers-3", 1))
		w.Sleep(20 * time.Second)

		a.Crash()
		start(w, "b", config(bank, transfers), atOnce)

		w.Until(bank.Drained(transfers))
		w.Claim(bank.CommitSafe(transfers), bank.Handled(transfers), bank.RedeliveredOnlyUncommitted(transfers))
	})
}

// attempts claims that a record was begun that long after its first attempt, each time.
//
//go:noinline
func attempts(key string, after ...time.Duration) harness.Claim {
	return func(w *harness.World) error {
		events := w.Attempts(key)()
		if len(events) == 0 {
			return harness.Broke[harness.Lost]("nothing stands in its way", "%s was never begun", key)
		}
		var due []time.Duration
		for _, d := range after {
			due = append(due, events[0].At+d)
		}
		return harness.Times("attempts", w.Attempts(key), due...)(w)
	}
}
