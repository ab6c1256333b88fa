package lesson07

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness"
)

// A clean leave finishes what is in work, commits it, and hands the rest over: nothing is repeated.
func TestStep11_ACleanLeaveRepeatsNothing(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 4), w.Group("validation")
		orders.Fill(10)
		a := start(w, "a", config(validation, orders), takes(3*time.Second))
		w.Until(a.Busy(4))

		w.Sleep(time.Second)
		a.Stop()
		w.Claim(a.Left(validation), a.finishesWhatItBegan(), harness.AtMost("the stop with two seconds of work left", w.Now()-a.askedAt(w), 5*time.Second))
		start(w, "b", config(validation, orders), takes(100*time.Millisecond))

		w.Until(validation.Drained(orders))
		w.Claim(validation.Handled(orders), validation.HandledOnce(orders), validation.CommitSafe(orders), a.consistent())
	})
}

// A stop does not wait for ever: what has not finished after DrainTimeout is cancelled, and is not committed.
func TestStep11_AStopCancelsWhatDoesNotFinish(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 1), w.Group("validation")
		orders.Fill(2)
		a := start(w, "a", config(validation, orders, func(c *Config) { c.DrainTimeout = 10 * time.Second }), hangs)
		w.Until(a.Busy(1))

		a.Stop()
		w.Claim(harness.AtMost("the stop with a hanging handler and a DrainTimeout of 10 s", w.Now()-a.askedAt(w), 15*time.Second))
		start(w, "b", config(validation, orders), atOnce)

		w.Within(time.Minute, validation.Drained(orders))
		w.Claim(validation.Handled(orders), validation.CommitSafe(orders))
	})
}

// A crash leaves partitions idle until the session timeout; then they are taken over from the commit. Nothing is lost,
// and only the uncommitted tail comes again. How soon is the operator's to say: 20 seconds here.
func TestStep12_AfterACrashTheTailComesAgainAndNothingElse(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 4), w.Group("validation")
		session := func(c *Config) { c.SessionTimeout, c.HeartbeatInterval = 20*time.Second, 5*time.Second }
		a := start(w, "a", config(validation, orders, session), takes(100*time.Millisecond))
		b := start(w, "b", config(validation, orders, session), takes(100*time.Millisecond))
		w.Within(time.Minute, validation.Balanced(processes(a, b), orders))
		orders.Fill(50)
		w.Sleep(2500 * time.Millisecond)

		a.Crash()
		w.Note("session_timeout is 20s")
		w.Sleep(14 * time.Second) // at most 5 s of its session had passed: nobody may touch its partitions yet
		w.Claim(validation.Owns(b.Process, 2, orders))
		w.Within(15*time.Second, validation.Balanced(processes(b), orders))

		w.Until(validation.Drained(orders))
		w.Claim(validation.Handled(orders), validation.RedeliveredOnlyUncommitted(orders), validation.CommitSafe(orders), validation.InOrder(orders),
			validation.OneAtATime(orders))
	})
}

// What is repeated after a crash is what was done within the last CommitInterval, not everything since the start.
func TestStep12_TheTailIsShort(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 1), w.Group("validation")
		orders.Fill(100)
		a := start(w, "a", config(validation, orders), takes(100*time.Millisecond))
		w.Until(a.Busy(1))
		w.Sleep(5 * time.Second)

		a.Crash()

		w.Claim(func(*harness.World) error {
			committed := validation.Committed(orders, 0)
			handled := int64(len(w.Journal().Events(harness.Of(harness.Handled))))
			if tail := handled - max(committed, 0); tail > 25 {
				return harness.Broke[harness.Duplicated]("whatever was not committed is handled again after a crash: commit every CommitInterval, here each second",
					"%d records handled in 5 s, 10 a second, were committed only up to offset %d: %d of them come again", handled, committed, tail)
			}
			return nil
		})
		start(w, "b", config(validation, orders), atOnce)
		w.Until(validation.Drained(orders))
		w.Claim(validation.CommitSafe(orders), validation.Handled(orders))
	})
}

// A join moves only what must move: the other partitions are not given up, and go on.
func TestStep13_AJoinMovesOnlyWhatMustMove(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 6), w.Group("validation")
		a := start(w, "a", config(validation, orders), atOnce)
		b := start(w, "b", config(validation, orders), atOnce)
		w.Within(time.Minute, validation.Balanced(processes(a, b), orders))
		w.Sleep(5 * time.Second)
		joined := w.Now()

		c := start(w, "c", config(validation, orders), atOnce)

		w.Within(time.Minute, validation.Balanced(processes(a, b, c), orders))
		w.Claim(validation.MovedOnly(a.Process, joined, 1), validation.MovedOnly(b.Process, joined, 1))
	})
}

