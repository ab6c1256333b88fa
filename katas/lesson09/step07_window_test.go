package lesson09

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness"
	"github.com/kafka-katas/kafka-katas/ops"
)

// Workers finish in any order; what is committed is how far everything is done.
func TestStep07_TheCommitWaitsForTheSlowest(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		transfers, bank := w.Topic("transfers", 1), w.Group("bank")
		transfers.Fill(8)
		a := start(w, "a", config(bank, transfers), slowOn("transfers-2", time.Minute))
		w.Sleep(10 * time.Second)
		w.Claim(handled("transfers-7"), bank.CommittedAt(transfers, 0, 2), bank.CommitSafe(transfers))

		a.Crash()
		start(w, "b", config(bank, transfers), atOnce)

		w.Until(bank.Drained(transfers))
		w.Claim(bank.Handled(transfers), bank.CommitSafe(transfers))
	})
}

// When the slow one is done, all that was done behind it is committed along with it.
func TestStep07_WhatWaitedIsCommittedAlong(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		transfers, bank := w.Topic("transfers", 1), w.Group("bank")
		transfers.Fill(8)

		start(w, "a", config(bank, transfers), slowOn("transfers-0", 20*time.Second))

		w.Within(22*time.Second, bank.CommittedAt(transfers, 0, 8))
		w.Claim(bank.CommitSafe(transfers), bank.HandledOnce(transfers))
	})
}

// A single partition keeps all workers busy: order is not what is promised here.
func TestStep07_AllWorkersWorkOnOnePartition(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		transfers, bank := w.Topic("transfers", 2), w.Group("bank")
		transfers.Send(0, 9)

		a := start(w, "a", config(bank, transfers, func(c *Config) { c.Concurrency = 3 }), takes(time.Second))

		w.Within(10*time.Second, a.Busy(3))
		transfers.Send(1, 9) // and no others for another partition
		w.Until(bank.Drained(transfers))
		w.Claim(bank.HandledOnce(transfers), bank.CommitSafe(transfers), func(*harness.World) error {
			if _, most := a.InWork(); most > 3 {
				return harness.Broke[harness.Overlapped]("more at once than was asked for takes the ground from under limits, pools and partners", "a had %d records in work at once; Concurrency allows 3", most)
			}
			return nil
		})
	})
}

// Not every offset holds a record: the end of a transaction takes one, an aborted record is none. Nobody waits for them.
func TestStep08_OffsetsWithoutARecordHoldNothingUp(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		topic, bank := w.Topic("transfers", 1), w.Group("bank")
		inTransaction(w, topic, kgo.TryCommit, "t-0", "t-1") // and the end of the transaction at offset 2
		inTransaction(w, topic, kgo.TryAbort, "a-0", "a-1")
		inTransaction(w, topic, kgo.TryCommit, "t-2") // at offset 6
		topic.To(0, transfer("t-3"), transfer("t-4"))

		start(w, "a", config(bank, topic), atOnce)

		w.Within(30*time.Second, bank.CommittedAt(topic, 0, 10))
		w.Claim(handled(ids(5)...))
	})
}

// What was aborted has never been.
func TestStep08_WhatWasAbortedIsNotHandled(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		topic, bank := w.Topic("transfers", 1), w.Group("bank")
		inTransaction(w, topic, kgo.TryAbort, "a-0", "a-1")
		topic.To(0, transfer("t-0"))

		start(w, "a", config(bank, topic), atOnce)

		w.Within(30*time.Second, bank.CommittedAt(topic, 0, 4))
		w.Claim(handled("t-0"), func(w *harness.World) error {
			if seen := w.Attempts("a-0")(); len(seen) > 0 {
				return harness.Shown(harness.Broke[harness.Misrouted]("its sender has taken it back, with all that belongs to it", "a-0 was handled although its transaction was aborted"), seen...)
			}
			return nil
		})
	})
}

