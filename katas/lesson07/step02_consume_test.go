package lesson07

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kafka-katas/kafka-katas/harness"
	"github.com/kafka-katas/kafka-katas/ops"
)

// One member has all partitions to itself, and order within each of them is kept.
func TestStep02_OneMemberHandlesEveryRecordInOrder(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 6), w.Group("validation")
		orders.Fill(10)

		a := start(w, "a", config(validation, orders), atOnce)

		w.Until(validation.Drained(orders))
		w.Claim(validation.Handled(orders), validation.HandledOnce(orders), validation.InOrder(orders),
			validation.CommitSafe(orders), validation.Owns(a.Process, 6, orders))
	})
}

// A record that failed is not done with: it comes again after RetryAfter, and nothing behind it in its partition before.
func TestStep02_AFailedRecordComesAgainBeforeItsFollowers(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 1), w.Group("validation")
		orders.Fill(3)

		start(w, "a", config(validation, orders), failsFirst(2))

		w.Until(validation.Drained(orders))
		w.Sleep(5 * time.Second) // a record that comes late is not lost; one that never comes is
		w.Claim(validation.Handled(orders), validation.HandledOnce(orders), validation.InOrder(orders), validation.CommitSafe(orders),
			attemptsEvery(time.Second, 3))
	})
}

// The wait is for whatever the handler could not reach, and it begins when the attempt has ended, however long that took.
func TestStep02_TheWaitBeginsWhenTheAttemptEnds(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 1), w.Group("validation")
		orders.Fill(1)
		fails := failsFirst(2)

		start(w, "a", config(validation, orders), func(ctx context.Context, r *kgo.Record) error {
			if err := fails(ctx, r); err != nil {
				time.Sleep(300 * time.Millisecond) // a call that times out
				return err
			}
			return nil
		})

		w.Until(validation.Drained(orders))
		w.Claim(attemptsEvery(1300*time.Millisecond, 3))
	})
}

// attemptsEvery claims that the first record was attempted n times, and exactly that far apart.
//
//go:noinline
func attemptsEvery(gap time.Duration, n int) harness.Claim {
	return func(w *harness.World) error {
		attempts := w.Journal().Events(harness.Of(harness.Began), func(e harness.Event) bool { return e.Offset == 0 })
		var due []time.Duration
		for i := range n {
			if len(attempts) > 0 {
				due = append(due, attempts[0].At+time.Duration(i)*gap)
			}
		}
		return harness.Times("attempts", func() []harness.Event { return attempts }, due...)(w)
	}
}

// failedTimes claims that the handler has failed exactly n times.
//
//go:noinline
func (m *member) failedTimes(n int) harness.Claim {
	return func(w *harness.World) error {
		failures := w.Journal().Events(harness.Of(harness.Failed), harness.By(m.Name))
		if len(failures) == n {
			return nil
		}
		return harness.Shown(harness.Broke[harness.Mistimed]("a record that failed comes again once in each RetryAfter, and not in between",
			"the handler of %s has failed %d times by %v; it should be %d", m.Name, len(failures), w.Now(), n), failures...)
	}
}

// A partition whose record is not done with waits; the others flow, also when there is one worker for all of them.
func TestStep02_AFailedRecordHoldsUpItsPartitionAlone(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 3), w.Group("validation")
		a := start(w, "a", config(validation, orders, func(c *Config) { c.Concurrency, c.RetryAfter = 1, time.Minute }),
			func(_ context.Context, r *kgo.Record) error {
				if r.Partition == 0 {
					return errFlaky
				}
				return nil
			})
		orders.Send(0, 2)
		w.Until(failed(a, 1))

		orders.Send(1, 10)
		orders.Send(2, 10)

		w.Within(10*time.Second, harness.All(validation.CommittedAt(orders, 1, 10), validation.CommittedAt(orders, 2, 10)))
		w.Claim(validation.CommitSafe(orders), a.failedTimes(1))
	})
}