// While a member waits for its handlers to give partitions up, those that it keeps go on: they are fetched, handled and
// committed.
func TestStep13_KeptPartitionsFlowDuringARebalance(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 6), w.Group("validation")
		orders.Fill(12)
		quick := func(c *Config) { c.Concurrency, c.MaxQueued = 6, 2 }
		a := start(w, "a", config(validation, orders, quick), inTurns(6, 18*time.Second))
		w.Until(a.Busy(6))
		w.Sleep(time.Minute)

		b := start(w, "b", config(validation, orders), takes(18*time.Second))
		from := w.Now()
		w.Within(time.Minute, validation.Balanced(processes(a, b), orders))
		w.Sleep(20 * time.Second)

		w.Claim(a.goesOn(from, 15*time.Second), validation.CommitSafe(orders), validation.HandledOnce(orders))
	}, harness.Deadline(20*time.Minute))
}

// inTurns is a handler that works that long on each record, and so that n partitions do not end at the same time: in
// that time each of them ends once, one after the other.
func inTurns(n int32, d time.Duration) Handler {
	return func(ctx context.Context, r *kgo.Record) error {
		if r.Offset == 0 {
			return takes(d*time.Duration(r.Partition+1)/time.Duration(n))(ctx, r)
		}
		return takes(d)(ctx, r)
	}
}

// goesOn claims that the member has not let that much time pass without beginning a record.
//
//go:noinline
func (m *member) goesOn(from, limit time.Duration) harness.Claim {
	return func(w *harness.World) error {
		last := harness.Event{At: from}
		next := w.Journal().Events(harness.By(m.Name), harness.Of(harness.Began), func(e harness.Event) bool { return e.At > from })
		for _, e := range append(next, harness.Event{At: w.Now()}) {
			if e.At-last.At > limit {
				return harness.Shown(harness.Broke[harness.Stuck]("a cooperative rebalance stops only what moves; stopping everything makes each deployment an outage",
					"%s began nothing for %v during a rebalance, although it keeps half of its partitions and one of them is due at least every %v", m.Name, e.At-last.At, limit), last, e)
			}
			last = e
		}
		return nil
	}
}

// A revoke waits for the record in work, commits it, and only then lets go: the next owner starts right behind it.
func TestStep14_ARevokeDrainsAndCommitsFirst(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 2), w.Group("validation")
		orders.Fill(6)
		a := start(w, "a", config(validation, orders), takes(10*time.Second))
		w.Until(a.Busy(2))

		w.Sleep(time.Second)
		b := start(w, "b", config(validation, orders), takes(10*time.Second))

		w.Within(2*time.Minute, validation.Balanced(processes(a, b), orders))
		w.Until(validation.Drained(orders))
		w.Claim(a.finishesWhatItBegan(), validation.Handled(orders), validation.HandledOnce(orders), validation.CommitSafe(orders), validation.OneAtATime(orders),
			validation.InOrder(orders))
	})
}

// A record that waits for its next attempt when its partition goes is the next owner's: the wait ends with the ownership.
func TestStep14_ARetryEndsWithItsPartition(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 2), w.Group("validation")
		orders.Fill(1)
		a := start(w, "a", config(validation, orders, func(c *Config) { c.RetryAfter = 90 * time.Second }),
			func(context.Context, *kgo.Record) error { return errFlaky })
		w.Until(failed(a, 2))

		b := start(w, "b", config(validation, orders), takes(3*time.Minute))

		w.Within(time.Minute, validation.Balanced(processes(a, b), orders))
		w.Sleep(2 * time.Minute)
		w.Claim(validation.OneAtATime(orders), b.Busy(1))
	})
}

// finishesWhatItBegan claims that no call of the member's handler was cut short.
//
//go:noinline
func (m *member) finishesWhatItBegan() harness.Claim {
	return func(w *harness.World) error {
		for _, e := range w.Journal().Events(harness.By(m.Name), harness.Of(harness.Failed)) {
			return harness.Shown(harness.Broke[harness.Duplicated]("what is half done has to be begun again by somebody; a handler is cancelled when DrainTimeout has passed, and not before",
				"%s's handler was cut short in %s/%d offset %d at %v, although what was left to do fits into DrainTimeout: %v", m.Name, e.Topic, e.Partition, e.Offset, e.At, e.Err), e)
		}
		return nil
	}
}

