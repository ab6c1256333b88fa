package lesson09

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness"
	"github.com/kafka-katas/kafka-katas/ops"
)

// A commit is due when there is enough to commit, without waiting for the clock.
func TestStep11_EnoughIsCommittedAtOnce(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		transfers, bank := w.Topic("transfers", 1), w.Group("bank")
		transfers.Fill(25)

		a := start(w, "a", config(bank, transfers, func(c *Config) { c.CommitEvery, c.CommitInterval = 10, 10*time.Minute }), takes(10*time.Millisecond))

		w.Sleep(5 * time.Second)
		w.Claim(fewerUncommitted(bank, transfers, 10), bank.CommitSafe(transfers), a.Rate(harness.OffsetCommit, 0.1, 1))
	})
}

// fewerUncommitted claims that fewer than that many of the topic's records are not committed.
//
//go:noinline
func fewerUncommitted(g *harness.Group, t *harness.Topic, limit int64) harness.Claim {
	return func(*harness.World) error {
		if at, end := g.Committed(t, 0), t.End(0); at < 0 || end-at >= limit {
			return harness.Broke[harness.Stuck]("whatever is done and not committed is done again after a crash", "group %s has committed %s/0 up to %d of %d, all of which is done; CommitEvery is %d", g, t, at, end, limit)
		}
		return nil
	}
}

// What is less than enough waits for the clock, and no longer.
func TestStep11_TheRestIsCommittedInTime(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		transfers, bank := w.Topic("transfers", 1), w.Group("bank")
		start(w, "a", config(bank, transfers, func(c *Config) { c.CommitInterval = 5 * time.Second }), atOnce)
		w.Sleep(10 * time.Second)

		transfers.Send(0, 3)

		w.Within(5100*time.Millisecond, bank.CommittedAt(transfers, 0, 3))
	})
}

// A request for each record would load the coordinator that everyone shares.
func TestStep11_CommitsAreForManyRecords(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		transfers, bank := w.Topic("transfers", 2), w.Group("bank")
		transfers.Fill(100)

		a := start(w, "a", config(bank, transfers), takes(50*time.Millisecond))

		w.Until(bank.Drained(transfers))
		w.Sleep(time.Minute) // and none for no record
		w.Claim(a.Rate(harness.OffsetCommit, 0.05, 2), bank.CommitSafe(transfers))
	})
}

// Who stops finishes what is in work and commits it: the next one does nothing again.
func TestStep11_AStopCommitsWhatIsDone(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		transfers, bank := w.Topic("transfers", 2), w.Group("bank")
		transfers.Fill(8)
		lazy := func(c *Config) { c.CommitInterval = 10 * time.Minute }
		a := start(w, "a", config(bank, transfers, lazy), takes(2*time.Second))
		w.Until(a.Busy(4))
		w.Sleep(3 * time.Second)

		a.Stop()
		start(w, "b", config(bank, transfers), atOnce)

		w.Until(bank.Drained(transfers))
		w.Claim(bank.HandledOnce(transfers), bank.Handled(transfers), bank.CommitSafe(transfers), finished())
	})
}

// Who gives a partition up commits it first: the next owner begins right behind.
func TestStep11_ARevokeCommitsWhatIsDone(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		transfers, bank := w.Topic("transfers", 2), w.Group("bank")
		transfers.Fill(8)
		lazy := func(c *Config) { c.CommitInterval = 10 * time.Minute }
		a := start(w, "a", config(bank, transfers, lazy), takes(2*time.Second))
		w.Until(a.Busy(4))
		w.Sleep(5 * time.Second)

		b := start(w, "b", config(bank, transfers, lazy), takes(2*time.Second))

		w.Within(time.Minute, bank.Balanced([]*harness.Process{a.Process, b.Process}, transfers))
		w.Sleep(time.Minute)
		w.Claim(bank.HandledOnce(transfers), bank.Handled(transfers), bank.CommitSafe(transfers), finished())
	})
}

// finished claims that whatever was begun was let finish.
//
//go:noinline
func finished() harness.Claim {
	return func(w *harness.World) error {
		for _, e := range w.Journal().Events(harness.Of(harness.Failed)) {
			return harness.Shown(harness.Broke[harness.Duplicated]("who cancels what he could finish in time has it done again, from the start",
				"%s cancelled %s; DrainTimeout is %v", e.Process, e.Key, DefaultConfig().DrainTimeout), w.Attempts(e.Key)()...)
		}
		return nil
	}
}