// One bad record must not end the process and with it the work on every other partition.
func TestStep02_APanicIsAFailureOfItsRecordAlone(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 2), w.Group("validation")
		orders.Fill(3)
		once := failsFirst(1)

		a := start(w, "a", config(validation, orders), func(ctx context.Context, r *kgo.Record) error {
			if once(ctx, r) != nil {
				panic("index out of range [3] with length 3")
			}
			return nil
		})

		w.Until(validation.Drained(orders))
		w.Claim(validation.Handled(orders), validation.InOrder(orders), validation.CommitSafe(orders),
			a.failedTimes(1))
	})
}

// What the configuration decides, no option changes: an operator reads the one, and nobody sees the other.
func TestStep02_TheConfigurationStandsAboveOptions(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 2), w.Group("validation")
		orders.Fill(3)

		w.Start("a", func(p *harness.Process) (harness.Runner, error) {
			return New(config(validation, orders), p.Handler(atOnce), append(p.Options(),
				kgo.ConsumerGroup("another"), kgo.ConsumeStartOffset(kgo.NewOffset().AtEnd()),
				kgo.AutoCommitInterval(time.Hour))...)
		})

		w.Within(time.Minute, validation.Drained(orders))
		w.Claim(validation.Handled(orders), validation.HandledOnce(orders))
	})
}

// Progress is committed by time, not by record: a request per record loads the coordinator that everyone shares.
func TestStep02_ProgressIsCommittedInBatches(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 2), w.Group("validation")
		orders.Fill(100)

		a := start(w, "a", config(validation, orders), takes(15*time.Millisecond))

		w.Until(validation.Drained(orders))
		w.Claim(a.Rate(harness.OffsetCommit, 0.1, 6), validation.CommitSafe(orders))
	})
}

// What is done is committed within CommitInterval also while nothing more comes.
func TestStep02_TheLastRecordIsCommittedWithoutAnother(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 1), w.Group("validation")
		start(w, "a", config(validation, orders), atOnce)
		w.Sleep(10 * time.Second)

		orders.Send(0, 1)

		w.Within(1100*time.Millisecond, validation.CommittedAt(orders, 0, 1))
	})
}

// Groups do not share records among each other; members of a group do.
func TestStep03_EveryGroupSeesEveryRecord(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders := w.Topic("orders", 6)
		validation, inventory := w.Group("validation"), w.Group("inventory")
		orders.Fill(5)

		start(w, "validator", config(validation, orders), atOnce)
		start(w, "stock", config(inventory, orders), takes(20*time.Millisecond))

		w.Until(harness.All(validation.Drained(orders), inventory.Drained(orders)))
		w.Claim(validation.HandledOnce(orders), inventory.HandledOnce(orders), validation.Handled(orders), inventory.Handled(orders))
	})
}

// Members that join share the partitions evenly, each of which has exactly one owner, over all topics together.
func TestStep04_MembersShareThePartitionsEvenly(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 6), w.Group("validation")
		a := start(w, "a", config(validation, orders), atOnce)
		w.Until(validation.Owns(a.Process, 6, orders))

		b := start(w, "b", config(validation, orders), atOnce)
		c := start(w, "c", config(validation, orders), atOnce)

		w.Within(time.Minute, validation.Balanced(processes(a, b, c), orders))
		orders.Fill(10)
		w.Until(validation.Drained(orders))
		w.Claim(validation.Handled(orders), validation.HandledOnce(orders), validation.OneAtATime(orders))
	})
}

// Two topics with three partitions each are six partitions to share, not twice three.
func TestStep04_TheShareIsFairOverAllTopics(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, returns, validation := w.Topic("orders", 3), w.Topic("returns", 3), w.Group("validation")
		both := func(c *Config) { c.Topics = []string{orders.Name, returns.Name} }

		a := start(w, "a", config(validation, orders, both), atOnce)
		b := start(w, "b", config(validation, orders, both), atOnce)

		w.Within(time.Minute, validation.Balanced(processes(a, b), orders, returns))
		orders.Fill(3)
		returns.Fill(3)
		w.Until(validation.Drained(orders, returns))
		w.Claim(validation.Handled(orders, returns), validation.HandledOnce(orders, returns))
	})
}