// A handler that would outlast the rebalance is cancelled in time, and waited for: the member is not expelled, and the
// record comes again at the next owner, when nobody works on it any more.
func TestStep14_AHandlerThatOutlastsTheRevokeIsCancelled(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 2), w.Group("validation")
		orders.Fill(3)
		a := start(w, "a", config(validation, orders, func(c *Config) { c.DrainTimeout, c.RebalanceTimeout, c.MaxQueued = 20*time.Second, time.Minute, 1 }),
			slowToGiveUp(time.Hour, 5*time.Second))
		w.Until(a.Busy(2))

		b := start(w, "b", config(validation, orders), atOnce)

		w.Within(45*time.Second, validation.Balanced(processes(a, b), orders))
		w.Sleep(2 * time.Minute)
		w.Claim(validation.CommitSafe(orders), validation.OneAtATime(orders), validation.Member(a.Process), handledBy("b", 3))
	})
}

// slowToGiveUp is a handler that works that long, and when it is told to give up needs some time to clean up.
func slowToGiveUp(work, cleanUp time.Duration) Handler {
	return func(ctx context.Context, _ *kgo.Record) error {
		select {
		case <-time.After(work):
			return nil
		case <-ctx.Done():
			time.Sleep(cleanUp)
			return ctx.Err()
		}
	}
}

// However long a handler needs after it was told to give up, its partition goes to nobody else before it has returned.
func TestStep14_AHandlerIsWaitedForHoweverLongItTakes(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 2), w.Group("validation")
		orders.Fill(2)
		patient := func(c *Config) { c.RebalanceTimeout, c.DrainTimeout = 5*time.Minute, 20*time.Second }
		a := start(w, "a", config(validation, orders, patient), slowToGiveUp(time.Hour, 45*time.Second))
		w.Until(a.Busy(2))

		b := start(w, "b", config(validation, orders, patient), takes(time.Minute))

		w.Within(2*time.Minute, validation.Balanced(processes(a, b), orders))
		w.Sleep(time.Minute)
		w.Claim(validation.OneAtATime(orders), validation.Member(a.Process))
	})
}

// handledBy claims that a process has handled n records.
//
//go:noinline
func handledBy(name string, n int) harness.Claim {
	return func(w *harness.World) error {
		if got := len(w.Journal().Events(harness.By(name), harness.Of(harness.Handled))); got != n {
			return harness.Broke[harness.Stuck]("what a member had to give up unfinished is its next owner's to handle", "%s has handled %d records; it should be %d", name, got, n)
		}
		return nil
	}
}

// One slow partition holds up nobody else, and what it cannot take stays in Kafka, where it costs nothing.
func TestStep15_ASlowPartitionHoldsUpNobodyElse(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 4), w.Group("validation")
		orders.Fill(30)

		a := start(w, "a", config(validation, orders, func(c *Config) { c.Concurrency, c.MaxQueued = 4, 20 }), slowOn(0, time.Minute))
		w.Sleep(time.Second) // by now partition 0 has as many as it may
		orders.Fill(270)

		w.Within(30*time.Second, harness.All(validation.CommittedAt(orders, 1, 300), validation.CommittedAt(orders, 2, 300), validation.CommittedAt(orders, 3, 300)))
		w.Sleep(30 * time.Second)
		w.Claim(a.holdsAtMost(20), a.lagsBehind(0, 279), validation.CommitSafe(orders), a.healthy(true, true))
	})
}

// A pause is the client's, and outlasts the ownership that it was made for.
func TestStep15_APartitionThatComesBackFlowsAgain(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 2), w.Group("validation")
		orders.Fill(60)
		few := func(c *Config) { c.MaxQueued = 5 }
		a := start(w, "a", config(validation, orders, few), takes(time.Second))
		w.Sleep(10 * time.Second) // by now both partitions have as many as they may

		b := start(w, "b", config(validation, orders, few), takes(time.Second))
		w.Within(time.Minute, validation.Balanced(processes(a, b), orders))
		b.Stop()

		w.Until(validation.Drained(orders))
		w.Claim(validation.Handled(orders), validation.CommitSafe(orders), validation.InOrder(orders))
	})
}

// The bound is a bound however small it is: MaxQueued may be 1, for records that are large.
func TestStep15_TheBoundHoldsHoweverSmall(t *testing.T) {
	for _, n := range []int{1, 3} {
		harness.Run(t, func(w *harness.World) {
			w.Note("MaxQueued %d", n)
			orders, validation := w.Topic("orders", 2), w.Group("validation")
			orders.Fill(30)

			a := start(w, "a", config(validation, orders, func(c *Config) { c.MaxQueued = n }), slowOn(0, 10*time.Second))

			for range 10 {
				w.Sleep(3 * time.Second)
				w.Claim(a.holdsAtMost(int64(n)))
			}
			w.Claim(validation.CommittedAt(orders, 1, 30), validation.CommitSafe(orders))
		})
	}
}