// inTransaction writes transfers as one transaction, which it commits or aborts.
func inTransaction(w *harness.World, topic *harness.Topic, end kgo.TransactionEndTry, keys ...string) {
	w.Helper()
	client := w.Client(kgo.TransactionalID(w.TransactionalID("sender")), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	defer client.Close()
	err := client.BeginTransaction()
	for _, key := range keys {
		r := transfer(key)
		r.Topic = topic.Name
		err = errors.Join(err, client.ProduceSync(w.Context(), r).FirstErr())
	}
	given(w, errors.Join(err, client.EndTransaction(w.Context(), end)))
	w.Note("a transaction with %v has ended, committed: %t", keys, end)
}

// A record that is not done with holds up its own partition, when its window is full, and no other.
func TestStep09_AStuckRecordHoldsUpItsPartitionAlone(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		transfers, bank := w.Topic("transfers", 2), w.Group("bank")
		transfers.Send(0, 50)
		a := start(w, "a", config(bank, transfers, func(c *Config) { c.Window, c.Concurrency = 5, 3 }), slowOn("transfers-0", 3*time.Minute))
		w.Sleep(10 * time.Second)

		transfers.Send(1, 50)

		w.Within(20*time.Second, bank.CommittedAt(transfers, 1, 50))
		w.Claim(a.window(transfers, 0, 5))
		w.Until(bank.Drained(transfers))
		w.Claim(bank.HandledOnce(transfers), bank.CommitSafe(transfers))
	})
}

// Records that fail again and again count as open too: they must not fill the process.
func TestStep09_WhatFailsIsInTheWindow(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		transfers, bank := w.Topic("transfers", 1), w.Group("bank")
		transfers.Fill(50)

		a := start(w, "a", config(bank, transfers, func(c *Config) { c.Window = 7 }), func(context.Context, *kgo.Record) error { return errFlaky })

		w.Sleep(30 * time.Second)
		w.Claim(a.window(transfers, 0, 7), bank.CommitSafe(transfers))
	})
	harness.Run(t, func(w *harness.World) { // the window was full once and has some room again: only for so many
		transfers, bank := w.Topic("transfers", 1), w.Group("bank")
		transfers.Fill(50)

		a := start(w, "a", config(bank, transfers, func(c *Config) { c.Window = 7 }), func(_ context.Context, r *kgo.Record) error {
			if r.Offset < 6 {
				return nil
			}
			return errFlaky
		})

		w.Sleep(20 * time.Second)
		controls := a.service.(ops.Controls) // an operator's pause ends, and no other
		controls.Pause()
		controls.Resume()
		w.Sleep(10 * time.Second)
		w.Claim(bank.CommittedAt(transfers, 0, 6), a.within(transfers, 0, 6, 7), bank.CommitSafe(transfers))
	})
}

// A window of one is the strictest: the next record comes when the one before is done with. It must not be too little.
func TestStep09_AWindowOfOneIsOneAfterTheOther(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		transfers, bank := w.Topic("transfers", 2), w.Group("bank")
		transfers.Fill(10)

		start(w, "a", config(bank, transfers, func(c *Config) { c.Window = 1 }), takes(100*time.Millisecond))

		w.Within(time.Minute, bank.Drained(transfers))
		w.Claim(bank.InOrder(transfers), bank.HandledOnce(transfers), bank.CommitSafe(transfers))
	})
}

// window claims that of a partition whose first record is not done with, so many are in the process: no more, no fewer.
//
//go:noinline
func (m *member) window(t *harness.Topic, partition int32, most int) harness.Claim {
	return func(w *harness.World) error {
		if n := len(m.begunFrom(w, t, partition, 0)); n < most {
			return harness.Broke[harness.Stuck]("a window that nobody uses costs throughput", "%s has begun %d records of %s/%d; Window allows %d", m.Name, n, t, partition, most)
		}
		return m.within(t, partition, 0, most)(w)
	}
}

// within claims that of a partition where offset first is not done with, and all before it is, no more than that many are
// in the process.
//
//go:noinline
func (m *member) within(t *harness.Topic, partition int32, first int64, most int) harness.Claim {
	return func(w *harness.World) error {
		if begun := m.begunFrom(w, t, partition, first); len(begun) > most {
			return harness.Shown(harness.Broke[harness.Leaked]("what is finished and not committed piles up in memory, and a crash repeats all of it",
				"%s has begun %d records of %s/%d although offset %d is not done with; Window allows %d", m.Name, len(begun), t, partition, first, most), begun[most])
		}
		return m.reported(func() error {
			for _, p := range m.service.Stats().Partitions {
				if n := p.Received - first; p.Topic == t.Name && p.Partition == partition && n > int64(most) {
					return fmt.Errorf("%s has received %d records of %s/%d from offset %d on, which is not done with; Window allows %d", m.Name, n, t, partition, first, most)
				}
			}
			return nil
		})(w)
	}
}