// More members than partitions is no error: the spare one is healthy, owns nothing, and takes over when one leaves.
func TestStep05_ASpareMemberIsHealthyAndTakesOver(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 6), w.Group("validation")
		var seven []*member
		for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
			seven = append(seven, start(w, name, config(validation, orders), atOnce))
		}
		w.Within(time.Minute, validation.Balanced(processes(seven...), orders))

		spare := start(w, "spare", config(validation, orders), atOnce)
		w.Within(time.Minute, validation.Member(spare.Process))
		w.Sleep(20 * time.Second)
		w.Claim(validation.Owns(spare.Process, 0, orders), spare.healthy(true, true))

		seven[0].Stop()
		w.Within(time.Minute, validation.Balanced(append(processes(seven[1:]...), spare.Process), orders))
		orders.Fill(2)
		w.Until(validation.Drained(orders))
		w.Claim(validation.Handled(orders), validation.HandledOnce(orders))
	})
}

// Concurrency n is n records in work at once, each of another partition.
func TestStep06_AsManyPartitionsAreInWorkAsWasAskedFor(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 6), w.Group("validation")
		orders.Fill(4)

		a := start(w, "a", config(validation, orders, func(c *Config) { c.Concurrency = 4 }), takes(time.Second))

		w.Within(10*time.Second, a.Busy(4))
		w.Sleep(500 * time.Millisecond)
		w.Claim(a.Busy(4))
		w.Until(validation.Drained(orders))
		w.Claim(a.neverMoreThan(4), validation.OneAtATime(orders), validation.InOrder(orders), validation.HandledOnce(orders))
	})
}

// Concurrency 1 is one record at a time, of all partitions together.
func TestStep06_ConcurrencyOneIsOneRecordAtATime(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 3), w.Group("validation")
		orders.Fill(4)

		a := start(w, "a", config(validation, orders, func(c *Config) { c.Concurrency = 1 }), takes(100*time.Millisecond))

		w.Until(validation.Drained(orders))
		w.Claim(a.neverMoreThan(1), validation.InOrder(orders), validation.HandledOnce(orders))
	})
}

// With earliest, a group without a commit begins at the oldest record.
func TestStep07_EarliestBeginsAtTheOldestRecord(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 2), w.Group("validation")
		orders.Fill(3)

		start(w, "a", config(validation, orders, func(c *Config) { c.Start = StartEarliest }), atOnce)

		w.Until(validation.Drained(orders))
		w.Claim(validation.Handled(orders), validation.HandledOnce(orders))
	})
}

// With latest, a group without a commit begins behind the newest record; what comes later is all handled.
func TestStep07_LatestBeginsBehindTheNewestRecord(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 2), w.Group("validation")
		orders.Fill(3)
		validation.BeginAtEnd(orders)
		a := start(w, "a", config(validation, orders, func(c *Config) { c.Start = StartLatest }), atOnce)
		w.Until(validation.Owns(a.Process, 2, orders))
		w.Sleep(5 * time.Second)

		orders.Fill(2)

		w.Until(validation.Drained(orders))
		w.Claim(beginsAt(validation, orders, 0, 3), beginsAt(validation, orders, 1, 3), validation.Handled(orders),
			a.counts("records received", 4, func(c ops.Counts) int64 { return c.Received }))
	})
}

// Where latest is, is decided once. What comes while the group is away is not older than the group, and it is handled.
func TestStep07_LatestIsDecidedOnce(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 2), w.Group("validation")
		orders.Fill(3)
		validation.BeginAtEnd(orders)
		a := start(w, "a", config(validation, orders, func(c *Config) { c.Start = StartLatest }), atOnce)
		w.Until(validation.Owns(a.Process, 2, orders))
		w.Sleep(5 * time.Second)

		a.Stop() // before it had anything to handle
		orders.Fill(2)
		a.restart()

		w.Sleep(10 * time.Second)
		w.Claim(validation.Handled(orders), validation.HandledOnce(orders))
		w.Until(validation.Drained(orders))
	})
}