// holdsAtMost claims that no partition has more records waiting in the process than that, besides the one in work.
//
//go:noinline
func (m *member) holdsAtMost(n int64) harness.Claim {
	return harness.Reported(func() error {
		for _, p := range m.Stats().Partitions {
			if p.InFlight > n+1 {
				return fmt.Errorf("%s holds %d records of partition %d in memory; MaxQueued allows %d and the one in work", m.Name, p.InFlight, p.Partition, n)
			}
		}
		return nil
	})
}

// lagsBehind claims that what the consumer has not taken shows as the partition's lag.
//
//go:noinline
func (m *member) lagsBehind(partition int32, atLeast int64) harness.Claim {
	return harness.Reported(func() error {
		for _, p := range m.Stats().Partitions {
			if p.Partition == partition && p.Lag < atLeast {
				return fmt.Errorf("%s reports a lag of %d for partition %d; at least %d records are still in Kafka", m.Name, p.Lag, partition, atLeast)
			}
		}
		return nil
	})
}

// Coordinators move. Consumption goes on, and the commit lands at the new one.
func TestStep16_ACoordinatorThatMovesLosesNoCommit(t *testing.T) {
	for _, trouble := range []struct {
		name  string
		fault func() []*harness.Fault
	}{
		{"moved", nil},
		{"not coordinator", func() []*harness.Fault {
			return []*harness.Fault{harness.Fail(harness.OffsetCommit, kerr.NotCoordinator).Times(2)}
		}},
		{"rebalancing", func() []*harness.Fault {
			return []*harness.Fault{harness.Fail(harness.OffsetCommit, kerr.RebalanceInProgress).Times(2)}
		}},
		{"loading", func() []*harness.Fault {
			return []*harness.Fault{harness.Fail(harness.OffsetCommit, kerr.CoordinatorLoadInProgress).Times(3)}
		}},
		{"reply lost", func() []*harness.Fault { return []*harness.Fault{harness.LoseReply(harness.OffsetCommit)} }},
		{"ambiguous", func() []*harness.Fault {
			return []*harness.Fault{harness.FailAfterwards(harness.OffsetCommit, kerr.RequestTimedOut)}
		}},
	} {
		harness.Run(t, func(w *harness.World) {
			w.Note("trouble: %s", trouble.name)
			orders, validation := w.Topic("orders", 2), w.Group("validation")
			orders.Fill(20)
			a := start(w, "a", config(validation, orders, func(c *Config) { c.CommitInterval = 5 * time.Second }), takes(100*time.Millisecond), often)
			w.Until(a.Busy(2)) // and done with everything when it first commits: no later record helps a commit that failed

			if trouble.fault == nil {
				w.Kafka().MoveCoordinator(validation)
			} else {
				a.Fault(trouble.fault()...)
			}

			w.Within(2*time.Minute, validation.Drained(orders))
			orders.Fill(1)
			w.Within(time.Minute, validation.Drained(orders))
			w.Claim(validation.Handled(orders), validation.HandledOnce(orders), validation.CommitSafe(orders))
		})
	}
}

// Added partitions are consumed from their start within MetadataMaxAge, without a restart: also by a group that began
// at the latest record, since nothing in them is old.
func TestStep17_AddedPartitionsAreConsumedFromTheirStart(t *testing.T) {
	for _, from := range []Start{StartEarliest, StartLatest} {
		harness.Run(t, func(w *harness.World) {
			orders, validation := w.Topic("orders", 2), w.Group("validation")
			a := start(w, "a", config(validation, orders, func(c *Config) { c.Start = from }), atOnce)
			b := start(w, "b", config(validation, orders, func(c *Config) { c.Start = from }), atOnce)
			w.Within(time.Minute, validation.Balanced(processes(a, b), orders))
			w.Sleep(5 * time.Second)

			orders.AddPartitions(4)
			orders.Fill(5)

			w.Within(90*time.Second, validation.Drained(orders))
			w.Claim(validation.Handled(orders), validation.HandledOnce(orders), validation.Balanced(processes(a, b), orders))
		})
	}
}

// Left claims that the process has left the group of its own accord, rather than leave it to the session timeout.
func (m *member) Left(g *harness.Group) harness.Claim {
	return func(w *harness.World) error {
		for _, e := range w.Journal().Events(harness.By(m.Name), harness.Of(harness.Left)) {
			if e.Group == g.Name {
				return nil
			}
		}
		return harness.Broke[harness.Stuck]("without a word its partitions stand still until the session timeout", "%s stopped without leaving group %s", m.Name, g)
	}
}

// askedAt is when the process was last asked to stop.
func (m *member) askedAt(w *harness.World) time.Duration {
	at := w.Now()
	for _, e := range w.Journal().Events(harness.By(m.Name), harness.Of(harness.Stopping)) {
		at = e.At
	}
	return at
}