// What does not finish is told to end when DrainTimeout has passed. It is not done with: it is the next owner's.
func TestStep11_WhatCannotFinishIsTheNextOwners(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		transfers, bank := w.Topic("transfers", 2), w.Group("bank")
		transfers.Fill(2)
		short := func(c *Config) { c.DrainTimeout = 5 * time.Second }
		a := start(w, "a", config(bank, transfers, short), takes(time.Hour))
		w.Until(a.Busy(4))

		b := start(w, "b", config(bank, transfers, short), atOnce)
		w.Within(30*time.Second, bank.Balanced([]*harness.Process{a.Process, b.Process}, transfers))
		a.AskToStop()

		w.Within(30*time.Second, bank.Drained(transfers))
		w.Claim(bank.Handled(transfers), bank.HandledOnce(transfers), bank.CommitSafe(transfers))
	})
}

// A commit that fails in a way that passes, or of which nobody knows whether it failed, is made again. The first is not
// progress, and the second does no harm.
func TestStep12_AFailedCommitIsMadeAgain(t *testing.T) {
	for _, fault := range []*harness.Fault{
		harness.Fail(harness.OffsetCommit, kerr.CoordinatorLoadInProgress).Times(3),
		harness.Fail(harness.OffsetCommit, kerr.NotCoordinator),
		harness.Fail(harness.OffsetCommit, kerr.RebalanceInProgress).Times(2),
		harness.FailAfterwards(harness.OffsetCommit, kerr.RequestTimedOut).Times(2),
		harness.LoseReply(harness.OffsetCommit),
		harness.Sever(harness.OffsetCommit),
	} {
		harness.Run(t, func(w *harness.World) {
			transfers, bank := w.Topic("transfers", 1), w.Group("bank")
			transfers.Fill(5)

			a := start(w, "a", config(bank, transfers), atOnce)
			a.Fault(fault)

			w.Within(30*time.Second, bank.CommittedAt(transfers, 0, 5))
			w.Sleep(30 * time.Second)
			w.Claim(bank.CommitSafe(transfers), bank.HandledOnce(transfers), a.lagIs(0))
		})
	}
}

// lagIs claims what a member reports as not committed.
//
//go:noinline
func (m *member) lagIs(want int64) harness.Claim {
	return m.reported(func() error {
		var lag int64
		for _, p := range m.service.Stats().Partitions {
			lag += p.Lag
		}
		if lag != want {
			return fmt.Errorf("%s reports a lag of %d; it should be %d", m.Name, lag, want)
		}
		return nil
	})
}

// A member that was away for longer than its session is none any more. What it had to commit it drops: the new owner may
// be further, and the broker would believe it as soon as it has joined again.
func TestStep12_AnExpelledMemberDropsItsCommits(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		transfers, bank := w.Topic("transfers", 1), w.Group("bank")
		transfers.Fill(40)
		one := func(c *Config) { c.Concurrency, c.CommitInterval = 1, 10*time.Second }
		a := start(w, "a", config(bank, transfers, one), takes(3*time.Second))
		w.Until(a.Busy(1))
		w.Sleep(16 * time.Second)

		a.Isolate()
		w.Sleep(30 * time.Second)
		start(w, "b", config(bank, transfers), takes(100*time.Millisecond))
		w.Within(3*time.Minute, bank.Drained(transfers))
		a.Heal()

		w.Sleep(3 * time.Minute)
		w.Claim(bank.CommitSafe(transfers), bank.Drained(transfers), bank.Handled(transfers))
	}, harness.Deadline(20*time.Minute))
}

// A handler of a partition that is lost works beside the new owner's. It is told to end as soon as its member hears of it.
func TestStep12_WhoLosesAPartitionStopsWorkingOnIt(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		transfers, bank := w.Topic("transfers", 1), w.Group("bank")
		transfers.Fill(1)
		a := start(w, "a", config(bank, transfers), takes(time.Hour))
		w.Until(a.Busy(1))

		a.Isolate()
		start(w, "b", config(bank, transfers), atOnce)
		w.Within(3*time.Minute, bank.Drained(transfers))
		a.Heal()

		w.Sleep(15 * time.Second)
		w.Claim(a.gaveUp(), bank.CommitSafe(transfers))
	})
}