// A partition that was empty when the group began is no exception: offset 0 has to be written down like any other.
func TestStep07_LatestIsDecidedOnceForAnEmptyPartitionToo(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 1), w.Group("validation")
		validation.BeginAtEnd(orders)
		a := start(w, "a", config(validation, orders, func(c *Config) { c.Start = StartLatest }), atOnce)
		w.Until(validation.Owns(a.Process, 1, orders))
		w.Sleep(5 * time.Second)

		a.Stop()
		orders.Fill(2)
		a.restart()

		w.Sleep(10 * time.Second)
		w.Claim(validation.Handled(orders), validation.HandledOnce(orders))
		w.Until(validation.Drained(orders))
	})
}

// With committed, a group without a commit does not begin at all: nobody has said where.
func TestStep07_CommittedRefusesToGuess(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 1), w.Group("validation")
		orders.Fill(3)

		a := start(w, "a", config(validation, orders, func(c *Config) { c.Start = StartCommitted }), atOnce)
		a.MayEnd()

		w.Within(time.Minute, a.Ends(ErrNoCommit))
		w.Claim(a.counts("records received", 0, func(c ops.Counts) int64 { return c.Received }), a.healthy(false, false))
	})
}

// With a commit it begins exactly there, whatever Start says.
func TestStep07_ACommitIsWhereAGroupGoesOn(t *testing.T) {
	for _, from := range []Start{StartEarliest, StartLatest, StartCommitted} {
		harness.Run(t, func(w *harness.World) {
			orders, validation := w.Topic("orders", 1), w.Group("validation")
			orders.Fill(5)
			validation.BeginAt(orders, 0, 3)

			a := start(w, "a", config(validation, orders, func(c *Config) { c.Start = from }), atOnce)

			w.Until(validation.Drained(orders))
			w.Claim(beginsAt(validation, orders, 0, 3), validation.Handled(orders),
				a.counts("records received", 2, func(c ops.Counts) int64 { return c.Received }))
		})
	}
}

// beginsAt claims that the first record of a partition that the group took up is the one at that offset.
//
//go:noinline
func beginsAt(g *harness.Group, t *harness.Topic, partition int32, want int64) harness.Claim {
	return func(w *harness.World) error {
		for _, e := range w.Journal().Events(harness.Of(harness.Began), func(e harness.Event) bool {
			return e.Group == g.Name && e.Topic == t.Name && e.Partition == partition
		}) {
			switch {
			case e.Offset < want:
				return harness.Shown(harness.Broke[harness.Misrouted]("records from before the group's beginning are none of its business; their effects happen a second time, or for the first time years too late",
					"%s began %s/%d at offset %d (key %s); group %s begins at offset %d", e.Process, t, partition, e.Offset, e.Key, g, want), e)
			case e.Offset > want:
				return harness.Shown(harness.Broke[harness.Lost]("records between the group's beginning and where a member starts are never handled",
					"%s began %s/%d at offset %d (key %s); group %s begins at offset %d", e.Process, t, partition, e.Offset, e.Key, g, want), e)
			}
			return nil
		}
		return harness.Broke[harness.Stuck]("nothing stands in its way", "group %s has begun no record of %s/%d", g, t, partition)
	}
}

// A restart goes on at the commit: nothing is left out, nothing comes twice.
func TestStep07_ARestartResumesAtTheCommit(t *testing.T) {
	harness.Run(t, func(w *harness.World) {
		orders, validation := w.Topic("orders", 2), w.Group("validation")
		orders.Fill(3)
		a := start(w, "a", config(validation, orders, func(c *Config) { c.Start = StartEarliest }), atOnce)
		w.Until(validation.Drained(orders))

		a.Stop()
		orders.Fill(3)
		a.restart()

		w.Until(validation.Drained(orders))
		w.Claim(validation.Handled(orders), validation.HandledOnce(orders), validation.InOrder(orders))
	})
}