// begunFrom are the first attempts at the records from an offset on.
func (m *member) begunFrom(w *harness.World, t *harness.Topic, partition int32, first int64) (out []harness.Event) {
	seen := map[int64]bool{}
	for _, e := range w.Journal().Events(harness.Of(harness.Began), harness.By(m.Name)) {
		if e.Topic == t.Name && e.Partition == partition && e.Offset >= first && !seen[e.Offset] {
			seen[e.Offset] = true
			out = append(out, e)
		}
	}
	return out
}

// A record that fails for as long as one cares to look wedges no handler and ends no membership: only the commit stands
// still. An operator has to see it.
func TestStep09_ARecordThatHoldsUpItsPartitionIsSeen(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		transfers, bank := w.Topic("transfers", 1), w.Group("bank")
		transfers.Fill(5)
		away := w.Now() + 100*time.Second
		a := start(w, "a", config(bank, transfers, func(c *Config) { c.StallAfter = time.Minute }), func(_ context.Context, r *kgo.Record) error {
			if string(r.Key) == "transfers-1" && w.Now() < away {
				return errFlaky
			}
			return nil
		})

		w.SleepUntil(58 * time.Second)
		w.Claim(a.healthy(true, true))
		w.SleepUntil(62 * time.Second)
		w.Claim(a.healthy(true, false))

		w.Until(bank.Drained(transfers))
		w.Claim(a.healthy(true, true))
	})
}

// A nack brings the record again when it says; what was acknowledged before stays acknowledged.
func TestStep10_ANackedRecordComesAgainWhenItSays(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		transfers, bank := w.Topic("transfers", 1), w.Group("bank")
		transfers.Fill(6)

		alone := func(c *Config) { c.Concurrency = 1 } // the worker does not wait with the record
		start(w, "a", config(bank, transfers, alone), failsOn("transfers-3", Nack(7*time.Second, errFlaky), fmt.Errorf("core: %w", Nack(20*time.Second, nil)), errFlaky))

		w.Sleep(6 * time.Second)
		w.Claim(attempts("transfers-3", 0), bank.CommittedAt(transfers, 0, 3), begun("transfers-5", 1))
		w.Until(bank.Drained(transfers))
		w.Claim(attempts("transfers-3", 0, 7*time.Second, 27*time.Second, 28*time.Second), bank.Handled(transfers), bank.CommitSafe(transfers))
	})
}

// A record that waits for its time is the next owner's when its partition moves, and not the former one's any more.
func TestStep10_ANackedRecordMovesWithItsPartition(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		transfers, bank := w.Topic("transfers", 2), w.Group("bank")
		transfers.Fill(2)
		a := start(w, "a", config(bank, transfers), func(context.Context, *kgo.Record) error {
			if w.Now() < 30*time.Second {
				return Nack(time.Minute, errFlaky)
			}
			return nil
		})
		w.Until(begun("transfers-3", 1))

		b := start(w, "b", config(bank, transfers), atOnce)

		w.Within(30*time.Second, bank.Balanced([]*harness.Process{a.Process, b.Process}, transfers))
		w.Sleep(2 * time.Minute)
		w.Claim(bank.HandledOnce(transfers), bank.Handled(transfers), bank.CommitSafe(transfers), bank.Drained(transfers))
	})
}

// A nack is an error like any other to whoever counts errors: it says what it is for, and is counted.
func TestStep10_ANackIsAFailureWithACause(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		transfers, bank := w.Topic("transfers", 1), w.Group("bank")
		transfers.Fill(3)

		a := start(w, "a", config(bank, transfers), failsOn("transfers-1", Nack(time.Second, errFlaky), Nack(time.Second, nil)))

		w.Until(bank.Drained(transfers))
		w.Claim(a.accounts(ops.Counts{Received: 3, Processed: 3, Failed: 2, Retried: 2}), a.reported(func() error {
			if err := Nack(time.Second, errFlaky); !errors.Is(err, errFlaky) {
				return fmt.Errorf("Nack says %v, which is not its cause", err)
			}
			return nil
		}))
	})
}