// gaveUp claims that a member works on nothing any more.
//
//go:noinline
func (m *member) gaveUp() harness.Claim {
	return func(w *harness.World) error {
		if now, _ := m.InWork(); now > 0 {
			begun := w.Journal().Events(harness.Of(harness.Began), harness.By(m.Name))
			return harness.Shown(harness.Broke[harness.Overlapped]("another member owns its partition, and has done the same meanwhile",
				"%s still works on a record at %v; it should have been told to end when its partition was lost", m.Name, w.Now()), begun[len(begun)-1:]...)
		}
		return nil
	}
}

// A commit that keeps failing is made again in a while: a loop without a rest loads a coordinator that is busy already.
func TestStep12_AFailedCommitIsNotMadeAgainAtOnce(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		transfers, bank := w.Topic("transfers", 1), w.Group("bank")
		transfers.Fill(3)

		a := start(w, "a", config(bank, transfers), atOnce)
		a.Fault(harness.Fail(harness.OffsetCommit, kerr.RebalanceInProgress).Times(100)) // after which the client itself does not rest

		w.Sleep(10 * time.Second)
		w.Claim(a.Rate(harness.OffsetCommit, 0, 50))
	})
}

// Of one transfer delivered twice at once, one delivery is worked on. The other waits.
func TestStep13_TheSameTransferTwiceAtOnceIsAppliedOnce(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		topic, bank, calls := w.Topic("transfers", 3), w.Group("bank"), w.Effects("call to the core")
		for p := range int32(3) {
			topic.To(p, transfer("t-0"))
		}
		store := memory(w)

		core(w, "a", config(bank, topic), store, calls)

		w.Until(bank.Drained(topic))
		w.Claim(calls.Once("t-0"), ledger(store, "t-0"), bank.CommitSafe(topic))
	})
}

// The one that waits is done with when the transfer is safe, and not before: if the first attempt fails, it is the next.
func TestStep13_ADuplicateIsNotDoneBeforeTheTransferIs(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		topic, bank, calls := w.Topic("transfers", 2), w.Group("bank"), w.Effects("call to the core")
		topic.To(0, transfer("t-0"))
		topic.To(1, transfer("t-0"))
		store := memory(w)
		calls.Next(errFlaky)

		core(w, "a", config(bank, topic, func(c *Config) { c.RetryAfter = time.Minute }), store, calls)

		w.Sleep(30 * time.Second)
		w.Claim(doneAfterItsEffect("t-0"))
		w.Until(bank.Drained(topic))
		w.Claim(doneAfterItsEffect("t-0"), calls.Once("t-0"), ledger(store, "t-0"))
	})
}

// Who waits for somebody else's attempt ends when he is told to: his partition may have to be given up.
func TestStep13_WhoWaitsEndsWhenHeIsToldTo(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		inbox, err := NewInbox(memory(w), IDHeader("transfer-id"), func(ctx context.Context, r *kgo.Record) (Write, error) {
			return nil, wait(ctx, time.Minute)
		})
		given(w, err)
		first := w.Call("handling t-0", 1, func(ctx context.Context, _ int) error { return inbox.Handle(ctx, transfer("t-0")) })
		w.Sleep(time.Second)

		second := w.Call("handling t-0 again", 1, func(ctx context.Context, _ int) error {
			ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			if inbox.Handle(ctx, transfer("t-0")) == nil {
				return harness.Broke[harness.CommittedTooEarly]("nobody knows yet whether it will be applied", "a duplicate of t-0 was taken for done while t-0 is in work")
			}
			return nil
		})

		w.Until(second.Done())
		w.Claim(second.Returned(nil), second.Within(6*time.Second))
		w.Until(first.Done())
		w.Claim(first.Returned(nil))
	})
}

// doneAfterItsEffect claims that no delivery was acknowledged before its effect had happened.
//
//go:noinline
func doneAfterItsEffect(key string) harness.Claim {
	return func(w *harness.World) error {
		events := w.Journal().Events(harness.Keyed(key), harness.Of(harness.Affected, harness.Handled))
		if len(events) == 0 {
			return harness.Broke[harness.Lost]("what was asked for and is not done is lost", "%s was never applied", key)
		}
		if e := events[0]; e.Kind != harness.Affected {
			return harness.Shown(harness.Broke[harness.CommittedTooEarly]("if the other attempt fails, or the process dies, nobody will apply it",
				"a delivery of %s was acknowledged at %v, before the transfer was made", key, e.At), e)
		}
		return nil
	}
}

// core starts a teller that needs two seconds and a call to the bank's core for each transfer.
func core(w *harness.World, name string, cfg Config, store Store, calls *harness.Effects) *member {
	return opening(w, name, cfg, func(*harness.Process) (Store, error) { return lent{store}, nil }, func(m *member) Apply {
		return func(ctx context.Context, r *kgo.Record) (Write, error) {
			if err := wait(ctx, 2*time.Second); err != nil {
				return nil, err
			}
			if err := calls.Do(m.Process, string(r.Key), nil); err != nil {
				return nil, err
			}
			return post(ctx, r)
		}
	})
}

// A duplicate is a success: it is acknowledged, or it would come for ever. And it is counted: many of them say something
// about the sender.
func TestStep14_DuplicatesAreCountedAndAcknowledged(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		topic, bank := w.Topic("transfers", 2), w.Group("bank")
		topic.To(0, transfer("t-0"), transfer("t-1"), transfer("t-0"), transfer("t-0"))
		topic.To(1, transfer("t-1"), transfer("t-2"), transfer("t-2"))

		a := teller(w, "a", config(bank, topic), memory(w), post)

		w.Until(bank.Drained(topic))
		w.Claim(a.extra("duplicates", 4), a.accounts(ops.Counts{Received: 7, Processed: 7}), a.lagIs(0), a.healthy(true, true))
	})
}

// Pausing takes nothing in, and loses nothing.
func TestStep14_APauseTakesNothingIn(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		transfers, bank := w.Topic("transfers", 2), w.Group("bank")
		a := start(w, "a", config(bank, transfers), atOnce)
		w.Until(bank.Owns(a.Process, 2, transfers))
		w.Sleep(5 * time.Second)
		controls := a.service.(ops.Controls)

		controls.Pause()
		w.Sleep(5 * time.Second)
		transfers.Fill(5)
		w.Sleep(time.Minute)
		w.Claim(a.tookNothing(), a.healthy(true, true))

		controls.Resume()
		w.Within(30*time.Second, bank.Drained(transfers))
		w.Claim(bank.HandledOnce(transfers), a.accounts(ops.Counts{Received: 10, Processed: 10}))

		b := start(w, "b", config(bank, transfers), atOnce)
		w.Within(time.Minute, bank.Balanced([]*harness.Process{a.Process, b.Process}, transfers))
		b.service.(ops.Controls).Pause()
		w.Sleep(5 * time.Second)
		a.Stop()
		w.Within(time.Minute, bank.Owns(b.Process, 2, transfers)) // one of which comes during the pause
		transfers.Fill(5)
		w.Sleep(time.Minute)
		w.Claim(b.tookNothing())
	})
}

// tookNothing claims that a paused member has received no record.
//
//go:noinline
func (m *member) tookNothing() harness.Claim {
	return m.reported(func() error {
		if n := m.service.Stats().Totals.Received; n > 0 {
			return fmt.Errorf("%s has taken in %d records although it is paused, or reports that it has", m.Name, n)
		}
		return nil
	})
}

// A service starts while Kafka is down. It says so, and waits.
func TestStep14_AKafkaThatIsDownIsWaitedFor(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		transfers, bank := w.Topic("transfers", 1), w.Group("bank")
		transfers.Fill(5)
		w.Kafka().Down()

		a := start(w, "a", config(bank, transfers), atOnce)

		w.Sleep(time.Minute)
		w.Claim(a.healthy(true, false))
		w.Kafka().Up()
		w.Within(time.Minute, bank.Drained(transfers))
		w.Claim(bank.HandledOnce(transfers), a.healthy(true, true))
	})
}
